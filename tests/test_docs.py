"""The book as a web site: it builds without a warning, needs no network, and its commands exist."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "nbs" / "book"
sys.path.insert(0, str(BOOK))
import checks  # noqa: E402
import pages  # noqa: E402
import reference  # noqa: E402

OWN_PAGES = sorted(p for p in BOOK.rglob("*.md"))
CHAPTERS = pages.chapters()


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """The whole site, built once."""
    for package in ("sphinx", "myst_nb", "sphinx_book_theme"):
        pytest.importorskip(package, reason=f"the book needs {package}: pip install -e '.[docs]'")
    top = tmp_path_factory.mktemp("book")
    made = [
        sys.executable,
        str(ROOT / "data_scripts" / "make_book.py"),
        "--out",
        top / "site",
        "--work",
        top / "work",
    ]
    done = subprocess.run(made, capture_output=True, text=True, timeout=1800, cwd=top)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return top / "site"


# the built site


def test_every_chapter_page_and_module_is_there(site):
    front = checks.page(site / "index.html")
    for stem in CHAPTERS:
        assert f"{stem}.html" in front.links
    for path in OWN_PAGES:
        assert (site / "book" / path.relative_to(BOOK)).with_suffix(".html").is_file()
    for module in reference.modules():
        assert (site / "book" / "api" / f"{module.stem}.html").is_file()


def test_links_lead_somewhere_nothing_comes_from_elsewhere_and_pictures_have_words(site):
    assert checks.problems(site) == []
    words = re.findall(r'<img[^>]* alt="([^"]*)"',
                       "".join((site / f"{s}.html").read_text() for s in CHAPTERS))
    assert len(words) > 20 and min(map(len, words)) > 15


def test_chapters_keep_their_pictures_and_lose_the_directives(site):
    for stem in CHAPTERS:
        text = (site / f"{stem}.html").read_text()
        kept = sum(
            "image/png" in o.get("data", {})
            for c in json.loads((ROOT / "nbs" / f"{stem}.ipynb").read_text())["cells"]
            for o in c.get("outputs", [])
        )
        assert "#| " not in text and ":::" not in text
        assert text.count("<img") >= kept


def test_api_reference_knows_every_public_name(site):
    import zlib

    raw = (site / "objects.inv").read_bytes()
    listed = zlib.decompress(raw.split(b"\n", 4)[4]).decode()
    names = {line.split(" ")[0] for line in listed.splitlines()}
    for module in reference.modules():
        missing = [n for n in reference.exported(module) if f"bige.{module.stem}.{n}" not in names]
        assert missing == [], module.stem


def test_signatures_units_and_docstrings_come_from_the_source(site):
    text = re.sub(r"<[^>]+>", "", (site / "book" / "api" / "motion.html").read_text())
    assert re.search(r"analytic_squat\([^)]*depth_deg:\s+float\s+=\s+100", text)
    assert "Poses (" in re.sub(
        r"<[^>]+>", "", (site / "book" / "api" / "exercises.html").read_text()
    )  # patched on
    assert "Coordinate name of a full OpenSim path" in text


def test_results_page_holds_every_kept_table(site):
    text = (site / "book" / "results.html").read_text()
    for path in (ROOT / "nbs" / "results").glob("*.*"):
        assert path.suffix == ".npz" or path.name in text
    benchmark = json.loads((ROOT / "nbs" / "results" / "simulation_benchmark.json").read_text())
    assert f"{benchmark[0]['cpu_s']:.4g}" in text and "benchmarks/simulation.py" in text


def test_mistakes_are_made_and_answered(site):
    text = (site / "book" / "troubleshooting.html").read_text()
    from stumbles import messages

    for name, message in messages().items():
        assert message.startswith("bige: ") and "Cure: " in message, name
    assert text.count("Cure: ") == len(messages()) and "&lt;!-- message" not in text


def test_search_index_covers_chapters_and_reference(site):
    index = (site / "searchindex.js").read_text()
    for word in ("quadricep", "dask", "read_motion", "troubleshoot"):
        assert word in index


# the checks themselves can fail


@pytest.mark.parametrize(
    "line, complaint",
    [
        ('<a href="gone.html">x</a>', "no such file"),
        ('<a href="b.html#gone">x</a>', "no such place"),
        ('<img src="b.png">', "picture without words"),
        ('<script src="https://example.org/x.js"></script>', "fetched from elsewhere"),
        ('<link rel="stylesheet" href="//example.org/x.css">', "fetched from elsewhere"),
        ('<style>@import "https://example.org/x.css";</style>', "fetched from elsewhere"),
        ('<p style="background: url(http://example.org/x.png)">x</p>', "fetched from elsewhere"),
        ('<a href="../secret.html">x</a>', ""),
    ],
)
def test_checks_notice(tmp_path, line, complaint):
    site = tmp_path / "site"
    site.mkdir()
    (site / "b.html").write_text('<p id="here">b</p>')
    (site / "b.png").write_bytes(b"")
    (tmp_path / "secret.html").write_text("")
    good = (
        '<a href="b.html#here">b</a> <a href="https://example.org">elsewhere</a> '
        '<img src="b.png" alt="a picture">'
    )
    (site / "a.html").write_text(good)
    assert checks.problems(site) == []
    (site / "a.html").write_text(good + line)
    found = checks.problems(site)
    assert len(found) == 1 and complaint in found[0]


# texts


def commands(text: str) -> list[list[str]]:
    """The `bige` commands in the shell blocks of a page, as lists of words."""
    blocks = "\n".join(
        [
            *re.findall(r"^```sh\n(.*?)^```", text, re.S | re.M),
            *re.findall(r"^\|.*`(bige .*?)` \|$", text, re.M),
        ]
    ).replace("\\\n", " ")
    calls = [c for line in blocks.split("\n") for c in re.split(r";\s*(?:do |done)?|&& ?", line)]
    return [shlex.split(c, comments=True)[1:] for c in calls if c.strip().startswith("bige ")]


@pytest.mark.parametrize("path", [*OWN_PAGES, ROOT / "README.md"], ids=lambda p: p.stem)
def test_commands_and_requests_on_the_pages_are_understood(path):
    from bige.cli import parser
    from bige.constraint_files import parse_constraints

    text = path.read_text()
    for words in commands(text):
        parser().parse_args(words)
    for block in re.findall(r"^```yaml\n(.*?)^```", text, re.S | re.M):
        assert len(parse_constraints(block)) > 1


def test_the_tutorial_shows_what_its_commands_printed():
    sys.path.insert(0, str(ROOT / "data_scripts"))
    from run_tutorial import commands as tutorial
    text = (BOOK / "tutorial.md").read_text()
    kept = json.loads((BOOK / "tutorial.json").read_text())
    assert [line for line in tutorial(text) if line.startswith("bige")] == list(kept) and len(kept) >= 9
    shown = re.findall(r"<!-- output (.+?) -->", text)
    assert len(shown) >= 5 and all(any(line.startswith(start) for line in kept) for start in shown)


@pytest.mark.parametrize("path", [p for p in OWN_PAGES if "```python" in p.read_text()], ids=lambda p: p.stem)
def test_python_on_the_pages_runs(path, tmp_path):
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", path.read_text(), re.S | re.M))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
                          timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]


def test_pictures_get_the_sentence_that_follows_them():
    cells = [
        {
            "cell_type": "markdown",
            "source": "# Title\n\nBefore. The *last* one, which is long enough to stand alone, I hope:",
        },
        {"cell_type": "code", "source": "plot()"},
        {
            "cell_type": "markdown",
            "source": "The `knee` bends to $90°$. Grey: the plates, which measured it. Then much more.",
        },
    ]
    assert (
        pages.alternative(cells, 1)
        == "Figure (Title): The knee bends to 90°. Grey: the plates, which measured it."
    )
    assert (
        pages.alternative(cells[:2], 1)
        == "Figure (Title): The last one, which is long enough to stand alone, I hope"
    )


def test_the_table_of_contents_has_plain_parts():
    text = pages.contents(
        ["01_motion", "09_segmentation", "10_muscles", "43_command_line", "A1_files", "B1_bvh"]
    )
    captions = re.findall(r":caption: (.*)", text)
    assert captions == [
        "Start here",
        "I Data",
        "II Mechanics",
        "VI Output",
        "Appendix A: foundations",
        "Appendix B: formats and widgets",
        "Reference",
    ]
    assert text.index("10_muscles") > text.index("09_segmentation") > text.index("I Data")


def test_docstrings_become_restructured_text(monkeypatch):
    monkeypatch.setattr(reference, "symbols", lambda: {"read_motion": "bige.motion.read_motion"})
    said = reference.restructured("`read_motion(path)` fills `x`s; *args")
    assert said == ":py:obj:`read_motion(path) <bige.motion.read_motion>` fills ``x``\\ s; \\*args"


def test_names_become_links_only_in_running_text():
    names = {"read_motion": "bige.motion.read_motion"}
    linked = pages.linked(
        "## `read_motion`\nUse `read_motion` or [`read_motion`](x.md)\n```\n`read_motion`\n```\n", names)
    assert linked == (
        "## `read_motion`\nUse {py:obj}`read_motion <bige.motion.read_motion>` or [`read_motion`](x.md)\n"
        "```\n`read_motion`\n```\n"
    )


def test_citation_names_this_version():
    import yaml

    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == re.search(r"^version = (\S+)$", (ROOT / "settings.ini").read_text(), re.M)[1]
    assert cited["preferred-citation"]["title"] in (BOOK / "citation.md").read_text().replace("*", "")


# in a browser

TOO_PALE = """() => {
  const parts = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const linear = v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 };
  const light = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = parts(getComputedStyle(e).backgroundColor);
      if (c.length == 3 || c[3] > .99) return c;
    }
    return [255, 255, 255];
  };
  const bad = new Map(), walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const options = {checkOpacity: true, checkVisibilityCSS: true};
  for (let n; n = walk.nextNode();) {
    const e = n.parentElement, s = getComputedStyle(e);
    if (!n.data.trim() || !e.checkVisibility(options) || e.closest('svg')) continue;
    const a = light(parts(s.color)), b = light(behind(e));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    const size = parseFloat(s.fontSize), large = size >= 24 || (size >= 18.66 && s.fontWeight >= 700);
    const said = n.data.trim().slice(0, 30) + ' ' + ratio.toFixed(2);
    if (ratio < (large ? 3 : 4.5)) bad.set(e.tagName + '.' + e.className, said);
  }
  return [...bad];
}"""


@pytest.fixture(scope="module")
def browser():
    """Debian's chromium, driven by playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("no chromium: apt-get install chromium")
    flags = (
        "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync"
    )
    with playwright.sync_playwright() as p:
        started = p.chromium.launch(executable_path=chromium, args=flags.split(), timeout=120_000)
        yield started
        started.close()


