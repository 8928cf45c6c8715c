"""The book's sources: notebooks as Sphinx reads them, and the pages that are made and never typed.

`write_sources` puts all of them into one folder; data_scripts/make_book.py then calls Sphinx.
"""
from __future__ import annotations

import argparse
import json
import os
import re
import shutil
from functools import cache
from pathlib import Path

import reference
from bige.tables import table
from kept import results

ROOT = Path(__file__).resolve().parents[2]
NBS, BOOK = ROOT / "nbs", ROOT / "nbs" / "book"
PARTS = (("01", "I Data"), ("10", "II Mechanics"), ("17", "III Evidence"), ("19", "IV Learning"),
         ("26", "V Guidance"), ("37", "VI Output"), ("A1", "Appendix A: foundations"),
         ("B1", "Appendix B: formats and widgets"))
START = ("tutorial", "howto/index", "troubleshooting", "glossary")
REFERENCE = ("book/commands", "book/api/index", "book/results", "book/citation", "book/changelog",
             "book/contributing")
CHAPTER = re.compile(r"(\d\d|[A-Z]\d)_")


def linked(text: str, names: dict[str, str]) -> str:
    """Markdown in which a back-ticked name of the package is a link to its entry in the API reference."""
    def link(m: re.Match) -> str:
        full = names.get(m[1].split("(")[0])
        return f"{{py:obj}}`{m[1]} <{full}>`" if full else m[0]

    def outside(part: str) -> str:
        if part.startswith(("```", "~~~", "#", "\n#")):
            return part
        return re.sub(r"(?<![`\[}\w])`([A-Za-z_][\w.]*(?:\(\))?)`(?![`\]])", link, part)

    blocks = re.split(r"(^(?:```|~~~)[\s\S]*?^(?:```|~~~)[ \t]*$|^#+ .*$)", text, flags=re.M)
    return "".join(outside(part) for part in blocks)


# ---- notebooks

def plain(markdown: str) -> str:
    """Markdown without its marks, on one line."""
    text = re.sub(r"```[\s\S]*?```|^(?:#+ |\s*\||>).*$", " ", markdown, flags=re.M)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"\s+", " ", re.sub(r"[*`$\\{}]|<[^>]+>", "", text)).strip()


def sentences(markdown: str, last: bool = False) -> str:
    """The first (or last) sentence of a text, and its neighbours while it is short."""
    parts = re.split(r"(?<=[.!?])\s+(?=[A-Z*\"])", plain(markdown))
    said = ""
    while parts and len(said) < 50:
        said = f"{parts.pop()} {said}" if last else f"{said} {parts.pop(0)}"
    return said.strip()[:400]


def alternative(cells: list[dict], i: int) -> str:
    """Words for a picture that cell i draws: its heading, and the sentence after it, else the one before."""
    before = [c["source"] for c in cells[:i] if c["cell_type"] == "markdown"]
    heading = plain(next(h[-1] for s in reversed(before) if (h := re.findall(r"^#+ (.*)$", s, re.M))))
    after = cells[i + 1] if i + 1 < len(cells) else {"cell_type": "", "source": ""}
    said = sentences(after["source"]) if after["cell_type"] == "markdown" else ""
    said = said or sentences(before[-1], last=True)
    return f"Figure ({heading})" + (f": {said.rstrip(':')}" if said else "")


def directives(source: str) -> tuple[dict[str, str], str]:
    """nbdev's `#| name value` lines, and the source without them."""
    lines = source.split("\n")
    found = {}
    while lines and lines[0].startswith("#|"):
        name, _, value = lines.pop(0)[2:].strip().partition(" ")
        found[name.rstrip(":")] = value.strip()
    return found, "\n".join(lines).strip("\n")


def code_cells(cell: dict, alt: str) -> list[dict]:
    """A code cell as the page shows it, after an anchor where it is exported; nothing for a hidden one."""
    flags, code = directives(cell["source"])
    if "hide" in flags or "include" in flags or not code:
        return []
    tags = [f for f in ("export", "slow", "shared") if f in flags]
    tags += ["remove-input"] if flags.get("echo") == "false" else []
    shown = dict(cell, source=code, metadata={"tags": tags, "mystnb": {"image": {"alt": alt}}})
    if "export" not in flags or not cell.get("id"):
        return [shown]
    anchor = f'<span id="{cell["id"]}"></span>'
    return [{"cell_type": "markdown", "metadata": {}, "id": f"at-{cell['id']}", "source": anchor}, shown]


def chapter(notebook: dict, stem: str, names: dict[str, str]) -> dict:
    """A notebook as a page: directives carried out, pictures with words, names linked, anchors for cells."""
    number = CHAPTER.match(stem)
    source = [dict(c, source="".join(c["source"])) for c in notebook["cells"]]
    cells = []
    for i, cell in enumerate(source):
        if cell["cell_type"] == "code":
            cells += code_cells(cell, alternative(source, i))
            continue
        text = linked(cell["source"], names)
        if i == 0 and number:
            text = re.sub(r"^# ", f"# {number[1]} · ", text, count=1, flags=re.M)
        cells.append(dict(cell, metadata={}, source=text))
    language = {"name": "python", "pygments_lexer": "ipython3"}
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    return {"cells": cells, "nbformat": 4, "nbformat_minor": 5,
            "metadata": {"kernelspec": kernel, "language_info": language}}


