"""Sphinx's settings for the book: data_scripts/make_book.py calls it with what pages.py writes."""
import re
import sys
from configparser import ConfigParser
from importlib.util import find_spec
from pathlib import Path

from docutils import nodes

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))
import reference  # noqa: E402

ini = ConfigParser(delimiters=["="], interpolation=None)
ini.read(ROOT / "settings.ini", encoding="utf-8")

project, author = "bige", ini["DEFAULT"]["author"]
copyright = ini["DEFAULT"]["copyright"]
version = release = ini["DEFAULT"]["version"]
language = "en"
root_doc = "index"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "myst_nb", "sphinx_book_theme"]
autodoc_default_options = {"members": True, "undoc-members": True, "no-value": True}
EXTRAS = ["nimblephysics", "opensim", "vtkmodules", "imageio_ffmpeg", "voila", "anywidget", "ipywidgets",
          "vector_quantize_pytorch", "loguru", "deepspeed", "distributed"]
autodoc_mock_imports = [name for name in EXTRAS if find_spec(name) is None]     # read without them
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
autosummary_generate = False
python_use_unqualified_type_names = True
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist", "fieldlist", "attrs_inline",
                          "attrs_block"]
myst_heading_anchors = 4
myst_dmath_double_inline = True
suppress_warnings = ["myst.header", "misc.highlighting_failure", "mystnb.unknown_mime_type"]
nitpick_ignore_regex = [("py:class", ".*")]            # types in signatures; links in texts are py:obj
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"
add_module_names = False

html_theme = "sphinx_book_theme"
html_context = {"default_mode": "auto"}
html_title = f"bige {version}"
html_static_path = [str(Path(__file__).parent / "_static")]
html_css_files = ["book.css"]
html_math_renderer = "mathml"
html_show_search_summary = False              # it would fetch pages, which a browser forbids for files
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_last_updated_fmt = None
html_theme_options = {
    "navbar_persistent": [],
    "use_download_button": False, "use_fullscreen_button": False, "back_to_top_button": False,
    "home_page_in_toc": True, "show_navbar_depth": 1, "show_toc_level": 2,
    "pygments_light_style": "a11y-high-contrast-light", "pygments_dark_style": "a11y-high-contrast-dark",
}


def mathml(tex: str, block: bool, where) -> str:
    """A formula as MathML, which browsers draw themselves: no script, no fonts to fetch."""
    from docutils.utils.math.latex2mathml import tex2mathml
    tex = re.sub(r"\\([bB]igg?[lrm]?)(?![a-zA-Z])", "", tex.replace("°", r"^\circ "))
    try:
        return str(tex2mathml(tex, as_block=block))
    except Exception as error:
        from sphinx.util import logging
        logging.getLogger("bige").warning("formula %r cannot be set: %s", tex, error, location=where,
                                          type="bige", subtype="math")
        return f"<code>{tex}</code>"


def visit_math(self, node):
    self.body.append(f'<span class="math">{mathml(node.astext(), False, node)}</span>')
    raise nodes.SkipNode


def visit_math_block(self, node):
    self.body.append(f'<div class="math">{mathml(node.astext(), True, node)}</div>')
    raise nodes.SkipNode


def setup(app):
    reference.connect(app)
    app.add_html_math_renderer("mathml", inline_renderers=(visit_math, None),
                               block_renderers=(visit_math_block, None))
