"""Wrong recordings, made from right ones on purpose: each is named with its cause, by every verb."""
import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from conftest import with_activations

from bige.cli import main
from bige.files import InputError, Suspicion
from bige.markers import Markers, read_markers, write_trc
from bige.motion import (ACTIVATIONS, COORDINATES, TRANSLATIONS, Motion, analytic_squat, example_squat,
                         read_motion, write_motion)
from bige.segmentation import judge_recording, likely_faults, segment, unrest
from bige.skeleton import Skeleton

SQUAT = example_squat()
KNEES = ("knee_angle_l", "knee_angle_r")


def scaled(names, factor):
    return lambda m: m.with_columns(list(names), factor * m.columns(names))


def exchanged(a, b):
    return lambda m: m.with_columns([a, b], m.columns([b, a]))


def z_up(m):
    "The whole body turned by 90 degrees about x, as from a laboratory with z up: ty becomes tz."
    turned = m.with_columns(["pelvis_list"], m["pelvis_list"] + np.pi / 2)
    return exchanged("pelvis_ty", "pelvis_tz")(turned)


def held(start, end):
    "The frame at `start` (s) held until `end`, as a capture system does in a drop-out."
    def hold(m):
        within = (m.time >= m.time[0] + start) & (m.time <= m.time[0] + end)
        return replace(m, values=np.where(within[:, None], m.values[within.argmax()], m.values))
    return hold


def constant(names, value=None):
    "Columns that keep a value, or their first one."
    return lambda m: m.with_columns(list(names), np.tile(
        m.columns(names)[0] if value is None else np.full(len(names), value), (len(m.time), 1)))


WRONG = {
    "one knee in radians": (scaled(KNEES[1:], np.deg2rad(1)), "knee_angle_r in radians among degrees"),
    "both knees in radians": (scaled(KNEES, np.deg2rad(1)), "in radians among degrees"),
    "a hip in radians": (scaled(["hip_flexion_l"], np.deg2rad(1)), "hip_flexion_l in radians"),
    "flexion negative": (scaled(KNEES, -1), "knee_angle_l and knee_angle_r with the opposite sign"),
    "tx and ty exchanged": (exchanged("pelvis_tx", "pelvis_ty"), "pelvis_tx and pelvis_ty exchanged"),
    "ty and tz exchanged": (exchanged("pelvis_ty", "pelvis_tz"), "pelvis_ty and pelvis_tz exchanged"),
    "centimetres": (scaled(TRANSLATIONS, 100), "translations in centimetres"),
    "slow frames": (lambda m: replace(m, time=20 * m.time), "frames a second"),
    "a frame held at the bottom": (held(1.0, 1.25), "nothing moves from"),
    "a frame held at the start": (held(0, 0.3), "nothing moves from"),
    "frozen from the first frame": (held(0, 100), "nothing moves from"),
    "a stiff pelvis": (constant(["pelvis_list", "pelvis_tz"]), "pelvis_list, pelvis_tz that never"),
    "a copied leg": (lambda m: m.with_columns(["hip_flexion_r", "knee_angle_r"],
                                              m.columns(["hip_flexion_l", "knee_angle_l"])),
                     "hip_flexion_l and hip_flexion_r, knee_angle_l and knee_angle_r that are the same"),
    "a locked trunk": (constant(["lumbar_extension"], 0.0), "lumbar_extension that never"),
}
IMPOSSIBLE = {
    "milliseconds": (lambda m: replace(m, time=1000 * m.time), "milliseconds"),
    "frames as time": (lambda m: replace(m, time=2.0 * np.arange(len(m.time))), "numbers of frames"),
    "z up": (z_up, "like z up"),
}


def said_of(motion):
    return [str(s) for s in judge_recording(motion)]


def test_the_right_recording_is_not_suspected():
    assert said_of(SQUAT) == said_of(SQUAT.mirror()) == said_of(SQUAT.resample(30)) == []
    assert said_of(SQUAT.slice(0, 0.5)) == []           # standing


