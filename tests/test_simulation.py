"""The quadratic program per frame: dynamics against OpenSim, forces against plates, files, resuming, refusals."""
import importlib.util
import json

import numpy as np
import pytest

from bige.motion import ACTIVATIONS, COORDINATES, InputError, Motion, analytic_squat, example_squat, read_motion, write_motion
from bige.muscles import run_opensim
from bige.simulation import (GRAVITY, LEG_RESERVES, QPModel, contact_jacobian, inverse_dynamics, motion_file, outward, read_records, reference,
                             simulate, simulate_files, smooth)
from bige.skeleton import Skeleton

needs_opensim = pytest.mark.skipif(importlib.util.find_spec("opensim") is None, reason="OpenSim is not installed (pip install --no-deps opensim==4.6)")


@pytest.fixture(scope="module")
def model():
    return QPModel()


@pytest.fixture(scope="module")
def squat():
    return analytic_squat(reps=1, depth_deg=90)


@pytest.fixture(scope="module")
def result(model, squat):
    return simulate(squat, model)


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
    run_opensim(opensim_inverse_dynamics, str(path), str(out), list(COORDINATES), q.tolist(), qd.tolist(), qdd.tolist())
    expected = np.load(out)
    skeleton = Skeleton.from_osim(path)
    found = inverse_dynamics(skeleton, *outward(skeleton, q, qd, qdd))
    assert np.abs(found - expected).max() / np.abs(expected).max() < 1e-6


def test_pelvis_carries_the_weight_in_any_still_pose():
    skeleton, q = Skeleton.default(), np.random.default_rng(0).uniform(-0.5, 0.5, (10, 33))
    tau = inverse_dynamics(skeleton, *outward(skeleton, q, 0 * q, 0 * q))
    assert np.allclose(tau[:, 4], skeleton.mass * GRAVITY, rtol=1e-10) and np.abs(tau[:, [3, 5]]).max() < 1e-8


def test_generalised_forces_are_the_gradient_of_potential_energy():
    skeleton, q = Skeleton.default(), np.random.default_rng(1).uniform(-0.4, 0.4, (1, 33))
    def potential(q):
        poses, _ = outward(skeleton, q, 0 * q, 0 * q)
        return sum(b.mass * GRAVITY * (poses[n].p + poses[n].R @ b.mass_center)[:, 1] for n, b in skeleton.bodies.items() if n in poses)
    steps = 1e-5 * np.eye(33)
    gradient = (potential(q + steps) - potential(q - steps)) / 2e-5
    assert np.allclose(inverse_dynamics(skeleton, *outward(skeleton, q, 0 * q, 0 * q))[0], gradient, atol=1e-5)


def test_contact_points_are_the_skeletons():
    skeleton, q = Skeleton.default(), np.random.default_rng(2).uniform(-0.5, 0.5, (5, 33))
    points, jacobian = contact_jacobian(skeleton, *outward(skeleton, q, 0 * q, 0 * q))
    assert np.allclose(points, skeleton.contact_points(q), atol=1e-10)
    lifted = q + 1e-6 * np.eye(33)[4]
    assert np.allclose(jacobian[:, 4].reshape(5, 12, 3), [0, 1, 0]) and np.allclose(skeleton.contact_points(lifted)[..., 1] - points[..., 1], 1e-6, atol=1e-12)


def test_the_answer_explains_the_motion(model, squat, result):
    """Muscles, motors, reserves and foot forces add up to what the motion needs, within their limits."""
    assert result.status == "Solve_Succeeded"
    a, f = result.motion.activations(), result.ground_forces
    assert a.min() >= 0.01 and a.max() <= 1 and f[..., 1].min() > -1e-6
    assert (np.abs(f[..., [0, 2]]).max(-1) <= 0.8 / np.sqrt(2) * f[..., 1] + 1e-4).all()
    q, qd, qdd = reference(squat)
    muscles, jacobian, need, _ = model.frames(q, qd, qdd)
    left = need - (jacobian @ f.reshape(-1, 36, 1))[..., 0] - (muscles @ a[..., None])[..., 0]
    for name in LEG_RESERVES:
        assert np.allclose(left[:, COORDINATES.index(name)], result.reserves[name], atol=1e-3), name
    assert np.allclose(result.moments, need - (jacobian @ f.reshape(-1, 36, 1))[..., 0])


