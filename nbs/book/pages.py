"""The book's sources: notebooks as Sphinx reads them, and the pages that are made and never typed (API, command line, results).

`write_sources` puts all of them into one folder; data_scripts/make_book.py then calls Sphinx.
"""
from __future__ import annotations

import ast
import json
import os
import re
import shutil
from functools import cache
from pathlib import Path

from bige.tables import number_text

ROOT = Path(__file__).resolve().parents[2]
NBS, BOOK, PACKAGE = ROOT / "nbs", ROOT / "nbs" / "book", ROOT / "bige"
PARTS = ((3, "Movement"), (5, "Muscles and forces"), (8, "Learning from people"), (12, "Asking for a motion"), (99, "Seeing and using it"))
START = ("tutorial", "howto/index", "troubleshooting", "glossary")
REFERENCE = ("book/commands", "book/api/index", "book/results", "book/citation", "book/changelog", "book/contributing")
LEGEND = {"slow": "takes minutes: its result is kept", "shared": "needs motion data that is not part of the repository"}


# ---- names of the package, to link them wherever a text mentions them

def exported(module: Path) -> list[str]:
    """The public names of a module, from its `__all__`."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def modules() -> list[Path]:
    """The package's modules that export something."""
    return [p for p in sorted(PACKAGE.glob("*.py")) if not p.name.startswith("_") and exported(p)]


def symbols() -> dict[str, str]:
    """Name -> `bige.module.name`, for names that only one module exports, and `bige.module` for modules."""
    found: dict[str, list[str]] = {}
    for path in modules():
        found[f"bige.{path.stem}"] = [f"bige.{path.stem}"]
        for name in exported(path):
            found.setdefault(name, []).append(f"bige.{path.stem}.{name}")
    return {name: full[0] for name, full in found.items() if len(full) == 1}


def linked(text: str, names: dict[str, str]) -> str:
    """Markdown in which a back-ticked name of the package is a link to its entry in the API reference."""
    def link(m: re.Match) -> str:
        full = names.get(m[1].split("(")[0])
        return f"{{py:obj}}`{m[1]} <{full}>`" if full else m[0]
    def outside(part: str) -> str:
        return re.sub(r"(?<![`\[}\w])`([A-Za-z_][\w.]*(?:\(\))?)`(?![`\]])", link, part)
    return "".join(part if part.startswith(("```", "~~~", "#", "\n#")) else outside(part)
                   for part in re.split(r"(^(?:```|~~~)[\s\S]*?^(?:```|~~~)[ \t]*$|^#+ .*$)", text, flags=re.M))


# ---- notebooks

def plain(markdown: str) -> str:
    """Markdown without its marks, on one line."""
    text = re.sub(r"```[\s\S]*?```|^(?:#+ |\s*\||>).*$", " ", markdown, flags=re.M)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"\s+", " ", re.sub(r"[*`$\\{}]|<[^>]+>", "", text)).strip()


def sentences(markdown: str, last: bool = False) -> str:
    """The first (or last) sentence of a text, and its neighbours while it is short."""
    parts, said = re.split(r"(?<=[.!?])\s+(?=[A-Z*\"])", plain(markdown)), ""
    while parts and len(said) < 50:
        said = f"{parts.pop()} {said}" if last else f"{said} {parts.pop(0)}"
    return said.strip()[:400]


def alternative(cells: list[dict], i: int) -> str:
    """Words for a picture that cell i draws: where it stands, and the sentence after it, which says what to see, else the one before it."""
    before = [c["source"] for c in cells[:i] if c["cell_type"] == "markdown"]
    heading = plain(next(h[-1] for s in reversed(before) if (h := re.findall(r"^#+ (.*)$", s, re.M))))
    after = cells[i + 1] if i + 1 < len(cells) else {"cell_type": "", "source": ""}
    said = (sentences(after["source"]) if after["cell_type"] == "markdown" else "") or sentences(before[-1], last=True)
    return f"Figure ({heading})" + (f": {said.rstrip(':')}" if said else "")