@pytest.mark.parametrize("how", WRONG)
def test_a_wrong_recording_names_its_cause(how):
    change, cause = WRONG[how]
    said = said_of(change(SQUAT))
    assert any(cause in s for s in said), said


@pytest.mark.parametrize("how", IMPOSSIBLE)
def test_what_cannot_be_is_an_error(how):
    change, cause = IMPOSSIBLE[how]
    with pytest.raises(InputError, match=cause):
        judge_recording(change(SQUAT))


def test_every_likely_fault_is_put_right_by_its_cure():
    "The cure of a fault undoes it: applied to a recording and back again, nothing is left."
    q = SQUAT.coordinates()
    for fault in likely_faults():
        columns = [COORDINATES.index(n) for n in fault.names]
        wrong = q.copy()
        wrong[:, columns] = q[:, columns] @ np.linalg.inv(fault.cure)
        assert np.allclose(wrong[:, columns] @ fault.cure, q[:, columns]), fault.looks


def test_feet_that_leave_the_ground_for_a_reason_are_no_fault():
    "A jump: pelvis and feet rise by 30 cm; no exchange of units explains that."
    t = np.linspace(0, 1, len(SQUAT.time))
    jump = np.maximum(0, 0.3 * np.sin(6 * np.pi * t)) + 0.3 * t
    jumping = SQUAT.with_columns(["pelvis_ty", "pelvis_tx"], SQUAT.columns(["pelvis_ty", "pelvis_tx"]) +
                                 np.stack([jump, t], 1))
    assert unrest(Skeleton.default(), jumping.coordinates()) > 0.3 and said_of(jumping) == []


def test_angles_beyond_the_joints_are_named():
    (said,) = said_of(scaled(["elbow_flex_l"], 0)(SQUAT).with_columns(
        ["elbow_flex_l"], np.full(len(SQUAT.time), 4.0)))
    assert "elbow_flex_l from 229° to 229°" in said and "joints' ranges" in said


def test_only_the_time_is_judged_without_the_coordinates():
    part = Motion(20 * SQUAT.time, SQUAT.columns(KNEES), KNEES)
    (said,) = said_of(part)
    assert "frames a second" in said


def noted(motion):
    "The motion as a file holds it, with eight digits."
    return replace(motion, values=np.round(motion.values, 8))


def test_what_stands_still_for_a_reason_is_no_fault():
    "Locked joints, a straight knee, a formula; and a computed motion that comes to rest smoothly."
    ease = np.clip((SQUAT.time - 1.0)[:, None] / 0.2, 0, None)
    resting = SQUAT.values[60] + (SQUAT.values - SQUAT.values[60]) * np.exp(-5 * ease ** 0.5)
    assert np.abs(np.diff(resting[-12:, :33], axis=0)).max() > 1e-8
    assert not any("nothing moves" in s for s in said_of(replace(SQUAT, values=resting)))
    locked = ("subtalar_angle", "mtp_angle", "pro_sup", "elbow_flex", "arm_rot")
    assert said_of(constant([f"{joint}_{side}" for joint in locked for side in "lr"])(SQUAT)) == []
    standing, least = SQUAT.slice(0, 0.5), Skeleton.default().ranges[COORDINATES.index("knee_angle_l"), 0]
    assert said_of(constant(["knee_angle_l"], least)(standing)) == []       # straight
    assert "knee_angle_l that never" in said_of(constant(["knee_angle_l"], least + 0.1)(standing))[0]
    assert said_of(noted(analytic_squat(reps=3))) == []                     # a formula pauses


@pytest.mark.parametrize("rate_hz,kind", [(30, "sharp"), (100, "sharp"), (1000, "sharp"), (100, "smoothed"),
                                          (1000, "smoothed"), (100, "within the last digit")])
