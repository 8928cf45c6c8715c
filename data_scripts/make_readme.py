"""README.md from nbs/index.ipynb: the front page of the book is the front page of the repository.

    python data_scripts/make_readme.py
"""
import re
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Write README.md."""
    notebook = nbformat.read(ROOT / "nbs" / "index.ipynb", as_version=4)
    notebook.cells = [cell for cell in notebook.cells if not cell.source.lstrip().startswith("#| hide")]
    for cell in notebook.cells:
        cell.source = "\n".join(line for line in cell.source.split("\n") if not line.startswith("#| "))
    notebook.metadata["language_info"] = {"name": "python"}
    text, _ = MarkdownExporter().from_notebook_node(notebook)
    text = re.sub(r"\]\((images/|book/|\w+\.ipynb)", r"](nbs/\1", text)
    text = text.replace('src="images/', 'src="nbs/images/')
    (ROOT / "README.md").write_text(text.strip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