def chapters() -> list[str]:
    """The stems of the book's notebooks, chapters before appendices."""
    return sorted(p.stem for p in NBS.glob("*.ipynb") if CHAPTER.match(p.stem))


def toctree(caption: str, entries: list[str]) -> str:
    """A part of the table of contents."""
    options = [f":caption: {caption}", ":hidden:", ":maxdepth: 1"]
    return "\n".join(["```{toctree}", *options, "", *entries, "```", ""])


def contents(stems: list[str]) -> str:
    """The table of contents of the whole site, for its front page."""
    trees = [toctree("Start here", [f"book/{p}" for p in START])]
    for (first, caption), (end, _) in zip(PARTS, [*PARTS[1:], ("~", "")]):
        if part := [s for s in stems if first <= s and s[:2] < end]:
            trees.append(toctree(caption, part))
    return "\n".join([*trees, toctree("Reference", list(REFERENCE))])


# ---- pages that the package itself writes

def commands() -> str:
    """Every verb with its options, as `--help` prints them."""
    from bige.cli import parser
    os.environ["COLUMNS"] = "84"
    verbs = next(a for a in parser()._actions if isinstance(a, argparse._SubParsersAction)).choices
    parts = [COMMANDS]
    for name, verb in verbs.items():
        parts += [f"## `bige {name}`", "", "```text", verb.format_help().rstrip(), "```", ""]
    return "\n".join(parts)


COMMANDS = """# Command line

Each verb reads files, writes files and ends with exit status 0; with 2 and one message when the input was
wrong, nothing half-written; with 130 when it was interrupted. `--json` makes any answer machine-readable.
[Chapter 43](../43_command_line.ipynb) shows them at work.
"""


def vocabulary() -> str:
    """The kinds of constraints, as the package knows them."""
    from bige.constraints import KINDS, REQUIRED
    rows = []
    for k in KINDS.values():
        needs = ", ".join(f"`{f}`" for f, default in k.fields.items() if default is REQUIRED)
        may = ", ".join(f"`{f}`" for f, default in k.fields.items() if default is not REQUIRED)
        unit = "named in the file" if k.unit is None else k.unit or "–"
        rows.append({"kind": f"`{k.name}`", "says": k.says, "needs": needs, "may have": may, "unit": unit})
    return table(rows, "md")


def output(start: str) -> str:
    """What the tutorial's command that begins with `start` has printed when it was run."""
    kept = json.loads((BOOK / "tutorial.json").read_text(encoding="utf-8"))
    return next(said for command, said in kept.items() if command.startswith(start))


def filled(text: str, answers) -> str:
    """Own text with its places filled: vocabulary, messages and outputs in HTML comments."""
    text = re.sub(r"<!-- output (.+?) -->", lambda m: f"```text\n{output(m[1])}\n```", text)
    if "<!-- vocabulary -->" in text:
        text = text.replace("<!-- vocabulary -->", vocabulary())
    return re.sub(r"<!-- message (.+?) -->", lambda m: f"```text\n{answers()[m[1]]}\n```", text)


# ---- all of it

class Folder:
    """The folder of sources: only what has changed is written, and at the end nothing else is in it."""
    def __init__(self, path: Path):
        self.path = path
        self.wanted = set()

    def place(self, name) -> Path:
        """Where `name` belongs; it is kept at the end."""
        place = self.path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        self.wanted.add(place)
        return place

    def put(self, name: str, text: str) -> None:
        """A text."""
        place = self.place(name)
        if not place.exists() or place.read_text(encoding="utf-8") != text:
            place.write_text(text, encoding="utf-8")

    def copy(self, path: Path, name) -> None:
        """A file as it is."""
        place = self.place(name)
        if not place.exists() or place.read_bytes() != path.read_bytes():
            shutil.copy(path, place)

    def clean(self) -> None:
        """Remove what a former build left."""
        for old in [p for p in self.path.rglob("*") if p.is_file() and p not in self.wanted]:
            old.unlink()


def write_sources(path: Path) -> list[str]:
    """All of the book's sources into the folder `path`; returns the stems of its chapters."""
    from stumbles import messages
    names, answers, folder, stems = reference.symbols(), cache(messages), Folder(path), chapters()
    for stem in [*stems, "index"]:
        page = chapter(json.loads((NBS / f"{stem}.ipynb").read_text(encoding="utf-8")), stem, names)
        if stem == "index":
            page["cells"].append({"cell_type": "markdown", "metadata": {}, "id": "contents",
                                  "source": contents(stems)})
        folder.put(f"{stem}.ipynb", json.dumps(page))
    for file in sorted(BOOK.rglob("*.md")):
        if file.name != "results.md":
            text = linked(file.read_text(encoding="utf-8"), names)
            folder.put(f"book/{file.relative_to(BOOK)}", filled(text, answers))
    for name, text in reference.pages().items():
        folder.put(f"book/{name}", text)
    folder.put("book/commands.md", commands())
    folder.put("book/results.md", results())
    for name in ("CHANGELOG", "CONTRIBUTING"):
        text = (ROOT / f"{name}.md").read_text(encoding="utf-8")
        folder.put(f"book/{name.lower()}.md", text.replace("](nbs/", "](../"))
    for file in [*NBS.glob("images/*"), *NBS.glob("results/*"), *BOOK.glob("images/*")]:
        if file.is_file():
            folder.copy(file, file.relative_to(NBS))
    folder.clean()
    return stems