def test_a_held_frame_is_found_at_every_rate_and_after_a_filter(rate_hz, kind):
    from bige.filters import lowpass
    wrong = held(1.0, 2.2 if kind == "smoothed" else 1.3)(SQUAT.resample(rate_hz))
    if kind == "smoothed":                                                  # which takes time at both ends
        wrong = wrong.with_columns(COORDINATES, lowpass(wrong.coordinates(), wrong.rate_hz, 12.0))
    if kind == "within the last digit":
        digits = np.random.default_rng(0).uniform(0, 9e-9, (len(wrong.time), len(COORDINATES)))
        wrong = wrong.with_columns(COORDINATES, wrong.coordinates() + digits)
    assert any("nothing moves from 1." in s for s in said_of(wrong)), said_of(wrong)
    whole = SQUAT.resample(rate_hz)
    assert not any("nothing moves" in s for s in said_of(whole))


FILLED = {
    "nothing": (lambda a: np.zeros_like(a), "80 muscles with one and the same activation, 0"),
    "one level": (lambda a: np.full_like(a, 0.3), "80 muscles with one and the same activation, 0.3"),
    "one curve": (lambda a: np.repeat(a[:, :1], 80, 1), "80 muscles with one and the same activation"),
    "own levels": (lambda a: np.tile(a.mean(0) + 0.1, (len(a), 1)), "others that never change"),
    "one muscle": (lambda a: np.where(np.arange(80) == 66, 0.4, a), "that is 0.4 all the time"),
    "one muscle off": (lambda a: np.maximum(a, 0.01) * (np.arange(80) != 66), "is 0 all the time"),
}


@pytest.mark.parametrize("how", FILLED)
def test_activations_that_were_filled_in_are_named(how):
    change, words = FILLED[how]
    wrong = SQUAT.with_columns(ACTIVATIONS, change(SQUAT.activations()))
    (said,) = said_of(wrong)
    assert words in said
    bare = replace(wrong, values=wrong.columns(ACTIVATIONS), names=ACTIVATIONS)
    assert said_of(bare) == [said]                                          # without coordinates, too


def test_resting_muscles_are_no_fault():
    "At 0.01 or 0.05, where others come to rest as well; and one muscle alone says nothing."
    for least in (0.01, 0.05):
        a = np.maximum(SQUAT.activations(), least)
        assert (np.ptp(a, axis=0) == 0).sum() > 5 and said_of(SQUAT.with_columns(ACTIVATIONS, a)) == []
    alone = Motion(SQUAT.time, np.zeros((len(SQUAT.time), 1)), ["soleus_r/activation"])
    assert said_of(alone) == []


# ------------------------------------------------------------------------------------------- the verbs

def run(capsys, *args):
    status = main([*map(str, args)])
    out, err = capsys.readouterr()
    return status, out, err


FOR_VERBS = ["one knee in radians", "tx and ty exchanged", "slow frames"]
STILL_FOR_VERBS = ["a frame held at the start", "a stiff pelvis"]


def verb_on(verb, path, out):
    extra = {"simulate": ["--mode", "qp"]}.get(verb, [])
    return [verb, path, "--out", out, *extra]


@pytest.mark.parametrize("verb,how", [(verb, how) for verb in ("simulate", "predict", "segment")
                                      for how in FOR_VERBS if (verb, how) != ("segment", FOR_VERBS[0])])
def test_verbs_say_record_and_obey_strict(verb, how, tmp_path, capsys):
    change, cause = WRONG[how]
    path, out = tmp_path / "squat.mot", tmp_path / "out"
    wrong = change(SQUAT)
    if how == "slow frames" and verb == "simulate":
        wrong = replace(SQUAT, time=6 * SQUAT.time).resample(5)        # enough frames for the filter
    write_motion(wrong, path)
    status, _, err = run(capsys, *verb_on(verb, path, out))
    assert status == 0 and "bige: suspicious: " in err and cause in err
    status, text, err = run(capsys, *verb_on(verb, path, tmp_path / "again"), "--strict", "--json")
    assert status == 2 and cause in err and cause in text             # in the record, too


