"""How the lessons of the book are cut, beside notebooks of others: a mirror, no limit; nothing fails by it.

    python data_scripts/form.py [NOTEBOOK ...]

Lines are those of code cells, without nbdev's directives. A run is a number of exported cells after which
something is demonstrated (a cell that is not exported; hidden ones do not count).
"""
import json
import sys
from itertools import groupby
from pathlib import Path
from statistics import mean, median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from bige.tables import table  # noqa: E402

TITLES = ("median lines", "cells ≤ 10 lines (%)", "mean run", "longest run", "lines > 110 (%)",
          "lines > 120 (%)")
MODELS = {"fastcore": (4, 88, 1.35, 9, None, 1), "claudette": (2, 92, 1.35, 4, None, 1),
          "miniai": (2, 93, 1.4, 7, None, 0), "bige 0.1": (11, 47, 2.7, 30, None, 13)}


def cells(path: Path) -> list[tuple[bool, list[str]]]:
    """The code cells that a reader sees: exported or not, and their lines."""
    seen = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        lines = "".join(cell["source"]).split("\n")
        flags = {word for line in lines if line.startswith("#|") for word in line[2:].split()}
        code = [line for line in lines if line.strip() and not line.startswith("#|")]
        if cell["cell_type"] == "code" and code and not flags & {"hide", "default_exp", "include"}:
            seen.append(("export" in flags, code))
    return seen


def form(found: list[tuple[bool, list[str]]]) -> dict:
    """The numbers of one notebook, or of several."""
    sizes = [len(code) for _, code in found]
    runs = [len(list(group)) for exported, group in groupby(exported for exported, _ in found) if exported]
    widths = [len(line) for _, code in found for line in code]

    def share(values, good) -> float:
        return 100 * mean(map(good, values))

    numbers = (median(sizes), share(sizes, lambda n: n <= 10), float(mean(runs or [0])), max(runs or [0]),
               share(widths, lambda w: w > 110), share(widths, lambda w: w > 120))
    return dict(zip(TITLES, numbers))


def main() -> None:
    """Print the table."""
    paths = [Path(p) for p in sys.argv[1:]] or sorted((ROOT / "nbs").glob("*.ipynb"))
    found = {p.stem: cells(p) for p in paths}
    rows = [{"notebook": name, **form(seen)} for name, seen in found.items() if seen]
    rows.append({"notebook": "all of them", **form([cell for seen in found.values() for cell in seen])})
    rows += [{"notebook": f"({name})", **dict(zip(TITLES, numbers))} for name, numbers in MODELS.items()]
    print(table(rows))


if __name__ == "__main__":
    main()