def directives(source: str) -> tuple[dict[str, str], str]:
    """nbdev's `#| name value` lines, and the source without them."""
    lines, found = source.split("\n"), {}
    while lines and lines[0].startswith("#|"):
        name, _, value = lines.pop(0)[2:].strip().partition(" ")
        found[name.rstrip(":")] = value.strip()
    return found, "\n".join(lines).strip("\n")


def callouts(text: str) -> str:
    """Quarto's callouts as MyST admonitions."""
    return re.sub(r"^(:{3,})\s*\{\.callout-(\w+)[^}]*\}", r"\1{\2}", text, flags=re.M)


def chapter(notebook: dict, stem: str, names: dict[str, str]) -> dict:
    """A notebook as a page: nbdev's directives carried out, pictures with words, names linked, cells reachable by their id."""
    number = re.match(r"(\d+[a-z]?)_", stem)
    source = [dict(c, source="".join(c["source"])) for c in notebook["cells"]]
    cells = []
    for i, cell in enumerate(source):
        cell = dict(cell, metadata={})
        if cell["cell_type"] == "markdown":
            cell["source"] = linked(callouts(cell["source"]), names)
            if i == 0 and number:
                cell["source"] = re.sub(r"^# ", f"# {number[1]} · ", cell["source"], count=1, flags=re.M)
        else:
            flags, code = directives(cell["source"])
            if "hide" in flags or "include" in flags or not code: continue
            cell["source"] = code
            tags = [f for f in ("export", "slow", "shared") if f in flags]
            if flags.get("echo") == "false": tags.append("remove-input")
            cell["metadata"] = {"tags": tags, "mystnb": {"image": {"alt": alternative(source, i)}}}
            if "export" in flags and cell.get("id"):
                cells.append({"cell_type": "markdown", "metadata": {}, "id": f"at-{cell['id']}", "source": f'<span id="{cell["id"]}"></span>'})
        cells.append(cell)
    language = {"name": "python", "pygments_lexer": "ipython3"}
    return {"cells": cells, "nbformat": 4, "nbformat_minor": 5,
            "metadata": {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}, "language_info": language}}


def toctree(caption: str, entries: list[str]) -> str:
    return "\n".join(["```{toctree}", f":caption: {caption}", ":hidden:", ":maxdepth: 1", "", *entries, "```", ""])


def contents(stems: list[str]) -> str:
    """The table of contents of the whole site, for its front page."""
    trees, rest = [toctree("Start here", [f"book/{p}" for p in START])], list(stems)
    for last, caption in PARTS:
        part = [s for s in rest if int(re.match(r"\d+", s)[0]) <= last]
        rest = [s for s in rest if s not in part]
        if part: trees.append(toctree(caption, part))
    return "\n".join([*trees, toctree("Reference", list(REFERENCE))])


# ---- API reference, read from the source: no import, so nothing has to be installed for it

def markdown(docstring: str | None, names: dict[str, str]) -> str:
    """A docstring as MyST: its back-ticks are kept, other marks are taken literally."""
    lines = (docstring or "").strip().split("\n")
    text = "\n".join([lines[0], *(l[4:] if l.startswith("    ") else l for l in lines[1:])])
    parts = re.split(r"(``?[^`]+``?)", text)
    return linked("".join(p if p.startswith("`") else re.sub(r"([*_<\[\]$|{}])", r"\\\1", p) for p in parts), names)