@pytest.mark.parametrize("verb", ["predict", "segment"])
@pytest.mark.parametrize("how", STILL_FOR_VERBS)
def test_verbs_say_what_stands_still(verb, how, tmp_path, capsys):
    change, cause = WRONG[how]
    write_motion(change(SQUAT), tmp_path / "squat.mot")
    line = verb_on(verb, tmp_path / "squat.mot", tmp_path / "out")
    status, text, err = run(capsys, *line, "--strict", "--json")
    assert status == 2 and cause in err and cause in text


def test_verbs_say_that_activations_were_filled_in(tmp_path, capsys):
    "A data set would learn them; a repetition to start from would be searched around them."
    change, cause = FILLED["nothing"]
    for person, motion in (("anna", SQUAT), ("ben", SQUAT.mirror())):
        (tmp_path / person).mkdir()
        filled = motion.with_columns(ACTIVATIONS, change(motion.activations())) if person == "ben" else motion
        write_motion(filled, tmp_path / person / "kinematics_activations_squat_muscle_driven.mot")
    line = "dataset", tmp_path / "anna", tmp_path / "ben", "--strict", "--out", tmp_path / "data.npz"
    status, _, err = run(capsys, *line)
    assert status == 2 and err.count("bige: suspicious: ") == 1 and cause in err and "ben" in err
    with np.load(tmp_path / "data.npz") as data:
        assert [cause in text for text in data["suspicions"].tolist()] == [True]


@pytest.mark.parametrize("change,cause", [(held(1.0, 1.3), "nothing moves"), (
    lambda m: m.with_columns(ACTIVATIONS, 0 * m.activations()), "80 muscles with one and the same")])
def test_evaluate_says_what_its_tables_would_count_as_smooth_or_effortless(change, cause, tmp_path, capsys):
    for folder in ("rated", "reference"):
        (tmp_path / folder).mkdir()
    for name, motion in (("right", SQUAT), ("wrong", change(SQUAT))):
        write_motion(motion, tmp_path / "rated" / f"{name}.mot")
    write_motion(SQUAT, tmp_path / "reference/squat.mot")
    line = "evaluate", tmp_path / "rated", "--reference", tmp_path / "reference"
    status, text, err = run(capsys, *line)
    assert status == 0 and "reference" in text
    assert err.count("bige: suspicious: ") == 1 and "wrong.mot" in err and cause in err


@pytest.mark.parametrize("verb", ["simulate", "predict", "segment"])
@pytest.mark.parametrize("how", ["milliseconds", "z up"])
def test_verbs_refuse_what_cannot_be(verb, how, tmp_path, capsys):
    change, cause = IMPOSSIBLE[how]
    write_motion(change(SQUAT), tmp_path / "squat.mot")
    status, _, err = run(capsys, *verb_on(verb, tmp_path / "squat.mot", tmp_path / "out"))
    assert status == 2 and cause in err and not list((tmp_path / "out").glob("*.mot"))


@pytest.mark.parametrize("how", FOR_VERBS[:2])
def test_dataset_says_what_looks_wrong(how, tmp_path, capsys):
    "Simulated repetitions of two people, those of one with a fault."
    change, cause = WRONG[how]
    for person, motion in (("anna", SQUAT), ("ben", change(SQUAT))):
        (tmp_path / person).mkdir()
        simulated = with_activations(motion, 0.4)
        write_motion(simulated, tmp_path / person / "kinematics_activations_squat_muscle_driven.mot")
    line = "dataset", tmp_path / "anna", tmp_path / "ben", "--out", tmp_path / "data.npz"
    status, _, err = run(capsys, *line)
    assert status == 0 and err.count("bige: suspicious: ") == 1 and cause in err
    status, _, err = run(capsys, *line[:-1], tmp_path / "again.npz", "--strict")
    assert status == 2


