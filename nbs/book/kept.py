"""The results page: every table under nbs/results, with the command that makes it again."""
from __future__ import annotations

import csv
import json
import re
from pathlib import Path

from bige.tables import cell_text, columns_of, table

ROOT = Path(__file__).resolve().parents[2]
NBS, BOOK = ROOT / "nbs", ROOT / "nbs" / "book"
LONGEST, WIDEST = 100, 9      # rows shown in full; columns before a short table is turned on its side


def number(text: str):
    """A cell of a .csv: a number where it is one."""
    try:
        return int(text) if text.lstrip("-").isdigit() else float(text)
    except ValueError:
        return {"True": True, "False": False}.get(text, text)


def flat(record: dict, before: str = "") -> dict:
    """A nested record as one row; lists longer than four are left out."""
    row = {}
    for key, value in record.items():
        name = f"{before}{key}"
        if isinstance(value, dict):
            row |= flat(value, f"{name}, ")
        elif not isinstance(value, list):
            row[name] = value
        elif len(value) <= 4 and not any(isinstance(v, (dict, list)) for v in value):
            row[name] = ", ".join(cell_text(v) for v in value)
    return row


def rows_of(path: Path) -> list[dict]:
    """The rows of a kept result, whatever its form."""
    if path.suffix == ".csv":
        with open(path, newline="", encoding="utf-8") as f:
            return [{k: number(v) for k, v in row.items()} for row in csv.DictReader(f)]
    kept = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(kept, dict):
        lists = [v for v in kept.values() if isinstance(v, list) and v and isinstance(v[0], dict)]
        kept = max(lists, key=len) if lists else kept
    if isinstance(kept, list):
        return [flat(r) for r in kept]
    if kept and all(isinstance(v, dict) for v in kept.values()):
        return [{"": name, **flat(record)} for name, record in kept.items()]
    return [{"": name, "value": value} for name, value in flat(kept).items()]


def turned(rows: list[dict]) -> list[dict]:
    """A table with many columns and few rows, on its side."""
    columns = columns_of(rows)
    if len(columns) <= WIDEST or len(rows) > 8:
        return rows
    heads = [cell_text(r.get(columns[0], i)) for i, r in enumerate(rows)]
    if len(set(heads)) < len(heads) or columns[0] != "":
        heads = [str(i + 1) for i in range(len(rows))]
        columns = ["", *columns]
    return [{"": c, **{h: r.get(c, "") for h, r in zip(heads, rows)}} for c in columns[1:]]


def markdown_table(rows: list[dict]) -> str:
    """Rows as a Markdown table whose cells hold nothing that Markdown would read."""
    def one_line(value):
        return value.replace("\n", " ") if isinstance(value, str) else value

    return table([{key: one_line(value) for key, value in row.items()} for row in rows], "md")


def crossed(rows: list[dict], about: dict) -> list[str]:
    """Several tables from one file: a row for each value of `rows`, a column for each value of `columns`."""
    made: dict[str, dict[str, dict]] = {}
    for r in rows:
        value = cell_text(r["mean"])
        if r.get("sd") not in ("", None):
            value += f" ± {cell_text(r['sd'])}"
        row = made.setdefault(r[about["split"]], {}).setdefault(r[about["rows"]], {"": r[about["rows"]]})
        row[r[about["columns"]]] = value
    return [text for title, crossing in made.items()
            for text in (f"**{title}**", markdown_table(list(crossing.values())))]


def tables_of(path: Path, about: dict) -> list[str]:
    """A kept result as Markdown; one that is too long to read is named with its columns."""
    rows = rows_of(path)
    if "split" in about:
        return crossed(rows, about)
    if len(rows) <= LONGEST and not about.get("curves"):
        return [markdown_table(turned(rows))]
    return [f"{len(rows)} rows; columns: {', '.join(f'`{c}`' for c in columns_of(rows))}."]


def maker_of(name: str) -> str | None:
    """The script that writes a kept result, if one says so."""
    by_mode = re.sub(r"_[a-z]+(\.\w+)$", r"_MODE\1", name)
    for path in sorted([*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "data_scripts").glob("*.py")]):
        text = path.read_text(encoding="utf-8")
        if name in text or by_mode in text:
            return f"python {path.relative_to(ROOT)}"
    return None


def users_of(name: str) -> list[str]:
    """The notebooks whose code names a kept result (or, for names put together there, its ending)."""
    texts = {}
    for path in sorted(NBS.glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts[path.stem] = " ".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    stem = Path(name).stem
    exact = [s for s, t in texts.items() if name in t or f'"{stem}"' in t]
    first, _, rest = stem.partition("_")
    return exact or [s for s, t in texts.items() if f"{first}_{{" in t and f'"{rest}"' in t]


def section(path: Path, about: dict, command: str, chapters: list[str]) -> list[str]:
    """One result: title, text, tables, where it is shown, and the command that makes it."""
    title = about.get("title") or path.stem.replace("_", " ").capitalize()
    parts = [f"### {title}", "", about.get("text", ""), ""]
    for text in tables_of(path, about):
        parts += [":::{container} wide", "", text, "", ":::", ""]
    shown = ", ".join(f"[{s.split('_')[0]}](../{s}.ipynb)" for s in chapters)
    file = f"{{download}}`{path.name} <../results/{path.name}>`"
    parts += [f"Shown in chapter {shown}; file {file}; made by" if shown else f"File {file}; made by", ""]
    return [*parts, "```sh", command, "```", ""]


def results() -> str:
    """The whole page: benchmarks first, then chapter by chapter."""
    known = json.loads((BOOK / "results.json").read_text(encoding="utf-8"))
    files = [p for p in sorted((NBS / "results").glob("*")) if p.suffix in (".csv", ".json")]
    made_by = {p: known.get(p.name, {}).get("command") or maker_of(p.name) for p in files}
    chapters = {p: users_of(p.name) for p in files}
    groups: dict[str, list[Path]] = {}
    for path in files:
        groups.setdefault("" if made_by[path] else (chapters[path] or ["~"])[0], []).append(path)
    parts = [(BOOK / "results.md").read_text(encoding="utf-8").rstrip(), ""]
    for stem, paths in sorted(groups.items()):
        parts += [{"": "## Benchmarks", "~": "## Others"}.get(stem) or f"## Chapter {stem.split('_')[0]}", ""]
        for path in sorted(paths, key=lambda p: known.get(p.name, {}).get("order", 9)):
            again = f'rm nbs/results/{path.name}; NB_FLAGS="slow shared" pytest -q -k {stem.split("_")[0]}_'
            command = made_by[path] or (again if stem != "~" else "# not known")
            parts += section(path, known.get(path.name, {}), command, chapters[path])
    return "\n".join(parts)