class Module:
    """One exported module: its names in the order of its notebook, each with what its source says about it."""
    def __init__(self, path: Path, names: dict[str, str]):
        self.path, self.names, self.name = path, names, f"bige.{path.stem}"
        self.text = path.read_text(encoding="utf-8")
        self.lines, self.tree, self.public = self.text.split("\n"), ast.parse(self.text), exported(path)
        self.cells = [(i + 1, m[1], m[2]) for i, l in enumerate(self.lines) if (m := re.match(r"# %% \.\./nbs/(\S+)\.ipynb #(\S+)", l))]
        self.notebook = self.cells[0][1] if self.cells else None

    def comment(self, line: int) -> str:
        """The comment at the end of a line of source, if any."""
        quiet = re.sub(r"'[^']*'|\"[^\"]*\"", lambda m: "_" * len(m[0]), self.lines[line - 1])
        return self.lines[line - 1][quiet.index("#") + 1:].strip() if "#" in quiet else ""

    def origin(self, node: ast.AST) -> str:
        """A link to the cell of the notebook that defines `node`."""
        cell = [c for c in self.cells if c[0] < node.lineno]
        if not cell: return ""
        return f'<p class="origin"><a href="../../{cell[-1][1]}.html#{cell[-1][2]}">explained in chapter {cell[-1][1].split("_")[0]}</a></p>\n'

    def patched(self, node) -> str | None:
        """The class to which nbdev's `@patch` adds this function, if it does."""
        if not any(ast.unparse(d).startswith("patch") for d in getattr(node, "decorator_list", [])): return None
        return ast.unparse(node.args.args[0].annotation)

    def signature(self, node) -> str:
        args = node.args
        given = ast.unparse(args)
        first = [a.arg for a in [*args.posonlyargs, *args.args]][:1]
        if first and first[0] in ("self", "cls"):
            given = re.sub(r"^(self|cls)(: \w+)?(, )?", "", given)
        return f"{node.name}({given})" + (f" -> {ast.unparse(node.returns)}" if node.returns else "")

    def parameters(self, node) -> str:
        """What the comments beside the parameters say (units, shapes)."""
        args = [a for a in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs] if a.arg not in ("self", "cls")]
        ends = {a.arg: a.end_lineno for a in args}
        if len(set(ends.values())) < len(ends): return ""
        said = {a: self.comment(line) for a, line in ends.items() if line < node.body[0].lineno}
        return self.table([(f"`{a}`", "", s) for a, s in said.items() if s])

    def table(self, rows) -> str:
        if not rows: return ""
        return "\n".join(f"{name}{': `' + kind + '`' if kind else ''}\n: {markdown(text, self.names) or '&nbsp;'}\n" for name, kind, text in rows) + "\n"

    def entry(self, kind: str, head: str, body: str, options: tuple[str, ...] = (), fence: str = "````") -> str:
        return "\n".join([f"{fence}{{py:{kind}}} {head}", *(f":{o}:" for o in options), "", body.strip(), fence, ""])

    def function(self, node, kind: str = "function", fence: str = "````", options: tuple[str, ...] = ()) -> str:
        body = markdown(ast.get_docstring(node, clean=False), self.names) + "\n\n" + self.parameters(node)
        decorators = {ast.unparse(d).split("(")[0].split(".")[-1] for d in node.decorator_list}
        if "contextmanager" in decorators: body = f"Context manager (for `with`). {body}"
        if kind == "function": return self.entry(kind, self.signature(node), body + "\n\n" + self.origin(node), options, fence)
        if decorators & {"property", "cached_property"}: 
            kind, head = "property", node.name
            options = (f"type: {ast.unparse(node.returns)}",) if node.returns else ()
        else:
            head = self.signature(node)
            options = tuple(d for d in ("classmethod", "staticmethod") if d in decorators)
        return self.entry(kind, head, body, options, fence)

    def klass(self, node: ast.ClassDef) -> str:
        fields = [(f"`{n.target.id}`", ast.unparse(n.annotation), self.comment(n.end_lineno)) for n in node.body
                  if isinstance(n, ast.AnnAssign) and not n.target.id.startswith("_")]
        methods = [n for n in node.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))] + [n for n in self.tree.body if self.patched(n) == node.name]
        start = next((m for m in methods if m.name == "__init__"), None)
        head = node.name + (re.sub(r"^__init__|( -> None)$", "", self.signature(start)) if start else "")
        parts = [markdown(ast.get_docstring(node, clean=False), self.names), self.table(fields)]
        parts += [self.function(m, "method", "```") for m in methods if not m.name.startswith("_")]
        return self.entry("class", head, "\n\n".join(parts) + "\n\n" + self.origin(node), (), "`````")

    def constant(self, node, name: str) -> str:
        value = ast.unparse(node.value) if node.value else ""
        note = self.comment(node.lineno) or (self.comment(node.end_lineno) if node.end_lineno != node.lineno else "")
        shown = f" `= {value}`" if 0 < len(value) <= 80 and "`" not in value else ""
        return self.entry("data", name, f"{markdown(note, self.names)}{shown}\n\n{self.origin(node)}")

    def entries(self) -> list[str]:
        """The public names in the order of the source."""
        made = []
        for node in [n for n in self.tree.body if not self.patched(n)]:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name in self.public: made.append(self.function(node))
            elif isinstance(node, ast.ClassDef) and node.name in self.public: made.append(self.klass(node))
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for t in targets:
                    for name in ([t] if isinstance(t, ast.Name) else t.elts if isinstance(t, ast.Tuple) else []):
                        if getattr(name, "id", None) in self.public: made.append(self.constant(node if len(targets) == 1 and name is t else ast.copy_location(ast.AnnAssign(target=name, annotation=None, value=None, simple=1), node), name.id))
        return made

    def page(self) -> str:
        where = f"Chapter [{self.notebook.split('_')[0]}](../../{self.notebook}.ipynb) explains it step by step.\n" if self.notebook else ""
        intro = markdown(ast.get_docstring(self.tree), self.names)
        return "\n".join([f"# `{self.name}`", "", intro, "", where, f"```{{py:module}} {self.name}\n```", "", *self.entries()])


