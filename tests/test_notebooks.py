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
name, skip, run = sys.argv[1:]
ok, seconds = test_nb(Path(name), skip_flags=skip.split(), force_flags=run.split(), basepath='.')
sys.exit(not ok)
"""


def source(name: str) -> str:
    return (ROOT / "nbs" / name).read_text(encoding="utf-8")


# chapters with cells that compare with nimblephysics run once more in its environment
RUNS = [pytest.param(name, set(), id=name) for name in NOTEBOOKS]
RUNS += [pytest.param(name, {"nimble"}, marks=pytest.mark.nimble, id=f"{name}-nimble")
         for name in NOTEBOOKS if "#| nimble" in source(name)]


@pytest.mark.parametrize("name, run", RUNS)
def test_notebook_runs(name, run, request):
    """Each notebook in a process of its own: OpenSim and CasADi may not meet, nothing leaks between them."""
    from conftest import SHARED
    run = run | set(os.environ.get("NB_FLAGS", "").split()) | ({"shared"} if SHARED.is_dir() else set())
    if request.config.getoption("--slow"):
        run.add("slow")
    skip = {"notest", "slow", "gpu", "shared", "nimble"} - run
    env = dict(os.environ, OMP_NUM_THREADS="1", MPLBACKEND="Agg", BIGE_SHARED_DATA=str(SHARED))
    done = subprocess.run([sys.executable, "-c", RUN, name, " ".join(skip), " ".join(run)],
                          cwd=ROOT / "nbs", env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """A copy of what nbdev reads and writes."""
    top = tmp_path_factory.mktemp("copy")
    unwanted = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    for folder in ("nbs", "bige"):
        shutil.copytree(ROOT / folder, top / folder, ignore=unwanted)
    for file in ("settings.ini", "setup.py", "README.md"):
        shutil.copy(ROOT / file, top / file)
    return top


def test_package_is_what_the_notebooks_export(copy):
    code = "from nbdev.doclinks import nbdev_export; nbdev_export()"
    subprocess.run([sys.executable, "-c", code], cwd=copy, check=True)
    ours, theirs = ({p.name: p.read_text() for p in (top / "bige").glob("*.py")} for top in (ROOT, copy))
    assert sorted(ours) == sorted(theirs)
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_notebooks_are_clean(copy):
    code = "from nbdev.clean import nbdev_clean; nbdev_clean()"
    subprocess.run([sys.executable, "-c", code], cwd=copy, check=True)
    assert [n for n in NOTEBOOKS if source(n) != (copy / "nbs" / n).read_text(encoding="utf-8")] == []


@pytest.mark.parametrize("name", [n for n in NOTEBOOKS if n[0] not in "AB"])
def test_chapter_has_a_picture(name):
    """Appendices (A, B) may do without."""
    assert any(sign in source(name) for sign in ("image/png", "image/svg", "images/"))


def test_readme_is_made_from_the_index_notebook(copy):
    shutil.copytree(ROOT / "data_scripts", copy / "data_scripts")
    subprocess.run([sys.executable, "data_scripts/make_readme.py"], cwd=copy, check=True)
    assert (copy / "README.md").read_text() == (ROOT / "README.md").read_text()
