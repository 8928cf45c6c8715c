"""The scripts around the package: what they write is whole, they find the data, the book's recipe runs."""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from bige.dataset import (concatenate, digest_of, pack_dataset, reference, save_dataset, select, toy_dataset,
                          unpack_dataset)
from bige.exercises import shipped_exercises
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


def few(exercise: str):
    """Some of the shipped repetitions of an exercise, of every participant."""
    data = reference(exercise)
    return select(data, np.arange(0, len(data), 7))


@pytest.fixture
def assets(tmp_path):
    """A folder with small packed sets of all exercises, and a note on another asset."""
    (tmp_path / "out").mkdir()
    for exercise in shipped_exercises():
        pack_dataset(few(exercise), tmp_path / "out" / f"reference_{exercise}.npz")
    (tmp_path / "out" / "bones.npz").write_bytes(b"bones")
    note = {"files": {"bones.npz": "ab", "gone.npz": "cd"}, "drawing": {"command": "compile"}}
    (tmp_path / "out" / "provenance.json").write_text(json.dumps(note))
    return tmp_path / "out"


@pytest.fixture
def train_assets(monkeypatch):
    """The script, whose trainings write a record and weights at once and keep what they were asked."""
    module, asked = script("train_assets"), []

    def training(name):
        def train(data, folder, plan, resume=False, **more):
            asked.append((name, data, plan.steps, resume))
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.safetensors").write_bytes(name.encode())
            squats = {"exercise": "squat", "kinematics": "recorded",
                      "r2": dict.fromkeys(module.TABLE_MUSCLES, 0.9)}
            record = {"plan": asdict(plan), **module.of_whom_and_what(data), "scores_by_exercise": {},
                      "cross_validation": {"folds": [{"scores": [squats]}]}}
            (folder / "run.json").write_text(json.dumps(record))
            return record
        return train
    for name in ("vqvae", "surrogate"):
        monkeypatch.setattr(module, f"train_{name}", training(name))
    module.asked = asked
    return module


def test_what_is_shipped_is_what_the_networks_learn_from(assets, train_assets):
    arguments = [str(assets), "--runs", str(assets.parent / "runs")]
    assert train_assets.main(arguments) == 0
    (_, all_five, steps, _), (_, examples, _, _) = train_assets.asked
    every = concatenate(unpack_dataset(assets / f"reference_{e}.npz") for e in shipped_exercises())
    assert digest_of(all_five) == digest_of(every) and steps == 2500
    assert np.array_equal(examples.trials, every.trials) and set(examples.exercises) == set(every.exercises)
    record = json.loads((assets / "provenance.json").read_text())
    made = {"vqvae.safetensors", "surrogate.safetensors",
            *(f"reference_{e}.npz" for e in shipped_exercises())}
    assert set(record["files"]) == made | {"bones.npz"} and record["drawing"] == {"command": "compile"}
    for name, digest in record["files"].items():
        assert hashlib.sha256((assets / name).read_bytes()).hexdigest() == digest, name
    assert record["data"]["exercises"] == {e: len(few(e)) for e in shipped_exercises()}
    assert record["data"]["in_reference"] == record["data"]["repetitions"] == len(every)
    assert record["data"]["participants"]["val"] == ["s07", "s10"] and record["share_of_steps"] == 1
    assert record["reference_squat"]["repetitions"] == len(few("squat"))


