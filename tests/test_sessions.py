"""OpenCap sessions as they lie on a disk: every verb finds trials, model, mass and height in them."""
import json
import shutil
import warnings

import numpy as np
import pytest

from bige.answers import model_in, models_in
from bige.cli import main
from bige.exercises import load_exercise
from bige.files import InputError, Suspicion
from bige.inverse_kinematics import collect_trials, person_mass, write_osim
from bige.markers import (Markers, body_suspicions, is_session, read_markers, read_session, session_body,
                          session_folder, write_trc)
from bige.motion import analytic_squat, read_motion, write_motion
from bige.segmentation import segment_folder
from bige.simulation import Trial, cut_sessions, find_trials, motion_file, simulate_files
from bige.skeleton import Skeleton

SQUATS = analytic_squat(2)


@pytest.fixture
def session(tmp_path):
    """Two squats, a neutral posture, a scaled model beside a generic one, mass and height."""
    folder = tmp_path / "OpenCapData_anna"
    for part in ("OpenSimData/Kinematics", "OpenSimData/Model", "MarkerData/PreAugmentation",
                 "MarkerData/PostAugmentation"):
        (folder / part).mkdir(parents=True)
    write_motion(SQUATS, folder / "OpenSimData/Kinematics/squats.mot")
    write_motion(SQUATS.slice(0, 0.4), folder / "OpenSimData/Kinematics/neutral.mot")
    write_osim(Skeleton.default(), folder / "OpenSimData/Model/LaiUhlrich2022_scaled.osim", {})
    write_osim(Skeleton.default(), folder / "OpenSimData/Model/Generic.osim", {})
    points, time = np.random.default_rng(0).random((9, 2, 3)), np.arange(9) / 60
    for part, names in (("Pre", ("video_1", "video_2")), ("Post", ("LASI", "RASI"))):
        write_trc(Markers(time, points, names), folder / f"MarkerData/{part}Augmentation/squats.trc")
    (folder / "sessionMetadata.yaml").write_text("subjectID: anna\nmass_kg: 75.0\nheight_m: 1.75\n")
    return folder


# what is found

def test_a_session_is_known_by_what_lies_in_it(session, tmp_path):
    assert is_session(session) and not is_session(tmp_path) and not is_session(session / "gone")
    deep = session / "MarkerData/PostAugmentation/squats.trc"
    assert session_folder(deep) == session_folder(session) == session.resolve()
    assert session_folder(tmp_path / "x.mot") is None
    assert session_body(deep) == (75.0, 1.75) and session_body(tmp_path / "x.mot") == (None, None)


def test_augmented_markers_and_the_scaled_model_are_taken(session):
    found = read_session(session)
    assert found.model.name == "LaiUhlrich2022_scaled.osim" == model_in(session).name
    assert list(read_markers(session)) == ["squats"]
    assert read_markers(session)["squats"].names == ("LASI", "RASI")
    assert "75 kg, 1.75 m" in repr(found) and "neutral, squats" in repr(found) and "\n" not in repr(found)
    assert model_in(found.model) == found.model


def test_metadata_that_contradict_the_model_are_said(session):
    trial = session / "OpenSimData/Kinematics/squats.mot"
    assert body_suspicions(trial, 75.3, 1.74) == [] == body_suspicions(session.parent / "x.mot", 20, 1)
    mass, height = body_suspicions(trial, 60, 1.5)
    assert "a model of 60 kg; expected 75 kg" in str(mass) and "--mass" in str(mass)
    assert "a model of 1.5 m; expected 1.75 m" in str(height)
    (session / "sessionMetadata.yaml").write_text("mass_kg: 75.0\n")
    assert len(body_suspicions(trial, 60, 1.5)) == 1


# ik

def test_ik_finds_person_markers_and_mass(session):
    ((person, trials),) = collect_trials([session]).items()
    assert person == "OpenCapData_anna" and list(trials) == ["squats"]
    assert person_mass(person, trials) == (75.0, "session metadata")


