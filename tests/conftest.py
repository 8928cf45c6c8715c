"""Where the development data lies, which tests run by default, and what no test may depend on."""
import importlib.util
import os
import re
import shutil
import signal
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import hypothesis
import numpy as np
import pytest

# the same examples in every run, and none refused because a neighbour kept the machine busy
hypothesis.settings.register_profile("bige", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("bige")

# as `make test` does: bytes and processor times do not depend on the number of cores
os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED = Path(os.environ.get("BIGE_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")
    parser.addoption("--core", action="store_true", help="leave out what needs an extra")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than a few seconds; run with --slow")
    config.addinivalue_line("markers", "nimble: compares with nimblephysics; run by make test-nimble")
    # a shell's background jobs ignore Ctrl-C, and so would all that they start
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "BIGE_CACHE" not in os.environ:      # the cache of this account is neither read nor filled
        folder = tempfile.TemporaryDirectory(prefix="bige-cache-")
        os.environ["BIGE_CACHE"] = folder.name
        config.add_cleanup(folder.cleanup)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    # under numpy 2 nimblephysics can be imported, but crashes
    absent = importlib.util.find_spec("nimblephysics") is None or version("numpy") >= "2"
    for item in items:
        if "wheel" in item.fixturenames or "nimblephysics" in item.name:
            item.add_marker("nimble")
        if absent and "nimble" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs nimblephysics: make test-nimble"))
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


# what --core leaves out: the book and its site, and a test that a package of an extra would be needed for
BOOK = {"test_notebooks.py", "test_docs.py", "test_install.py"}
EXTRAS = {"PIL", "vtkmodules", "imageio_ffmpeg", "anywidget", "ipywidgets", "voila", "distributed",
          "vector_quantize_pytorch", "loguru", "tensorboard", "opensim", "mujoco", "nbdev", "nbformat",
          "playwright"}
NEEDS = re.compile(r"No module named '(\w+)|package '(\w+)' is not installed|Python without (OpenSim)")


def pytest_ignore_collect(collection_path, config):
    return True if config.getoption("--core") and collection_path.name in BOOK else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if not report.failed or not item.config.getoption("--core"):
        return report
    if found := NEEDS.search(report.longreprtext + report.capstdout + report.capstderr):
        package = next(filter(None, found.groups()))
        if package in EXTRAS or package == "OpenSim":
            report.outcome = "skipped"
            report.longrepr = str(item.path), item.location[1], f"Skipped: needs {package}"
    return report


# Chromium without a network of its own, drawing without a graphics card
BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]


@pytest.fixture(scope="module")
def browser():
    "Chromium, driven by playwright; a module that needs it otherwise has a fixture of its own."
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("needs chromium (apt-get install chromium)")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--headless", *BROWSER_FLAGS],
                                    timeout=90_000)
        yield browser
        browser.close()


def with_activations(motion, level: float):
    "All muscles follow the knee, each a little further than the one before, the last up to `level`."
    from bige.motion import ACTIVATIONS
    knee = motion["knee_angle_r"]
    a = level * (knee - knee.min()) / np.ptp(knee)
    return motion.with_columns(ACTIVATIONS, a[:, None] * np.linspace(0.99, 1, 80))


def until(state, within: float = 300.0):
    """What `state()` returns as soon as it is true, within what a slow and busy machine may need."""
    end = time.monotonic() + within
    while not (found := state()):
        assert time.monotonic() < end, f"not reached within {within:g} s"
        time.sleep(0.02)
    return found


def living() -> dict[int, int]:
    """Process -> its group, of all processes that have not ended."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, group = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue            # ended meanwhile
        if state not in "ZX":
            found[int(path.parent.name)] = int(group)
    return found


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real motion data, or a skip that says how to provide it."""
    if not SHARED.is_dir():
        pytest.skip(f"no motion data at {SHARED.name}: set BIGE_SHARED_DATA to the folder that holds it")
    return SHARED


@pytest.fixture(scope="session")
def model():
    """The default person with her muscles: what simulations work on."""
    from bige.dynamics import MusculoskeletalModel
    return MusculoskeletalModel()


@pytest.fixture(scope="module")
def one_thread():
    "One torch thread while a module's tests run: the same sums in the same order."
    import torch
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
