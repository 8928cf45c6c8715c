"""What must hold for every built page: links lead somewhere, nothing comes from elsewhere, pictures have words."""
from __future__ import annotations

import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src", "embed": "src", "object": "data", "image": "href", "use": "href"}
FETCHED = {"stylesheet", "icon", "preload", "modulepreload", "prefetch", "preconnect", "dns-prefetch", "manifest", "shortcut icon", "shortcut"}


class Page(HTMLParser):
    """The ids, links, loaded things and unexplained pictures of a page."""
    def __init__(self, text: str):
        super().__init__()
        self.ids, self.links, self.loads, self.silent, self.styles, self._style = set(), [], [], [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids |= {given[k] for k in ("id", "name") if given.get(k)}
        if tag == "a" and given.get("href"): self.links.append(given["href"])
        if tag == "link" and set((given.get("rel") or "").split()) & FETCHED: self.loads.append(given.get("href") or "")
        if tag in LOADS and given.get(LOADS[tag]): self.loads.append(given[LOADS[tag]])
        if given.get("srcset"): self.loads += [s.split()[0] for s in given["srcset"].split(",")]
        if tag == "img" and not (given.get("alt") or "").strip() and given.get("aria-hidden") != "true": self.silent.append(given.get("src", "")[:80])
        if given.get("style"): self.styles.append(given["style"])
        self._style = tag == "style"

    handle_startendtag = handle_starttag

    def handle_data(self, data):
        if self._style: self.styles.append(data)

    def handle_endtag(self, tag): self._style = False


@cache
def page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def elsewhere(address: str) -> bool:
    """True for an address on another machine."""
    return bool(re.match(r"(?:[a-z][a-z0-9+.-]*:)?//", address, re.I)) and not address.lower().startswith("data:")


def fetched_by_css(text: str) -> list[str]:
    """Addresses that a style sheet loads."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    return [a or b for a, b in re.findall(r"""url\(\s*["']?([^"')]+)["']?\s*\)|@import\s+["']([^"']+)["']""", text)]


def broken(path: Path, site: Path, address: str) -> str | None:
    """Why a link inside the site leads nowhere, or None."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc: return None
    target = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
    if target.is_dir(): target = target / "index.html"
    if not target.is_file(): return "no such file"
    if site.resolve() not in target.resolve().parents: return "outside the site"
    if parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in page(target).ids | {"#", "top"}: return "no such place on that page"
    return None


def problems(site: Path) -> list[str]:
    """Everything wrong with the built site, one line each."""
    site, found = Path(site).resolve(), []
    page.cache_clear()
    for path in sorted(p for p in site.rglob("*.html") if "_static" not in p.parts):
        here, seen = path.relative_to(site), page(path)
        for address in dict.fromkeys([*seen.links, *seen.loads]):
            if (why := broken(path, site, address)): found.append(f"{here}: link to {address}: {why}")
        loads = seen.loads + [a for s in seen.styles for a in fetched_by_css(s)]
        found += [f"{here}: fetched from elsewhere: {a}" for a in loads if elsewhere(a)]
        found += [f"{here}: picture without words: {s}" for s in seen.silent]
    for path in sorted(site.rglob("*.css")):
        found += [f"{path.relative_to(site)}: fetched from elsewhere: {a}" for a in fetched_by_css(path.read_text(encoding="utf-8")) if elsewhere(a)]
    return found
