"""Static optimisation: the program's own conditions, symmetry, invariance, force plates, OpenCap's
simulation."""

import importlib.util
import time
from dataclasses import replace

import numpy as np
import pytest

from bige.dynamics import (SEAT_INDENTATION, TORQUE_ACTUATORS, MusculoskeletalModel, filtered_kinematics,
                           hip_heights)
from bige.exercises import load_exercise
from bige.filters import lowpass
from bige.motion import COORDINATES, Motion, analytic_squat, example_squat, read_motion
from bige.static_optimisation import LEG_RESERVES, QPModel, solve_qp

needs_opensim = pytest.mark.skipif(importlib.util.find_spec("opensim") is None,
                                   reason="OpenSim is not installed (pip install --no-deps opensim==4.6)")


@pytest.fixture(scope="module")
def squat():
    return analytic_squat(reps=1, depth_deg=90)


@pytest.fixture(scope="module")
def result(model, squat):
    return solve_qp(model, squat)


def test_the_answer_explains_the_motion(model, squat, result):
    """Muscles, actuators, reserves and foot forces add up to what the motion needs, within their limits."""
    assert result.status == "Solve_Succeeded"
    a, f = result.motion.activations(), result.ground_forces
    assert a.min() >= 0.01 and a.max() <= 1 and f[..., 1].min() > -1e-6
    assert (np.abs(f[..., [0, 2]]).max(-1) <= 0.8 / np.sqrt(2) * f[..., 1] + 1e-4).all()
    q, qd, qdd = filtered_kinematics(squat)
    muscles, jacobian, need, _, capacity = QPModel(model).frames(q, qd, qdd)
    left = need - (jacobian @ f.reshape(-1, 36, 1))[..., 0] - (muscles @ a[..., None])[..., 0]
    for name in LEG_RESERVES:
        assert np.allclose(left[:, COORDINATES.index(name)], result.reserves[name], atol=1e-3), name
    assert np.allclose(result.moments, need - (jacobian @ f.reshape(-1, 36, 1))[..., 0])


def test_a_squat_makes_sense(squat, result):
    knee = result.motion["knee_angle_r"]
    assert result.vertical_force.mean() == pytest.approx(1, abs=0.01)
    for name in ("vaslat", "vasmed", "vasint"):
        for side in "lr":
            assert abs(result.motion[f"{name}_{side}/activation"].argmax() - knee.argmax()) < 0.1 * len(knee)
    left, right = (result.motion.activations()[:, k : k + 40] for k in (0, 40))
    assert np.abs(left - right).max() < 0.02  # a symmetric squat on a nearly symmetric body
    assert result.record["largest_pelvis_force_bw"] < 0.03 and result.record["largest_leg_reserve_nm"] < 20


def test_mirror_symmetry(model):
    squat = example_squat()
    a, b = solve_qp(model, squat), solve_qp(model, squat.mirror())
    swapped = np.hstack([b.motion.activations()[:, 40:], b.motion.activations()[:, :40]])
    difference = a.motion.activations() - swapped
    assert np.sqrt((difference**2).mean()) < 0.02  # the two legs are fitted separately


def test_height_and_place_do_not_matter(model, squat, result):
    moved = squat.with_columns(
        ("pelvis_tx", "pelvis_ty", "pelvis_tz"),
        np.stack([squat["pelvis_tx"] + 3, squat["pelvis_ty"] + 0.2, squat["pelvis_tz"] - 1], 1))
    other = solve_qp(model, moved)
    assert np.abs(other.motion.activations() - result.motion.activations()).max() < 1e-3
    assert other.record["ground_height_m"] == pytest.approx(result.record["ground_height_m"] + 0.2, abs=1e-3)


def test_a_part_equals_the_whole(model, squat, result):
    part = solve_qp(model, squat, start=1.0, end=2.0)
    rows = (squat.time >= 1 - 1e-9) & (squat.time <= 2 + 1e-9)
    assert np.abs(part.motion.activations() - result.motion.activations()[rows]).max() < 1e-9


def test_speed_and_determinism(model, squat, result):
    start = time.process_time()
    again = solve_qp(model, squat)
    assert np.array_equal(again.motion.values, result.motion.values)
    assert (time.process_time() - start) / len(squat.time) < 0.02


def changed(motion, name, value):
    return motion.with_columns((name,), np.broadcast_to(value, motion.time.shape))


def test_clipping_is_reported(model, squat):
    clipped = solve_qp(model, changed(squat, "hip_adduction_r", np.deg2rad(30))).record["clipped_deg"]
    assert clipped["hip_adduction_r"] == pytest.approx(10, abs=0.1)


def test_a_deep_knee_is_kept_as_recorded(model):
    deep = analytic_squat(reps=1, depth_deg=148)
    result = solve_qp(model, deep)
    assert (
        np.rad2deg(result.motion["knee_angle_r"].max()) > 145
        and 7 < result.record["clipped_deg"]["knee_angle_r"] < 10
    )


