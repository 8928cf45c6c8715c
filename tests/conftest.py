"""Shared fixtures: where the development data lies, and which tests run by default."""
import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("BIGE_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than a few seconds; run with --slow")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


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
