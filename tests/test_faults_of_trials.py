"""A kill or a full disk at every operation on files of ik and simulate; two that write into one folder."""

import json
import os
import threading

import pytest

from bige import inverse_kinematics, simulation
from bige.files import InputError
from bige.markers import Markers, write_trc
from bige.motion import analytic_squat, write_motion
from bige.segmentation import repetition_files, segment_file
from bige.simulation import read_records, simulate_files
from bige.skeleton import Skeleton
from faults import Case, try_every

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
HOW = pytest.mark.parametrize("how", ["kill", "full"])


@pytest.fixture
def quick(monkeypatch):
    "Each trial is computed once in this process; its forks find the answer."
    def remember(module, name, key):
        function, known = getattr(module, name), {}

        def remembered(*arguments):
            found = key(*arguments)
            if found not in known:
                known[found] = function(*arguments)
            return known[found]
        monkeypatch.setattr(module, name, remembered)
    remember(simulation, "_attempt", lambda motion, model, options: motion.values.tobytes())
    remember(inverse_kinematics, "fit_markers",
             lambda trials, *rest: (*((t, m.positions.tobytes()) for t, m in trials.items()), str(rest)))


def put_markers(folder, *trials: str, rate_hz: float = 15., depth_deg: float = 80.) -> None:
    squat, person = analytic_squat(reps=1, rate_hz=rate_hz, depth_deg=depth_deg), Skeleton.default()
    markers = Markers(squat.time, person.marker_positions(squat.coordinates()), person.marker_names)
    folder.mkdir(parents=True, exist_ok=True)
    for trial in trials:
        write_trc(markers, folder / f"{trial}.trc")


@pytest.mark.slow
@HOW
def test_ik(tmp_path, how, quick):
    "The model of a person and all motions that were fitted with it, those of yesterday or those of today."
    put_markers(tmp_path / "anna", "one", "two")
    put_markers(tmp_path / "later" / "anna", "one", "two", depth_deg=95)

    def write(folder):
        return lambda out: inverse_kinematics.ik_files([folder], out)
    for folder in (tmp_path / "anna", tmp_path / "later" / "anna"):
        write(folder)(tmp_path / "known")
    (tmp_path / "root").mkdir()
    assert try_every(Case(write(tmp_path / "anna"), write(tmp_path / "later" / "anna")), tmp_path / "root",
                     how) > 30


@pytest.mark.slow
@HOW
def test_simulate(tmp_path, how, quick):
    "Of two trials each is whole: its four files and its line in the record."
    for name, depth in (("one", 70), ("two", 80)):
        write_motion(analytic_squat(reps=1, rate_hz=30, depth_deg=depth), tmp_path / f"{name}.mot")
    trials = [tmp_path / "one.mot", tmp_path / "two.mot"]
    one = simulate_files(trials[:1], tmp_path / "known", mode="qp")
    both = simulate_files(trials, tmp_path / "known", mode="qp")
    assert {r["status"] for r in (one | both).values()} == {"Solve_Succeeded"}
    (tmp_path / "root").mkdir()

    def whole(files: dict) -> bool:
        record = json.loads(files["simulation.json"])
        names = [record["trial"]] if "trial" in record else list(record)
        return len(files) == 1 + 4 * len(names) and all(any(n in f for f in files) for n in names)
    case = Case(lambda out: simulate_files(trials[:1], out, mode="qp"),
                lambda out: simulate_files(trials, out, mode="qp"))
    assert try_every(case, tmp_path / "root", how, whole) > 15


# several writers into one folder

def together(*works) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_segments_of_several_trials_share_a_record(tmp_path):
    "segments.json kept the last trial only."
    for name, reps in (("one", 2), ("two", 3)):
        write_motion(analytic_squat(reps=reps, rate_hz=30), tmp_path / f"{name}.mot")
    out = tmp_path / "out"
    together(*(lambda name=name: segment_file(tmp_path / f"{name}.mot", out) for name in ("one", "two")))
    record = json.loads((out / "segments.json").read_text())
    assert {t: len(r["segments"]) for t, r in record.items()} == {"one": 2, "two": 3}
    assert len(list(out.glob("*.mot"))) == 5 and len(list(out.iterdir())) == 6
    segment_file(tmp_path / "two.mot", out, 2)
    assert [len(repetition_files(out, t)) for t in ("one", "two")] == [2, 2]
    assert list(json.loads((out / "segments.json").read_text())) == ["one", "two"]


