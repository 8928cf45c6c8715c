"""The book as a web site that needs no network: notebooks, own pages, API reference, results.

    python data_scripts/make_book.py [--out _docs]

Nothing is executed: pictures and tables are those kept in the notebooks. A broken link, a picture without words or anything
that would be fetched from elsewhere fails the build.
"""
from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "nbs" / "book")]


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--out", type=Path, default=ROOT / "_docs", metavar="DIR")
    arguments.add_argument("--work", type=Path, default=ROOT / "build" / "book", metavar="DIR", help="sources and Sphinx's memory between two builds; a site that fails stays there")
    given, began = arguments.parse_args(), time.time()
    try: from sphinx.cmd.build import build_main
    except ModuleNotFoundError: sys.exit("make_book: Sphinx is not installed. Cure: pip install -e '.[docs]', or `make docs`.")
    from checks import problems
    from pages import write_sources
    write_sources(given.work / "source")
    built = given.work / "html"
    failed = build_main(["-q", "-n", "-W", "--keep-going", "-c", str(ROOT / "nbs" / "book"), "-d", str(given.work / "doctrees"),
                         str(given.work / "source"), str(built)])
    found = problems(built)
    for line in found: print(line, file=sys.stderr)
    if failed or found: return 1
    shutil.rmtree(given.out, ignore_errors=True)
    shutil.copytree(built, given.out)
    print(f"{len(list(given.out.rglob('*.html')))} pages in {time.time() - began:.0f} s: open {given.out.resolve() / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
