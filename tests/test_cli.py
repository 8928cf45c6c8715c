"""The command: every verb on real input, one message for bad input, whole files, a true exit status."""

import html
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bige.cli import INSTALL, asset_folder, explain, in_ascii, main, status_line
from bige.dataset import load_dataset, reference, repetition, select
from bige.files import InputError, output_folder, whole_folder
from bige.motion import ACTIVATIONS, Motion, analytic_squat, example_squat, read_motion, write_motion
from bige.inverse_kinematics import write_osim
from bige.skeleton import Skeleton
from conftest import with_activations

BIGE = [sys.executable, "-m", "bige.cli"]
SHIPPED = {"vqvae": "vqvae.safetensors", "surrogate": "surrogate.safetensors", "data": "reference_squat.npz"}
HEAVY = ("torch", "nimblephysics", "opensim", "casadi", "pandas", "matplotlib")


def run(*arguments, **options) -> subprocess.CompletedProcess:
    "The command in a process of its own."
    return subprocess.run([*BIGE, *map(str, arguments)], capture_output=True, text=True, timeout=600,
                          **options)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def squat(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("squat") / "squat.mot"
    write_motion(example_squat(), path)
    return path


@pytest.fixture(scope="module")
def simulated(squat, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("simulated")
    assert main(["simulate", str(squat), "--mode", "qp", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def generated(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("generated") / "a"
    assert main(["generate", "-n", "3", "--seed", "7", "--out", str(out)]) == 0
    return out


# every verb on real input


def test_info_names_versions_and_assets(capsys):
    assert main(["info", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["versions"]["numpy"] == np.__version__ and record["device"]
    assert "skeleton.json.gz" in [a["file"] for a in record["assets"]]
    assert main(["info"]) == 0
    assert "skeleton.json.gz" in capsys.readouterr().out


def test_segment_writes_one_file_a_repetition(tmp_path, capsys):
    write_motion(analytic_squat(reps=4), tmp_path / "four.mot")
    assert main(["segment", str(tmp_path / "four.mot"), "--out", str(tmp_path / "out")]) == 0
    assert "4 repetitions" in capsys.readouterr().out
    record = json.loads((tmp_path / "out" / "segments.json").read_text())
    assert len(record["segments"]) == 4 and record["rejected"] == record["suspicions"] == []
    assert set(record["segments"][0]) == {"start_s", "end_s"}
    assert len(list((tmp_path / "out").glob("*.mot"))) == 4
    assert (
        main(["segment", str(tmp_path / "four.mot"), "--reps", "2", "--json", "--out", str(tmp_path / "two")])
        == 0
    )
    assert len(json.loads(capsys.readouterr().out)["segments"]) == 2


def test_segment_again_leaves_no_older_repetition(tmp_path):
    write_motion(analytic_squat(reps=5), tmp_path / "five.mot")
    write_motion(analytic_squat(reps=2), tmp_path / "two.mot")
    out = tmp_path / "out"
    for line in (["five.mot"], ["two.mot"], ["five.mot", "--reps", "3"]):
        assert main(["segment", str(tmp_path / line[0]), *line[1:], "--out", str(out)]) == 0
    assert sorted(p.name for p in out.glob("five*")) == [f"five_rep{i}.mot" for i in (1, 2, 3)]
    assert len(list(out.glob("two_rep*.mot"))) == 2  # of another trial: they stay


def test_exercises_are_listed(capsys):
    assert main(["exercises"]) == 0
    assert "squat" in capsys.readouterr().out
    assert main(["exercises", "--json"]) == 0
    (row,) = [r for r in json.loads(capsys.readouterr().out) if r["name"] == "squat"]
    assert {"progress", "phases", "request"} <= set(row)


WITH_EXERCISE = [
    "segment",
    "simulate",
    "dataset",
    "train",
    "generate",
    "verify",
    "evaluate",
    "render",
    "tune",
    "export",
]


@pytest.mark.parametrize("verb", WITH_EXERCISE)
def test_verbs_that_depend_on_the_exercise_take_one(verb, capsys):
    assert main([verb, "--help"]) == 0
    assert "--exercise NAME|FILE.yaml" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", ["squta", "mine.yaml"])
@pytest.mark.parametrize("verb", ["segment", "generate"])
def test_bad_exercise(verb, name, squat, tmp_path, capsys):
    first = {"segment": ["segment", squat], "generate": ["generate", "-n", "1"]}[verb]
    refused([*first, "--exercise", tmp_path / name if "." in name else name, "--out", tmp_path / "out"],
            capsys, tmp_path / "out", name)


@pytest.mark.parametrize(
    "line, meant",
    [
        ("genrate --out x", "generate"),
        ("simluate a.mot --out x", "simulate"),
        ("generate --out x --sed 3", "--seed"),
        ("evaluate a --fromat md", "--format"),
        ("generate --out x --method guide", "guided"),
    ],
)
def test_a_mistyped_word_gets_the_nearest_one(line, meant, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert f"did you mean {meant}?" in refused(line.split(), capsys, tmp_path / "x")


def test_segment_reads_a_real_trial(shared, tmp_path):
    trial = shared / "labval_s4_62.6kg/squat/squats1_manual_scaling_ik.mot"
    assert main(["segment", str(trial), "--reps", "auto", "--out", str(tmp_path)]) == 0
    assert len(json.loads((tmp_path / "segments.json").read_text())["segments"]) == 5


def test_ik_scales_a_model_and_writes_a_trial(shared, tmp_path, capsys):
    everyone = np.load(shared / "ui_prmd/squat_m01_vicon_markers_mm_100Hz.npz")
    key = next(k for k in everyone.files if k.startswith("m01_s03"))
    np.savez(tmp_path / "one.npz", **{key: everyone[key][::4], "marker_names": everyone["marker_names"]})
    assert main(["ik", str(tmp_path / "one.npz"), "--json", "--out", str(tmp_path / "out")]) == 0
    record = json.loads(capsys.readouterr().out)
    (trial,) = record["trials"].values()
    assert trial["rms_mm"] < 25
    assert (tmp_path / "out" / "ik.json").exists() and len(list((tmp_path / "out").glob("*.osim"))) == 1
    assert read_motion(next((tmp_path / "out").glob("*.mot"))).coordinates().shape[1] == 33


def test_ik_takes_the_mass_of_the_participant(tmp_path, monkeypatch, capsys):
    asked = []

    def fitted(markers, folder, **settings):
        asked.append(settings.get("mass_kg"))
        trial = {"file": "t.mot", "rms_mm": 9.0, "max_mm": 20.0}
        person = {"model": "anna.osim", "mass_kg": 62.6, "mass_is": "given"}
        return {"persons": {"anna": person}, "trials": {"t": trial}}

    monkeypatch.setattr("bige.inverse_kinematics.ik_files", fitted)
    line = ["ik", "t.trc", "--out", str(tmp_path / "out")]
    assert main(line) == main([*line, "--mass", "62.6"]) == 0
    assert asked == [None, 62.6]
    assert "anna.osim" in (said := capsys.readouterr().out) and "62.6" in said
    assert main([*line, "--mass", "6"]) == 2


def test_simulate_writes_activations_forces_and_a_record(simulated):
    motion = read_motion(simulated / "kinematics_activations_squat_muscle_driven.mot")
    assert (
        motion.coordinates().shape[1] == 33
        and 0 <= motion.activations().min() <= motion.activations().max() <= 1
    )
    record = json.loads((simulated / "simulation.json").read_text())
    assert record["status"] == "Solve_Succeeded"
    assert any("force" in f.name for f in simulated.iterdir())


def test_dataset_collects_simulated_repetitions(simulated, tmp_path, capsys):
    people = [shutil.copytree(simulated, tmp_path / name) for name in ("anna", "bea")]
    assert main(["dataset", *map(str, people), "--out", str(tmp_path / "d" / "data.npz")]) == 0
    with np.load(tmp_path / "d" / "data.npz") as data:
        assert (
            data["kinematics"].shape == (2, 196, 33)
            and data["activations"].shape == (2, 196, 80)
            and data["exercises"].tolist() == ["squat", "squat"]
        )
        recorded = read_motion(simulated / "kinematics_activations_squat_muscle_driven.mot").duration
        assert data["duration"] == pytest.approx([recorded] * 2) and "mask" not in data
        assert set(data["subjects"].astype(str)) == {"anna", "bea"}
    assert "2 repetitions of 2 participants" in capsys.readouterr().out


def test_dataset_takes_what_a_shell_makes_of_a_star(simulated, tmp_path, capsys):
    for name in ("anna", "bea"):
        shutil.copytree(simulated, tmp_path / name)
    (tmp_path / "anna" / "anna.osim").touch()
    files = sorted((tmp_path / "anna").iterdir())
    assert {"simulation.json", "ground_forces_squat.mot", "kinetics_squat_muscle_driven.mot"} < {
        f.name for f in files
    }
    line = ["dataset", *map(str, files), str(tmp_path / "bea"), "--out", str(tmp_path / "data.npz")]
    assert main(line) == 0 and "2 repetitions of 2 participants" in capsys.readouterr().out
    refused(
        [
            "dataset",
            *(f for f in files if "kinematics" not in f.name),
            "--out",
            tmp_path / "out" / "data.npz",
        ],
        capsys,
        tmp_path / "out",
        "no .mot file",
    )
    for name, content in (("notes.json", "{}"), ("plan.pdf", "%PDF"), ("squat.mot", "nothing")):
        (tmp_path / name).write_text(content)
        refused([*line[:-1], tmp_path / "out" / "data.npz", tmp_path / name], capsys, tmp_path / "out", name)


@pytest.mark.parametrize("network", ["vqvae", "surrogate"])
def test_train_writes_weights_and_resumes(network, tmp_path, capsys):
    from bige.dataset import save_dataset, toy_dataset

    save_dataset(toy_dataset(), tmp_path / "toy.npz")
    line = ["train", network, "--data", str(tmp_path / "toy.npz"), "--out", str(tmp_path / "run")]
    assert main([*line, "--steps", "2"]) == 0
    weights = everything(tmp_path / "run")[f"{network}.safetensors"]
    assert main([*line, "--steps", "2", "--resume", "--json"]) == 0
    assert everything(tmp_path / "run")[f"{network}.safetensors"] == weights
    assert main([*line, "--steps", "3", "--resume"]) == 2


@pytest.fixture
def another_exercise(tmp_path) -> Path:
    "A record like the squat's, under another name."
    record = (asset_folder() / "exercises" / "squat.yaml").read_text(encoding="utf-8")
    path = tmp_path / "lunge.yaml"
    path.write_text(record.replace("name: squat", "name: lunge"), encoding="utf-8")
    return path


def test_data_of_another_exercise_train_nothing(another_exercise, tmp_path, capsys):
    from bige.dataset import save_dataset, toy_dataset

    save_dataset(toy_dataset(), tmp_path / "toy.npz")
    line = ["train", "vqvae", "--data", tmp_path / "toy.npz", "--exercise", another_exercise]
    refused([*line, "--out", tmp_path / "run"], capsys, tmp_path / "run", "the exercise squat")


def test_motions_of_another_exercise_are_not_verified(generated, another_exercise, capsys):
    line = ["verify", str(generated), "--mode", "qp", "--exercise", str(another_exercise)]
    assert main(line) == 2 and "the exercise squat" in capsys.readouterr().err
    assert not (generated / "verification.json").exists()


def test_of_several_training_processes_the_first_one_speaks(tmp_path, monkeypatch, capsys):
    from bige.dataset import save_dataset, toy_dataset

    save_dataset(toy_dataset(), tmp_path / "toy.npz")
    monkeypatch.setattr("bige.train_vqvae.train_vqvae", lambda *_, **__: {"scores": {"legs_deg": 1.0}})
    line = ["train", "vqvae", "--data", str(tmp_path / "toy.npz"), "--out", str(tmp_path / "run")]
    for rank, words in ((0, "legs_deg"), (1, "")):
        monkeypatch.setattr("bige.training.rank", lambda: rank)
        assert main(line) == 0
        said = capsys.readouterr().out
        assert words in said and bool(said) == bool(words)


def test_predict_adds_activations_and_uncertainty(squat, tmp_path):
    assert main(["predict", str(squat), "--out", str(tmp_path)]) == 0
    motions = [read_motion(f) for f in sorted(tmp_path.glob("*.mot"))]
    full = next(m for m in motions if m.has(ACTIVATIONS))
    assert 0 <= full.activations().min() <= full.activations().max() <= 1
    assert full.coordinates().shape[1] == 33
    assert any("uncertainty" in f.name for f in tmp_path.iterdir())


def test_predict_with_the_published_weights(shared, squat, tmp_path, capsys):
    weights = shared / "published/transformer_surrogate_model_v2.pth"
    assert main(["predict", str(squat), "--surrogate", str(weights), "--out", str(tmp_path)]) == 0
    assert any(read_motion(f).has(ACTIVATIONS) for f in tmp_path.glob("*.mot"))
    assert " kg" not in capsys.readouterr().out  # it asks for no mass, and is told none
    refused(["predict", squat, "--surrogate", weights, "--mass", "60", "--out", tmp_path / "out"], capsys,
            tmp_path / "out", "--mass")


def test_predict_for_a_person_of_another_mass(squat, tmp_path, capsys):
    def answer(*options):
        assert main(["predict", str(squat), "--json", "--out", str(tmp_path), *options]) == 0
        return json.loads(capsys.readouterr().out)

    default, light, heavy = answer(), answer("--mass", "55"), answer("--mass", "95")
    assert default["mass_of"] == "assumed: the embedded model's" and 70 < default["mass_kg"] < 80
    assert light["mass_kg"] == 55 and light["mass_of"] == "as given"
    assert len({json.dumps(r["peaks"]) for r in (default, light, heavy)}) == 3
    assert answer("--mass", repr(default["mass_kg"]))["peaks"] == default["peaks"]
    for wrong in ("0", "-60", "6260", "nan", "heavy"):
        refused(["predict", squat, "--mass", wrong, "--out", tmp_path / "x"], capsys, tmp_path / "x",
                "20 to 300 kg")
    assert main(["predict", str(squat), "--mass", "55", "--out", str(tmp_path)]) == 0
    assert "a body of 55.0 kg (as given)" in capsys.readouterr().out


def test_predict_takes_the_mass_of_a_model(shared, squat, tmp_path, capsys):
    model = shared / "labval_s4_62.6kg/squat/manually_scaled.osim"
    assert main(["predict", str(squat), "--model", str(model), "--json", "--out", str(tmp_path)]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["mass_of"] == model.name and record["mass_kg"] == pytest.approx(62.6, abs=0.1)


def test_reconstruct_writes_the_round_trip(squat, tmp_path):
    assert main(["reconstruct", str(squat), "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "reconstruction.json").read_text())
    (row,) = record["repetitions"]
    assert 0 < row["legs_deg"] < 45 and len(row["codes"]) == 49
    assert read_motion(next(tmp_path.glob("*.mot"))).coordinates().shape[1] == 33


def test_generate_fills_the_folder(generated):
    names = set(everything(generated))
    assert names == {
        "sample_00.mot",
        "sample_01.mot",
        "sample_02.mot",
        "metrics.json",
        "constraints.yaml",
        "handout.pdf",
        "preview.png",
        "report.html",
    }
    motions = [read_motion(generated / f"sample_{i:02d}.mot") for i in range(3)]
    peaks = [np.max([m["vasmed_l/activation"], m["vasmed_r/activation"]]) for m in motions]
    assert peaks == sorted(peaks) and all(m.has(ACTIVATIONS) for m in motions)
    for m in motions:
        assert 50 < np.degrees(m["knee_angle_r"].max()) < 150
    record = json.loads((generated / "metrics.json").read_text())
    keys = {
        "pelvis_tilt_deg",
        "asymmetry_deg",
        "angular_velocity_deg_s",
        "com_velocity_m_s",
        "com_acceleration_m_s2",
        "mac",
        "penetration_cm",
        "floating_cm",
        "sliding_m_s",
        "fidelity_w2",
        "diversity_entropy",
    }
    assert (
        len(record["samples"]) == 3
        and keys <= set(record["samples"][0])
        and keys <= set(record["mean"])
        and keys <= set(record["sd"])
    )


def test_generate_twice_gives_the_same_bytes(generated, tmp_path):
    assert main(["generate", "-n", "3", "--seed", "7", "--out", str(tmp_path / "b")]) == 0
    assert everything(generated) == everything(tmp_path / "b")
    assert main(["generate", "-n", "3", "--seed", "8", "--out", str(tmp_path / "c")]) == 0
    assert everything(generated)["sample_00.mot"] != everything(tmp_path / "c")["sample_00.mot"]


def test_the_number_of_threads_changes_no_byte(tmp_path):
    for threads in "12":
        made = run("generate", "-n", "20", "--out", tmp_path / threads,
                   env=os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads})
        assert made.returncode == 0, made.stderr
    assert everything(tmp_path / "1") == everything(tmp_path / "2")


def test_generate_reads_back_the_constraints_it_wrote(generated, tmp_path):
    line = [
        "generate",
        "-n",
        "2",
        "--constraints",
        str(generated / "constraints.yaml"),
        "--set",
        "muscle_range.low=0.5",
        "muscle_range.high=0.6",
    ]
    assert main([*line, "--out", str(tmp_path)]) == 0
    assert "low: 0.5" in (tmp_path / "constraints.yaml").read_text()


def test_the_command_in_the_report_makes_the_same_again(tmp_path, monkeypatch):
    own = tmp_path / "my own" / "weights of mine.safetensors"
    own.parent.mkdir()
    shutil.copy(asset_folder() / SHIPPED["vqvae"], own)
    monkeypatch.chdir(tmp_path)
    weights = "my own/weights of mine.safetensors"
    assert main(["generate", "-n", "1", "--apart", "2.5", "--vqvae", weights, "--out", "deep/out"]) == 0
    monkeypatch.chdir(tmp_path / "deep" / "out")
    said = html.unescape(re.search(r"bige generate [^<]*--out again", Path("report.html").read_text())[0])
    assert str(tmp_path) not in said
    assert main(shlex.split(said)[1:]) == 0
    assert all(
        Path(name).read_bytes() == Path("again", name).read_bytes()
        for name in ("sample_00.mot", "metrics.json")
    )


@pytest.fixture
def request_of(monkeypatch, tmp_path):
    "What `bige generate` would ask the library for."

    def of(*options):
        asked = []

        def note(request, **_):
            asked.append(request)
            raise InputError("test", "a request", "nothing more", "none")

        monkeypatch.setattr("bige.answers.answer", note)
        assert main(["generate", *map(str, options), "--out", str(tmp_path / "unused")]) == 2
        return asked[0]

    return of


def test_what_is_answered_depends_on_every_option(request_of, tmp_path):
    write_motion(analytic_squat(1), tmp_path / "a.mot")
    write_osim(Skeleton.default(), tmp_path / "anna.osim")
    line = ["-n", "1", "--method", "vqvae", "--model", str(tmp_path / "anna.osim")]
    key = request_of(*line).key
    assert request_of(*line).key == key
    like = f"--like {tmp_path / 'a.mot'}"
    for options in ("--apart 5", like, "--seed 1", "-n 2", "--verified", "--method guided",
                    "--set muscle_range.high=0.5", "--model ben.osim", "--vqvae v", "--surrogate s",
                    "--data d", "--start recorded"):
        assert request_of(*line, *options.split()).key != key, options


def test_a_search_begins_where_it_is_told(tmp_path):
    from bige.answers import Answer
    made = {}
    for options in ([], ["--start", "prior"], ["--start", "recorded"]):
        out = tmp_path / "_".join(["out", *options])
        assert main(["generate", "-n", "2", *options, "--out", str(out)]) == 0
        record = json.loads((out / "metrics.json").read_text())
        assert record["start"] == Answer.load(out).request.start == (options or ["", "prior"])[1]
        made[options[-1] if options else None] = (out / "sample_00.mot").read_bytes()
    assert made[None] == made["prior"] != made["recorded"]


def test_verified_means_static_optimisation_unless_said_otherwise(request_of):
    assert request_of().verified is None and request_of("--verified").verified == "qp"
    assert request_of("--verified", "tracking", "--force").verified == "tracking"


def test_sessions_resume_and_tell(shared, tmp_path, capsys):
    people, out = tmp_path / "people", tmp_path / "out"
    (people / "anna").mkdir(parents=True)
    shutil.copy(next((shared / "labval_s4_62.6kg").rglob("*.osim")), people / "anna" / "own.osim")
    (people / "broken.osim").write_text("<OpenSimDocument/>")
    line = ["generate", "-n", "2", "--sessions", str(people), "--out", str(out)]
    assert main(line) == 2                                      # one model is broken, the other is answered
    said = capsys.readouterr()
    assert "broken is left out" in said.err and "anna_own: 2 of 2" in said.out
    assert "all participants" in said.out
    first = out / "anna_own" / "sample_00.mot"
    made = first.stat().st_mtime_ns
    assert (out / "sessions.md").read_text().count("anna_own") == 4
    assert main(line) == 2 and first.stat().st_mtime_ns == made
    capsys.readouterr()
    refused(["generate", "--sessions", tmp_path / "nowhere", "--out", tmp_path / "x"], capsys, tmp_path / "x")
    refused([*line, "--model", "x.osim"], capsys, None, "--sessions", "--model")


def test_like_and_what_it_says(tmp_path, capsys):
    from bige.metrics import load_reference
    write_motion(load_reference(split="val")[0], tmp_path / "athlete.mot")
    line = ["generate", "-n", "1", "--set", "asymmetry.high=1.5", "muscle_range.weight=0"]
    out = ["--out", str(tmp_path / "out")]
    assert main([*line, "--like", str(tmp_path / "athlete.mot"), *out]) == 0
    assert "sample_00 against athlete.mot, at the bottom: " in capsys.readouterr().out
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert record["changes"][0] is not None and (tmp_path / "out" / "start" / "athlete.mot").exists()
    assert main([*line, "--method", "vqvae", *out]) == 0
    said = capsys.readouterr().out
    assert "1 sample of a former run" in said and "was replaced" in said
    for bad in (["--like", str(tmp_path / "athlete.mot"), "--method", "published"], ["--apart", "-1"]):
        assert main([*line, *bad, *out]) == 2


def test_both_sides_that_change_alike_are_one_line():
    from bige.guidance import changes
    squat = example_squat()
    values = squat.values.copy()
    for side in "lr":
        values[:, squat.names.index(f"knee_angle_{side}")] += np.radians(5)
    (row,) = changes(squat, Motion(squat.time, values, squat.names))
    assert row["coordinates"] == "knee_angle_l and knee_angle_r" and row["words"].endswith("by 5°")


def test_what_is_violated_is_said(tmp_path, capsys):
    limits = ["muscle_range.low=0.41", "muscle_range.high=0.42"]
    assert main(["generate", "-n", "1", "--method", "vqvae", "--set", *limits, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    for words in ("none of them satisfy", "violated: ", "method guided satisfies requests"):
        assert words in said


def test_generate_again_leaves_no_old_samples(tmp_path):
    for n in ("3", "2"):
        assert main(["generate", "-n", n, "--method", "vqvae", "--out", str(tmp_path)]) == 0
    assert sorted(p.name for p in tmp_path.glob("*.mot")) == ["sample_00.mot", "sample_01.mot"]


def test_report_names_no_path_of_this_machine(generated):
    text = (generated / "report.html").read_text()
    assert str(generated.parent) not in text and str(Path.home()) not in text and "--seed 7" in text


@pytest.mark.parametrize(
    "form, start",
    [("md", "**Table 2"), ("csv", "table,model,metric"), ("latex", "% Table 2"), ("json", "{")])
def test_evaluate_in_every_format(form, start, generated, capsys):
    assert main(["evaluate", str(generated), "--reference", str(generated), "--format", form]) == 0
    text = capsys.readouterr().out
    assert text.startswith(start) and "as published" in text and "revised" in text
    assert text.index("Novelty") > text.rindex("revised")
    assert text.count("table,model,metric") == (form == "csv")


def test_evaluate_tells_novelty_against_the_training_repetitions(tmp_path, capsys):
    data = reference()
    train, held_out = (select(data, np.flatnonzero(data.split == split)[:3]) for split in ("train", "val"))
    for name, chosen in (("copies", train), ("unseen", held_out)):
        (tmp_path / name).mkdir()
        for i in range(len(chosen)):
            write_motion(repetition(chosen, i), tmp_path / name / f"{i}.mot")
    assert main(["evaluate", str(tmp_path / "copies"), str(tmp_path / "unseen"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    found = record["Novelty"]
    assert list(found) == ["copies", "unseen", "reference"] and found["reference"]["motions"][0] == 40
    assert found["copies"]["authentic % →"][0] == 0 and found["copies"]["nearest deg →"][0] < 0.01
    assert found["copies"]["C_T →"][0] < -2 and found["reference"]["C_T →"][0] is None
    (scale,) = record["Novelty, scale"].values()
    own, other = (scale[f"nearest, {who} deg"][0] for who in ("same participant", "another participant"))
    assert found["unseen"]["nearest deg →"][0] > own and 0 < own < other
    assert found["unseen"]["reach (of 3) % ↑"][0] > found["copies"]["reach (of 3) % ↑"][0]


def test_evaluate_without_a_training_set_leaves_novelty_out_and_says_so(generated, tmp_path, capsys):
    mine = tmp_path / "mine.yaml"
    text = (asset_folder() / "exercises" / "squat.yaml").read_text(encoding="utf-8")
    mine.write_text(text.replace("name: squat", "name: mine", 1), encoding="utf-8")
    assert main(["evaluate", str(generated), "--reference", str(generated), "--exercise", str(mine)]) == 0
    said = capsys.readouterr()
    assert "Novelty" not in said.out and "Table 3, revised" in said.out
    assert said.err.count("novelty is left out") == 1


def test_evaluate_keeps_a_folder_named_reference(generated, tmp_path, capsys):
    shutil.copytree(generated, tmp_path / "reference")
    folders = [str(generated), str(tmp_path / "reference")]
    assert main(["evaluate", *folders, "--reference", str(generated), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["Table 2, as published"]
    assert len(rows) == 3 and list(rows)[-1] == "reference"


def test_evaluate_scores_contact_on_the_model_beside_the_samples(shared, tmp_path, capsys):
    model = next((shared / "labval_s4_62.6kg").rglob("*.osim"))
    assert (
        main(
            ["generate", "-n", "2", "--method", "vqvae", "--model", str(model), "--out", str(tmp_path / "a")]
        )
        == 0
    )
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "a"), "--json"]) == 0
    tables = json.loads(capsys.readouterr().out)
    (found,) = [
        v
        for name, table in tables.items()
        if "revised" in name
        for key, v in table["a"].items()
        if key.startswith("penetration")
    ][:1]
    written = json.loads((tmp_path / "a" / "metrics.json").read_text())
    assert found[0] == pytest.approx(written["mean"]["penetration_cm"], rel=1e-6)


def test_evaluate_passes_over_ground_forces(simulated, capsys):
    assert main(["evaluate", str(simulated), "--reference", str(simulated), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["Table 2, as published"][simulated.name]["fidelity ↓"][0] == 0


def test_render_makes_a_picture(squat, tmp_path):
    assert main(["render", str(squat), str(squat), "-o", str(tmp_path / "new" / "two.png"), "--strip"]) == 0
    assert (tmp_path / "new" / "two.png").read_bytes().startswith(b"\x89PNG")


def test_render_draws_the_load_that_was_simulated(squat, tmp_path):
    out, short, said = tmp_path / "out", tmp_path / "short.mot", {}
    write_motion(example_squat().slice(0, 0.5), short)
    assert main(["simulate", str(squat), "--mode", "qp", "--load", "barbell:10", "--end", "0.5",
                 "--out", str(out)]) == 0
    for name, given in (("noted", [str(out)]), ("given", [str(short), "--load", "dumbbells:2x10"]),
                        ("bare", [str(short)])):
        page = tmp_path / f"{name}.html"
        assert main(["render", *given, "-o", str(page)]) == 0
        said[name] = "".join(re.findall(r"carrying [^,]*", page.read_text(encoding="utf-8"))[:1])
        assert ('"solids"' in page.read_text(encoding="utf-8")) == (name != "bare")
    assert said == {"noted": "carrying 10 kg (barbell)", "given": "carrying 20 kg (dumbbells)", "bare": ""}


@pytest.mark.parametrize("load", ["barbell:nan", "barbell:1000", "kettlebell:16"])
def test_render_refuses_a_load_that_is_none(load, squat, tmp_path, capsys):
    refused(["render", squat, "--load", load, "-o", tmp_path / "out" / "a.png"], capsys, tmp_path / "out",
            "--load", "barbell:40")


# bad input

BAD_MOTIONS = {
    "missing": lambda good, path: None,
    "empty": lambda good, path: path.write_text(""),
    "truncated": lambda good, path: path.write_bytes(good.read_bytes()[:-300]),
    "binary": lambda good, path: path.write_bytes(bytes(range(256)) * 40),
    "nan": lambda good, path: path.write_text("\n".join(_nan_at(good.read_text().split("\n"), 30))),
    "degrees called radians": lambda good, path: path.write_text(
        good.read_text().replace("inDegrees=yes", "inDegrees=no")
    ),
    "directory": lambda good, path: path.mkdir(),
    "other columns": lambda good, path: path.write_text(
        "forces\nversion=1\nnRows=2\nnColumns=2\ninDegrees=yes\nendheader\ntime\tforce_x\n0\t1\n0.01\t2\n"
    ),
}


def _nan_at(lines: list[str], row: int) -> list[str]:
    cells = lines[row].split("\t")
    return [*lines[:row], "\t".join([*cells[:5], "nan", *cells[6:]]), *lines[row + 1 :]]


VERBS_ON_A_MOTION = {
    "segment": lambda bad, out: ["segment", bad, "--out", out],
    "simulate": lambda bad, out: ["simulate", bad, "--out", out],
    "predict": lambda bad, out: ["predict", bad, "--out", out],
    "reconstruct": lambda bad, out: ["reconstruct", bad, "--out", out],
    "render": lambda bad, out: ["render", bad, "-o", out / "a.png"],
    "export": lambda bad, out: ["export", bad, "--as", "opensim", "--out", out],
}


def refused(arguments, capsys, out: Path | None = None, *words: str) -> str:
    "Exit status 2, one line on stderr, nothing on stdout, nothing written."
    assert main([str(a) for a in arguments]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and said.err.startswith("bige"), said
    assert "Traceback" not in said.err
    for word in words:
        assert word in said.err, said.err
    if out is not None:
        assert not out.exists(), everything(out)
    return said.err


@pytest.mark.parametrize("verb", VERBS_ON_A_MOTION)
@pytest.mark.parametrize("fault", BAD_MOTIONS)
def test_bad_motion(verb, fault, squat, tmp_path, capsys):
    bad = tmp_path / "bad.mot"
    BAD_MOTIONS[fault](squat, bad)
    refused(VERBS_ON_A_MOTION[verb](bad, tmp_path / "out"), capsys, tmp_path / "out", "bad.mot")


@pytest.mark.parametrize("fault", ["missing", "empty", "truncated", "binary", "nan"])
@pytest.mark.parametrize("verb", ["evaluate", "reference", "dataset"])
def test_bad_motion_in_a_folder(verb, fault, squat, tmp_path, capsys):
    bad = tmp_path / "in" / "kinematics_activations_bad_muscle_driven.mot"
    bad.parent.mkdir()
    BAD_MOTIONS[fault](squat, bad)
    lines = {
        "evaluate": ["evaluate", bad.parent],
        "reference": ["evaluate", squat.parent, "--reference", bad.parent],
        "dataset": ["dataset", bad.parent, "--out", tmp_path / "out" / "d.npz"],
    }
    refused(lines[verb], capsys, tmp_path / "out", str(bad.parent))


@pytest.mark.parametrize(
    "name, content",
    [
        ("missing.trc", None),
        ("empty.trc", b""),
        ("binary.trc", bytes(range(256)) * 20),
        ("text.trc", b"PathFileType\t4\n"),
        ("bad.npz", b"PK\x03\x04 no"),
        ("notes.pdf", b"%PDF"),
    ],
)
def test_bad_markers(name, content, tmp_path, capsys):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    refused(["ik", tmp_path / name, "--out", tmp_path / "out"], capsys, tmp_path / "out", name)


BAD_MODELS = {
    "missing.osim": None,
    "empty.osim": "",
    "text.osim": "no model",
    "cut.osim": "<OpenSimDocument><Model><Bo",
    "other.osim": "<OpenSimDocument Version='40000'><Model name='m'><BodySet><objects/></BodySet><JointSet>"
    "<objects/></JointSet></Model></OpenSimDocument>",
}


@pytest.mark.parametrize("name", BAD_MODELS)
@pytest.mark.parametrize("verb", ["simulate", "generate", "ik"])
def test_bad_model(verb, name, squat, tmp_path, capsys):
    if BAD_MODELS[name] is not None:
        (tmp_path / name).write_text(BAD_MODELS[name])
    np.savez(tmp_path / "m.npz", m01_s01_e01_cor=np.random.default_rng(0).normal(1000, 300, (10, 39, 3)),
             marker_names=[f"M{i}" for i in range(39)])
    first = {
        "simulate": ["simulate", squat],
        "generate": ["generate", "-n", "1"],
        "ik": ["ik", tmp_path / "m.npz"],
    }[verb]
    refused([*first, "--model", tmp_path / name, "--out", tmp_path / "out"], capsys, tmp_path / "out", name)


@pytest.mark.parametrize(
    "content, word",
    [
        ("", "c.yaml"),
        ("constraints: [", "line"),
        ("a: 1", "constraints"),
        ("\x00\x01", "c.yaml"),
        ("constraints:\n- {kind: muscel_range}", "muscle_range"),
        ("constraints:\n- {kind: muscle_range, muscles: [vasmed_l], low: .nan, high: 1}", "low"),
        ("constraints:\n- {kind: coordinate_range, coordinate: knee_angle_r, low: 1, high: 2, unit: kg}",
         "unit"),
    ],
)
def test_bad_constraints(content, word, tmp_path, capsys):
    (tmp_path / "c.yaml").write_text(content)
    refused(["generate", "--constraints", tmp_path / "c.yaml", "--out", tmp_path / "out"], capsys,
            tmp_path / "out", word)


@pytest.mark.parametrize(
    "setting",
    [
        "muscle_range",
        "muscle_range.high=much",
        "muscel_range.high=1",
        "muscle_range.colour=1",
        "=",
        "muscle_range.high=2",
    ],
)
def test_bad_setting(setting, tmp_path, capsys):
    refused(["generate", "--set", setting, "--out", tmp_path / "out"], capsys, tmp_path / "out", "--set")


def test_bad_checkpoint(squat, tmp_path, capsys):
    import torch
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(3, 5)}, tmp_path / "other.safetensors")
    torch.save({"weight": torch.zeros(3, 5)}, tmp_path / "other.pth")
    (tmp_path / "junk.pth").write_bytes(b"junk" * 50)
    (tmp_path / "empty.pth").write_bytes(b"")
    for name in ("other.safetensors", "other.pth", "junk.pth", "empty.pth", "missing.pth"):
        refused(["predict", squat, "--surrogate", tmp_path / name, "--out", tmp_path / "out"], capsys,
                tmp_path / "out", name)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04", "arrays"])
@pytest.mark.parametrize("network", ["vqvae", "surrogate"])
def test_bad_training_data(network, content, tmp_path, capsys):
    if content == "arrays":
        np.savez(tmp_path / "d.npz", kinematics=np.zeros((2, 10, 5)))
    elif content is not None:
        (tmp_path / "d.npz").write_bytes(content)
    refused(["train", network, "--data", tmp_path / "d.npz", "--out", tmp_path / "out"], capsys,
            tmp_path / "out", "d.npz")


OUTPUTS = {
    **VERBS_ON_A_MOTION,
    "dataset": lambda good, out: ["dataset", good.parent, "--out", out / "d.npz"],
    "train": lambda good, out: ["train", "vqvae", "--data", good, "--out", out],
    "generate": lambda good, out: ["generate", "--vqvae", good, "--out", out],
    "ik": lambda good, out: ["ik", good, "--out", out],
}


@pytest.mark.parametrize("verb", OUTPUTS)
def test_folder_that_cannot_be_written_is_refused_before_the_work(verb, tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    missing = tmp_path / "in" / "missing.mot"  # the first thing that the work itself would complain of
    refused(OUTPUTS[verb](missing, tmp_path / "file" / "below"), capsys, None, "cannot be written", "Cure")
    assert (tmp_path / "file").read_text() == "not a folder" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "line",
    [
        "",
        "fly",
        "generate",
        "generate --out x -n 0",
        "generate --out x -n 1.5",
        "generate --out x --seed -1",
        "generate --out x --method magic",
        "segment a.mot --reps many --out x",
        "segment --out x",
        "simulate a.mot --mode magic --out x",
        "simulate a.mot --preset swim --out x",
        "simulate a.mot --cutoff 0 --out x",
        "simulate a.mot --intervals few --out x",
        "simulate a.mot --start soon --out x",
        "train gan --data d --out x",
        "evaluate",
        "evaluate a --format xml",
        "render a.mot",
        "info extra",
    ],
)
def test_bad_options(line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(line.split(), capsys, tmp_path / "x", "--help")


def test_simulate_offers_its_choices(capsys):
    assert main(["simulate", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(
        word in text
        for word in ("tracking,qp", "squat,gait,other", "--intervals", "--cutoff", "--cluster", "--jobs")
    )


def test_no_repetition_in_the_trial(tmp_path, capsys):
    standing = analytic_squat(reps=1).slice(0, 0.4)
    write_motion(standing, tmp_path / "standing.mot")
    refused(["segment", tmp_path / "standing.mot", "--out", tmp_path / "out"], capsys, tmp_path / "out",
            "repetition")


# errors and files


def test_explain_tells_users_what_they_can_do():
    assert explain(InputError("a.mot", "x", "y", "z")) == "a.mot: found x; expected y. Cure: z."
    assert "pip install pyyaml" in explain(ModuleNotFoundError(name="yaml"))
    assert explain(ModuleNotFoundError(name="bige.motion")) is None and explain(KeyError("bug")) is None
    assert "No space left" in explain(OSError(28, "No space left on device", "a/b.mot"))
    assert "--jobs" in explain(BrokenProcessPool("a worker died"))
    assert all(" " not in package for package in INSTALL.values())


def test_missing_package_is_one_message(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "voila.app", None)
    monkeypatch.setitem(sys.modules, "voila", None)
    refused(["tune", "--no-browser"], capsys, None, "pip install -e '", "[tune]'")


def test_full_disk_is_one_message(capsys, monkeypatch, squat, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    refused(["render", squat, "-o", tmp_path / "out" / "a.png"], capsys, tmp_path / "out", "No space left")


def test_whole_folder_moves_only_what_is_finished(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.txt").write_text("old")
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "out") as part:
        (part / "new.txt").write_text("new")
        raise KeyboardInterrupt
    assert everything(tmp_path) == {"out/old.txt": b"old"}
    with whole_folder(tmp_path / "out") as part:
        (part / "deep").mkdir()
        (part / "deep" / "new.txt").write_text("new")
    assert set(everything(tmp_path)) == {"out/old.txt", "out/deep/new.txt"}


@pytest.mark.parametrize("step", ["b.txt", "unlink"])
def test_whole_folder_that_cannot_finish_puts_everything_back(step, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("a.txt", "b.txt", "gone.txt"):
        (out / name).write_text("old")
    move = os.replace

    def refuse(source, place):
        if Path(place).name == step and ".former" not in str(source):
            raise PermissionError(13, "Permission denied", str(place))
        move(source, place)

    monkeypatch.setattr("os.replace", refuse)

    def remove(path, missing_ok=False):
        if step == "unlink" and path.name == "gone.txt":
            raise PermissionError(13, "Permission denied", str(path))
        os.unlink(path)

    monkeypatch.setattr(Path, "unlink", remove)
    with pytest.raises(PermissionError), whole_folder(out, lambda folder: folder.glob("*.txt")) as part:
        for name in ("a.txt", "b.txt", "c.txt"):
            (part / name).write_text("new")
    assert everything(tmp_path) == {f"out/{name}.txt": b"old" for name in ("a", "b", "gone")}
    monkeypatch.undo()
    with whole_folder(out, lambda folder: folder.glob("*.txt")) as part:
        (part / "a.txt").write_text("new")
    assert everything(tmp_path) == {"out/a.txt": b"new"}


def test_folders_made_for_nothing_are_removed(tmp_path):
    with pytest.raises(ValueError), output_folder(tmp_path / "a" / "b"):
        raise ValueError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError), output_folder(tmp_path / "a" / "b") as folder:
        (folder / "result").write_text("kept")
        raise ValueError
    assert everything(tmp_path) == {"a/b/result": b"kept"}


def test_a_mistake_of_ours_is_not_hidden(monkeypatch, squat, tmp_path):
    monkeypatch.setattr("bige.segmentation.segment_file", lambda *_, **__: {}["bug"])
    with pytest.raises(KeyError):
        main(["segment", str(squat), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


SAYS_WHEN_IT_SEARCHES = """
import sys
from bige import cli, guidance
search = guidance.generate
def generate(*arguments, **options):
    print("searching", flush=True)
    return search(*arguments, **options)
guidance.generate = generate
sys.exit(cli.main())
"""


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_generation_leaves_nothing(stop, tmp_path):
    line = [
        sys.executable,
        "-c",
        SAYS_WHEN_IT_SEARCHES,
        "generate",
        "-n",
        "400",
        "--out",
        str(tmp_path / "out"),
    ]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "searching\n" and (tmp_path / "out").exists()
    process.send_signal(stop)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130 and said.count("\n") == 1 and "interrupted" in said
    assert not (tmp_path / "out").exists()


# how quickly, and with what

LIGHT = {
    "import bige": "import bige",
    "help": "from bige.cli import main; main(['--help'])",
    "segment": "from bige.cli import main; assert main(['segment', sys.argv[1], '--out', sys.argv[2]]) == 0",
    "evaluate": "from bige.cli import main; f = sys.argv[3]; "
    "assert main(['evaluate', f, '--reference', f]) == 0",
    "read": "from bige.motion import read_motion; read_motion(sys.argv[1])",
}


@pytest.mark.parametrize("what", LIGHT)
def test_light_verbs_import_nothing_heavy(what, squat, tmp_path):
    found = f"[m for m in {HEAVY} if m in sys.modules], 'numpy' in sys.modules"
    code = f"import sys\n{LIGHT[what]}\nprint('HEAVY', {found})"
    done = subprocess.run([sys.executable, "-c", code, squat, tmp_path, squat.parent], capture_output=True,
                          text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith(f"HEAVY [] {what not in ('import bige', 'help')}"), done.stdout[
        -300:
    ]


def test_help_answers_within_half_a_second_of_python():
    def best(command):
        return min(_seconds(command) for _ in range(5))

    assert best([*BIGE, "--help"]) - best([sys.executable, "-c", "pass"]) < 0.5


def _seconds(command) -> float:
    "Of a processor, so that other programs do not count."
    start = sum(os.times()[2:4])
    subprocess.run(command, check=True, capture_output=True)
    return sum(os.times()[2:4]) - start


@pytest.mark.parametrize(
    "verb",
    [
        "info",
        "segment",
        "ik",
        "simulate",
        "dataset",
        "train",
        "predict",
        "reconstruct",
        "generate",
        "evaluate",
        "render",
        "verify",
        "tune",
        "exercises",
        "export",
    ],
)
def test_every_verb_explains_itself(verb, capsys):
    assert main([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: bige {verb}") and "--json" in text


def test_the_process_gives_the_same_status_and_streams(squat, tmp_path):
    good, bad = (run("segment", squat, "--json", "--out", tmp_path / "a"),
                 run("segment", tmp_path / "no.mot", "--out", tmp_path / "b"))
    assert good.returncode == 0 and json.loads(good.stdout)["segments"] and good.stderr == ""
    assert bad.returncode == 2 and bad.stdout == "" and bad.stderr.count("\n") == 1 and "no.mot" in bad.stderr


def test_the_module_is_the_command(squat, tmp_path):
    asked = run("--version")
    assert asked.returncode == 0 and asked.stdout.split()[0] == "bige" and asked.stderr == ""
    assert (
        run("fly").returncode == 2
        and run("simulate", squat, "--mode", "qp", "--jobs", "2", "--out", tmp_path / "out").returncode == 0
    )  # workers do not begin it again


def test_a_line_of_progress_is_ended_whatever_happens(capsys, monkeypatch):
    with status_line() as show:
        show("no terminal")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with status_line():
        pass
    assert capsys.readouterr().err == ""
    with pytest.raises(KeyError), status_line() as show:
        show("1 of 2")
        raise KeyError
    said = capsys.readouterr().err
    assert said.startswith("\r1 of 2") and said.endswith("\n")


def test_data_sets_and_joint_angles_end_their_line_of_progress(simulated, shared, tmp_path, capsys,
                                                               monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for name in ("anna", "bea"):
        shutil.copytree(simulated, tmp_path / name)
    (own,) = (tmp_path / "bea").glob("kinematics_activations_*.mot")
    write_motion(read_motion(own).mirror(), own)  # another recording
    assert (
        main(["dataset", str(tmp_path / "anna"), str(tmp_path / "bea"), "--out", str(tmp_path / "data.npz")])
        == 0
    )
    assert capsys.readouterr().err.replace(" ", "") == "\r1filesread\r2filesread\n"
    everyone = np.load(shared / "ui_prmd/squat_m01_vicon_markers_mm_100Hz.npz")
    key = next(k for k in everyone.files if k.startswith("m01_s03"))
    np.savez(tmp_path / "one.npz", **{key: everyone[key][::8], "marker_names": everyone["marker_names"]})
    assert main(["ik", str(tmp_path / "one.npz"), "--out", str(tmp_path / "ik")]) == 0
    assert capsys.readouterr().err.replace(" ", "") == "\r1of1participant\n"


def test_closed_pipe_is_no_traceback(squat):
    line = " ".join(
        ["'%s'" % a for a in [*BIGE, "evaluate", str(squat.parent), "--reference", str(squat.parent)]]
    )
    done = subprocess.run(["bash", "-c", f"{line} | head -c 1"], capture_output=True, text=True, timeout=600)
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


def test_an_interrupt_that_a_library_swallows_is_not_forgotten():
    from bige.cli import Interrupt

    interrupt = Interrupt()
    interrupt.check()
    with pytest.raises(KeyboardInterrupt):
        interrupt(2, None)
    with pytest.raises(KeyboardInterrupt):
        interrupt.check()


def test_render_takes_at_most_three(tmp_path, capsys):
    refused(["render", *["a.mot"] * 4, "-o", tmp_path / "four.png"], capsys, tmp_path / "four.png",
            "one to three")


# in the reader's way

@pytest.mark.parametrize("line", [
    "segment gone.c3d --out x", "ik gone.c3d --out x", "ik gone --out x", "simulate gone.xyz --out x",
    "predict gone.txt --out x", "reconstruct gone.pdf --out x", "render gone.png -o a.mp4", "evaluate gone",
    "verify gone", "dataset gone --out d.npz", "train vqvae --data gone.csv --out r",
    *(f"generate --{option} gone.txt --out x" for option in ("like", "constraints", "model", "data", "vqvae",
                                                               "sessions")), "tune --model gone.png"])
def test_a_missing_file_is_no_such_file_whatever_its_ending(line, tmp_path, monkeypatch, capsys):
    if line.startswith("tune"):
        pytest.importorskip("voila", reason="the tuning page needs 'bige[tune]'")
    monkeypatch.chdir(tmp_path)
    assert main(line.split()) == 2 and list(tmp_path.iterdir()) == []
    said = capsys.readouterr().err
    assert re.match(r"bige: gone(\.\w+)?: found no such file or folder; expected one that exists", said)


def test_a_missing_file_names_its_neighbour(tmp_path, capsys):
    (tmp_path / "squat_01.mot").write_text("")
    assert main(["segment", str(tmp_path / "squat01.mot"), "--out", "x"]) == 2
    assert f"did you mean {tmp_path / 'squat_01.mot'}" in capsys.readouterr().err


def test_an_unknown_verb_is_answered_by_the_near_one_alone(capsys):
    assert main(["genrate", "--out", "x"]) == 2
    said = capsys.readouterr().err
    assert "did you mean generate?" in said and "reconstruct" not in said and len(said) < 120


def test_an_empty_path_is_not_this_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for line in (["generate", "-n", "1", "--out", ""], ["segment", "", "--out", "x"]):
        assert main(line) == 2 and "an empty text" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


ASCII = ({"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})


@pytest.mark.parametrize("env", ASCII, ids=["encoding", "locale"])
def test_an_ascii_terminal_gets_all_of_the_table(squat, env):
    line = [*BIGE, "evaluate", str(squat.parent), "--reference", str(squat.parent)]
    full = subprocess.run([*line], capture_output=True, env={**os.environ, "PYTHONIOENCODING": "utf-8"})
    plain = subprocess.run([*line], capture_output=True, env={**os.environ, **env})
    assert plain.returncode == 0 and plain.stderr == b""
    assert not full.stdout.isascii() and plain.stdout.isascii() and b"(down)" in plain.stdout
    assert plain.stdout.decode() == in_ascii(full.stdout.decode()) and b"?" not in plain.stdout
    asked = subprocess.run([*line, "--json"], capture_output=True, env={**os.environ, **env})
    assert asked.stdout.isascii() and any("↓" in k for k in str(json.loads(asked.stdout)).split())


def test_all_verbs_work_without_a_home_that_can_be_written(squat, tmp_path):
    bare = {k: v for k, v in os.environ.items() if k not in ("BIGE_CACHE", "MPLCONFIGDIR", "XDG_CACHE_HOME",
                                                            "XDG_CONFIG_HOME")}
    env = {**bare, "HOME": "/proc/nobody", "TMPDIR": str(tmp_path / "temporary")}
    (tmp_path / "temporary").mkdir()
    for line in (["render", str(squat), "-o", str(tmp_path / "a.png"), "--strip"],
                 ["simulate", str(squat), "--mode", "qp", "--out", str(tmp_path / "simulated")]):
        done = subprocess.run([*BIGE, *line], capture_output=True, text=True, env=env)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert list((tmp_path / "temporary").glob("bige-cache-*")) == []


def test_generate_says_each_stage(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["generate", "-n", "1", "--out", str(tmp_path / "made")]) == 0
    stages = [line.strip() for line in capsys.readouterr().err.split("\r")]
    assert stages[1:3] == ["starting", "loading the networks"] and stages[3].startswith("step ")
    assert stages[-1] == "drawing the pictures and the report"


def test_a_film_counts_its_pictures(squat, tmp_path, capsys, monkeypatch):
    pytest.importorskip("vtkmodules")
    pytest.importorskip("imageio_ffmpeg")
    short = tmp_path / "short.mot"
    write_motion(read_motion(squat).slice(0, 0.1), short)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["render", str(short), "-o", str(tmp_path / "film.mp4")]) == 0
    counted = [line.strip() for line in capsys.readouterr().err.split("\r") if line.strip()]
    last = re.fullmatch(r"(\d+) of (\d+) pictures", counted[-1])
    assert int(last[1]) + 1 == int(last[2]) == len(counted) > 3


# the model travels with the motions

def other_model(path: Path, kg: float) -> bytes:
    "The embedded skeleton with another mass, without muscles."
    default = Skeleton.default()
    share = kg / default.mass
    bodies = {n: replace(b, mass=share * b.mass, inertia=share * b.inertia)
              for n, b in default.bodies.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_osim(replace(default, bodies=bodies), path, {})
    return path.read_bytes()


def test_predict_carries_the_model(squat, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    shutil.copy(squat, tmp_path / "in" / "squat.mot")
    model = other_model(tmp_path / "in" / "anna.osim", 55.0)
    line = ["predict", str(tmp_path / "in" / "squat.mot"), "--out", str(tmp_path / "out"), "--json"]
    assert main(line) == 0
    assert (tmp_path / "out" / "anna.osim").read_bytes() == model
    record = json.loads(capsys.readouterr().out)
    assert record["model"] == "anna.osim" and record["mass_kg"] == pytest.approx(55.0)
    other = other_model(tmp_path / "out" / "anna.osim", 70.0)
    assert main(line) == 2 and "--force" in capsys.readouterr().err
    assert (tmp_path / "out" / "anna.osim").read_bytes() == other
    assert main([*line, "--force"]) == 0 and (tmp_path / "out" / "anna.osim").read_bytes() == model


def test_dataset_carries_models_and_suspicions(squat, tmp_path, capsys):
    motion, models = read_motion(squat), {}
    wrong = motion.with_columns(["knee_angle_r"], np.deg2rad(motion.columns(["knee_angle_r"])))
    for name, recorded, kg in (("anna", motion, 55.0), ("bea", wrong, 70.0)):
        models[name] = other_model(tmp_path / "in" / name / "scaled.osim", kg)
        write_motion(with_activations(recorded, 0.4), tmp_path / "in" / name / "squat.mot")
    people = [str(tmp_path / "in" / name) for name in models]
    assert main(["dataset", *people, "--json", "--out", str(tmp_path / "data.npz")]) == 0
    record = json.loads(capsys.readouterr().out)
    assert {f.stem: f.read_bytes() for f in (tmp_path / "data_models").iterdir()} == models
    assert record["models"] == ["anna", "bea"] and len(record["suspicions"]) == 1
    with np.load(tmp_path / "data.npz") as data:
        assert data["suspicions"].tolist() == record["suspicions"]
        assert "knee_angle_r in radians" in data["suspicions"][0]
    assert len(load_dataset(tmp_path / "data.npz")) == 2


def test_ik_says_which_labels_were_put_right():
    from bige.cli import _said_of_labels
    ankle = [["LKNE", "LANK", [[0, 99]]], ["LANK", "LKNE", [[0, 99]]]]
    said = _said_of_labels({"one": {"relabelled": ankle}, "two": {"relabelled": []}, "old": {}})
    assert said == ["labels put right: LANK and LKNE exchanged in 1 trial (one)"]