def test_a_tilted_shoe_still_stands_flat(model, squat, result):
    """Ten degrees of constant ankle offset must not put the person on tiptoe."""
    tilted = squat
    for name in ("ankle_angle_l", "ankle_angle_r"):
        tilted = changed(tilted, name, squat[name] - np.deg2rad(10))
    heel = [0, 6]
    forces = solve_qp(model, tilted).ground_forces[:, heel, 1]
    assert np.median(forces.sum(1)) > 0.05 * result.record["body_weight_n"]


@needs_opensim
def test_vertical_force_against_plates(shared):
    folder = next(shared.glob("labval_s4*/squat"))
    result = solve_qp(MusculoskeletalModel(folder / "manually_scaled.osim"),
                      read_motion(folder / "squats1_manual_scaling_ik.mot"), start=2, end=12)
    plates = read_motion(folder / "squats1_grf.mot")
    total = lowpass(sum(plates[f"ground_force_{k}_vy"] for k in (1, 2)), plates.rate_hz, 6)
    measured = np.interp(result.motion.time, plates.time, total) / result.record["body_weight_n"]
    assert np.sqrt(((result.vertical_force - measured) ** 2).mean()) < 0.05
    assert np.corrcoef(result.vertical_force, measured)[0, 1] > 0.97


@needs_opensim
def test_asymmetric_squat_loads_the_right_side_more_or_less_as_measured(shared):
    folder = next(shared.glob("labval_s4*/squat_asym"))
    motion, plates = (read_motion(folder / "squatsAsym1_manual_scaling_ik.mot"),
                      read_motion(folder / "squatsAsym1_grf.mot"))
    result = solve_qp(MusculoskeletalModel(folder.parent / "squat" / "manually_scaled.osim"), motion, start=2,
                      end=10)
    feet = result.foot_forces[..., 1]
    measured = np.stack(
        [np.interp(result.motion.time, plates.time, plates[f"ground_force_{k}_vy"]) for k in (1, 2)], 1)
    assert np.sign((feet[:, 0] - feet[:, 1]).mean()) == np.sign((measured[:, 0] - measured[:, 1]).mean())


@pytest.mark.slow
@needs_opensim
def test_agreement_with_opencaps_own_simulation(shared):
    folder = next(shared.glob("fieldstudy_s0*/squat"))
    model = MusculoskeletalModel(
        folder / "LaiArnoldModified2017_poly_withArms_weldHand_scaled_adjustedMA_contacts.osim"
    )
    theirs = read_motion(folder / "Squats_0_2_kinematics_activations.mot")
    ours = solve_qp(model, read_motion(folder / "Squats_0.mot"), start=theirs.time[0],
                    end=theirs.time[-1]).motion
    for muscle in ("vaslat", "vasmed", "vasint", "soleus"):
        a, b = (
            np.concatenate([np.interp(theirs.time, m.time, m[f"{muscle}_{s}/activation"]) for s in "lr"])
            for m in (theirs, ours)
        )
        assert np.corrcoef(a, b)[0, 1] > 0.85, muscle


def test_actuators_move_trunk_and_arms_and_tendons_carry_the_muscles(model, squat, result):
    """What a first guess for the tracking simulation takes from here."""
    for k, name in enumerate(TORQUE_ACTUATORS):
        moment = result.moments[:, COORDINATES.index(name)]
        assert np.allclose(result.actuators[:, k], moment, atol=1e-3), name
    q, qd, qdd = filtered_kinematics(squat)
    capacity = QPModel(model).frames(q, qd, qdd)[-1]
    assert np.allclose(result.tendon_forces, result.motion.activations() * capacity)
    normalised = result.tendon_forces / model.geometry.parameters[:, 0]
    assert 0 <= normalised.min() and normalised.max() < 1.5


def test_frames_without_a_solution_are_counted_not_hidden(model, squat, monkeypatch):
    from bige import static_optimisation as qp

    solve = qp.FrameSolver.__call__
    calls = iter(range(10**6))
    monkeypatch.setattr(qp.FrameSolver, "__call__", lambda self,
                        *frame: (solve(self, *frame)[0], next(calls) % 50 != 7))
    result = solve_qp(model, squat)
    failed = len(range(7, len(squat.time), 50))
    assert (
        result.status == f"Failed_In_{failed}_Frames"
        and f"{failed} of {len(squat.time)} frames" in result.record["reason"]
    )
    assert np.isnan(result.motion.activations()).any(1).sum() == failed and np.isfinite(
        result.record["largest_leg_reserve_nm"]
    )


CHAIR = {"l": "planted", "r": "planted", "seat": {"height": "recorded", "friction": 0.5}}


