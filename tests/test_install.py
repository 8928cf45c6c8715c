"""A wheel in an empty environment, without the repository: what each extra promises, it can do."""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from conftest import until

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


def run(*command, **more) -> str:
    """What a command prints; its whole output when it fails."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=1800, **more)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The wheel, made in a copy: setuptools leaves a build folder behind."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "bige", source / "bige", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("settings.ini", "setup.py", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source / name)
    made = source / "dist"
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", made, source)
    return next(made.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(built, tmp_path_factory):
    """Installs the wheel with an extra into the environment of these tests; gives its folder of programs."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", folder)
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    # all but torch is the newest that the bounds allow
    (folder / "torch.txt").write_text(next(pin for pin in pins if pin.startswith("torch==")))

    def install(extra: str) -> Path:
        run(folder / "bin" / "pip", "install", "-q", "-c", folder / "torch.txt", f"{built}{extra}")
        run(folder / "bin" / "pip", "check")
        return folder / "bin"
    return install


@pytest.fixture
def bare() -> dict[str, str]:
    """An environment of variables in which the repository is unknown."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}


def test_core_generates_predicts_and_simulates(environment, bare, tmp_path):
    bige = environment("") / "bige"
    run(bige, "generate", "-n", 2, "--out", "made", cwd=tmp_path, env=bare)
    made = {p.name for p in (tmp_path / "made").iterdir()}
    assert {"sample_00.mot", "sample_01.mot", "metrics.json", "constraints.yaml"} <= made
    assert {"preview.png", "report.html"} <= made
    run(bige, "simulate", "made/sample_00.mot", "--mode", "qp", "--out", "simulated", cwd=tmp_path, env=bare)
    run(bige, "evaluate", "made", cwd=tmp_path, env=bare)
    run(bige, "render", "made/sample_00.mot", "-o", "strip.png", "--strip", cwd=tmp_path, env=bare)


def test_a_film_without_its_extra_is_refused_with_the_cure(environment, bare, tmp_path):
    bige = environment("") / "bige"
    run(bige, "generate", "-n", 1, "--out", "made", cwd=tmp_path, env=bare)
    done = subprocess.run([bige, "render", "made/sample_00.mot", "-o", "film.mp4"], cwd=tmp_path, env=bare,
                          capture_output=True, text=True)
    assert done.returncode == 2
    assert re.search(r"pip install 'bige\[pictures\] @ file:.*whl'", done.stderr), done.stderr


def test_pictures(environment, bare, tmp_path):
    bige = environment("[pictures]") / "bige"
    run(bige, "generate", "-n", 1, "--out", "made", cwd=tmp_path, env=bare)
    run(bige, "render", "made/sample_00.mot", "-o", "film.mp4", cwd=tmp_path, env=bare)
    assert (tmp_path / "film.mp4").stat().st_size > 10_000


def test_training(environment, bare, tmp_path):
    """On what is shipped, packed in the wheel."""
    programs = environment("[train]")
    save = "from bige.dataset import reference, save_dataset; save_dataset(reference(), 'squats.npz')"
    run(programs / "python", "-c", save, cwd=tmp_path, env=bare)
    for network in ("vqvae", "surrogate"):
        run(programs / "bige", "train", network, "--data", "squats.npz", "--steps", 10, "--out", network,
            cwd=tmp_path, env=bare)


def answered(address: str) -> str | None:
    """The page, once it is served."""
    try:
        with urllib.request.urlopen(address, timeout=300) as answer:
            return answer.read().decode() if answer.status == 200 else None
    except OSError:
        return None


def test_tuning_page(environment, bare, tmp_path):
    """The page is served, with a kernel that ran its cell without an error."""
    bige = environment("[tune]") / "bige"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with open(tmp_path / "said.txt", "w") as said:
        page = subprocess.Popen([bige, "tune", "--port", str(port), "--no-browser"], cwd=tmp_path, env=bare,
                                stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        address = until(lambda: re.search(r"http://\S+", (tmp_path / "said.txt").read_text()))[0]
        text = until(lambda: answered(address))
    finally:
        os.killpg(page.pid, signal.SIGINT)
        page.wait(timeout=60)
    said = (tmp_path / "said.txt").read_text()
    assert re.search(r'"?kernelId"?: *"[0-9a-f-]{36}"', text), text[:3000] + said
    assert "Traceback" not in text and "Traceback" not in said