def test_a_set_that_is_not_there_is_packed_and_one_that_is_stays(assets, train_assets, monkeypatch):
    """From the simulations beside it, or from those of the package."""
    read, toy = [], toy_dataset()
    monkeypatch.setattr(train_assets, "from_simulations", lambda source: read.append(source) or toy)
    before = (assets / "reference_squat.npz").read_bytes()
    assert len(train_assets.packed("squat", assets)) == len(few("squat")) and not read
    assert (assets / "reference_squat.npz").read_bytes() == before
    (assets / "reference_squat.npz").unlink()
    found = train_assets.packed("squat", assets)
    assert read == ["squat"] and np.abs(found.kinematics - toy.kinematics).max() <= 2.0**-18 + 1e-7
    assert digest_of(found) == digest_of(unpack_dataset(assets / "reference_squat.npz"))
    (assets / "reference_squat.npz").unlink()
    (assets / "simulations_squat.npz").write_bytes(b"")
    train_assets.packed("squat", assets)
    assert read == ["squat", assets / "simulations_squat.npz"]


def test_a_finished_run_is_taken_over_if_it_is_that_run(assets, train_assets, capsys):
    runs = assets.parent / "runs"
    assert train_assets.main([str(assets), "--runs", str(runs)]) == 0
    (runs / "vqvae" / "vqvae.safetensors").write_bytes(b"trained elsewhere")
    train_assets.asked.clear()
    assert train_assets.main([str(assets), "--runs", str(runs), "--resume"]) == 0
    assert not train_assets.asked and (assets / "vqvae.safetensors").read_bytes() == b"trained elsewhere"
    (runs / "surrogate" / "run.json").unlink()
    assert train_assets.main([str(assets), "--runs", str(runs), "--resume"]) == 0
    assert [name for name, *_ in train_assets.asked] == ["surrogate"]
    capsys.readouterr()
    assert train_assets.main([str(assets), "--runs", str(runs), "--resume", "--share", "0.5"]) == 2
    assert "run.json: found a run with steps 2500; expected steps 1250" in capsys.readouterr().err
    for exercise in shipped_exercises():
        data = few(exercise)
        pack_dataset(select(data, data.subjects != "s01"), assets / f"reference_{exercise}.npz")
    assert train_assets.main([str(assets), "--runs", str(runs), "--resume"]) == 2
    assert "found a run with participants" in capsys.readouterr().err
    assert train_assets.main([str(assets), "--runs", str(runs)]) == 0 and len(train_assets.asked) == 3


def test_other_participants_are_learned_from_and_not_shipped(assets, train_assets, capsys):
    others = toy_dataset()
    save_dataset(others, assets.parent / "others.npz")
    arguments = [str(assets), "--runs", str(assets.parent / "runs"), "--data"]
    before = {p.name: p.read_bytes() for p in assets.glob("reference_*.npz")}
    assert train_assets.main([*arguments, str(assets.parent / "others.npz")]) == 0
    for _, data, *_ in train_assets.asked:
        assert set(data.split[np.isin(data.subjects, others.subjects)]) == {"train"}
        assert set(others.subjects) <= set(data.subjects)
    record = json.loads((assets / "provenance.json").read_text())
    assert record["data"]["repetitions"] == record["data"]["in_reference"] + len(others)
    assert list(record["data"]["other_files"]) == ["others.npz"]
    assert before == {p.name: p.read_bytes() for p in assets.glob("reference_*.npz")}
    save_dataset(few("squat"), assets.parent / "again.npz")
    assert train_assets.main([*arguments, str(assets.parent / "again.npz")]) == 2
    assert "Traceback" not in (said := capsys.readouterr().err) and "come twice" in said


@pytest.mark.slow
def test_the_assets_script_trains_both_networks(assets):
    done = subprocess.run([sys.executable, ROOT / "data_scripts" / "train_assets.py", assets, "--runs",
                           assets.parent / "runs", "--share", "0.01"], capture_output=True, text=True,
                          cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    from bige.surrogate import load_surrogate
    from bige.vqvae import load_vqvae
    load_vqvae(assets / "vqvae.safetensors"), load_surrogate(assets / "surrogate.safetensors")
    record = json.loads((assets / "provenance.json").read_text())
    assert set(record["vqvae"]["scores_by_exercise"]) == set(shipped_exercises())


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
        .replace(" 12 lunges/", " 5 lunges/")
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
