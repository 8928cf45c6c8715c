"""The floor under the feet against OpenSim's own contact force; the measures used to compare with force
plates; the lesson's stored results."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bige.dynamics import Ground, MusculoskeletalModel, body_motions, contact_force, filtered_kinematics
from bige.files import InputError
from bige.motion import COORDINATES, analytic_squat
from bige.opensim_process import run_opensim
from bige.static_optimisation import solve_qp
from bige.dynamics import sphere_forces
from bige.validation import (OPENSIM_NAMES, curve_agreement, force_plates, opensim_ground_force,
                             plate_moments, random_spheres, zero_moment_point)

RESULTS = Path(__file__).resolve().parents[1] / "nbs" / "results"

HAS_OPENSIM = "BIGE_OPENSIM_PYTHON" in os.environ or importlib.util.find_spec("opensim") is not None
needs_opensim = pytest.mark.skipif(
    not HAS_OPENSIM, reason="no opensim package: pip install opensim, or set BIGE_OPENSIM_PYTHON")


def whole_model_forces(model_path, states_path, out_path, names):
    """Force and moment of the floor on every contact sphere of a model; states (N, 2, 33): coordinates
    and speeds."""
    import numpy, opensim

    opensim.Logger.setLevelString("off")
    model = opensim.Model(model_path)
    state = model.initSystem()
    coordinates = [model.getCoordinateSet().get(n) for n in names]
    forces = [
        opensim.SmoothSphereHalfSpaceForce.safeDownCast(f)
        for f in model.getForceSet()
        if f.getConcreteClassName() == "SmoothSphereHalfSpaceForce"
    ]
    rows = []
    for q, qd in numpy.load(states_path):
        for c, x, v in zip(coordinates, q, qd):
            c.setValue(state, x, False)
            c.setSpeedValue(state, v)
        model.realizeDynamics(state)
        rows.append([[f.getRecordValues(state).get(i) for i in range(3)] for f in forces])
    numpy.save(out_path, numpy.array(rows))
    print("\n".join(f.getName() for f in forces))


@needs_opensim
@pytest.mark.parametrize("ground",
                         [Ground(), Ground(static_friction=0.9, dynamic_friction=0.6, dissipation=1.0)],
                         ids=["standard", "other friction"])
def test_contact_agrees_with_opensim(ground, tmp_path):
    radius = 0.032
    states = random_spheres(radius)
    np.save(tmp_path / "states.npy", states)
    run_opensim(opensim_ground_force, str(tmp_path / "states.npy"), str(tmp_path / "out.npy"), radius,
                {theirs: getattr(ground, ours) for theirs, ours in OPENSIM_NAMES.items()})
    truth = np.load(tmp_path / "out.npy")
    force, point = contact_force(states[:, :3], states[:, 3:6], states[:, 6:], radius, ground)
    assert np.abs(truth[:, 1]).max() > 2000 and np.abs(truth[:, 0]).max() > 500
    assert np.abs(force - truth[:, :3]).max() < 1e-3
    moment = np.cross(point - states[:, :3], force)
    assert np.abs(moment - truth[:, 3:]).max() < 1e-4


@needs_opensim
def test_all_twelve_spheres_of_a_model_agree_with_opensim(shared, tmp_path):
    path = (
        shared
        / "fieldstudy_s0_72kg/squat"
        / "LaiArnoldModified2017_poly_withArms_weldHand_scaled_adjustedMA_contacts.osim"
    )
    skeleton, rng, count = MusculoskeletalModel(path).skeleton, np.random.default_rng(1), 60
    q, qd = rng.uniform(-0.2, 0.2, (count, 33)), rng.uniform(-0.3, 0.3, (count, 33))
    q[:, [i for i, n in enumerate(COORDINATES) if n.startswith("knee")]] = rng.uniform(0, 1.5, (count, 2))
    height = COORDINATES.index("pelvis_ty")
    q[:, height] -= np.quantile(skeleton.contact_points(q)[..., 1], 0.4, axis=1) + 0.002
    np.save(tmp_path / "states.npy", np.stack([q, qd], 1))
    names = run_opensim(whole_model_forces, str(path), str(tmp_path / "states.npy"),
                        str(tmp_path / "out.npy"), list(COORDINATES)).split()
    forces = sphere_forces(skeleton, body_motions(skeleton, q, qd, 0 * q)[0], Ground())[0]
    order = [next(i for i, n in enumerate(names) if sphere.name in n) for sphere in skeleton.contacts]
    truth = np.load(tmp_path / "out.npy")[:, order]
    assert len(set(order)) == 12 and (truth[..., 1] > 10).mean() > 0.2
    assert np.abs(forces - truth).max() < 1e-3 + 1e-6 * np.abs(truth).max()


# plates


@pytest.fixture(scope="module")
def squat():
    """A squat solved frame by frame: model, result, reference."""
    model, motion = MusculoskeletalModel(), analytic_squat(reps=1, depth_deg=80)
    return model, solve_qp(model, motion), filtered_kinematics(motion)


def pressed(result):
    """What two ideal plates would report: forces, centres of pressure, couples."""
    points, forces = result.contact_points.reshape(-1, 2, 6, 3), result.ground_forces.reshape(-1, 2, 6, 3)
    total = forces.sum(2)
    centre = (points * forces[..., 1:2]).sum(2) / total[..., 1:2]
    return total, centre, np.cross(points - centre[:, :, None], forces).sum(2)[..., 1]


def plate_file(path, time, forces, points, couples, prefix="ground_force_{}_"):
    columns = {}
    for k in range(2):
        p = prefix.format(k + 1)
        columns |= (
            {p + "v" + c: forces[:, k, i] for i, c in enumerate("xyz")}
            | {p + "p" + c: points[:, k, i] for i, c in enumerate("xyz")}
            | {p + "my": couples[:, k]}
        )
    lines = [
        "plates",
        f"nRows={len(time)}",
        f"nColumns={len(columns) + 1}",
        "inDegrees=no",
        "endheader",
        "\t".join(["time", *columns]),
    ]
    lines += ["\t".join(f"{x:.9g}" for x in row) for row in np.column_stack([time, *columns.values()])]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_plates_give_back_the_moments_that_made_them(squat):
    model, result, (q, qd, qdd) = squat
    moments = plate_moments(model.skeleton, (q, qd, qdd), *pressed(result))
    legs = [i for i, n in enumerate(COORDINATES) if n.startswith(("hip", "knee", "ankle"))]
    assert np.abs(result.moments[:, legs]).max() > 40
    assert np.abs(moments - result.moments)[:, legs].max() < 0.5
    force, point, moment = pressed(result)
    without = plate_moments(model.skeleton, (q, qd, qdd), force, point + [0.02, 0, 0], moment)
    ankle = COORDINATES.index("ankle_angle_r")
    assert np.abs(without - moments)[:, ankle].mean() > 4  # half of body weight, 2 cm off


def test_pressure_follows_the_zero_moment_point(squat):
    """A solved squat's resultant passes where posture and masses say it must, up to the pelvis' small
    reserve."""
    model, result, (q, qd, qdd) = squat
    forces, points, _ = pressed(result)
    centre = (points * forces[..., 1:2]).sum(1) / forces[..., 1].sum(1, keepdims=True)
    assert np.abs(zero_moment_point(model.skeleton, q, qd, qdd) - centre[:, [0, 2]]).max() < 0.01


def test_zero_moment_point_of_a_still_body_is_below_its_mass(squat):
    model = squat[0]
    q = np.random.default_rng(2).uniform(-0.4, 0.4, (20, 33))
    q[:, COORDINATES.index("pelvis_ty")] = 1
    point = zero_moment_point(model.skeleton, q, 0 * q, 0 * q)
    assert np.abs(point - model.skeleton.centre_of_mass(q)[:, [0, 2]]).max() < 1e-9
    moving = zero_moment_point(model.skeleton, q, 0 * q,
                               0 * q + 2.0 * (np.arange(33) == COORDINATES.index("pelvis_tx")))
    assert (moving[:, 0] < point[:, 0] - 0.05).all()  # who speeds up forward must push behind


def test_plate_file_is_read_at_the_times_asked_for(squat, tmp_path):
    _, result, _ = squat
    forces, points, couples = pressed(result)
    time = result.motion.time
    path = plate_file(tmp_path / "grf.mot", time, forces, points, couples)
    half = (time[10:-10:2] + time[11:-9:2]) / 2
    read = force_plates(path, half)
    for got, put in zip(read, (forces, points, couples)):
        want = np.stack([np.interp(half, time, c) for c in put.reshape(len(time), -1).T], 1)
        assert (
            np.abs(got.reshape(len(half), -1) - want).max() < 0.06 * np.abs(want).max()
        )  # the couples are small and quick, and filtered
    other = plate_file(tmp_path / "other.mot", time, forces, points, couples, "plate{}_")
    assert np.array_equal(force_plates(other, half, plates=("plate1_", "plate2_"))[0], read[0])


def test_wrong_plate_files_are_refused(squat, tmp_path):
    time = squat[1].motion.time
    path = plate_file(tmp_path / "grf.mot", time, *pressed(squat[1]))
    with pytest.raises(InputError, match="no column left_vx.*prefixes"):
        force_plates(path, time, plates=("left_", "right_"))
    with pytest.raises(InputError, match="same trial"):
        force_plates(path, time + 5)


def test_agreement_tells_bias_from_shape():
    x = np.sin(np.linspace(0, 7, 100))
    assert curve_agreement(x + 2, x) == pytest.approx({"RMSE": 2, "r": 1, "bias": 2})
    assert curve_agreement(-x, x)["r"] == pytest.approx(-1) and np.isnan(curve_agreement(x, 0 * x)["r"])


# what the lesson stores


def table(name):
    return pd.read_csv(RESULTS / f"validation_{name}.csv")


def test_stored_results_meet_the_aims():
    runs, muscles, plates = table("opencap_runs"), table("opencap"), table("repetitions")
    assert (runs.status == "Solve_Succeeded").all() and (plates.status == "Solve_Succeeded").all()
    assert (
        runs[runs.settings == "ours"].RMSE.mean() <= 0.055
        and runs[runs.settings == "their conditions"].RMSE.max() < 0.03
    )
    ours = muscles[muscles.settings == "ours"].set_index("muscle")
    assert ours.loc[["vaslat", "vasmed", "vasint"], "r"].min() >= 0.98 and ours.loc["soleus", "r"] >= 0.97
    tracked = plates[plates["mode"] == "tracking"]
    assert (
        len(tracked) >= 3
        and tracked.vertical.mean() <= 5
        and tracked[["vertical right", "vertical left"]].mean().max() <= 8
    )
    leaning = plates[plates.squats == "asymmetric"]
    assert (np.sign(leaning["right - left"]) == np.sign(leaning["right - left, plates"])).all()


@pytest.mark.slow
def test_stored_results_are_those_of_today(shared):
    """One of OpenCap's squats solved again: about a minute."""
    from bige.motion import read_motion
    from bige.tracking import track

    folder = shared / "fieldstudy_s0_72kg/squat"
    model = MusculoskeletalModel(
        folder / "LaiArnoldModified2017_poly_withArms_weldHand_scaled_adjustedMA_contacts.osim"
    )
    theirs = read_motion(folder / "Squats_0_3_kinematics_activations.mot")
    result = track(model, read_motion(folder / "Squats_0.mot"), theirs.time[0], theirs.time[-1], intervals=50)
    found = np.stack([np.interp(theirs.time, result.motion.time, a) for a in result.motion.activations().T],
                     1)
    runs = table("opencap_runs")
    stored = runs[(runs.squat == 3) & (runs.settings == "ours")].iloc[0]
    assert curve_agreement(found.ravel(), theirs.activations().ravel())["RMSE"] == pytest.approx(
        stored.RMSE, abs=0.01)