def test_ik_of_a_session_on_disk(shared, tmp_path, capsys):
    source = shared / "fieldstudy_s0_72kg/squat"
    folder = tmp_path / "OpenCapData_s0"
    (folder / "MarkerData").mkdir(parents=True)
    lines = (source / "Squats_0.trc").read_text().splitlines(keepends=True)
    kept = lines[:6] + [line for line in lines[6:][:120]]
    kept[2] = kept[2].replace(kept[2].split("\t")[2], "120").replace("832", "120")
    (folder / "MarkerData/Squats_0.trc").write_text("".join(kept))
    (folder / "sessionMetadata.yaml").write_text("mass_kg: 72.0\nheight_m: 1.80\n")
    assert main(["ik", str(folder), "--out", str(tmp_path / "ik"), "--json"]) == 0
    said = capsys.readouterr()
    (entry,) = json.loads(said.out)["persons"].values()
    assert (entry["mass_kg"], entry["mass_is"]) == (72.0, "session metadata")
    assert entry["height_m"] == pytest.approx(1.80, rel=0.08) and "as sessionMetadata" not in said.err
    assert main(["ik", str(folder), "--mass", "60", "--strict", "--out", str(tmp_path / "other")]) == 2
    assert "a model of 60 kg; expected 72 kg, as sessionMetadata.yaml says" in capsys.readouterr().err


# segment

def test_segment_cuts_each_trial_and_names_what_holds_none(session, tmp_path):
    with pytest.warns(UserWarning, match="left out, neutral"):
        found = segment_folder(session, tmp_path / "cut")
    assert list(found) == ["squats"] and len(found["squats"].segments) == 2
    names = {p.name for p in (tmp_path / "cut").iterdir()}
    assert names == {"squats_rep1.mot", "squats_rep2.mot", "segments.json", "LaiUhlrich2022_scaled.osim"}
    assert found["squats"].model == "LaiUhlrich2022_scaled.osim"
    (tmp_path / "plain").mkdir()
    shutil.copy(session / "OpenSimData/Kinematics/squats.mot", tmp_path / "plain")
    assert list(segment_folder(tmp_path / "plain", tmp_path / "again")) == ["squats"]


def test_segment_refuses_a_session_without_repetitions(session, tmp_path):
    (session / "OpenSimData/Kinematics/squats.mot").unlink()
    shutil.copy(session / "OpenSimData/Kinematics/neutral.mot", session / "OpenSimData/Kinematics/calib.mot")
    with pytest.raises(InputError, match="calib: .*neutral: .*another --exercise"):
        segment_folder(session, tmp_path / "cut")
    for trial in ("neutral", "calib"):
        (session / f"OpenSimData/Kinematics/{trial}.mot").unlink()
    with pytest.raises(InputError, match="bige ik"):
        segment_folder(session, tmp_path / "cut")


def test_a_broken_trial_is_an_error_not_left_out(session, tmp_path):
    (session / "OpenSimData/Kinematics/squats.mot").write_text("nothing\n")
    with pytest.raises(InputError, match="squats.mot"):
        segment_folder(session, tmp_path / "cut")


def test_segment_on_the_command_line(session, tmp_path, capsys):
    (session / "sessionMetadata.yaml").write_text("mass_kg: 60.0\nheight_m: 1.75\n")
    assert main(["segment", str(session), "--out", str(tmp_path / "cut")]) == 0
    said = capsys.readouterr()
    assert "squats: 2 repetitions" in said.out and "75.3 kg" in said.out and "written to" in said.out
    assert "left out, neutral" in said.err
    assert said.err.count("a model of 75.34 kg; expected 60 kg, as sessionMetadata.yaml says") == 1
    assert main(["segment", str(session), "--json", "--out", str(tmp_path / "other")]) == 0
    assert list(json.loads(capsys.readouterr().out)) == ["squats"]


# simulate

