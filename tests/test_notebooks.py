"""Every notebook runs from top to bottom, exports what the package holds, and is committed clean."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted(p.name for p in (ROOT / "nbs").glob("*.ipynb"))
RUN = """
import sys
from pathlib import Path
from nbdev.test import test_nb
ok, seconds = test_nb(Path(sys.argv[1]), skip_flags=sys.argv[2].split(), force_flags=sys.argv[3].split(), basepath='.')
sys.exit(not ok)
"""


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_runs(name, request):
    """Each notebook in a process of its own: OpenSim and CasADi may not meet, and nothing leaks between them."""
    from conftest import SHARED
    run = set(os.environ.get("NB_FLAGS", "").split()) | ({"shared"} if SHARED.is_dir() else set())
    if request.config.getoption("--slow"):
        run.add("slow")
    skip = {"notest", "slow", "gpu", "shared"} - run
    env = dict(os.environ, OMP_NUM_THREADS="1", MPLBACKEND="Agg", BIGE_SHARED_DATA=str(SHARED))
    done = subprocess.run([sys.executable, "-c", RUN, name, " ".join(skip), " ".join(run)],
                          cwd=ROOT / "nbs", env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """A copy of what nbdev reads and writes."""
    top = tmp_path_factory.mktemp("copy")
    for folder in ("nbs", "bige"):
        shutil.copytree(ROOT / folder, top / folder, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    for file in ("settings.ini", "setup.py", "README.md"):
        shutil.copy(ROOT / file, top / file)
    return top


def test_package_is_what_the_notebooks_export(copy):
    subprocess.run([sys.executable, "-c", "from nbdev.doclinks import nbdev_export; nbdev_export()"], cwd=copy, check=True)
    ours, theirs = ({p.name: p.read_text() for p in (top / "bige").glob("*.py")} for top in (ROOT, copy))
    assert sorted(ours) == sorted(theirs)
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_notebooks_are_clean_and_keep_their_pictures(copy):
    subprocess.run([sys.executable, "-c", "from nbdev.clean import nbdev_clean; nbdev_clean()"], cwd=copy, check=True)
    assert [n for n in NOTEBOOKS if (ROOT / "nbs" / n).read_text() != (copy / "nbs" / n).read_text()] == []
    for name in NOTEBOOKS:
        text = (ROOT / "nbs" / name).read_text()
        assert "image/png" in text or "image/svg" in text or "images/" in text, f"{name} has no picture"


def test_readme_is_made_from_the_index_notebook(copy):
    shutil.copytree(ROOT / "data_scripts", copy / "data_scripts")
    subprocess.run([sys.executable, "data_scripts/make_readme.py"], cwd=copy, check=True)
    assert (copy / "README.md").read_text() == (ROOT / "README.md").read_text()
