"""The scripts around the package: what they write is whole, they find the data, the book's recipe runs."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bige.files import InputError, atomic_write

ROOT = Path(__file__).resolve().parents[1]


def script(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "data_scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_compiled_bones_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    pytest.importorskip("vtkmodules")
    bones = script("compile_bones")
    monkeypatch.setattr(bones, "ASSETS", tmp_path)
    (tmp_path / "provenance.json").write_text('{"files": {}, "skeleton": 1}')
    (tmp_path / "bones.npz").write_bytes(b"former")

    def full(file, **_):
        if isinstance(file, (str, Path)):
            file = open(file, "wb")
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(np, "savez_compressed", full)
        with pytest.raises(InputError, match="bones.npz.*No space left"):
            bones.record(Path(__file__), {"bones.npz": {"a": np.zeros(3)}})
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {
        "provenance.json": b'{"files": {}, "skeleton": 1}',
        "bones.npz": b"former",
    }
    bones.record(Path(__file__), {"bones.npz": {"a": np.zeros(3)}})
    np.savez_compressed(tmp_path / "direct.npz", a=np.zeros(3))
    assert (tmp_path / "bones.npz").read_bytes() == (
        tmp_path / "direct.npz"
    ).read_bytes()  # shipped bytes do not depend on how they are written


def test_some_trials_of_some_names(tmp_path):
    some = script("some_trials").main
    names = [f"m0{k}_s0{s}_e0{e}_cor" for k in (3, 4) for s in (1, 2) for e in (1, 2, 3)]
    np.savez(tmp_path / "all.npz", marker_names=["A"], **{n: np.zeros((2, 1, 3)) for n in names})
    some(tmp_path / "all.npz", 4, tmp_path / "some.npz", "m04_s0[12]_*")
    with np.load(tmp_path / "some.npz") as found:
        assert sorted(found.files) == [
            "m04_s01_e01_cor",
            "m04_s01_e02_cor",
            "m04_s02_e01_cor",
            "m04_s02_e03_cor",
            "marker_names",
        ]
    with pytest.raises(InputError, match="m09"):
        some(tmp_path / "all.npz", 4, tmp_path / "none.npz", "m09*")
    assert not (tmp_path / "none.npz").exists()


def test_the_form_of_a_lesson_is_counted(tmp_path):
    import json

    cells = [
        ("#| export\ndef a():\n    return 1", "code"),
        ("#| export\ndef b():\n    return 2", "code"),
        ("a()", "code"),
        ("text", "markdown"),
        ("#| export\nc = 3", "code"),
        ("#| hide\nimport os", "code"),
    ]
    path = tmp_path / "lesson.ipynb"
    path.write_text(json.dumps({"cells": [{"cell_type": kind, "source": [text]} for text, kind in cells]}))
    form = script("form")
    found = form.form(form.cells(path))
    assert found["median lines"] == 1.5 and found["longest run"] == 2 and found["mean run"] == 1.5
    assert found["cells ≤ 10 lines (%)"] == 100 and found["lines > 110 (%)"] == 0


@pytest.mark.parametrize("name", ["from_trial_to_squats.sh", "build_assets.sh", "reference_set.sh squat"])
def test_scripts_look_for_the_data_where_the_environment_says(name, tmp_path):
    program, *words = name.split()
    done = subprocess.run(["bash", ROOT / "data_scripts" / program, *words], cwd=tmp_path,
                          env=os.environ | {"BIGE_SHARED_DATA": str(tmp_path / "elsewhere")},
                          capture_output=True, text=True)
    assert (
        done.returncode == 2
        and done.stderr.count("\n") == 1
        and "elsewhere: found no such folder" in done.stderr
    )
    assert list(tmp_path.iterdir()) == []


def recipe() -> list[str]:
    return re.findall(r"```sh\n(.*?)```", (ROOT / "nbs/book/howto/exercise.md").read_text(encoding="utf-8"),
                      re.S)


@pytest.mark.slow
def test_the_recipe_for_another_exercise_runs_as_it_stands(shared, tmp_path):
    "Its first trials are enough, and few steps."
    (tmp_path / "bin").mkdir()
    with atomic_write(tmp_path / "bin" / "bige") as f:
        f.write(f"#!/bin/sh\nexec '{sys.executable}' -m bige.cli \"$@\"\n")
    with atomic_write(tmp_path / "bin" / "python") as f:
        f.write(f"#!/bin/sh\nexec '{sys.executable}' \"$@\"\n")
    for program in (tmp_path / "bin").iterdir():
        program.chmod(0o755)
    shutil.copytree(ROOT / "data_scripts", tmp_path / "data_scripts")
    text = (ROOT / "nbs/book/howto/exercise.md").read_text(encoding="utf-8")
    (tmp_path / "lunges").mkdir()
    (tmp_path / "lunges" / "request.yaml").write_text(re.search(r"```yaml\n(.*?)```", text, re.S)[1])
    commands = (
        "\n".join(recipe())
        .replace(" 12 lunges/", " 3 lunges/")
        .replace("--steps 300", "--steps 3")
        .replace("-n 6", "-n 1")
    )
    done = subprocess.run(
        ["bash", "-euc", commands],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ
        | {
            "BIGE_SHARED_DATA": str(shared.resolve()),
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        },
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "lunges" / "new" / "sample_00.mot").exists()


def test_the_walk_reads_the_lines_of_the_pages(monkeypatch):
    """Every `bige` line of a page's shell blocks is walked, as it stands."""
    monkeypatch.syspath_prepend(ROOT / "data_scripts")
    import walk
    for page, heading in walk.PATH:
        lines = walk.lines_of(page, heading)
        text = (walk.ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
        assert lines and all(line in text for line in lines)
    readme = walk.lines_of("README.md", "Your own data")
    assert readme[-1] == "bige tune" and "bige verify generated --jobs 2" in readme


@pytest.mark.slow
def test_the_documented_path_works_in_an_empty_environment(tmp_path):
    """`make demo`, then the tuning page with its documented extra, exactly as printed."""
    done = subprocess.run([sys.executable, ROOT / "data_scripts" / "walk.py", tmp_path, "--page", "README.md",
                           "nbs/book/howto/tune.md"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
