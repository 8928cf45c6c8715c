"""How Sphinx's autodoc reads the package: plain docstrings, units in comments, the chapter of each name."""
from __future__ import annotations

import ast
import inspect
import re
from functools import cache
from importlib import import_module
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "bige"
CELL = re.compile(r"# %% \.\./nbs/(\S+)\.ipynb #(\S+)")


def exported(module: Path) -> list[str]:
    """The public names of a module, from its `__all__`, without importing it."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def modules() -> list[Path]:
    """The package's modules that export something, in the order of the book: chapters, then appendices."""
    found = [p for p in PACKAGE.glob("*.py") if not p.name.startswith("_") and exported(p)]
    return sorted(found, key=lambda p: (notebook(p) or "~", p.name))


def notebook(module: Path) -> str | None:
    """The notebook that exports a module."""
    cell = CELL.search(module.read_text(encoding="utf-8"))
    return cell[1] if cell else None


@cache
def symbols() -> dict[str, str]:
    """Name -> `bige.module.name`, for names that only one module exports, and `bige.module` for modules."""
    found: dict[str, list[str]] = {}
    for path in modules():
        found[f"bige.{path.stem}"] = [f"bige.{path.stem}"]
        for name in exported(path):
            found.setdefault(name, []).append(f"bige.{path.stem}.{name}")
    return {name: full[0] for name, full in found.items() if len(full) == 1}


def restructured(text: str) -> str:
    """Text with single back-ticks as reStructuredText: known names become links, other marks are kept."""
    def span(part: str) -> str:
        if not part.startswith("`"):
            return re.sub(r"([*|\\]|_\b)", r"\\\1", part)
        code = part.strip("`")
        unmistakable = re.search(r"[_A-Z.(]", code)         # a plain word such as `curves` may be a field
        known = symbols().get(code.split("(")[0]) if unmistakable else None
        return f":py:obj:`{code} <{known}>`" if known else f"``{code}``"

    parts = re.split(r"(``?[^`]+``?)", text)
    made = ""
    for before, part in zip(["", *parts], parts):
        after = before.startswith("`") and re.match(r"\w", part)
        glued = after or (part.startswith("`") and re.search(r"\w$", before))
        made += ("\\ " if glued else "") + span(part)
    return made


def comments(thing) -> dict[str, str]:
    """What the comments beside parameters or fields say (units, shapes)."""
    from fastcore.docments import docments
    try:
        found = docments(thing, returns=False)
    except Exception:              # built-ins, classes without a source
        return {}
    return {name: " ".join(text.split()) for name, text in found.items() if text}


def origin(thing) -> str | None:
    """A link to the cell of the book that defines `thing`."""
    try:
        lines, first = inspect.getsourcelines(thing)
        source = Path(inspect.getsourcefile(thing))
    except (TypeError, OSError):
        return None
    if source.parent != PACKAGE:
        return None
    before = source.read_text(encoding="utf-8").split("\n")[:first]
    cell = next((m for line in reversed(before) if (m := CELL.match(line))), None)
    if not cell:
        return None
    chapter = cell[1].split("_")[0]
    address = f"../../{cell[1]}.html#{cell[2]}"
    return f'<p class="origin"><a href="{address}">explained in chapter {chapter}</a></p>'


def beside(module: str, name: str) -> str:
    """The comment at the end of the line that defines a constant."""
    text = (PACKAGE / f"{module.rpartition('.')[2]}.py").read_text(encoding="utf-8")
    found = re.search(rf"(?m)^{re.escape(name)}\b[^\n]*?\s{{2,}}#\s(.*)$", text)
    return found[1] if found else ""


def docstring(app, what: str, name: str, thing, options, lines: list[str]) -> None:
    """Autodoc's hook: our docstrings as Sphinx reads them."""
    if what == "data":
        module, _, constant = name.rpartition(".")
        lines[:] = [restructured(beside(module, constant))]
        return
    if what == "attribute":
        owner, _, field = name.rpartition(".")
        said = comments(owner_of(owner)).get(field)
        if said:
            lines[:] = [restructured(said)]
        return
    lines[:] = restructured("\n".join(lines)).split("\n")
    if what in ("function", "method"):
        fields = [f":param {p}: {restructured(said)}" for p, said in comments(thing).items()]
        lines += ["", *fields, ""] if fields else []
    if what in ("function", "class") and (link := origin(thing)):
        lines += ["", ".. raw:: html", "", f"   {link}", ""]


def signature(app, what: str, name: str, thing, options, arguments: str | None, returns: str | None):
    """Autodoc's hook: a default that a factory makes is shown as Python can read it."""
    return arguments and arguments.replace("<factory>", "..."), returns


def owner_of(full: str):
    """The class with a full name."""
    module, _, name = full.rpartition(".")
    return getattr(import_module(module), name, None)


def pages() -> dict[str, str]:
    """The sources of the API reference: a page for each module and the list of them."""
    listed = modules()
    made = {f"api/{path.stem}.md": page(path) for path in listed}
    names = "\n".join(f"   ~bige.{path.stem}" for path in listed)
    made["api/index.md"] = INDEX.format(names=names, stems="\n".join(path.stem for path in listed))
    return made


def page(path: Path) -> str:
    """The source of a module's page: its names in the order of its notebook."""
    stem, text = notebook(path), path.read_text(encoding="utf-8")
    where = f"Chapter [{stem.split('_')[0]}](../../{stem}.ipynb) explains it step by step.\n" if stem else ""
    names = sorted(exported(path), key=lambda name: place(name, text))
    entries = "\n".join(f".. auto{kind(name, text)}:: bige.{path.stem}.{name}" for name in names)
    about = f".. automodule:: bige.{path.stem}\n   :no-members:"
    return f"# `{path.stem}`\n\n{where}\n```{{eval-rst}}\n{about}\n\n{entries}\n```\n"


def place(name: str, text: str) -> int:
    """Where a module defines a name."""
    found = re.search(rf"(?m)^(?:def |class |)(?:[\w, ]+, )?{re.escape(name)}\b", text)
    return found.start() if found else len(text)


def kind(name: str, text: str) -> str:
    """Autodoc's word for what a name means in the source of its module."""
    found = re.search(rf"(?m)^(def|class) {re.escape(name)}\b", text)
    return {"def": "function", "class": "class"}[found[1]] if found else "data"


INDEX = """# Python interface

Every public name of the package with its signature. Inside the package lengths are metres, angles radians,
times seconds, forces newtons; a name that ends in `_deg`, `_cm`, `_ms` or `_hz` says otherwise. Shapes stand
in brackets: `(T, 33)` is a row for each of T frames. Each entry leads to the chapter that builds it.

```{{eval-rst}}
.. autosummary::

{names}
```

```{{toctree}}
:hidden:

{stems}
```
"""


def connect(app) -> None:
    """Called by Sphinx's settings."""
    app.connect("autodoc-process-docstring", docstring)
    app.connect("autodoc-process-signature", signature)