def test_generate_says_what_looks_wrong_with_the_repetition_to_start_from(tmp_path, monkeypatch, capsys):
    "Before any work: the search itself is not run."
    change, cause = WRONG["one knee in radians"]
    write_motion(change(SQUAT), tmp_path / "squat.mot")
    def stop(request, out, *_, **__):
        raise InputError(out, "the search", "none", "this is a test")
    monkeypatch.setattr("bige.cli._answer_one", stop)
    status, _, err = run(capsys, "generate", "--like", tmp_path / "squat.mot", "--out", tmp_path / "out")
    assert status == 2 and "bige: suspicious: " in err and cause in err


def test_segment_refuses_knees_that_do_not_bend_together(tmp_path, capsys):
    write_motion(WRONG[FOR_VERBS[0]][0](SQUAT), tmp_path / "squat.mot")
    status, _, err = run(capsys, *verb_on("segment", tmp_path / "squat.mot", tmp_path / "out"))
    assert status == 2 and "no repetition found" in err


def test_a_right_recording_passes_strict(tmp_path, capsys):
    write_motion(SQUAT, tmp_path / "squat.mot")
    for verb in ("simulate", "predict", "segment"):
        status, _, err = run(capsys, *verb_on(verb, tmp_path / "squat.mot", tmp_path / verb), "--strict")
        assert status == 0 and "suspicious" not in err


def test_the_result_of_a_simulation_is_judged(tmp_path):
    "A trunk bent back by 70 degrees: feet rest, every joint is in its range, and only the forces tell."
    from bige.simulation import read_records, simulate_files
    lean = SQUAT.with_columns(["lumbar_extension"], SQUAT["lumbar_extension"] + 1.2)
    assert said_of(lean) == []
    write_motion(lean, tmp_path / "lean.mot")
    write_motion(SQUAT, tmp_path / "right.mot")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        records = simulate_files([tmp_path / "lean.mot", tmp_path / "right.mot"], tmp_path / "out", mode="qp")
    said = [str(w.message) for w in caught if w.category is Suspicion]
    assert records["right"]["suspicions"] == [] and said == records["lean"]["suspicions"]
    assert any("a residual force of" in s for s in said) and any("reserve actuators" in s for s in said)
    assert read_records(tmp_path / "out")["lean"]["suspicions"] == said
    with pytest.warns(Suspicion):                                      # said again when nothing is to be done
        simulate_files([tmp_path / "lean.mot"], tmp_path / "out", mode="qp")


def test_the_mass_of_the_session_contradicts_its_model(tmp_path):
    from bige.inverse_kinematics import write_osim
    from bige.markers import MASS_TOLERANCE, body_suspicions
    from bige.simulation import find_trials
    session = tmp_path / "OpenCapData_x"
    for part in ("OpenSimData/Kinematics", "OpenSimData/Model"):
        (session / part).mkdir(parents=True)
    write_motion(SQUAT, session / "OpenSimData/Kinematics/squat.mot")
    write_osim(Skeleton.default(), session / "OpenSimData/Model/scaled.osim", {})
    (session / "sessionMetadata.yaml").write_text("mass_kg: 59.0\n")
    (trial,) = find_trials([session])
    (said,) = body_suspicions(trial.path, 75.3)
    assert "a model of 75.3 kg" in str(said) and "59 kg" in str(said)
    assert body_suspicions(trial.path, 59 * (1 + MASS_TOLERANCE / 2)) == []


# ------------------------------------------------------------------------------------------- markers

@pytest.fixture(scope="module")
def markers() -> Markers:
    "The Plug-in-Gait markers of the default model on the recorded squat, at 25 Hz."
    body, squat = Skeleton.default(), SQUAT.resample(25)
    rng = np.random.default_rng(0)
    seen = body.marker_positions(squat.coordinates()) + rng.normal(0, 0.002, (len(squat.time), 39, 3))
    return Markers(squat.time, seen, body.marker_names)