def test_a_squat_makes_sense(squat, result):
    knee = result.motion["knee_angle_r"]
    assert result.record["mean_vertical_force_bw"] == pytest.approx(1, abs=0.01)
    for name in ("vaslat", "vasmed", "vasint"):
        for side in "lr":
            assert abs(result.motion[f"{name}_{side}/activation"].argmax() - knee.argmax()) < 0.1 * len(knee)
    left, right = (result.motion.activations()[:, k:k + 40] for k in (0, 40))
    assert np.abs(left - right).max() < 0.02  # a symmetric squat on a nearly symmetric body
    assert result.record["largest_pelvis_force_bw"] < 0.03 and result.record["largest_leg_reserve_nm"] < 20


def test_mirror_symmetry(model):
    squat = example_squat()
    a, b = simulate(squat, model), simulate(squat.mirror(), model)
    swapped = np.hstack([b.motion.activations()[:, 40:], b.motion.activations()[:, :40]])
    difference = a.motion.activations() - swapped
    assert np.sqrt((difference ** 2).mean()) < 0.02  # the two legs are fitted separately


def test_height_and_place_do_not_matter(model, squat, result):
    moved = squat.with_columns(("pelvis_tx", "pelvis_ty", "pelvis_tz"), np.stack([squat["pelvis_tx"] + 3, squat["pelvis_ty"] + 0.2, squat["pelvis_tz"] - 1], 1))
    other = simulate(moved, model)
    assert np.abs(other.motion.activations() - result.motion.activations()).max() < 1e-3
    assert other.record["ground_height_m"] == pytest.approx(result.record["ground_height_m"] + 0.2, abs=1e-3)


def test_a_part_equals_the_whole(model, squat, result):
    part = simulate(squat, model, start=1.0, end=2.0)
    rows = (squat.time >= 1 - 1e-9) & (squat.time <= 2 + 1e-9)
    assert np.abs(part.motion.activations() - result.motion.activations()[rows]).max() < 1e-9


def test_speed_and_determinism(model, squat, result):
    again = simulate(squat, model)
    assert np.array_equal(again.motion.values, result.motion.values)
    assert again.record["cpu_s"] / len(squat.time) < 0.02


def test_filter_passes_slow_and_stops_fast():
    t = np.arange(300) / 60
    slow, fast = np.sin(2 * np.pi * 0.5 * t), np.sin(2 * np.pi * 15 * t)
    out = smooth(np.stack([slow, fast], 1), 60, 4)
    assert np.abs(out[60:-60, 0] - slow[60:-60]).max() < 0.01 and np.abs(out[60:-60, 1]).max() < 0.01


def changed(motion, name, value):
    return motion.with_columns((name,), np.broadcast_to(value, motion.time.shape))


@pytest.mark.parametrize("change, message", [
    (lambda m: changed(m, "knee_angle_r", np.deg2rad(200)), "knee_angle_r of 200 degrees"),
    (lambda m: changed(m, "pelvis_ty", 5 * m.time), "feet more than 10 cm above the ground"),
    (lambda m: changed(m, "pelvis_tilt", np.pi), "lower than the feet"),
    (lambda m: m.slice(0, 0.3), "at least 0.50 s"),
    (lambda m: changed(m, "hip_flexion_l", np.where(m.time > 1, np.nan, 0.0)), "not numbers"),
    (lambda m: Motion(m.time, m.values[:, :10], m.names[:10]), "missing"),
], ids=["far out of range", "flying", "upside down", "short", "nan", "columns"])
def test_refused_motions(model, squat, change, message):
    with pytest.raises(InputError, match=message):
        simulate(change(squat), model)