def test_repetitions_of_another_recording_stay(tmp_path):
    for person, reps in (("anna", 2), ("ben", 3)):
        (tmp_path / person).mkdir()
        write_motion(analytic_squat(reps=reps, rate_hz=30), tmp_path / person / "squats.mot")
    out = tmp_path / "out"
    segment_file(tmp_path / "anna" / "squats.mot", out)
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    with pytest.raises(InputError, match="squats of another recording.*--force"):
        segment_file(tmp_path / "ben" / "squats.mot", out)
    assert before == {p.name: p.read_bytes() for p in out.iterdir()}
    segment_file(tmp_path / "ben" / "squats.mot", out, force=True)
    (out / "squats_rep9.mot").write_text("a person's own")
    segment_file(tmp_path / "ben" / "squats.mot", out)
    assert (out / "squats_rep9.mot").read_text() == "a person's own"
    (out / "squats_rep1.mot").write_text("mine")
    (out / "segments.json").unlink()
    with pytest.raises(InputError, match="squats_rep1.mot.*--force"):
        segment_file(tmp_path / "ben" / "squats.mot", out)


@pytest.mark.slow
def test_two_people_at_once_and_one_whose_model_would_change(tmp_path, quick):
    for person, trials in (("anna", ("a1", "a2")), ("ben", ("b1",))):
        put_markers(tmp_path / person, *trials)
    out = tmp_path / "out"
    together(*(lambda p=p: inverse_kinematics.ik_files([tmp_path / p], out) for p in ("anna", "ben")))
    record = json.loads((out / "ik.json").read_text())
    assert list(record["persons"]) == ["anna", "ben"] and list(record["trials"]) == ["a1", "a2", "b1"]
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    (tmp_path / "anna" / "a2.trc").unlink()
    with pytest.raises(InputError, match="a2 of anna.*--force"):
        inverse_kinematics.ik_files([tmp_path / "anna"], out)
    assert before == {p.name: p.read_bytes() for p in out.iterdir()}
    inverse_kinematics.ik_files([tmp_path / "anna"], out, force=True)
    assert list(json.loads((out / "ik.json").read_text())["trials"]) == ["a1", "b1"]
    assert not (out / "a2.mot").exists()


@pytest.mark.slow
def test_trials_of_another_recording_stay(tmp_path, quick):
    for person, depth in (("anna", 70), ("ben", 80)):
        (tmp_path / person).mkdir()
        write_motion(analytic_squat(reps=1, rate_hz=30, depth_deg=depth), tmp_path / person / "squat.mot")
    out = tmp_path / "out"
    simulate_files([tmp_path / "anna" / "squat.mot"], out, mode="qp")
    record = json.loads((out / "simulation.json").read_text())
    record["job"]["model"] = "anna's"
    (out / "simulation.json").write_text(json.dumps(record))
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    with pytest.raises(InputError, match="squat of another recording and person.*--force"):
        simulate_files([tmp_path / "ben" / "squat.mot"], out, mode="qp")
    assert before == {p.name: p.read_bytes() for p in out.iterdir()}
    simulate_files([tmp_path / "ben" / "squat.mot"], out, mode="qp", force=True)
    assert read_records(out)["squat"]["status"] == "Solve_Succeeded"
    (out / "ground_forces_new.mot").write_text("measured")
    (tmp_path / "ben" / "squat.mot").rename(tmp_path / "ben" / "new.mot")
    with pytest.raises(InputError, match="ground_forces_new.mot.*--force"):
        simulate_files([tmp_path / "ben" / "new.mot"], out, mode="qp")


def test_a_home_that_cannot_be_written(tmp_path, monkeypatch):
    "The muscles of own models are kept elsewhere, and it is said once."
    from bige import muscles
    (tmp_path / "home").write_text("no folder")
    monkeypatch.delenv("BIGE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    muscles._writable.cache_clear()
    with pytest.warns(UserWarning, match="cannot be written.*BIGE_CACHE") as seen:
        folders = {muscles._writable(muscles.cache_folder()) for _ in range(3)}
    assert len(seen) == 1 and len(folders) == 1
    muscles.default_geometry().save(folders.pop() / "kept.npz")
    muscles._writable.cache_clear()