@pytest.fixture
def tab(browser):
    """A page that notes errors and requests that leave this machine's files."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(120_000)
    opened.complaints = []
    opened.on("console", lambda m: opened.complaints.append(m.text) if m.type == "error" else None)
    opened.on("pageerror", lambda e: opened.complaints.append(str(e)))
    opened.on(
        "request",
        lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else opened.complaints.append(r.url))
    opened.on("requestfailed", lambda r: opened.complaints.append(f"failed: {r.url}"))
    yield opened
    context.close()


@pytest.mark.slow
def test_every_page_opens_in_a_second_without_errors_or_requests(site, tab):
    slow = {}
    for path in sorted(p for p in site.rglob("*.html") if "_static" not in p.parts):
        tab.goto(path.as_uri())
        slow[path.name] = tab.evaluate("performance.timing.loadEventEnd - performance.timing.navigationStart")
    assert tab.complaints == []
    times = sorted(slow.values())
    assert times[len(times) // 2] < 1000 and times[-1] < 5000, (
        slow
    )  # the longest leaves room for a busy machine


def test_search_finds_a_page_from_a_file(site, tab):
    tab.goto((site / "search.html").as_uri() + "?q=butterworth")
    tab.wait_for_selector("#search-results li a", timeout=120_000)
    assert any("dynamics" in a.get_attribute("href") for a in tab.query_selector_all("#search-results li a"))
    assert tab.complaints == []


def test_contrast_is_enough_to_read(site, tab):
    for name in ("index", "01_motion", "book/api/motion", "book/results", "book/tutorial", "book/glossary"):
        tab.goto((site / f"{name}.html").as_uri())
        tab.add_style_tag(content="* { transition: none !important; animation: none !important; }")
        for theme in ("light", "dark"):
            tab.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
            tab.wait_for_timeout(200)
            assert tab.evaluate(TOO_PALE) == [], (name, theme)
    assert tab.complaints == []