def api(names: dict[str, str]) -> dict[str, str]:
    """The pages of the API reference."""
    made = {path.stem: Module(path, names) for path in modules()}
    ordered = sorted(made.values(), key=lambda m: (m.notebook or "99", m.name))
    rows = [f"| [`{m.name}`]({m.path.stem}.md) | {markdown((ast.get_docstring(m.tree) or '').split(chr(10))[0], {})} |" for m in ordered]
    pages = {f"api/{stem}.md": module.page() for stem, module in made.items()}
    pages["api/index.md"] = "\n".join(["# Python interface", "",
        "Every public name of the package with its signature, as the source has it. Inside the package lengths are metres, angles radians, "
        "times seconds, forces newtons; a name that ends in `_deg`, `_cm`, `_ms` or `_hz` says otherwise. Shapes stand in brackets: `(T, 33)` "
        "is a row for each of T frames. Each entry leads to the chapter that builds it.", "",
        "| module | what it does |", "|---|---|", *rows, "", "```{toctree}", ":hidden:", "", *(m.path.stem for m in ordered), "```", ""])
    return pages


# ---- the command line

def commands() -> str:
    """Every verb with its options, as `--help` prints them."""
    import argparse
    from bige.cli import parser
    os.environ["COLUMNS"] = "84"
    verbs = next(a for a in parser()._actions if isinstance(a, argparse._SubParsersAction)).choices
    parts = ["# Command line", "", "Each verb reads files, writes files and ends with exit status 0; with 2 and one message when the input was wrong, "
             "nothing half-written; with 130 when it was interrupted. `--json` makes any answer machine-readable. "
             "[Chapter 36](../36_command_line.ipynb) shows them at work.", ""]
    for name, verb in verbs.items():
        parts += [f"## `bige {name}`", "", "```text", verb.format_help().rstrip(), "```", ""]
    return "\n".join(parts)


def vocabulary() -> str:
    """The kinds of constraints, as the package knows them."""
    from bige.constraints import KINDS, REQUIRED
    rows = []
    for k in KINDS.values():
        needs, may = ([f"`{f}`" for f, d in k.fields.items() if (d is REQUIRED) == wanted] for wanted in (True, False))
        rows.append({"kind": f"`{k.name}`", "says": k.says, "needs": ", ".join(needs), "may have": ", ".join(may), "unit": "named in the file" if k.unit is None else k.unit or "–"})
    return grid(rows)