def test_trials_of_a_session_are_cut_and_files_are_not(session):
    with pytest.warns(UserWarning, match="neutral.mot is left out"):
        trials = cut_sessions(find_trials([session]), "squat")
    assert [t.name for t in trials] == ["squats_rep1", "squats_rep2"]
    assert all(0 < t.end - t.start < SQUATS.duration / 2 for t in trials)
    assert {t.model.name for t in trials} == {"LaiUhlrich2022_scaled.osim"}
    file = session / "OpenSimData/Kinematics/squats.mot"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (whole,) = cut_sessions(find_trials([file]), "squat")
    assert whole == Trial("squats", file, trials[0].model)
    file.unlink()
    with pytest.warns(UserWarning), pytest.raises(InputError, match="no squat .*to simulate it whole"):
        cut_sessions(find_trials([session]), load_exercise("squat"))


def test_a_broken_trial_is_refused_by_name(session):
    (session / "OpenSimData/Kinematics/squats.mot").write_text("nothing\n")
    with pytest.warns(UserWarning, match="neutral"):
        assert [t.name for t in cut_sessions(find_trials([session]), "squat")] == ["squats"]


@pytest.fixture
def simulated(session, tmp_path):
    with pytest.warns(Warning, match="neutral|sessionMetadata"):
        records = simulate_files([session], tmp_path / "out", mode="qp")
    return records, tmp_path / "out"


def test_repetitions_of_a_session_are_simulated_and_kept(session, simulated):
    records, out = simulated
    assert list(records) == ["squats_rep1", "squats_rep2"]
    assert {r["status"] for r in records.values()} == {"Solve_Succeeded"}
    first = read_motion(motion_file(out, "squats_rep1"))
    assert first.duration < SQUATS.duration / 2 and (out / "LaiUhlrich2022_scaled.osim").is_file()
    called = []
    with pytest.warns(Warning):
        simulate_files([session], out, mode="qp", done=lambda *a: called.append(a))
    assert called == []
    starts = {r["job"]["start"] for r in records.values()}
    assert len(starts) == 2 and None not in starts


def test_a_part_of_a_session_is_not_cut(session, tmp_path):
    (session / "OpenSimData/Kinematics/neutral.mot").unlink()
    records = simulate_files([session], tmp_path / "out", mode="qp", start=0.5, end=3.2)
    assert list(records) == ["squats"]


# dataset, generate

def test_dataset_takes_sessions_with_muscles_and_sends_others_to_simulate(session, tmp_path, capsys):
    assert main(["dataset", str(session), "--out", str(tmp_path / "data.npz")]) == 2
    assert "bige simulate" in capsys.readouterr().err and not (tmp_path / "data.npz").exists()


def test_generate_finds_one_model_a_session(session, tmp_path):
    two = tmp_path / "people"
    for name in ("OpenCapData_a", "OpenCapData_b"):
        shutil.copytree(session, two / name)
    write_osim(Skeleton.default(), two / "carl.osim", {})
    found = models_in(two)
    assert {name: path.name for name, path in found.items()} == {
        "OpenCapData_a": "LaiUhlrich2022_scaled.osim",
        "OpenCapData_b": "LaiUhlrich2022_scaled.osim",
        "carl": "carl.osim",
    }
    assert list(models_in(session)) == ["OpenCapData_anna"]
    shutil.rmtree(session / "OpenSimData/Model")
    for find in (models_in, model_in):
        with pytest.raises(InputError, match="bige ik"):
            find(session)


def test_generate_for_sessions(session, tmp_path, capsys):
    (session / "sessionMetadata.yaml").write_text("mass_kg: 60.0\n")
    line = ["generate", "-n", "1", "--sessions", str(session), "--out", str(tmp_path / "made")]
    assert main(line) == 0
    said = capsys.readouterr()
    assert (tmp_path / "made/OpenCapData_anna/sample_00.mot").is_file()
    assert "60 kg, as sessionMetadata.yaml says" in said.err
    with pytest.warns(Suspicion, match="60 kg"):
        from bige.answers import Request, sessions
        sessions(Request(n=1), session, tmp_path / "made")