def test_refused_requests(model, squat, tmp_path):
    with pytest.raises(InputError, match="qp"):
        simulate(squat, model, mode="magic")
    with pytest.raises(InputError, match="within the trial"):
        simulate(squat, model, start=50, end=60)
    with pytest.raises(InputError, match="no such file|no readable file"):
        simulate(squat, tmp_path / "nowhere.osim")


def test_a_model_without_mass_is_refused(shared, tmp_path, squat):
    import re
    text = (shared / "models" / "LaiUhlrich2022.osim").read_text()
    weightless = tmp_path / "weightless.osim"
    weightless.write_text(re.sub(r"<mass>[^<]*</mass>", "<mass>0</mass>", text))
    with pytest.raises(InputError, match="bodies with mass"):
        simulate(squat, weightless)


def test_clipping_is_reported(model, squat):
    clipped = simulate(changed(squat, "hip_adduction_r", np.deg2rad(30)), model).record["clipped_deg"]
    assert clipped["hip_adduction_r"] == pytest.approx(10, abs=0.1)


def test_a_deep_knee_is_kept_as_recorded(model):
    deep = analytic_squat(reps=1, depth_deg=148)
    result = simulate(deep, model)
    assert np.rad2deg(result.motion["knee_angle_r"].max()) > 145 and 7 < result.record["clipped_deg"]["knee_angle_r"] < 10


def test_a_tilted_shoe_still_stands_flat(model, squat, result):
    """Ten degrees of constant ankle offset must not put the person on tiptoe."""
    tilted = squat
    for name in ("ankle_angle_l", "ankle_angle_r"):
        tilted = changed(tilted, name, squat[name] - np.deg2rad(10))
    heel = [0, 6]
    forces = simulate(tilted, model).ground_forces[:, heel, 1]
    assert np.median(forces.sum(1)) > 0.05 * result.record["body_weight_n"]


def test_files(result, tmp_path):
    result.save(tmp_path, "one")
    motion = read_motion(motion_file(tmp_path, "one"))
    assert motion.names == COORDINATES + ACTIVATIONS and np.allclose(motion.values, result.motion.values, atol=1e-5)
    forces = read_motion(tmp_path / "ground_forces_one.mot")
    total = forces["ground_force_r_vy"] + forces["ground_force_l_vy"]
    assert np.allclose(total / result.record["body_weight_n"], result.vertical_force, atol=1e-5)
    record = json.loads((tmp_path / "simulation.json").read_text())
    assert record["status"] == "Solve_Succeeded" and record["activation_names"] == list(ACTIVATIONS) and {"iterations", "cpu_s", "peak_gb"} <= set(record)
    result.save(tmp_path, "two")
    assert set(json.loads((tmp_path / "simulation.json").read_text())) == {"one", "two"}
    assert not [p for p in tmp_path.iterdir() if p.suffix not in (".mot", ".json")]


def test_free_moment_and_pressure_centre_replace_the_spheres(result):
    """Force at the centre of pressure plus free moment must act like the six sphere forces together."""
    from bige.simulation import foot_force_columns
    names, columns = foot_force_columns(result)
    table = dict(zip(names, columns.T))
    for f, side in enumerate("rl"):
        force, point = result.ground_forces[:, 6 * f:6 * f + 6], result.contact_points[:, 6 * f:6 * f + 6]
        moment = np.cross(point, force).sum(1)
        v, p, m = (np.stack([table[f"ground_{k}_{side}_{pre}{c}"] for c in "xyz"], 1) for k, pre in (("force", "v"), ("force", "p"), ("torque", "")))
        assert np.allclose((np.cross(p, v) + m)[:, 1], moment[:, 1], atol=1e-6)
        assert np.abs((np.cross(p, v) + m - moment)[:, [0, 2]]).max() < 5.0  # the sole is flat to a few millimetres


