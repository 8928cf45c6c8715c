"""A kill or a full disk at every operation on files: a folder holds the old answer or the new one, and the
next run ends as an undisturbed one."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bige import segmentation
from bige.dataset import save_dataset, select, toy_dataset
from bige.files import atomic_write, sweep, whole_folder
from bige.motion import analytic_squat, read_motion, write_motion
from conftest import with_activations
from faults import FAILED, KILLED, Case, Fault, in_a_process, try_every

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
HOW = pytest.mark.parametrize("how", ["kill", "full"])
KILL_FAST = pytest.mark.parametrize("how", ["kill", pytest.param("full", marks=pytest.mark.slow)])


@HOW
def test_several_files(tmp_path, how):
    "One more, one less, one in a folder of its own, and one that is a person's."
    def write(folder: Path, run: str, *names: str) -> None:
        with whole_folder(folder, lambda folder: folder.rglob("*.csv")) as part:
            for name in names:
                (part / name).parent.mkdir(exist_ok=True)
                (part / name).write_text(run)

    def begin(folder: Path) -> None:
        write(folder, "old", "a.csv", "b.csv", "deep/c.csv")
        (folder / "notes.txt").write_text("mine")
    found = try_every(Case(begin, lambda folder: write(folder, "new", "a.csv", "d.csv", "deep/c.csv")),
                      tmp_path, how)
    assert found > 20


@KILL_FAST
def test_segment(tmp_path, how, monkeypatch):
    trial = analytic_squat(reps=2, rate_hz=30)
    write_motion(trial, tmp_path / "squats.mot")
    motion = read_motion(tmp_path / "squats.mot")
    two, one = (segmentation.segment(motion, reps) for reps in (2, 1))
    monkeypatch.setattr(segmentation, "read_motion", lambda path: motion)
    monkeypatch.setattr(segmentation, "segment", lambda motion, reps, exercise: {1: one, 2: two}[reps])

    def write(reps: int):
        return lambda folder: segmentation.segment_file(tmp_path / "squats.mot", folder, reps)
    (tmp_path / "root").mkdir()
    assert try_every(Case(write(2), write(1)), tmp_path / "root", how) > 15


@HOW
def test_dataset(tmp_path, how):
    data = toy_dataset()
    few = select(data, data.subjects == data.subjects[0])

    def write(data):
        return lambda folder: save_dataset(data, folder / "data.npz")
    assert try_every(Case(write(few), write(data)), tmp_path, how) > 3


@pytest.fixture(scope="module")
def short_answers():
    "Two answers to requests that differ, of one and two motions, cut to a few frames: quick to write."
    from bige.answers import Request, answer
    from bige.constraint_files import default_constraints, override
    from bige.guidance import Models
    models, found = Models.load(), []
    for n, low in ((2, "0.3"), (1, "0.35")):
        constraints = override(default_constraints(), f"muscle_range.low={low}")
        each = answer(Request(constraints, n=n, method="vqvae"), models)
        record = each.scores
        motions = tuple(m.slice(0, 0.1) for m in each.motions)
        found.append(replace(each, motions=motions, record=record))
    return found


@KILL_FAST
def test_generate(tmp_path, how, short_answers):
    def write_page(answer, part: Path) -> None:
        (part / "report.html").write_text(f"{len(answer)} motions")

    def write(answer):
        return lambda folder: answer.save(folder, [write_page])
    two, one = short_answers

    def begin(folder: Path) -> None:
        write(two)(folder)
        (folder / "sample_99.mot").write_text("mine")
    assert try_every(Case(begin, write(one)), tmp_path, how) > 20


def _simulated_once(monkeypatch) -> None:
    "Each trial is simulated once in this process; its forks find the answer."
    from bige import simulation
    attempt, known = simulation._attempt, {}

    def remembered(motion, model, options):
        key = motion.values.tobytes()
        if key not in known:
            known[key] = attempt(motion, model, options)
        return known[key]
    monkeypatch.setattr(simulation, "_attempt", remembered)


@pytest.mark.slow
@HOW
def test_verify(tmp_path, how, monkeypatch):
    "Only verification/ may hold some of the simulations: verification.json says that they are all there."
    from bige.answers import Request, answer, verify
    _simulated_once(monkeypatch)
    found = answer(Request(n=1, method="vqvae"))
    found.save(tmp_path / "known")
    verify(tmp_path / "known", "qp")

    def outside(files: dict) -> bool:
        return {f for f in files if not f.startswith("verification/")} - {"verification.json"} == before
    (tmp_path / "root").mkdir()
    before = {p.name for p in (tmp_path / "known").iterdir() if p.is_file()} - {"verification.json"}
    case = Case(lambda folder: found.save(folder), lambda folder: verify(folder, "qp"))
    assert try_every(case, tmp_path / "root", how, outside) > 20


def _of_a_run(name: str, content: bytes):
    "What two equal trainings share: all but the seconds."
    if name == "run.json":
        record = json.loads(content)
        return {k: v for k, v in record.items() if k not in ("seconds", "git_commit")}
    if name == "log.csv":
        return [line.split(",")[:1] + line.split(",")[2:] for line in content.decode().splitlines()]
    return None if name.startswith("tensorboard") or name == "checkpoint.pt" else content


@pytest.mark.slow
@HOW
def test_train(tmp_path, how, monkeypatch):
    "Weights and their record are the old ones or the new ones, whatever log and checkpoint say meanwhile."
    from bige import training
    from bige.surrogate import SurrogateConfig
    from bige.train_surrogate import SURROGATE_PLAN, train_surrogate
    def write_picture(path: Path, names: list[str], rows: list[dict]) -> None:
        with atomic_write(path) as file:        # instead of seconds of drawing
            file.write(f"{names} {len(rows)}")
    monkeypatch.setattr(training, "_draw_curves", write_picture)
    data = toy_dataset()
    plan = replace(SURROGATE_PLAN, steps=2, checkpoint_every=1, log_every=1)

    def write(seed: int):
        own = replace(plan, seed=seed)
        return lambda folder: train_surrogate(data, folder, own, SurrogateConfig(width=8, members=2))

    def answer(files: dict) -> tuple:
        return files.get("surrogate.safetensors"), files.get("run.json")
    known = []
    for seed in (0, 1):
        assert in_a_process(lambda: write(seed)(tmp_path / str(seed))) == 0
        known.append(tuple(_of_a_run(name, (tmp_path / str(seed) / name).read_bytes())
                           for name in ("surrogate.safetensors", "run.json")))
    (tmp_path / "root").mkdir()
    case = Case(write(0), write(1), _of_a_run)
    assert try_every(case, tmp_path / "root", how, lambda files: answer(files) in known) > 30


PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from faults import Fault
Fault(Path(sys.argv[2]), int(sys.argv[3]), "kill").arm()
from bige.cli import main
sys.exit(main(sys.argv[4:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 9, 20, 31, 42, 53, 64])
def test_a_whole_command_is_killed(tmp_path, n):
    "bige generate from its first import on, pictures and report included, over an answer to another request."
    from bige.cli import main
    line = ["generate", "-n", "1", "--method", "vqvae"]
    assert main([*line, "--out", str(tmp_path / "straight")]) == 0
    assert main([*line, "--seed", "1", "--out", str(tmp_path / "out")]) == 0

    def files(folder: str) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in (tmp_path / folder).iterdir()}
    old, new = files("out"), files("straight")
    words = [str(Path(__file__).parent), str(tmp_path / "out"), str(n), *line, "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True)
    assert done.returncode in (0, -signal.SIGKILL, KILLED), done.stderr
    sweep(tmp_path / "out")
    found = files("out")
    assert found.keys() == new.keys() and (found["sample_00.mot"] == new["sample_00.mot"]) == (
        found["metrics.json"] == new["metrics.json"])
    assert found["sample_00.mot"] in (old["sample_00.mot"], new["sample_00.mot"])
    assert main([*line, "--out", str(tmp_path / "out")]) == 0
    again = files("out")
    assert again.keys() == new.keys()
    assert all(again[name] == new[name] for name in new if name != "report.html")


# what the shim does, and what is nobody's

def test_the_shim_strikes_where_it_says(tmp_path):
    def write() -> None:
        Fault(tmp_path, n, how).arm()
        with atomic_write(tmp_path / "a.txt") as file:
            file.write("whole")
    found = []
    for how in ("kill", "full"):
        for n in range(1, 7):
            found.append(in_a_process(write))
            sweep(tmp_path)
    assert found[:6] == [KILLED] * 4 + [0, 0] and found[6] == FAILED and 0 in found[6:]
    assert (tmp_path / "a.txt").read_text() == "whole"


def test_what_another_process_is_writing_stays(tmp_path):
    "A leftover is one whose process has ended, however young or old it is."
    with whole_folder(tmp_path) as part, atomic_write(tmp_path / "b.txt") as file:
        (part / "a.txt").write_text("a")
        file.write("b")
        assert in_a_process(lambda: sweep(tmp_path)) == 0
        with whole_folder(tmp_path) as other:
            (other / "c.txt").write_text("c")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "b.txt", "c.txt"]
    (tmp_path / ".partial-0a1b2c3d").mkdir()
    (tmp_path / ".partial-0a1b2c3d" / "x.mot").write_text("left")
    (tmp_path / ".hidden.tmp").write_text("mine")
    sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".hidden.tmp", "a.txt", "b.txt", "c.txt"]


# finished work of others, through the command line

def refused(words: list, capsys, said: str) -> None:
    from bige.cli import main
    assert main([str(w) for w in words]) == 2
    message = capsys.readouterr().err
    assert said in message and "--force" in message


def run(*words) -> int:
    from bige.cli import main
    return main([str(w) for w in words])


@pytest.fixture
def simulated(tmp_path) -> Path:
    "Repetitions with activations of two participants."
    squat = analytic_squat(reps=1)
    for person, depth in (("anna", 0.3), ("ben", 0.5)):
        (tmp_path / "simulated" / person).mkdir(parents=True)
        write_motion(with_activations(squat, depth), tmp_path / "simulated" / person / "squat.mot")
    return tmp_path / "simulated"


def test_dataset_keeps_its_input_and_other_participants(simulated, tmp_path, capsys):
    data, trial = tmp_path / "data.npz", simulated / "anna" / "squat.mot"
    before = trial.read_bytes()
    refused(["dataset", simulated, "--out", trial], capsys, "no data set of bige")
    assert trial.read_bytes() == before
    assert run("dataset", simulated / "anna", simulated / "ben", "--out", data) == 0
    assert run("dataset", simulated / "anna", simulated / "ben", "--out", data) == 0
    both = data.read_bytes()
    write_motion(with_activations(analytic_squat(reps=1), 0.4), simulated / "ben" / "squat2.mot")
    assert run("dataset", simulated / "anna", simulated / "ben", "--out", data) == 0
    assert data.read_bytes() != both
    (tmp_path / "carl").mkdir()
    for name in ("squat", "again"):
        (tmp_path / "carl" / f"{name}.mot").write_bytes(before)
    (tmp_path / "dora").mkdir()
    (tmp_path / "dora" / "squat.mot").write_bytes((simulated / "ben" / "squat.mot").read_bytes())
    both = data.read_bytes()
    others = ["dataset", tmp_path / "carl", tmp_path / "dora", "--out", data]
    refused(others, capsys, "anna")
    assert data.read_bytes() == both
    assert run(*others, "--force") == 0 and data.read_bytes() != both


def test_train_keeps_another_run(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    line = ["train", "surrogate", "--data", tmp_path / "no.npz", "--out", tmp_path / "run"]
    cases = (("checkpoint.pt", "continue it with --resume"),
             ("surrogate.safetensors", "a run that is finished"),
             ("run.json", "a run that is finished"))
    for name, said in cases:
        (tmp_path / "run" / name).write_text("of yesterday")
        refused(line, capsys, said)
        for more in ("--resume", "--force"):        # no complaint about the run: about the data
            assert run(*line, more) == 2 and "no.npz" in capsys.readouterr().err
        assert (tmp_path / "run" / name).read_text() == "of yesterday"


def test_render_keeps_a_report(tmp_path, capsys, short_answers):
    out = tmp_path / "out"
    short_answers[1].save(out, [lambda found, part: (part / "report.html").write_text("report")])
    line = ["render", out / "sample_00.mot", "-o"]
    refused([*line, out / "report.html"], capsys, "bige generate wrote")
    refused([*line, out / "sample_00.mot"], capsys, "reads")
    assert (out / "report.html").read_text() == "report"
    assert run(*line, out / "turn.html") == run(*line, out / "turn.html") == 0


def test_predictions_of_another_recording_stay(tmp_path, capsys):
    for person, depth in (("anna", 90), ("ben", 70)):
        (tmp_path / person).mkdir()
        write_motion(analytic_squat(reps=1, depth_deg=depth), tmp_path / person / "squat.mot")
    out = ["--out", tmp_path / "out"]
    for verb, file in (("predict", "squat_predicted.mot"), ("reconstruct", "squat_rep1_reconstructed.mot")):
        assert run(verb, tmp_path / "anna" / "squat.mot", *out) == 0
        assert (tmp_path / "out" / file).is_file()
    before = (tmp_path / "out" / "squat_predicted.mot").read_bytes()
    assert run("predict", tmp_path / "anna" / "squat.mot", "--mass", "60", *out) == 0
    assert (tmp_path / "out" / "squat_predicted.mot").read_bytes() != before
    before = (tmp_path / "out" / "squat_predicted.mot").read_bytes()
    refused(["predict", tmp_path / "ben" / "squat.mot", *out], capsys, "squat_predicted.mot")
    assert (tmp_path / "out" / "squat_predicted.mot").read_bytes() == before
    (tmp_path / "ben" / "squat.mot").rename(tmp_path / "ben" / "deep.mot")
    assert run("reconstruct", tmp_path / "ben" / "deep.mot", *out) == 0
    record = json.loads((tmp_path / "out" / "reconstruction.json").read_text())
    assert list(record) == ["deep", "squat"]


def test_generate_keeps_the_request_it_reads(tmp_path, capsys, short_answers):
    out, request = tmp_path / "out", tmp_path / "out" / "constraints.yaml"
    short_answers[1].save(out)
    noted = "# as agreed with Anna\n" + request.read_text()
    request.write_text(noted)
    refused(["generate", "-n", "1", "--constraints", request, "--out", out], capsys, "constraints.yaml")
    refused(["generate", "-n", "3", "--out", out], capsys, "constraints.yaml")
    assert request.read_text() == noted