@pytest.fixture(scope="module")
def chair(model):
    "From a seat up and back, the trunk upright while seated: made of a squat whose bottom is the seat."
    made, skeleton = analytic_squat(reps=2, depth_deg=90, rate_hz=30), model.skeleton
    q, half = made.coordinates(), len(made.time) // 2
    knee = q[:, COORDINATES.index("knee_angle_r")]
    first, last = knee[:half].argmax(), half + knee[half:].argmax()
    share, feet = (knee / knee.max())[:, None], skeleton.contact_points(q).mean(1)
    for name, angle in (("pelvis_tilt", 0.6), ("hip_flexion_l", -0.6), ("hip_flexion_r", -0.6)):
        q[:, [COORDINATES.index(name)]] += angle * share
    q[:, 3:6] += feet - skeleton.contact_points(q).mean(1)
    q = np.concatenate([q[first].reshape(1, -1).repeat(30, 0), q[first:last],
                        q[last].reshape(1, -1).repeat(30, 0)])
    motion = Motion.from_arrays(np.arange(len(q)) / 30, q, source="chair")
    return motion, solve_qp(model, motion, contacts=CHAIR)


def test_seat_and_feet_carry_the_weight_of_a_seated_person(model, chair):
    motion, result = chair
    weight = result.record["body_weight_n"]
    seat, feet = result.seat_forces, result.foot_forces
    assert result.status == "Solve_Succeeded"
    assert seat.shape == result.seat_points.shape == (len(motion.time), 2, 3)
    assert seat[10:20, :, 1].sum(1).min() > 0.5 * weight
    assert np.allclose((seat.sum(1) + feet.sum(1))[10:20, 1], weight, rtol=0.02)
    assert np.allclose(result.vertical_force[10:20], 1, atol=0.02)
    standing = motion["knee_angle_r"] < np.deg2rad(20)
    assert seat[standing].max() < 0.001 * weight
    assert (np.abs(seat[..., [0, 2]]) <= 0.5 / np.sqrt(2) * seat[..., 1:2] + 1e-3 * weight).all()
    assert result.record["seat"]["friction"] == 0.5 and 0.2 < result.record["seat"]["height_m"] < 0.6


def test_without_the_seat_nothing_explains_how_one_sits(model, chair):
    motion, result = chair
    alone = solve_qp(model, motion)
    assert alone.seat_forces is None and "seat" not in alone.record
    tilting = [np.abs(r.reserves["pelvis_tilt"][10:20]).max() for r in (result, alone)]
    assert tilting[1] > 20 * tilting[0], tilting


def test_a_planted_squat_is_solved_as_without_contacts(model, squat, result):
    again = solve_qp(model, squat, contacts={"l": "planted", "r": "planted"})
    assert np.array_equal(again.motion.values, result.motion.values)
    assert np.array_equal(again.ground_forces, result.ground_forces)


@needs_opensim
@pytest.mark.parametrize("trial", ["STSAsym1", *(pytest.param(t, marks=pytest.mark.slow)
                                               for t in ("STS1", "STSweakLegs1"))])
def test_rising_from_a_chair_against_plates(shared, trial):
    folder = next(shared.glob("labval_s4*/sts"))
    motion, plates = (read_motion(folder / f"{trial}_{kind}.mot") for kind in ("manual_scaling_ik", "grf"))
    model = MusculoskeletalModel(folder.parent / "squat" / "manually_scaled.osim")
    ratio = 60.1 / model.skeleton.mass  # the plates' weight, as in chapter 17
    bodies = {name: replace(body, mass=body.mass * ratio, inertia=body.inertia * ratio)
              for name, body in model.skeleton.bodies.items()}
    model.skeleton, model.weight = replace(model.skeleton, bodies=bodies), model.weight * ratio
    result = solve_qp(model, motion, end=4, cutoff_hz=8, contacts=load_exercise("sit_to_stand").contacts)
    frames = len(result.motion.time)
    measured = np.stack([plates[f"ground_force_{k}_vy"][:frames] for k in (1, 2)], 1) / model.weight
    feet = result.foot_forces[..., 1] / model.weight
    hips = hip_heights(model.skeleton, result.motion.coordinates()).mean(1)
    rise = hips - np.median(hips[hips < hips.min() + SEAT_INDENTATION])
    off, still = rise > SEAT_INDENTATION, (rise < 0.01) & (np.abs(np.gradient(rise, 0.01)) < 0.02)
    missed = (feet - measured).sum(1)
    assert np.sqrt((missed[off] ** 2).mean()) < 0.05 and np.sqrt((missed[still] ** 2).mean()) < 0.05
    assert abs(result.vertical_force[still].mean() - 1) < 0.05
    if trial == "STSAsym1":
        assert all((side[off, 0] - side[off, 1]).mean() > 0.3 for side in (feet, measured))
