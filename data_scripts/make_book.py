"""The book as a web site that needs no network: notebooks, own pages, API reference, results.

    python data_scripts/make_book.py [--out _docs]

Nothing is executed: pictures and tables are those kept in the notebooks. A broken link, a picture without
words or anything that would be fetched from elsewhere fails the build.
"""
from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "nbs" / "book"
sys.path[:0] = [str(ROOT), str(BOOK)]


def options() -> argparse.Namespace:
    """The options of this script."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "_docs", metavar="DIR")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "book", metavar="DIR",
                        help="sources and Sphinx's memory between two builds; a site that fails stays there")
    return parser.parse_args()


def main() -> int:
    """Write the sources, build, check, and move the site to its place."""
    given, began = options(), time.time()
    try:
        from sphinx.cmd.build import build_main
    except ModuleNotFoundError:
        sys.exit("make_book: Sphinx is not installed. Cure: pip install -e '.[docs]', or `make docs`.")
    from checks import problems
    from pages import write_sources
    source, built = given.work / "source", given.work / "html"
    write_sources(source)
    failed = build_main(["-q", "-n", "-W", "--keep-going", "-c", str(BOOK),
                         "-d", str(given.work / "doctrees"), str(source), str(built)])
    found = problems(built)
    print("\n".join(found), end="\n" if found else "", file=sys.stderr)
    if failed or found:
        return 1
    shutil.rmtree(given.out, ignore_errors=True)
    shutil.copytree(built, given.out)
    pages = len(list(given.out.rglob("*.html")))
    print(f"{pages} pages in {time.time() - began:.0f} s: open {given.out.resolve() / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