@pytest.mark.parametrize("axes,words", [([0, 2, 1], "like z up"), ([1, 0, 2], "like x up")])
def test_ik_refuses_markers_with_another_vertical_axis(axes, words, markers, tmp_path, capsys):
    write_trc(replace(markers, positions=markers.positions[..., axes]), tmp_path / "squat.trc")
    status, _, err = run(capsys, "ik", tmp_path / "squat.trc", "--out", tmp_path / "out")
    assert status == 2 and words in err and "squat.trc" in err
    assert not list((tmp_path / "out").glob("*.mot"))


def test_ik_refuses_markers_upside_down(markers, tmp_path):
    from bige.inverse_kinematics import fit_markers
    with pytest.raises(InputError, match="upside down"):
        fit_markers({"squat": replace(markers, positions=-markers.positions)})


def test_ik_refuses_a_person_500_m_away(markers, tmp_path, capsys):
    "Later verbs would refuse its file; the origin of a map instead of the laboratory's."
    far = replace(markers, positions=markers.positions + [500, 0, -120])
    write_trc(far, tmp_path / "squat.trc")
    status, _, err = run(capsys, "ik", tmp_path / "squat.trc", "--out", tmp_path / "out")
    assert status == 2 and "500 m from the origin" in err and "squat.trc" in err
    assert not list((tmp_path / "out").glob("*.mot"))


def half_a_second_held(markers):
    wrong = np.array(markers.positions[:40])
    wrong[20:33] = wrong[20]
    return replace(markers, time=markers.time[:40], positions=wrong)


def test_markers_that_were_held_are_suspected(markers):
    "With a marker that is missing meanwhile, too; where all are lost, nothing is held."
    from bige.inverse_kinematics import marker_suspicions
    wrong = half_a_second_held(markers)
    for lost in (wrong.positions[:, 3] * np.nan, wrong.positions[:, 3]):
        wrong = replace(wrong, positions=np.concatenate([wrong.positions[:, :-1], lost[:, None]], 1))
        (said,) = marker_suspicions("squat", wrong)
        assert "nothing moves from 0.80 to 1.28 s" in str(said)
    gone = np.array(markers.positions)
    gone[20:40] = np.nan
    assert marker_suspicions("squat", replace(markers, positions=gone)) == []


@pytest.mark.slow
def test_ik_suspects_markers_that_were_held(markers, tmp_path, capsys):
    write_trc(half_a_second_held(markers), tmp_path / "squat.trc")
    line = "ik", tmp_path / "squat.trc", "--mass", 70, "--strict", "--out", tmp_path / "out"
    status, _, err = run(capsys, *line)
    assert status == 2 and "nothing moves from 0.80 to 1.28 s" in err
    (person,) = json.loads((tmp_path / "out/ik.json").read_text())["persons"].values()
    assert any("nothing moves" in s for s in person["suspicions"])


def test_ik_counts_the_frames_that_it_bridges_and_loses(markers, tmp_path, capsys):
    lost = np.array(markers.positions)
    lost[20:22] = np.nan                                # 0.08 s: bridged
    lost[-15:-9] = np.nan                               # 0.24 s: what follows is lost
    write_trc(replace(markers, positions=lost), tmp_path / "squat.trc")
    status, text, err = run(capsys, "ik", tmp_path / "squat.trc", "--mass", 70, "--out", tmp_path / "out")
    frames = len(markers.time)
    assert status == 0 and f"{frames - 15} of {frames}, 2 bridged" in text and "70.0" in text
    assert f"15 of {frames} frames lost (frames {frames - 14} to {frames})" in err
    record = json.loads((tmp_path / "out/ik.json").read_text())
    entry = record["trials"]["squat"]
    assert (entry["frames_written"], entry["frames_lost"], entry["frames_bridged"]) == (frames - 15, 15, 2)
    (person,) = record["persons"].values()
    assert any("frames lost" in s for s in person["suspicions"])
    back, whole = read_motion(tmp_path / "out/squat.mot"), SQUAT.resample(25)
    knee = back["knee_angle_r"] - whole["knee_angle_r"][:frames - 15]
    assert np.abs(knee[20:22] - np.median(knee)).max() < np.deg2rad(4)
    again = "ik", tmp_path / "squat.trc", "--mass", 70, "--out", tmp_path / "out", "--strict"
    status, _, err = run(capsys, *again)
    assert status == 2 and "frames lost" in err         # nothing to do, and still said


