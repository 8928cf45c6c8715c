"""The front door: modes, settings, records, files, and what is refused in which words."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bige import simulation
from bige.cli import main
from bige.files import InputError
from bige.motion import ACTIVATIONS, COORDINATES, Motion, analytic_squat, read_motion, write_motion
from bige.simulation import (CUTOFF_HZ, add_record, foot_force_columns, motion_file, read_records, simulate,
                             simulate_files, sphere_columns)
from conftest import until


@pytest.fixture(scope="module")
def squat():
    return analytic_squat(reps=1, depth_deg=90)


@pytest.fixture(scope="module")
def result(model, squat):
    return simulate(squat, model, mode="qp")


# modes and records


def test_the_record_says_how(result):
    record = result.record
    assert (
        record["mode"] == "qp"
        and record["status"] == "Solve_Succeeded"
        and record["iterations"] == len(result.motion.time)
    )
    assert (
        0 < record["cpu_s"] < 20
        and 0.05 < record["peak_gb"] < 20
        and record["activation_names"] == list(ACTIVATIONS)
    )
    assert (
        record["mean_vertical_force_bw"] == pytest.approx(1, abs=0.01)
        and record["model"] == "default"
        and record["settings"]["cutoff_hz"] == 4
    )


def test_presets_agree_with_those_of_tracking():
    from bige.tracking import PRESETS

    assert CUTOFF_HZ == {name: settings.cutoff_hz for name, settings in PRESETS.items()}


def test_preset_and_cutoff_reach_the_filter(squat, model, result):
    gait = simulate(squat, model, mode="qp", preset="gait")
    assert (
        gait.record["settings"]["cutoff_hz"] == 12
        and np.abs(gait.motion.values - result.motion.values).max() > 1e-4
    )
    same = simulate(squat, model, mode="qp", preset="gait", cutoff_hz=4)
    assert np.array_equal(same.motion.values, result.motion.values)


def test_tracking_is_the_default_and_gets_its_settings(squat, model, result, monkeypatch):
    import bige.tracking

    asked = {}

    def track(*arguments, contacts):
        asked["call"], asked["contacts"] = arguments, contacts
        return replace(result, record={**result.record})  # simulate adds to it

    monkeypatch.setattr(bige.tracking, "track", track)
    assert simulate(squat, model, start=0.5, end=2.5, intervals=40, cutoff_hz=6).record["mode"] == "tracking"
    assert (
        asked["call"][:4] == (model, squat, 0.5, 2.5)
        and asked["call"][4].cutoff_hz == 6
        and asked["call"][5] == 40
    )
    assert asked["contacts"] == {"l": "planted", "r": "planted"}
    simulate(squat, model, preset="other")
    assert asked["call"][4] == bige.tracking.PRESETS["other"] and asked["call"][5] is None


@pytest.mark.slow
def test_tracking_end_to_end(squat, tmp_path):
    write_motion(squat, tmp_path / "squat.mot")
    assert (
        main(["simulate", str(tmp_path / "squat.mot"), "--intervals", "12", "--out", str(tmp_path / "out")])
        == 0
    )
    record = json.loads((tmp_path / "out" / "simulation.json").read_text())
    assert (
        record["status"] == "Solve_Succeeded" and record["mode"] == "tracking" and record["intervals"] == 12
    )
    assert read_motion(motion_file(tmp_path / "out", "squat")).names == COORDINATES + ACTIVATIONS


def test_an_unfinished_solve_has_a_reason_and_no_files(squat, model, result, monkeypatch, tmp_path):
    import bige.tracking

    monkeypatch.setattr(
        bige.tracking,
        "track",
        lambda *_, **__: replace(result, status="Maximum_Iterations_Exceeded",
                                 record={"iterations": 500, "body_weight_n": model.weight}),
    )
    stopped = simulate(squat, model)
    assert "Maximum_Iterations_Exceeded" in stopped.record["reason"]
    stopped.save(tmp_path, "squat")
    assert [p.name for p in tmp_path.iterdir()] == ["simulation.json"] and read_records(tmp_path)["squat"][
        "iterations"
    ] == 500


def test_peak_memory_counts_what_this_process_held():
    code = (
        "import numpy as np; from bige.simulation import peak_gb; a = peak_gb(); "
        "x = np.ones(40_000_000); del x; print(a, peak_gb())"
    )
    before, after = map(
        float,
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                       check=True).stdout.split(),
    )
    assert before < 0.25 and 0.3 < after - before < 0.35


# files


def test_files(result, tmp_path):
    result.save(tmp_path, "one")
    motion = read_motion(motion_file(tmp_path, "one"))
    assert motion.names == COORDINATES + ACTIVATIONS and np.allclose(
        motion.values, result.motion.values, atol=1e-5)
    forces = read_motion(tmp_path / "ground_forces_one.mot")
    total = forces["ground_force_r_vy"] + forces["ground_force_l_vy"]
    assert np.allclose(total / result.record["body_weight_n"], result.vertical_force, atol=1e-5)
    record = json.loads((tmp_path / "simulation.json").read_text())
    assert (
        record["status"] == "Solve_Succeeded"
        and record["activation_names"] == list(ACTIVATIONS)
        and {"iterations", "cpu_s", "peak_gb"} <= set(record)
    )
    result.save(tmp_path, "two")
    assert set(json.loads((tmp_path / "simulation.json").read_text())) == {"one", "two"}
    assert not [p for p in tmp_path.iterdir() if p.suffix not in (".mot", ".json")]


@pytest.mark.filterwarnings("error")
def test_moments_and_sphere_forces_are_written_as_numbers_not_angles(result, tmp_path):
    result.save(tmp_path, "one")
    kinetics, spheres = (read_motion(tmp_path / "kinetics_one_muscle_driven.mot"),
                         read_motion(tmp_path / "ground_forces_spheres_one.mot"))
    for k, name in enumerate(COORDINATES):
        column = f"{name}_force" if name in ("pelvis_tx", "pelvis_ty", "pelvis_tz") else f"{name}_moment"
        assert np.allclose(kinetics[column], result.moments[:, k], atol=1e-6), column
    assert np.allclose(sum(spheres[f"ground_force_s{s}_r_vy"] for s in range(1, 7)),
                       result.foot_forces[:, 0, 1], atol=1e-6)
    assert np.allclose(spheres["ground_force_s3_l_px"], result.contact_points[:, 8, 0], atol=1e-6)


def test_columns_are_named_as_opencap_does(shared, result):
    """Its own files hold ours, in the same order, and torques of the spheres, which are all zero, besides."""
    folder = next(shared.glob("fieldstudy_s0*/squat"))
    theirs = {
        kind: (folder / f"Squats_0_1_{kind}.mot").read_text().split("endheader")[1].split("\n")[1].split()
        for kind in ("kinetics", "forces_resultant", "forces_per_sphere", "kinematics_activations")
    }
    from bige.simulation import moment_columns

    assert theirs["kinetics"] == ["time", *moment_columns(result)[0]] and theirs[
        "kinematics_activations"
    ] == ["time", *COORDINATES, *ACTIVATIONS]
    assert theirs["forces_per_sphere"][:73] == ["time", *sphere_columns(result)[0]]
    assert set(theirs["forces_resultant"]) == {"time", *foot_force_columns(result)[0]}


def test_free_moment_and_pressure_centre_replace_the_spheres(result):
    """Force at the centre of pressure plus free moment must act like the six sphere forces together."""
    names, columns = foot_force_columns(result)
    table = dict(zip(names, columns.T))
    for f, side in enumerate("rl"):
        force, point = result.ground_forces[:, 6 * f : 6 * f + 6], result.contact_points[:, 6 * f : 6 * f + 6]
        moment = np.cross(point, force).sum(1)
        v, p, m = (
            np.stack([table[f"ground_{k}_{side}_{pre}{c}"] for c in "xyz"], 1)
            for k, pre in (("force", "v"), ("force", "p"), ("torque", ""))
        )
        assert np.allclose((np.cross(p, v) + m)[:, 1], moment[:, 1], atol=1e-6)
        assert (
            np.abs((np.cross(p, v) + m - moment)[:, [0, 2]]).max() < 5.0
        )  # the sole is flat to a few millimetres


def test_a_foot_in_the_air_has_its_middle_for_a_centre_of_pressure(result):
    """Traces of force, some of them negative, as interpolation leaves them, press on no point in particular:
    quotients of such traces once lay two thousand kilometres away."""
    forces = result.ground_forces.copy()
    forces[:, :6] = 1e-9 * np.array([1, -2, 1, -3, 2, 1.0])[:, None]
    hanging = replace(result, ground_forces=forces)
    table = dict(zip(foot_force_columns(hanging)[0], foot_force_columns(hanging)[1].T))
    for i, axis in enumerate("xyz"):
        middle = result.contact_points[:, :6, i].mean(1)
        assert np.allclose(table[f"ground_force_r_p{axis}"], middle, atol=1e-9)
    assert np.abs(table["ground_torque_r_y"]).max() < 1e-6


def test_a_seat_is_written_like_a_foot(result, tmp_path):
    frames, weight = len(result.motion.time), result.record["body_weight_n"]
    up, point = np.zeros((frames, 2, 3)), np.zeros((frames, 2, 3))
    up[:, 0, 1], up[:, 1, 1], up[:, 1, 0], point[:, 1, 2] = 0.3 * weight, 0.1 * weight, 10.0, -0.2
    seated = replace(result, seat_forces=up, seat_points=point)
    assert np.allclose(seated.vertical_force, result.vertical_force + 0.4)
    seated.save(tmp_path, "one")
    forces = read_motion(tmp_path / "ground_forces_one.mot")
    assert np.allclose(forces["ground_force_seat_vy"], 0.4 * weight, atol=1e-5)
    assert np.allclose(forces["ground_force_seat_pz"], -0.05)
    assert np.allclose(forces["ground_force_seat_vx"], 10)
    assert np.allclose(forces["ground_torque_seat_y"], -0.15 * 10, atol=1e-6)
    assert foot_force_columns(result)[0] == foot_force_columns(seated)[0][:18]


def test_another_exercise_than_the_one_done_is_refused(model, squat):
    lifted = squat.coordinates()
    lifted[:, COORDINATES.index("hip_flexion_r")] += 0.9
    lifted[:, COORDINATES.index("knee_angle_r")] += 0.9
    motion = Motion.from_arrays(squat.time, lifted, source="step.mot")
    with pytest.raises(InputError, match="step.mot.*right foot .* cm above the other.*planted"):
        simulate(motion, model, mode="qp")


def test_a_trial_named_trial_is_no_single_record(result, tmp_path):
    result.save(tmp_path, "other")
    result.save(tmp_path, "trial")
    assert set(read_records(tmp_path)) == {"other", "trial"}


def test_a_failed_attempt_keeps_the_finished_result(result, tmp_path):
    result.save(tmp_path, "one")
    add_record(tmp_path, "one", {"status": "Refused", "reason": "too short", "job": {"cutoff_hz": 1}})
    record = read_records(tmp_path)["one"]
    assert record["status"] == "Solve_Succeeded" and record["last_attempt"]["reason"] == "too short"
    motion_file(tmp_path, "one").unlink()
    add_record(tmp_path, "one", {"status": "Refused", "reason": "too short"})
    assert read_records(tmp_path)["one"]["status"] == "Refused"


def test_not_a_number_is_null_in_the_record(tmp_path):
    add_record(tmp_path, "one",
               {"status": "Failed", "reason": "x", "value": float("nan"), "values": np.array([1.0, np.inf])})
    assert json.loads((tmp_path / "simulation.json").read_text(), parse_constant=lambda c: pytest.fail(c))[
        "values"
    ] == [1.0, None]


@pytest.mark.parametrize("fails_at", range(6))
def test_a_full_disk_leaves_no_half_result(result, tmp_path, monkeypatch, fails_at):
    """Whichever of the files cannot be written: the motion file is there only with all others."""
    import bige.simulation as simulation

    written, write = [], simulation.write_motion

    def full(motion, path):
        if len(written) == fails_at:
            raise OSError(28, "No space left on device", str(path))
        written.append(path)
        write(motion, path)

    monkeypatch.setattr(simulation, "write_motion", full)
    if fails_at < 5:
        with pytest.raises(OSError):
            result.save(tmp_path, "one")
        assert list(tmp_path.iterdir()) == []
    else:
        result.save(tmp_path, "one")
        assert len(list(tmp_path.iterdir())) == 6


# interrupted


def solving(thread: int, mode: str) -> bool:
    """Whether this thread is inside CasADi at the moment, called by the function that solves in this mode."""
    frame, stack = sys._current_frames()[thread], []
    while frame:
        stack.append((Path(frame.f_code.co_filename).stem, frame.f_code.co_name))
        frame = frame.f_back
    return (
        stack[0] == ("casadi", "call")
        and {"qp": ("static_optimisation", "__call__"), "tracking": ("tracking", "solve_nlp")}[mode] in stack
    )


@pytest.mark.parametrize("mode", ["qp", "tracking"])
def test_an_interrupt_is_not_swallowed_by_the_solver(model, mode):
    handler, here, over = signal.getsignal(signal.SIGINT), threading.get_ident(), threading.Event()

    def interrupt():
        until(lambda: over.is_set() or solving(here, mode))
        if not over.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    other = threading.Thread(target=interrupt)
    other.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            simulate(analytic_squat(reps=1 if mode == "tracking" else 10, depth_deg=80), model, mode=mode,
                     intervals=12 if mode == "tracking" else None)
    finally:
        over.set()
        other.join()
    assert signal.getsignal(signal.SIGINT) is handler


# bad input


def changed(motion, name, value):
    return motion.with_columns((name,), np.broadcast_to(value, motion.time.shape))


BAD = {
    "far out of range": (lambda m: changed(m, "knee_angle_r", np.deg2rad(200)),
                         "knee_angle_r of 200 degrees"),
    "flying": (lambda m: changed(m, "pelvis_ty", 5 * m.time), "feet more than 10 cm above the ground"),
    "upside down": (lambda m: changed(m, "pelvis_tilt", np.pi), "this looks upside down"),
    "short": (lambda m: m.slice(0, 0.3), "at least 0.50 s"),
    "nan": (lambda m: changed(m, "hip_flexion_l", np.where(m.time > 1, np.nan, 0.0)), "not numbers"),
    "columns": (lambda m: Motion(m.time, m.values[:, :10], m.names[:10]), "missing"),
}


@pytest.mark.parametrize("mode", ["qp", "tracking"])
@pytest.mark.parametrize("fault", BAD)
def test_refused_motions(model, squat, fault, mode):
    change, message = BAD[fault]
    with pytest.raises(InputError, match=message):
        simulate(change(squat), model, mode=mode)


@pytest.mark.parametrize("mode", ["qp", "tracking"])
def test_a_frame_out_of_range_is_told_as_counted_in_the_file(model, squat, mode):
    bad = changed(squat, "knee_angle_r", np.where(squat.time > 2, np.deg2rad(250), squat["knee_angle_r"]))
    said = []
    for start in (None, 1.0):
        with pytest.raises(InputError) as error:
            simulate(bad, model, mode=mode, start=start)
        said.append(str(error.value))
    assert said[0] == said[1] and ", frame " in said[0]


@pytest.mark.parametrize(
    "options, words",
    [
        ({"mode": "magic"}, "--mode"),
        ({"preset": "swim"}, "--preset"),
        ({"mode": "qp", "start": 50, "end": 60}, "--start"),
        ({"start": 50}, "--start"),
        ({"mode": "qp", "intervals": 50}, "--intervals"),
        ({"intervals": 1}, "--intervals"),
        ({"mode": "qp", "cutoff_hz": -1}, "--cutoff"),
        ({"mode": "qp", "cutoff_hz": float("nan")}, "--cutoff"),
    ],
)
def test_refused_requests_name_the_option(model, squat, options, words):
    with pytest.raises(InputError, match=words):
        simulate(squat, model, **options)


def test_a_model_that_is_not_there(squat, tmp_path):
    with pytest.raises(InputError, match="no such file|no readable file"):
        simulate(squat, tmp_path / "nowhere.osim", mode="qp")


@pytest.mark.parametrize("fault, mode",
                         [("far out of range", "tracking"), ("flying", "tracking"), ("short", "qp")])
def test_the_command_refuses_in_one_line(fault, mode, squat, tmp_path, capsys):
    change, message = BAD[fault]
    write_motion(change(squat), tmp_path / "bad.mot")
    assert main(["simulate", str(tmp_path / "bad.mot"), "--mode", mode, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert (
        message in said.err
        and said.err.count("\n") == 1
        and said.err.count("Cure") == 1
        and said.out == ""
        and not (tmp_path / "out").exists()
    )


def test_the_command_refuses_a_body_without_mass_or_muscles(shared, squat, tmp_path, capsys):
    text = (shared / "models" / "LaiUhlrich2022.osim").read_text()
    (tmp_path / "weightless.osim").write_text(re.sub(r"<mass>[^<]*</mass>", "<mass>0</mass>", text))
    (tmp_path / "bones.osim").write_text(text.replace("Millard2012EquilibriumMuscle", "CoordinateActuator"))
    write_motion(squat, tmp_path / "good.mot")
    for name, words in (("weightless", "bodies with mass"), ("bones", "muscles")):
        assert (
            main(
                [
                    "simulate",
                    str(tmp_path / "good.mot"),
                    "--model",
                    str(tmp_path / f"{name}.osim"),
                    "--out",
                    str(tmp_path / "out"),
                ]
            )
            == 2
        )
        said = capsys.readouterr().err
        assert (
            words in said
            and f"{name}.osim" in said
            and said.count("\n") == 1
            and not (tmp_path / "out").exists()
        )


# the model travels with the results

@pytest.fixture
def two_people(tmp_path):
    "A squat each, and a model of the same name with other content."
    for name in ("anna", "bea"):
        (tmp_path / name).mkdir()
        write_motion(analytic_squat(reps=1, rate_hz=50.0), tmp_path / name / f"{name}.mot")
        (tmp_path / name / "scaled.osim").write_text(name)
    return [tmp_path / name / f"{name}.mot" for name in ("anna", "bea")]


@pytest.fixture
def every_model_is_the_default(monkeypatch):
    model = pickle.loads(simulation._packed(None, None))
    model.name = "scaled.osim"
    packed = pickle.dumps(model)
    monkeypatch.setattr(simulation, "_packed", lambda model, digest: packed)


def test_the_model_lies_beside_the_results(two_people, tmp_path, every_model_is_the_default):
    out, (anna, bea) = tmp_path / "out", two_people
    simulate_files([anna], out, mode="qp")
    assert (out / "scaled.osim").read_text() == "anna"
    with pytest.raises(InputError, match="another model of this name, of anna.*--force"):
        simulate_files([bea], out, mode="qp")
    assert (out / "scaled.osim").read_text() == "anna" and list(read_records(out)) == ["anna"]
    (anna.parent / "scaled.osim").write_text("anna, scaled again")      # her own results may change
    simulate_files([anna], out, mode="qp")
    assert (out / "scaled.osim").read_text() == "anna, scaled again"


def test_models_of_one_name_do_not_share_a_folder(two_people, tmp_path, every_model_is_the_default):
    with pytest.raises(InputError, match="another model named scaled.osim.*different --out folders"):
        simulate_files(two_people, tmp_path / "out", mode="qp")
    simulate_files([p.parent for p in two_people], tmp_path / "both", mode="qp")
    for name in ("anna", "bea"):
        assert (tmp_path / "both" / name / "scaled.osim").read_text() == name
