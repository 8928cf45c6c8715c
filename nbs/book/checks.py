"""What must hold for every built page: links work, nothing comes from elsewhere, pictures have words."""
from __future__ import annotations

import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src",
         "embed": "src", "object": "data", "image": "href", "use": "href"}
FETCHED = {"stylesheet", "icon", "preload", "modulepreload", "prefetch", "preconnect", "dns-prefetch",
           "manifest", "shortcut icon", "shortcut"}


class Page(HTMLParser):
    """The ids, links, loaded things and unexplained pictures of a page."""
    def __init__(self, text: str):
        super().__init__()
        self.ids = set()
        self.links, self.loads, self.silent, self.styles = [], [], [], []
        self._style = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        """Note what a tag links to, loads and shows."""
        given = dict(attrs)
        self.ids |= {given[k] for k in ("id", "name") if given.get(k)}
        self.links += [given["href"]] if tag == "a" and given.get("href") else []
        self.loads += self._loaded(tag, given)
        explained = (given.get("alt") or "").strip() or given.get("aria-hidden") == "true"
        self.silent += [given.get("src", "")[:80]] if tag == "img" and not explained else []
        self.styles += [given["style"]] if given.get("style") else []
        self._style = tag == "style"

    handle_startendtag = handle_starttag

    @staticmethod
    def _loaded(tag: str, given: dict) -> list[str]:
        """Addresses that a browser fetches for a tag."""
        found = [s.split()[0] for s in (given.get("srcset") or "").split(",") if s.strip()]
        if tag == "link" and set((given.get("rel") or "").split()) & FETCHED:
            found.append(given.get("href") or "")
        if tag in LOADS and given.get(LOADS[tag]):
            found.append(given[LOADS[tag]])
        return found

    def handle_data(self, data):
        """Note the text of a style sheet."""
        self.styles += [data] if self._style else []

    def handle_endtag(self, tag):
        """No style sheet any more."""
        self._style = False


@cache
def page(path: Path) -> Page:
    """The page in a file."""
    return Page(path.read_text(encoding="utf-8"))


def elsewhere(address: str) -> bool:
    """True for an address on another machine."""
    return bool(re.match(r"(?!data:)(?:[a-z][a-z0-9+.-]*:)?//", address, re.I))


def fetched_by_css(text: str) -> list[str]:
    """Addresses that a style sheet loads."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    loads = re.compile(r"""url\(\s*["']?([^"')]+)["']?\s*\)|@import\s+["']([^"']+)["']""")
    return [a or b for a, b in loads.findall(text)]


def broken(path: Path, site: Path, address: str) -> str | None:
    """Why a link inside the site leads nowhere, or None."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return None
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    target = target / "index.html" if target.is_dir() else target
    if not target.is_file():
        return "no such file"
    if site.resolve() not in target.resolve().parents:
        return "outside the site"
    if not parts.fragment or target.suffix != ".html":
        return None
    known = page(target).ids | {"#", "top"}
    return None if unquote(parts.fragment) in known else "no such place on that page"


def problems(site: Path) -> list[str]:
    """Everything wrong with the built site, one line each."""
    site = Path(site).resolve()
    page.cache_clear()
    found = []
    for path in sorted(p for p in site.rglob("*.html") if "_static" not in p.parts):
        here, seen = path.relative_to(site), page(path)
        for address in dict.fromkeys([*seen.links, *seen.loads]):
            if why := broken(path, site, address):
                found.append(f"{here}: link to {address}: {why}")
        loads = seen.loads + [a for s in seen.styles for a in fetched_by_css(s)]
        found += [f"{here}: fetched from elsewhere: {a}" for a in loads if elsewhere(a)]
        found += [f"{here}: picture without words: {s}" for s in seen.silent]
    for path in sorted(site.rglob("*.css")):
        loads = fetched_by_css(path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(site)}: fetched from elsewhere: {a}" for a in loads if elsewhere(a)]
    return found