@pytest.mark.slow
@pytest.mark.parametrize("change,words", [
    (lambda m: replace(m, time=10 * m.time), "2.5 frames a second"),
    (lambda m: replace(m, positions=m.positions * 1.45), "times the model's size")])
def test_ik_suspects_units_of_time_and_length(change, words, markers, tmp_path):
    from bige.inverse_kinematics import ik_files
    write_trc(change(markers), tmp_path / "squat.trc")
    with pytest.warns(Suspicion, match=words):
        ik_files([tmp_path / "squat.trc"], tmp_path / "out", mass_kg=70)


# ------------------------------------------------------------------------------------------- shared data

def test_recorded_motions_are_not_suspected(shared):
    found = 0
    for path in sorted(shared.rglob("*.mot")):
        motion = read_motion(path)
        if motion.has(COORDINATES):
            found += 1
            said = said_of(motion)
            if path.name.startswith("DJ"):  # an arm that is described anew from one frame to the next
                assert len(said) == 1 and "arm_" in said[0] and "within a frame" in said[0], path.name
                continue
            assert said == [], path.name
            if "quat" in path.name and len(motion.time) > 400:
                segment(motion)
    assert found >= 17


@pytest.mark.parametrize("how", WRONG)
def test_recorded_squats_made_wrong_are_suspected(how, shared):
    change, cause = WRONG[how]
    for name in ("labval_s4_62.6kg/squat/squats1_manual_scaling_ik.mot",
                 "fieldstudy_s0_72kg/squat/Squats_0.mot", "kirsten_75.3kg/squat/DLS01_ik.mot"):
        said = said_of(change(read_motion(shared / name)))
        assert any(cause in s for s in said), (name, said)


def test_the_shipped_repetitions_are_not_suspected():
    from bige.dataset import reference
    from bige.metrics import motions_of
    said = [s for motion in motions_of(reference()) for s in said_of(motion)]
    assert said == []


@pytest.mark.slow
def test_recorded_markers_are_not_taken_for_held(shared):
    from bige.inverse_kinematics import marker_suspicions
    from bige.markers import read_marker_archive
    files = [*shared.rglob("*.trc"), *shared.rglob("*.c3d")]
    archives = sorted(shared.rglob("*vicon_markers*.npz"))
    trials = [(n, m) for f in files for n, m in read_markers(f).items()]
    trials += [(n, m) for f in archives for n, m in read_marker_archive(f).items() if n.endswith("e01_cor")]
    assert len(trials) > 50
    assert [s for name, m in trials for s in marker_suspicions(name, m)] == []


@pytest.mark.slow
def test_recorded_markers_with_z_up_are_refused(shared, tmp_path):
    from bige.inverse_kinematics import fit_markers
    (markers,) = read_markers(shared / "labval_s4_62.6kg/squat/squats1.trc").values()
    markers = replace(markers, time=markers.time[::10], positions=markers.positions[::10])
    fit_markers({"squat": markers}, scale=False)
    with pytest.raises(InputError, match="like z up"):
        fit_markers({"squat": replace(markers, positions=markers.positions[..., [0, 2, 1]])})
