"""A trial that only ends with its process: what tests interrupt and shoot in the middle, on machines of
any speed."""

import os
import time
from pathlib import Path

from bige.simulation import _attempt


def attempt(motion, person, options):
    """Simulate as ever; but the first attempt at a trial called endless... leaves the file TRIAL.PROCESS
    in the folder BIGE_TESTS_BEGUN, and goes on."""
    trial, folder = Path(motion.source).stem, Path(os.environ["BIGE_TESTS_BEGUN"])
    if trial.startswith("endless") and not begun(folder, trial):
        (folder / f"{trial}.{os.getpid()}").touch()
        end = time.monotonic() + 900  # nobody came
        while time.monotonic() < end:
            _attempt(motion, person, options)
    return _attempt(motion, person, options)


def begun(folder: Path, trial: str) -> int | None:
    """The process that has begun this trial."""
    return next((int(p.suffix[1:]) for p in folder.glob(f"{trial}.*")), None)


class Stubborn(Exception):
    """An error that no pickle holds."""
    def __init__(self, word, needed):
        super().__init__(word)


def raise_stubborn():
    raise Stubborn("deaf", None)