def test_trials_are_kept_and_resumed(squat, tmp_path):
    write_motion(squat, tmp_path / "a.mot")
    write_motion(squat.mirror(), tmp_path / "b.mot")
    (tmp_path / "broken.mot").write_text("nothing\n")
    paths = [tmp_path / f"{n}.mot" for n in ("a", "b", "broken", "missing")]
    records = simulate_files(paths, tmp_path / "out", jobs=2)
    assert [records[n]["status"] for n in ("a", "b", "broken", "missing")] == ["Solve_Succeeded"] * 2 + ["Refused"] * 2
    assert "broken.mot" in records["broken"]["reason"] and not motion_file(tmp_path / "out", "broken").exists()
    calls = []
    motion_file(tmp_path / "out", "b").unlink()
    simulate_files(paths[:2], tmp_path / "out", done=lambda trial, record: calls.append(trial))
    assert calls == ["b"] and motion_file(tmp_path / "out", "b").exists()
    write_motion(analytic_squat(reps=1, depth_deg=70), tmp_path / "a.mot")
    simulate_files(paths[:2], tmp_path / "out", done=lambda trial, record: calls.append(trial))
    assert calls == ["b", "a"] and set(read_records(tmp_path / "out")) == {"a", "b", "broken", "missing"}


def test_same_names_are_refused(tmp_path):
    with pytest.raises(InputError, match="same name"):
        simulate_files([tmp_path / "x" / "a.mot", tmp_path / "y" / "a.mot"], tmp_path / "out")


@needs_opensim
def test_vertical_force_against_plates(shared):
    folder = next(shared.glob("labval_s4*/squat"))
    result = simulate(read_motion(folder / "squats1_manual_scaling_ik.mot"), folder / "manually_scaled.osim", start=2, end=12)
    plates = read_motion(folder / "squats1_grf.mot")
    total = smooth(sum(plates[f"ground_force_{k}_vy"] for k in (1, 2)), plates.rate_hz, 6)
    measured = np.interp(result.motion.time, plates.time, total) / result.record["body_weight_n"]
    assert np.sqrt(((result.vertical_force - measured) ** 2).mean()) < 0.05
    assert np.corrcoef(result.vertical_force, measured)[0, 1] > 0.97


@needs_opensim
def test_asymmetric_squat_loads_the_right_side_more_or_less_as_measured(shared):
    folder = next(shared.glob("labval_s4*/squat_asym"))
    motion, plates = read_motion(folder / "squatsAsym1_manual_scaling_ik.mot"), read_motion(folder / "squatsAsym1_grf.mot")
    result = simulate(motion, folder.parent / "squat" / "manually_scaled.osim", start=2, end=10)
    feet = result.foot_forces[..., 1]
    measured = np.stack([np.interp(result.motion.time, plates.time, plates[f"ground_force_{k}_vy"]) for k in (1, 2)], 1)
    assert np.sign((feet[:, 0] - feet[:, 1]).mean()) == np.sign((measured[:, 0] - measured[:, 1]).mean())


@pytest.mark.slow
@needs_opensim
def test_agreement_with_opencaps_own_simulation(shared):
    folder = next(shared.glob("fieldstudy_s0*/squat"))
    model = QPModel(folder / "LaiArnoldModified2017_poly_withArms_weldHand_scaled_adjustedMA_contacts.osim")
    theirs = read_motion(folder / "Squats_0_2_kinematics_activations.mot")
    ours = simulate(read_motion(folder / "Squats_0.mot"), model, start=theirs.time[0], end=theirs.time[-1]).motion
    for muscle in ("vaslat", "vasmed", "vasint", "soleus"):
        a, b = (np.concatenate([np.interp(theirs.time, m.time, m[f"{muscle}_{s}/activation"]) for s in "lr"]) for m in (theirs, ours))
        assert np.corrcoef(a, b)[0, 1] > 0.85, muscle
