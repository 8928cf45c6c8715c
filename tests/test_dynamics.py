"""Equations of motion against OpenSim and against themselves, the filter, and what a person needs."""

import importlib.util

import numpy as np
import pytest

from bige.dynamics import (SEAT_INDENTATION, SEAT_RADIUS, Ground, MusculoskeletalModel, Seat, beyond_range,
                           body_motions, contact_jacobian, contacts_of, find_seat, find_support, hip_heights,
                           inverse_dynamics, level_toes, refuse_lifted, seat_forces, seat_spheres,
                           sides_to_level, support_forces)
from bige.exercises import load_exercise
from bige.filters import lowpass
from bige.motion import GRAVITY
from bige.files import InputError
from bige.motion import COORDINATES, Motion, analytic_squat
from bige.opensim_process import run_opensim
from bige.skeleton import Skeleton
from opensim_moments import opensim_inverse_dynamics, random_motion

needs_opensim = pytest.mark.skipif(importlib.util.find_spec("opensim") is None,
                                   reason="OpenSim is not installed (pip install --no-deps opensim==4.6)")


@needs_opensim
def test_inverse_dynamics_agrees_with_opensim(shared, tmp_path):
    path, motion = shared / "models" / "LaiUhlrich2022.osim", random_motion(20)
    q, qd, qdd = motion.swapaxes(0, 1)
    out = tmp_path / "tau.npy"
    run_opensim(opensim_inverse_dynamics, str(path), str(out), [{}], list(COORDINATES), motion.tolist())
    (expected,) = np.load(out)
    skeleton = Skeleton.from_osim(path)
    found = inverse_dynamics(skeleton, *body_motions(skeleton, q, qd, qdd))
    assert np.abs(found - expected).max() / np.abs(expected).max() < 1e-6


def test_pelvis_carries_the_weight_in_any_still_pose():
    skeleton, q = Skeleton.default(), np.random.default_rng(0).uniform(-0.5, 0.5, (10, 33))
    tau = inverse_dynamics(skeleton, *body_motions(skeleton, q, 0 * q, 0 * q))
    assert np.allclose(tau[:, 4], skeleton.mass * GRAVITY, rtol=1e-10) and np.abs(tau[:, [3, 5]]).max() < 1e-8


def test_generalised_forces_are_the_gradient_of_potential_energy():
    skeleton, q = Skeleton.default(), np.random.default_rng(1).uniform(-0.4, 0.4, (1, 33))

    def potential(q):
        poses, _ = body_motions(skeleton, q, 0 * q, 0 * q)
        return sum(
            b.mass * GRAVITY * (poses[n].p + poses[n].R @ b.mass_center)[:, 1]
            for n, b in skeleton.bodies.items()
            if n in poses
        )

    steps = 1e-5 * np.eye(33)
    gradient = (potential(q + steps) - potential(q - steps)) / 2e-5
    assert np.allclose(inverse_dynamics(skeleton, *body_motions(skeleton, q, 0 * q, 0 * q))[0], gradient,
                       atol=1e-5)


def test_contact_points_are_the_skeletons():
    skeleton, q = Skeleton.default(), np.random.default_rng(2).uniform(-0.5, 0.5, (5, 33))
    points, jacobian = contact_jacobian(skeleton, *body_motions(skeleton, q, 0 * q, 0 * q))
    assert np.allclose(points, skeleton.contact_points(q), atol=1e-10)
    lifted = q + 1e-6 * np.eye(33)[4]
    assert np.allclose(jacobian[:, 4].reshape(5, 12, 3), [0, 1, 0]) and np.allclose(
        skeleton.contact_points(lifted)[..., 1] - points[..., 1], 1e-6, atol=1e-12)


def test_filter_passes_slow_and_stops_fast():
    t = np.arange(300) / 60
    slow, fast = np.sin(2 * np.pi * 0.5 * t), np.sin(2 * np.pi * 15 * t)
    out = lowpass(np.stack([slow, fast], 1), 60, 4)
    assert np.abs(out[60:-60, 0] - slow[60:-60]).max() < 0.01 and np.abs(out[60:-60, 1]).max() < 0.01


def test_a_pose_out_of_range_is_told_by_its_frame_in_the_file():
    squat = analytic_squat(reps=1)
    knee = squat["knee_angle_r"].copy()
    knee[70] = np.deg2rad(200)
    bad = squat.with_columns(("knee_angle_r",), knee[:, None])
    for start in (None, 1.0):
        part = bad.frames(start)
        with pytest.raises(InputError, match="frame 71: found knee_angle_r of 200 degrees"):
            beyond_range(bad.coordinates()[part], "a.mot", part.start)


