"""Shared fixtures: where the development data lies, which tests run by default, and what no test may depend on."""
import os
import signal
import tempfile
import time
from pathlib import Path

import hypothesis
import pytest

# the same examples in every run, and none refused because a neighbour kept the machine busy
hypothesis.settings.register_profile("bige", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("bige")

os.environ.setdefault("OMP_NUM_THREADS", "1")        # as `make test` does: bytes and processor times do not depend on the number of cores

SHARED = Path(os.environ.get("BIGE_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than a few seconds; run with --slow")
    signal.signal(signal.SIGINT, signal.default_int_handler)     # a shell's background jobs ignore Ctrl-C, and so would all they start
    if "BIGE_CACHE" not in os.environ:                           # nobody's own cache is read or filled
        folder = tempfile.TemporaryDirectory(prefix="bige-cache-")
        os.environ["BIGE_CACHE"] = folder.name
        config.add_cleanup(folder.cleanup)


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


def until(state, within: float = 300.0):
    """What `state()` returns as soon as it is true; looked at again and again, as long as a slow and busy machine may need."""
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