def filled(text: str, answers) -> str:
    """Own text with its places `<!-- vocabulary -->` and `<!-- message NAME -->` filled."""
    if "<!-- vocabulary -->" in text: text = text.replace("<!-- vocabulary -->", vocabulary())
    return re.sub(r"<!-- message (.+?) -->", lambda m: f"```text\n{answers()[m[1]]}\n```", text)


# ---- results

def cell(value) -> str:
    """A cell of a table; numbers as in a report."""
    if isinstance(value, bool) or value is None: return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, float): return number_text(value)
    return str(value).replace("|", "\\|").replace("\n", " ")


def grid(rows: list[dict]) -> str:
    """Rows as a Markdown table."""
    columns = list(dict.fromkeys(k for r in rows for k in r))
    lines = ["| " + " | ".join(cell(c) for c in columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join(lines + ["| " + " | ".join(cell(r.get(c, "")) for c in columns) + " |" for r in rows])


def flat(record: dict, before: str = "") -> dict:
    """A nested record as one row; lists longer than four are left out."""
    row = {}
    for key, value in record.items():
        name = f"{before}{key}"
        if isinstance(value, dict): row |= flat(value, f"{name}, ")
        elif isinstance(value, list): row |= {name: ", ".join(cell(v) for v in value)} if len(value) <= 4 and not any(isinstance(v, (dict, list)) for v in value) else {}
        else: row[name] = value
    return row


def rows_of(path: Path) -> list[dict]:
    """The rows of a kept result, whatever its form."""
    if path.suffix == ".csv":
        import pandas as pd
        return pd.read_csv(path).to_dict("records")
    kept = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(kept, dict) and (lists := [v for v in kept.values() if isinstance(v, list) and v and isinstance(v[0], dict)]): kept = max(lists, key=len)
    if isinstance(kept, list): return [flat(r) for r in kept]
    if kept and all(isinstance(v, dict) for v in kept.values()):
        return [{"": name, **flat(record)} for name, record in kept.items()]
    return [{"": name, "value": value} for name, value in flat(kept).items()]


def turned(rows: list[dict]) -> list[dict]:
    """A table with many columns and few rows, on its side."""
    columns = list(dict.fromkeys(k for r in rows for k in r))
    if len(columns) <= 9 or len(rows) > 8: return rows
    heads = [cell(r.get(columns[0], i)) for i, r in enumerate(rows)]
    if len(set(heads)) < len(heads) or columns[0] != "": heads, columns = [str(i + 1) for i in range(len(rows))], ["", *columns]
    return [{"": c, **{h: r.get(c, "") for h, r in zip(heads, rows)}} for c in columns[1:]]


def tables_of(path: Path, about: dict) -> list[str]:
    """A kept result as Markdown: one table, or with `split` several, a row for each `rows` and a column for each `columns`."""
    rows = rows_of(path)
    if "split" not in about:
        columns = list(dict.fromkeys(k for r in rows for k in r))
        if len(rows) <= 100 and not about.get("curves"): return [grid(turned(rows))]
        return [f"{len(rows)} rows; columns: {', '.join(f'`{c}`' for c in columns)}."]
    made: dict[str, dict[str, dict]] = {}
    for r in rows:
        value = cell(r["mean"]) + ("" if r.get("sd", float("nan")) != r.get("sd") else f" ± {cell(r['sd'])}")
        made.setdefault(r[about["split"]], {}).setdefault(r[about["rows"]], {"": r[about["rows"]]})[r[about["columns"]]] = value
    return [text for title, table in made.items() for text in (f"**{title}**", grid(list(table.values())))]


def maker_of(name: str) -> str | None:
    """The script that writes a kept result, if one says so."""
    for path in sorted([*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "data_scripts").glob("*.py")]):
        text = path.read_text(encoding="utf-8")
        if name in text or re.sub(r"_[a-z]+(\.\w+)$", r"_MODE\1", name) in text: return f"python {path.relative_to(ROOT)}"
    return None


def users_of(name: str) -> list[str]:
    """The notebooks whose code names a kept result (or, for names put together there, its ending)."""
    texts = {p.stem: " ".join("".join(c["source"]) for c in json.loads(p.read_text())["cells"] if c["cell_type"] == "code") for p in sorted(NBS.glob("*.ipynb"))}
    stem = Path(name).stem
    exact = [s for s, t in texts.items() if name in t or f'"{stem}"' in t]
    first, _, rest = stem.partition("_")
    return exact or [s for s, t in texts.items() if f"{first}_{{" in t and f'"{rest}"' in t]


def results() -> str:
    """Every kept table under nbs/results, with the command that makes it again."""
    known = json.loads((BOOK / "results.json").read_text(encoding="utf-8"))
    parts = [(BOOK / "results.md").read_text(encoding="utf-8").rstrip(), ""]
    files = [p for p in sorted((NBS / "results").glob("*")) if p.suffix in (".csv", ".json")]
    made_by = {p: known.get(p.name, {}).get("command") or maker_of(p.name) for p in files}
    chapters = {p: users_of(p.name) for p in files}
    groups: dict[str, list[Path]] = {"": [p for p in files if made_by[p]]}
    for path in files:
        if not made_by[path]: groups.setdefault((chapters[path] or ["~"])[0], []).append(path)
    for stem, paths in sorted(groups.items()):
        parts += [{"": "## Benchmarks", "~": "## Others"}.get(stem) or f"## Chapter {stem.split('_')[0]}", ""]
        for path in sorted(paths, key=lambda p: known.get(p.name, {}).get("order", 9)):
            about = known.get(path.name, {})
            command = made_by[path] or (f'rm nbs/results/{path.name}; NB_FLAGS="slow shared" pytest -q -k {stem.split("_")[0]}_' if stem != "~" else "# not known")
            shown = ", ".join(f"[{s.split('_')[0]}](../{s}.ipynb)" for s in chapters[path])
            parts += [f"### {about.get('title') or path.stem.replace('_', ' ').capitalize()}", "", about.get("text", ""), ""]
            parts += [line for table in tables_of(path, about) for line in (":::{container} wide", "", table, "", ":::", "")]
            parts += [(f"Shown in chapter {shown}; file" if shown else "File") + f" {{download}}`{path.name} <../results/{path.name}>`; made by", "", "```sh", command, "```", ""]
    return "\n".join(parts)


# ---- all of it

def write(path: Path, text: str) -> None:
    """Write a source unless it is there already, so that Sphinx rereads only what has changed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text: path.write_text(text, encoding="utf-8")


def write_sources(folder: Path) -> list[str]:
    """All of the book's sources into `folder`; returns the stems of its chapters."""
    from stumbles import messages
    names, answers, wanted = symbols(), cache(messages), set()
    def put(name: str, text: str):
        wanted.add(folder / name)
        write(folder / name, text)
    stems = [p.stem for p in sorted(NBS.glob("[0-9]*.ipynb"))]
    for stem in [*stems, "index"]:
        page = chapter(json.loads((NBS / f"{stem}.ipynb").read_text(encoding="utf-8")), stem, names)
        if stem == "index": page["cells"].append({"cell_type": "markdown", "metadata": {}, "id": "contents", "source": contents(stems)})
        put(f"{stem}.ipynb", json.dumps(page))
    for path in sorted(BOOK.rglob("*.md")):
        if path.name != "results.md": put(f"book/{path.relative_to(BOOK)}", filled(linked(path.read_text(encoding="utf-8"), names), answers))
    for name, text in api(names).items(): put(f"book/{name}", text)
    put("book/commands.md", commands())
    put("book/results.md", results())
    for name in ("CHANGELOG", "CONTRIBUTING"): put(f"book/{name.lower()}.md", (ROOT / f"{name}.md").read_text(encoding="utf-8"))
    for path in [*NBS.glob("images/*"), *NBS.glob("results/*"), *BOOK.glob("images/*")]:
        if path.is_file():
            place = folder / path.relative_to(NBS)
            wanted.add(place)
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists() or place.read_bytes() != path.read_bytes(): shutil.copy(path, place)
    for old in [p for p in folder.rglob("*") if p.is_file() and p not in wanted]: old.unlink()
    return stems
