"""Equations of motion against OpenSim and against themselves, the filter, and what a person needs."""

import importlib.util

import numpy as np
import pytest

from bige.dynamics import MusculoskeletalModel, beyond_range, body_motions, contact_jacobian, inverse_dynamics
from bige.filters import lowpass
from bige.motion import GRAVITY
from bige.files import InputError
from bige.motion import COORDINATES, analytic_squat
from bige.opensim_process import run_opensim
from bige.skeleton import Skeleton

needs_opensim = pytest.mark.skipif(importlib.util.find_spec("opensim") is None,
                                   reason="OpenSim is not installed (pip install --no-deps opensim==4.6)")


def opensim_inverse_dynamics(model_path, out, coordinates, q, qd, qdd):
    import numpy as np, opensim as osim

    osim.Logger.setLevelString("error")
    model = osim.Model(model_path)
    for i in range(model.getForceSet().getSize()):
        model.updForceSet().get(i).set_appliesForce(False)
    state = model.initSystem()
    handles = {}
    for name in coordinates:
        handles[name] = [model.getCoordinateSet().get(name)]
        if name.startswith("knee") and model.getCoordinateSet().contains(name + "_beta"):
            handles[name].append(model.getCoordinateSet().get(name + "_beta"))
    place = {}
    for name, coupled in handles.items():
        for h in coupled:
            state.setU(osim.Vector(state.getNU(), 0.0))
            h.setSpeedValue(state, 1.0)
            place[h.getName()] = int(np.argmax(np.abs(state.getU().to_numpy())))
    solver, tau = osim.InverseDynamicsSolver(model), np.zeros(np.shape(q))
    for n in range(len(q)):
        accelerations = osim.Vector(state.getNU(), 0.0)
        for i, name in enumerate(coordinates):
            for h in handles[name]:
                h.setValue(state, q[n][i], False)
                h.setSpeedValue(state, qd[n][i])
                accelerations.set(place[h.getName()], qdd[n][i])
        forces = solver.solve(state, accelerations).to_numpy()
        tau[n] = [sum(forces[place[h.getName()]] for h in handles[name]) for name in coordinates]
    np.save(out, tau)


@needs_opensim
def test_inverse_dynamics_agrees_with_opensim(shared, tmp_path):
    path, rng = shared / "models" / "LaiUhlrich2022.osim", np.random.default_rng(0)
    q, qd, qdd = rng.uniform(-0.5, 0.5, (20, 33)), rng.normal(size=(20, 33)), 5 * rng.normal(size=(20, 33))
    for side in "lr":
        k = COORDINATES.index(f"knee_angle_{side}")
        q[:, k], qd[:, k] = rng.uniform(0.1, 2.0, 20), 0
    out = tmp_path / "tau.npy"
    run_opensim(opensim_inverse_dynamics, str(path), str(out), list(COORDINATES), q.tolist(), qd.tolist(),
                qdd.tolist())
    expected = np.load(out)
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