def test_a_person_without_mass_or_muscles_is_refused(shared, tmp_path):
    import re

    text = (shared / "models" / "LaiUhlrich2022.osim").read_text()
    (tmp_path / "weightless.osim").write_text(re.sub(r"<mass>[^<]*</mass>", "<mass>0</mass>", text))
    (tmp_path / "bones.osim").write_text(text.replace("Millard2012EquilibriumMuscle", "CoordinateActuator"))
    with pytest.raises(InputError, match="bodies with mass"):
        MusculoskeletalModel(tmp_path / "weightless.osim")
    with pytest.raises(InputError, match="of the 80 leg muscles"):
        MusculoskeletalModel(tmp_path / "bones.osim")


def stepping():
    "Poses (61, 33): the right leg is lifted by hip and knee and put down again, the left stands."
    lift = np.sin(np.linspace(0, np.pi, 61)) ** 2
    q = np.zeros((61, 33))
    q[:, COORDINATES.index("hip_flexion_r")] = 1.2 * lift
    q[:, COORDINATES.index("knee_angle_r")] = 1.6 * lift
    q[:, COORDINATES.index("pelvis_ty")] -= Skeleton.default().contact_points(q[:1])[..., 1].min()
    return q


def rising(low=0.5):
    "Poses (101, 33): the pelvis rests `low` m above the ground, rises by 40 cm and stays up."
    q = np.zeros((101, 33))
    rise = np.clip((np.linspace(0, 1, 101) - 0.3) / 0.4, 0, 1)
    q[:, COORDINATES.index("pelvis_ty")] = low + 0.4 * (1 - np.cos(np.pi * rise)) / 2
    for name, angle in (("hip_flexion", 1.4), ("knee_angle", 1.4)):
        for side in "lr":
            q[:, COORDINATES.index(f"{name}_{side}")] = angle * (1 + np.cos(np.pi * rise)) / 2
    return q


CHAIR = {"l": "planted", "r": "planted", "seat": {"height": "recorded", "friction": 0.5}}


def test_a_seat_carries_the_weight_at_its_indentation_and_nothing_above():
    skeleton = Skeleton.default()
    q = np.zeros((3, 33))
    q[:, 4] = 1 + np.array([0, SEAT_INDENTATION / 2, SEAT_INDENTATION + 0.005])
    height = hip_heights(skeleton, q[:1])[0, 0] - SEAT_RADIUS + SEAT_INDENTATION
    poses = body_motions(skeleton, q, 0 * q, 0 * q)[0]
    force, point = seat_forces(skeleton, poses, Seat(height))
    up = force[..., 1].sum(1) / (skeleton.mass * GRAVITY)
    assert up[0] == pytest.approx(1, abs=0.02) and up[1] == pytest.approx(0.5**1.5, abs=0.02) and up[2] < 0.01
    assert np.allclose(point[:, :, 0], poses["femur_r"].p[:, None, 0], atol=1e-9)
    ground = support_forces(skeleton, poses, Ground(), Seat(height))
    assert np.array_equal(ground[0][:, 12:], force) and ground[0].shape == (3, 14, 3)
    assert len(ground[2]["pelvis"]) == 2


def test_seat_forces_act_on_the_joints_as_the_jacobian_says():
    """Inverse dynamics with the seat's forces = without them less the Jacobian times them."""
    skeleton, rng = Skeleton.default(), np.random.default_rng(3)
    q, qd = rng.uniform(-0.3, 0.3, (5, 33)), 0.2 * rng.normal(size=(5, 33))
    poses, axes = body_motions(skeleton, q, qd, 0 * q)
    seat = Seat(float(hip_heights(skeleton, q).mean()) - SEAT_RADIUS + 0.03)
    force, point = seat_forces(skeleton, poses, seat)
    spheres = seat_spheres(skeleton)
    lowest, jacobian = contact_jacobian(skeleton, poses, axes, spheres)
    assert np.allclose(lowest[:, 12:, 1], hip_heights(skeleton, q) - SEAT_RADIUS)
    at_lowest = {spheres[0].body: [(force[:, k], lowest[:, 12 + k]) for k in range(2)]}
    by_hand = inverse_dynamics(skeleton, poses, axes) - (jacobian[:, :, 36:] @ force.reshape(5, 6, 1))[..., 0]
    assert force[..., 1].max() > 50
    assert np.allclose(inverse_dynamics(skeleton, poses, axes, at_lowest), by_hand, atol=1e-8)


def test_the_recorded_seat_is_where_the_hips_rest_however_long_one_stands():
    skeleton, q = Skeleton.default(), rising()
    record = CHAIR["seat"]
    seat = find_seat(skeleton, q, record, 0.0, "x")
    surface = hip_heights(skeleton, q)[0].mean() - SEAT_RADIUS + SEAT_INDENTATION
    assert seat.height == pytest.approx(surface, abs=0.003)
    longer = np.concatenate([q, np.repeat(q[-1:], 900, 0)])
    assert find_seat(skeleton, longer, record, 0.0, "x").height == pytest.approx(seat.height, abs=0.01)


@pytest.mark.parametrize("height, word", [(0.9, "above"), (0.1, "below")])
def test_a_seat_that_the_hips_never_touched_is_refused(height, word):
    with pytest.raises(InputError, match=f"a.mot.*a seat {100 * height:.0f} cm high, {word}"):
        find_seat(Skeleton.default(), rising(), {"height": height, "friction": 0.5}, 0.0, "a.mot")


def test_a_seat_that_is_never_left_is_refused():
    with pytest.raises(InputError, match="hips that rise by 0 cm"):
        find_seat(Skeleton.default(), rising()[:1].repeat(50, 0), CHAIR["seat"], 0.0, "a.mot")


def test_a_swinging_foot_carries_nothing_and_its_heel_need_not():
    support = find_support(Skeleton.default(), stepping(), {"r": "swing", "l": "planted"}, "step")
    assert support.lifted[30, :6].all() and not support.lifted[:, 6:].any()
    assert support.heels == (False, True) and support.seat is None


@pytest.mark.parametrize("kind", ["planted", "heel_free"])
def test_contacts_that_the_motion_contradicts_are_refused(kind):
    with pytest.raises(InputError, match=f"a.mot.*right foot 2. cm above the other.*{kind}"):
        refuse_lifted(Skeleton.default(), stepping(), {"r": kind, "l": "planted"}, "a.mot")
    refuse_lifted(Skeleton.default(), stepping(), {"r": "swing", "l": "planted"}, "a.mot")


def test_contacts_change_sides_with_the_leading_leg():
    step, q = load_exercise("hurdle_step"), stepping()
    assert step.leading == "r" and contacts_of(step, q) == dict(step.contacts)
    mirrored = q.copy()
    for name in ("hip_flexion", "knee_angle"):
        i, j = (COORDINATES.index(f"{name}_{side}") for side in "lr")
        mirrored[:, [i, j]] = q[:, [j, i]]
    assert contacts_of(step, mirrored) == {"l": "swing", "r": "planted"}
    assert contacts_of(load_exercise("squat"), q) == dict(load_exercise("squat").contacts)


HEEL_FREE = {"l": "heel_free", "r": "planted"}


def with_heel_up(pitch_deg, toes_deg=0.0):
    """Frames of a left foot that pitches forward by these angles, with toes at an angle."""
    q = np.zeros((len(pitch_deg), 33))
    q[:, COORDINATES.index("ankle_angle_l")] = -np.deg2rad(pitch_deg)
    q[:, COORDINATES.index("mtp_angle_l")] = np.deg2rad(toes_deg)
    return Motion.from_arrays(np.arange(len(q)) / 30, q, source="heel.mot")


def test_toes_that_nobody_measured_lie_as_high_as_the_ball_of_a_foot_whose_heel_is_free():
    skeleton, motion = Skeleton.default(), with_heel_up(np.linspace(0, 25, 40))
    level = level_toes(skeleton, motion, HEEL_FREE)
    heights = skeleton.contact_points(level.coordinates())[:, 6:, 1]
    assert np.allclose(heights[:, 4:].mean(1), heights[:, 1:3].mean(1), atol=1e-4)
    kept = [name for name in COORDINATES if name != "mtp_angle_l"]
    assert np.array_equal(level.columns(kept), motion.columns(kept))
    steep = level_toes(skeleton, with_heel_up(np.full(40, 60.0)), HEEL_FREE)
    assert np.allclose(np.rad2deg(steep["mtp_angle_l"]), -45, atol=0.01)


@pytest.mark.parametrize("contacts", [None, {"l": "planted", "r": "planted"}, {"l": "swing", "r": "planted"},
                                      {"l": "planted", "r": "heel_free"}])
def test_toes_of_other_feet_stay_as_they_were(contacts):
    motion = with_heel_up(np.linspace(0, 40, 40))
    level = level_toes(Skeleton.default(), motion, contacts)
    assert np.array_equal(level["mtp_angle_l"], motion["mtp_angle_l"])


def test_toes_that_were_measured_stay_as_measured():
    measured = with_heel_up(np.linspace(0, 40, 40), np.linspace(0, -20, 40))
    assert sides_to_level(measured, HEEL_FREE) == []
    assert level_toes(Skeleton.default(), measured, HEEL_FREE) is measured
