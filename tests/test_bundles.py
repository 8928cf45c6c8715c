"""Bundles: OpenSim and MuJoCo compute from them what we compute; files replace nothing unasked."""
import importlib.util
import json
import os
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bige.bundles import (BUNDLES, actuator_forces, constraint_polynomial, export_bundles,
                          find_simulation, followers, moments_under_loads, mujoco_joints, mujoco_mass,
                          mujoco_positions,
                          outside_forces, path_arms, phase_percent,
                          positive_direction, read_exported, run_setup, to_mjcf)
from bige.cli import main
from bige.dynamics import MusculoskeletalModel, body_motions, inverse_dynamics
from bige.exercises import load_exercise
from bige.external_load import loaded_skeleton, read_load
from bige.files import InputError
from bige.force_plates import PlateForces, read_external_loads, read_force_table
from bige.geometry import Curve
from bige.motion import (ACTIVATIONS, COORDINATES, GRAVITY, MUSCLES, TRANSLATIONS, Motion, analytic_squat,
                         example_squat, read_motion, write_motion)
from bige.muscles import default_geometry
from bige.opensim_process import run_opensim
from bige.reference_set import load_simulations, shipped_sets
from bige.simulation import motion_file, read_records, simulate
from bige.skeleton import Skeleton, open_model
from faults import Case, try_every

HAS_OPENSIM = "BIGE_OPENSIM_PYTHON" in os.environ or importlib.util.find_spec("opensim") is not None
needs_opensim = pytest.mark.skipif(not HAS_OPENSIM, reason="OpenSim is not installed")
SKELETON = Skeleton.default()


def table_of(path: Path) -> dict[str, np.ndarray]:
    """Columns of a table that OpenSim wrote, by name."""
    lines = path.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip() == "endheader") + 1
    values = np.array([line.split() for line in lines[start + 1:]], float)
    return dict(zip(lines[start].split("\t"), values.T))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Path:
    """A squat's lower half and its simulation beside it."""
    folder = tmp_path_factory.mktemp("simulated")
    write_motion(example_squat().slice(0.7, 1.7), folder / "squat.mot")
    simulate(read_motion(folder / "squat.mot"), mode="qp").save(folder, "squat")
    return folder


@pytest.fixture(scope="module")
def bundle(simulated, tmp_path_factory) -> Path:
    """The bundle of that squat for OpenSim."""
    out = tmp_path_factory.mktemp("bundle") / "opensim"
    assert main(["export", str(simulated / "squat.mot"), "--as", "opensim", "--out", str(out)]) == 0
    return out


# OpenSim

def moments_in(results: dict[str, np.ndarray], name: str) -> np.ndarray:
    """Moment of a coordinate, with that of the patella, which follows the knee."""
    total = results.get(f"{name}_moment", results.get(f"{name}_force"))
    return total + results.get(f"{name}_beta_force", 0)


@needs_opensim
def test_opensim_finds_our_joint_moments(simulated, bundle):
    run_opensim(run_setup, str(bundle), "setup_inverse_dynamics.xml")
    theirs = table_of(bundle / "results" / "inverse_dynamics.sto")
    ours = read_motion(simulated / "kinetics_squat_muscle_driven.mot")
    assert np.allclose(theirs["time"], ours.time, atol=1e-6)
    for name in COORDINATES[6:]:
        if name.startswith("mtp"):
            continue                # the bundle's force acts on the hindfoot, ours on the toes too
        difference = moments_in(theirs, name) - ours[f"{name}_moment"]
        assert np.sqrt((difference[6:-6] ** 2).mean()) < 1.0, name
    assert np.abs(ours["knee_angle_r_moment"]).max() > 50 < np.abs(ours["hip_flexion_l_moment"]).max()
    residual = np.linalg.norm([theirs[f"{name}_force"] for name in TRANSLATIONS], axis=0)[6:-6]
    weight = read_records(simulated)["squat"]["body_weight_n"]
    assert np.sqrt((residual ** 2).mean()) < 0.02 * weight


@needs_opensim
def test_opensim_reads_the_external_loads(simulated, bundle, tmp_path):
    """Without them the whole body weight is a residual: the setup file cannot have been run on air."""
    for file in bundle.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    setup = tmp_path / "setup_inverse_dynamics.xml"
    text = setup.read_text()
    assert "<external_loads_file>external_loads.xml</external_loads_file>" in text
    setup.write_text(text.replace("<external_loads_file>external_loads.xml</external_loads_file>", ""))
    run_opensim(run_setup, str(tmp_path), setup.name)
    lifted = table_of(tmp_path / "results" / "inverse_dynamics.sto")["pelvis_ty_force"]
    weight = read_records(simulated)["squat"]["body_weight_n"]
    assert abs(lifted.mean() / weight - 1) < 0.2


@needs_opensim
def test_opensim_finds_our_joint_loads(simulated, bundle):
    run_opensim(run_setup, str(bundle), "setup_joint_reaction.xml")
    theirs = table_of(bundle / "results" / "joint_reaction_JointReaction_ReactionLoads.sto")
    ours = read_motion(simulated / "kinetics_squat_joint_loads.mot")
    joints = {j.child: j.name for j in SKELETON.tree + SKELETON.coupled}
    seen = 0
    for column in (name for name in ours.names if name.endswith("_fx")):
        joint, child = column[:-3].split("_on_")
        a = ours.columns([f"{column[:-1]}{axis}" for axis in "xyz"])
        b = np.stack([theirs[f"{joints[child]}_on_{child}_in_{child}_f{axis}"] for axis in "xyz"], 1)
        peak, away = np.linalg.norm(a, axis=1).max(), np.linalg.norm(a - b, axis=1)[6:-6]
        assert away.max() < 0.01 * peak + 25, joint
        seen += peak > 1000
    assert seen >= 8                # both hips, knees, patellae and ankles


@needs_opensim
def test_opensim_finds_our_activations(simulated, bundle):
    """Static optimisation with other muscle curves and another optimiser: the vasti agree."""
    run_opensim(run_setup, str(bundle), "setup_static_optimization.xml")
    theirs = table_of(bundle / "results" / "static_optimization_StaticOptimization_activation.sto")
    ours = read_motion(motion_file(simulated, "squat"))
    for muscle in ("vasint", "vaslat", "vasmed"):
        a, b = ours[f"{muscle}_r/activation"], theirs[f"{muscle}_r"]
        assert abs(a.mean() - b.mean()) < 0.06 and a.mean() > 0.2, muscle
    for name in ("knee_angle_r", "knee_angle_l", "ankle_angle_r", "ankle_angle_l"):
        assert np.abs(theirs[f"reserve_{name}"]).max() < 0.5        # of 1 N·m
    forces = table_of(bundle / "results" / "static_optimization_StaticOptimization_force.sto")
    mine = table_of(bundle / "muscle_forces.sto")
    assert abs(forces["vaslat_r"].mean() / mine["vaslat_r"].mean() - 1) < 0.25


@needs_opensim
def test_opensim_finds_our_bodies_and_moment_arms(simulated, bundle):
    run_opensim(run_setup, str(bundle), "setup_muscle_analysis.xml")
    motion = read_motion(motion_file(simulated, "squat"))
    places = table_of(bundle / "results" / "muscle_analysis_BodyKinematics_pos_global.sto")
    q = motion.coordinates()
    bodies = ("calcn_r", "torso", "patella_l")
    centres = SKELETON.points(q, bodies, np.array([SKELETON.bodies[b].mass_center for b in bodies]))
    for k, body in enumerate(bodies):           # of mass centres; OpenSim filters the coordinates once more
        theirs = np.stack([places[f"{body}_{axis.upper()}"] for axis in "xyz"], 1)
        assert np.abs(theirs - centres[:, k])[10:-10].max() < 0.004, body
    arms = table_of(bundle / "results" / "muscle_analysis_MuscleAnalysis_MomentArm_knee_angle_r.sto")
    _, ours = default_geometry()(q)
    knee, muscles = COORDINATES.index("knee_angle_r"), [f"{m}_r" for m in MUSCLES]
    exact = path_arms(MusculoskeletalModel(), q)
    for name in ("vaslat_r", "recfem_r", "bflh_r"):
        column = 40 + muscles.index(name)
        assert np.abs(arms[name] - ours[:, column, knee]).max() < 0.006, name
        assert np.abs(arms[name] - exact[:, column, knee]).max() < 0.0005, name


def test_the_patella_follows_in_radians(bundle):
    table = table_of(bundle / "coordinates.mot")
    assert "inDegrees=no" in (bundle / "coordinates.mot").read_text()[:400]
    assert np.abs(table["knee_angle_r_beta"] - table["knee_angle_r"]).max() < 1e-9
    assert 1.5 < table["knee_angle_r"].max() < 3


def test_the_readme_says_what_the_tools_should_find(simulated, bundle):
    text = (bundle / "README.txt").read_text()
    moments = read_motion(simulated / "kinetics_squat_muscle_driven.mot")
    knee = float(re.search(r"moment of knee_angle_r: ([\d.]+)", text)[1])
    hip = float(re.search(r"force hip_r_on_femur_r: (\d+)", text)[1])
    loads = read_motion(simulated / "kinetics_squat_joint_loads.mot")
    size = np.linalg.norm(loads.columns([f"hip_r_on_femur_r_f{x}" for x in "xyz"]), axis=1).max()
    assert abs(knee - np.abs(moments["knee_angle_r_moment"]).max()) < 1 and abs(hip - size) < 1
    named = re.findall(r"^  ([\w.]+\.\w+)  +", text, re.M)
    assert len(named) == 11 and all((bundle / name).is_file() for name in named)


def test_external_loads_are_those_of_the_simulation(simulated, bundle):
    loads, bodies = read_external_loads(bundle / "external_loads.xml")
    own = read_exported(simulated / "squat.mot").simulation.forces
    assert bodies == {"r": "calcn_r", "l": "calcn_l"}
    assert np.array_equal(loads.forces, own.forces) and np.array_equal(loads.couples, own.couples)
    assert own.forces[:, :, 1].sum(1).mean() > 600 and np.abs(own.couples).max() > 0.1


def test_forces_and_paths_of_the_bundle_exist(bundle):
    """Every file that a setup file names lies in the folder, by a relative path."""
    named = set()
    for setup in bundle.glob("*.xml"):
        for element in ET.parse(setup).iter():
            if element.tag.endswith(("_file", "_files", "datafile")) and element.text:
                named.add(element.text.strip())
    named -= {"inverse_dynamics.sto"}           # a result
    assert named >= {"model.osim", "coordinates.mot", "external_loads.xml", "external_loads.mot",
                     "actuators.xml", "muscle_forces.sto"}
    assert all((bundle / name).is_file() for name in named)
    assert {f.name for f in bundle.iterdir() if f.is_file()} - {"bundle.json"} <= named | {
        "README.txt", "activations.sto", "opensim.log", *(f.name for f in bundle.glob("setup_*.xml"))}


def test_muscles_and_actuators_deliver_the_moments(simulated):
    """Tendon forces times moment arms plus what actuators add is the moment of inverse dynamics."""
    found = read_exported(simulated / "squat.mot")
    forces = actuator_forces(found)
    arms = path_arms(MusculoskeletalModel(), found.simulated.coordinates())
    muscles = np.einsum("tmi,tm->ti", arms, forces.values[:, :80])
    added = forces.columns([f"reserve_{name}" for name in COORDINATES])
    knee = COORDINATES.index("knee_angle_r")
    expected = moments_under_loads(found.skeleton, found.simulation)
    assert np.abs(muscles + added - expected)[:, knee].max() < 1e-9
    kinetics = read_motion(simulated / "kinetics_squat_muscle_driven.mot")
    assert np.abs(expected[:, knee] - kinetics["knee_angle_r_moment"]).max() < 1
    assert np.abs(added[:, knee]).max() < 0.25 * np.abs(muscles[:, knee]).max()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_a_free_moment_is_a_pair_of_forces(seed):
    rng = np.random.default_rng(seed)
    force, point, couple = rng.normal(size=(3, 4, 1, 3))
    couple[..., [0, 2]] = 0
    pushes = outside_forces(SKELETON, PlateForces(np.arange(4.0), force, point, couple, ("l",)))["calcn_l"]
    about = sum(np.cross(at, push) for push, at in pushes)
    assert np.allclose(sum(push for push, _ in pushes), force[:, 0])
    assert np.allclose(about, np.cross(point, force)[:, 0] + couple[:, 0])


def test_a_load_is_part_of_the_model(tmp_path):
    """Mass, mass centre and inertia of a written and of a given model are those of the loaded skeleton."""
    write_motion(example_squat(), tmp_path / "squat.mot")
    for given_model in (None, tmp_path / "own.osim"):
        out = tmp_path / f"out_{given_model is None}"
        export_bundles(tmp_path / "squat.mot", "opensim", out, load="barbell:40", model=given_model)
        found = Skeleton.from_osim(out / "model.osim")
        expected = loaded_skeleton(SKELETON, read_load("barbell:40"))
        assert abs(found.mass - SKELETON.mass - 40) < 1e-6
        for name, body in expected.bodies.items():
            assert np.allclose(found.bodies[name].inertia, body.inertia, atol=1e-9), name
            assert np.allclose(found.bodies[name].mass_center, body.mass_center, atol=1e-9), name
        if given_model is None:
            export_bundles(tmp_path / "squat.mot", "opensim", tmp_path / "plain")
            (tmp_path / "plain" / "model.osim").rename(tmp_path / "own.osim")
    text = (out / "model.osim").read_text()
    assert "vasmed_r" in text and "WrapCylinder" in text


def test_a_given_model_is_copied_as_it_is(simulated, bundle, tmp_path):
    record = export_bundles(simulated / "squat.mot", "opensim", tmp_path / "out", model=bundle / "model.osim")
    assert (tmp_path / "out" / "model.osim").read_bytes() == (bundle / "model.osim").read_bytes()
    assert record["bundles"][0]["simulation"] is None       # that was of another model


def test_followers_take_their_function(tmp_path):
    """A coupler with slope and scale factor moves the bound coordinate accordingly."""
    export_bundles(_squat(tmp_path), "opensim", tmp_path / "out")
    text = (tmp_path / "out" / "model.osim").read_text()
    at = text.index("CoordinateCouplerConstraint")
    changed = text[:at] + text[at:].replace("1.0 0.0", "2.0 0.5", 1)
    assert changed != text
    (tmp_path / "m.osim").write_text(changed)
    motion = example_squat()
    found = followers(open_model(tmp_path / "m.osim"), motion, "m.osim")
    names = sorted(found)
    assert names == ["knee_angle_l_beta", "knee_angle_r_beta"]
    factors = sorted(float(found[n][50] / motion[n[:-5]][50]) for n in names)
    assert factors[0] == pytest.approx(1) and factors[1] > 1.9


def _squat(folder: Path) -> Path:
    write_motion(example_squat(), folder / "squat.mot")
    return folder / "squat.mot"


def test_without_a_simulation_it_says_so(tmp_path):
    motion = example_squat()
    plain = Motion(motion.time, motion.coordinates(), COORDINATES)
    write_motion(plain, tmp_path / "squat.mot")
    record = export_bundles(tmp_path / "squat.mot", "opensim", tmp_path / "out")
    names = set(record["files"])
    assert not names & {"external_loads.xml", "external_loads.mot", "muscle_forces.sto", "activations.sto"}
    assert "No simulation of this motion was found" in (tmp_path / "out" / "README.txt").read_text()
    setup = (tmp_path / "out" / "setup_inverse_dynamics.xml").read_text()
    assert "external_loads" not in setup and "model.osim" in setup


# which simulation belongs to a motion

def test_simulations_of_other_motions_are_not_taken(simulated, tmp_path):
    found = read_exported(simulated / "squat.mot")
    path, digest, motion = simulated / "squat.mot", default_geometry().digest, found.motion
    assert found.simulation.trial == "squat"
    assert find_simulation(path, motion, "another model") is None
    assert find_simulation(path, motion.slice(0.7, 1.5), digest) is None
    bent = motion.with_columns(COORDINATES, motion.coordinates() + 0.3)
    assert find_simulation(path, bent, digest) is None
    assert read_exported(path, load="barbell:40").simulation is None
    own = read_exported(motion_file(simulated, "squat"))
    assert own.name == "squat" and own.simulation.trial == "squat"


def test_places_of_an_answer(simulated, tmp_path):
    """Beside a sample, in verification/, and in simulations/ by the name in its certificate."""
    source = (simulated / "squat.mot").read_bytes()
    for place, trial in (("verification/qp", "sample_00"), ("simulations", "003_2")):
        folder = tmp_path / place.replace("/", "_")
        folder.mkdir()
        (folder / "sample_00.mot").write_bytes(source)
        result = simulate(read_motion(folder / "sample_00.mot"), mode="qp")
        result.save(folder / place, trial)
        if place == "simulations":
            assert read_exported(folder / "sample_00.mot").simulation is None
            (folder / "certificates").mkdir()
            proof = {"attempts": [{"simulation": "003_1"}, {"simulation": trial}]}
            (folder / "certificates" / "sample_00.json").write_text(json.dumps(proof))
        assert read_exported(folder / "sample_00.mot").simulation.trial == trial


# MuJoCo

def mujoco_model(skeleton: Skeleton, q: np.ndarray):
    mujoco = pytest.importorskip("mujoco", reason="MuJoCo is not installed (pip install mujoco)")
    model = mujoco.MjModel.from_xml_string(ET.tostring(to_mjcf(skeleton, q), encoding="unicode"))
    return mujoco, model, mujoco.MjData(model)


def places_in(skeleton: Skeleton, q: np.ndarray, positions: np.ndarray | None = None) -> np.ndarray:
    """Joint centres and markers (T, P, 3) m by MuJoCo, y up."""
    mujoco, model, data = mujoco_model(skeleton, q)
    names, found = [f"{n}_centre" for n in skeleton.joint_names] + list(skeleton.marker_names), []
    for data.qpos[:] in mujoco_positions(skeleton, q) if positions is None else positions:
        mujoco.mj_forward(model, data)
        found.append(np.array([data.site(name).xpos for name in names]))
    x, y, z = np.moveaxis(np.array(found), -1, 0)
    return np.stack([x, z, -y], -1)


def places_of(skeleton: Skeleton, q: np.ndarray) -> np.ndarray:
    return np.concatenate([skeleton.joint_centres(q), skeleton.marker_positions(q)], 1)


def random_poses(n: int, seed: int = 0) -> np.ndarray:
    """Poses (n, 33) all over the ranges of the coordinates, and half of that beyond."""
    low, high = np.clip(SKELETON.ranges, -3, 3).T
    return np.random.default_rng(seed).uniform(low - (high - low) / 4, high + (high - low) / 4, (n, 33))


@pytest.mark.parametrize("exercise", shipped_sets())
def test_mujoco_stands_as_we_do(exercise):
    """Over a whole repetition of each exercise."""
    done = next(r for r in load_simulations(exercise).values() if r.status == "Solve_Succeeded" and r.correct)
    q = done.motion.coordinates()
    assert np.ptp(q, axis=0).max() > 0.8        # a motion, not one posture
    assert np.linalg.norm(places_in(SKELETON, q) - places_of(SKELETON, q), axis=-1).max() < 1e-9


def test_mujoco_stands_as_we_do_in_random_postures():
    q = random_poses(200)
    away = np.linalg.norm(places_in(SKELETON, q) - places_of(SKELETON, q), axis=-1)
    assert away.max() < 1e-9
    wrong = mujoco_positions(SKELETON, q)
    wrong[:, [j.name for j in mujoco_joints(SKELETON)].index("walker_knee_r_rotation3")] = 0
    assert np.linalg.norm(places_in(SKELETON, q, wrong) - places_of(SKELETON, q), axis=-1).max() > 0.01


def constrained(mujoco, model) -> None:
    model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_CONSTRAINT)


@pytest.mark.parametrize("load", [None, "barbell:40"])
def test_mujoco_moves_as_we_do(load):
    """Inverse dynamics of random motions: masses, mass centres, inertias, axes and gravity at once."""
    skeleton = loaded_skeleton(SKELETON, read_load(load)) if load else SKELETON
    q, rng = random_poses(30, 1), np.random.default_rng(2)
    qd, qdd = rng.normal(size=q.shape), 5 * rng.normal(size=q.shape)
    mujoco, model, data = mujoco_model(skeleton, q)
    constrained(mujoco, model)
    joints, found = mujoco_joints(skeleton), []
    assert [model.joint(i).name for i in range(model.njnt)] == [j.name for j in joints]
    for pose, speed, acceleration in zip(q, qd, qdd):
        slopes = []
        for k, j in enumerate(joints):
            i = COORDINATES.index(j.coordinate)
            first = j.curve.derivative() if j.curve else Curve.polynomial(1.0)
            slope, bend = (float(f(pose[i])) for f in (first, first.derivative()))
            data.qpos[k] = float(j.curve(pose[i])) if j.curve else pose[i]
            data.qvel[k], slopes = slope * speed[i], [*slopes, (i, slope)]
            data.qacc[k] = slope * acceleration[i] + bend * speed[i] ** 2
        mujoco.mj_inverse(model, data)
        total = np.zeros(33)
        for k, (i, slope) in enumerate(slopes):
            total[i] += slope * data.qfrc_inverse[k]
        found.append(total)
    assert np.abs(found).max() > 500
    ours = inverse_dynamics(skeleton, *body_motions(skeleton, q, qd, qdd))
    assert np.abs(np.array(found) - ours).max() < 0.05          # the toes' inertia
    bodies = {name: mujoco_mass(body) for name, body in skeleton.bodies.items()}
    same = inverse_dynamics(replace(skeleton, bodies=bodies), *body_motions(skeleton, q, qd, qdd))
    assert np.abs(np.array(found) - same).max() < 1e-9


def test_mujoco_holds_what_follows():
    """Left to itself the model swings, and the equality constraints keep tibia and patella on their way."""
    q = random_poses(1)
    mujoco, model, data = mujoco_model(SKELETON, q)
    model.opt.gravity[:] = 0
    joints = mujoco_joints(SKELETON)
    start = np.zeros((1, 33))
    for name, value in {"pelvis_ty": 3.0, "knee_angle_r": 0.6, "knee_angle_l": 1.0}.items():
        start[0, COORDINATES.index(name)] = value
    data.qpos[:] = mujoco_positions(SKELETON, start)[0]
    k = [j.name for j in joints].index("knee_angle_r")
    data.qvel[k] = 1.0
    for _ in range(500):
        mujoco.mj_step(model, data)
    assert abs(data.qpos[k] - 0.6) > 0.1
    for j, position in zip(joints, data.qpos):
        if j.curve is not None and j.coordinate == "knee_angle_r":
            expected = np.polynomial.Polynomial(constraint_polynomial(j, SKELETON)[0])(data.qpos[k])
            assert abs(position - expected) < (0.002 if j.kind == "slide" else 0.03), j.name


def test_mujoco_models_of_people(shared):
    """Models of recorded participants; knees with splines, other offsets, welded hands."""
    models = sorted(shared.rglob("*.osim"))
    assert len(models) > 4
    for path in models:
        skeleton = Skeleton.from_osim(path)
        q = random_poses(20)
        assert np.abs(places_in(skeleton, q) - places_of(skeleton, q)).max() < 1e-9, path


def test_what_stands_on_the_ground():
    """The plane lies under the soles, and the spheres touch it alone."""
    q = example_squat().coordinates()
    mujoco, model, data = mujoco_model(SKELETON, q)
    height = model.geom("ground").pos[2]
    assert abs(height - np.median(SKELETON.contact_points(q)[..., 1].min(1))) < 1e-12
    mujoco.mj_resetDataKeyframe(model, data, 0)
    assert np.allclose(data.qpos, mujoco_positions(SKELETON, q[:1])[0])
    data.qpos[1] -= 0.02            # pelvis_ty: press the feet into the ground
    mujoco.mj_forward(model, data)
    pairs = [{model.geom(g).name for g in c.geom} for c in data.contact]
    assert pairs and all("ground" in pair and len(pair) == 2 for pair in pairs)


def test_the_trajectory_file(tmp_path):
    motion = example_squat().with_columns(ACTIVATIONS, np.full((157, 80), 0.1))
    write_motion(motion, tmp_path / "squat.mot")
    export_bundles(tmp_path / "squat.mot", "mujoco", tmp_path / "out")
    motion = read_motion(tmp_path / "squat.mot")
    found = dict(np.load(tmp_path / "out" / "trajectory.npz"))
    names, T = found["joint_names"].tolist(), len(motion.time)
    assert found["qpos"].shape == found["qvel"].shape == (T, len(names)) and len(names) > 33
    for name in COORDINATES:
        assert np.array_equal(found["qpos"][:, names.index(name)], motion[name])
    assert set(np.array(names)[found["is_coordinate"]]) == set(COORDINATES)
    middle = np.gradient(found["qpos"], motion.time, axis=0)
    assert np.abs(found["qvel"] - middle)[2:-2].max() < 0.05 * np.abs(middle).max()
    assert found["activations"].shape == (T, 80) and found["muscle_names"][0] == "addbrev_l"
    mujoco = pytest.importorskip("mujoco")
    model = mujoco.MjModel.from_xml_path(str(tmp_path / "out" / "model.xml"))
    data = mujoco.MjData(model)
    assert [model.joint(i).name for i in range(model.njnt)] == names
    for qpos, pose in zip(found["qpos"], found["root_pose"]):
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        assert np.allclose(data.body("pelvis").xpos, pose[:3], atol=1e-9)
        assert abs(abs(data.body("pelvis").xquat @ pose[3:]) - 1) < 1e-9


# tables

# a coordinate, a point on the body, and where it goes: axis (x forward, y up, z right) and sign
GOES = {
    "pelvis_tilt": ("CLAV", 0, -1), "pelvis_list": ("CLAV", 2, 1), "pelvis_rotation": ("RASI", 0, 1),
    "pelvis_tx": ("CLAV", 0, 1), "pelvis_ty": ("CLAV", 1, 1), "pelvis_tz": ("CLAV", 2, 1),
    "hip_flexion_r": ("RKNE", 0, 1), "hip_adduction_r": ("RKNE", 2, -1), "hip_rotation_r": ("RTOE", 2, -1),
    "knee_angle_r": ("RHEE", 0, -1), "ankle_angle_r": ("RTOE", 1, 1), "subtalar_angle_r": ("RTOE", 2, -1),
    "lumbar_extension": ("CLAV", 0, -1), "lumbar_bending": ("CLAV", 2, 1), "lumbar_rotation": ("RSHO", 0, 1),
    "arm_flex_r": ("RELB", 0, 1), "arm_add_r": ("RELB", 2, -1), "elbow_flex_r": ("RFIN", 0, 1)}


def test_signs_are_as_the_dictionary_says():
    """Flexion is forward (of the knee backward), adduction and internal rotation are towards the middle."""
    rest = SKELETON.marker_positions(np.zeros(33))
    for name, (marker, axis, sign) in GOES.items():
        q = np.zeros(33)
        q[COORDINATES.index(name)] = 0.2
        way = (SKELETON.marker_positions(q) - rest)[SKELETON.marker_names.index(marker), axis]
        assert sign * way > 0.01, name
        words = positive_direction(name)
        assert {-1: words in ("tipped backward", "extension", "adduction", "internal rotation", "inversion",
                              "flexion"), 1: words not in ("adduction", "internal rotation")}[sign], name
    q = np.zeros(33)
    toes, thumb, forearm = (COORDINATES.index(f"{n}_r") for n in ("mtp_angle", "pro_sup", "arm_rot"))
    q[[toes, thumb]] = 0.2
    tip = SKELETON.points(np.stack([0 * q, q]), ["toes_r"], [[0.05, 0, 0]])[:, 0, 1]
    assert tip[1] < tip[0] - 0.005 and positive_direction("mtp_angle_r") == "toes bent downward"
    turned = SKELETON.body_transforms(np.stack([0 * q, q]), ["hand_r"])[:, 0, :3, :3]
    assert (turned[1] @ turned[0].T)[0, 2] > 0.15       # about the vertical, as internal rotation: pronation
    q[:] = 0
    q[forearm] = 0.2
    turned = SKELETON.body_transforms(np.stack([0 * q, q]), ["ulna_r"])[:, 0, :3, :3]
    assert (turned[1] @ turned[0].T)[0, 2] > 0.15
    assert all(positive_direction(name) for name in COORDINATES)


def test_left_is_right_mirrored():
    """A motion mirrored has the same coordinates on the other side, so one word serves both."""
    q = random_poses(1, 3)[0] * 0.2
    motion = Motion.from_arrays([0, 1], np.stack([q, q]))
    mirrored = motion.mirror().coordinates()[0]
    here, there = SKELETON.joint_centres(q), SKELETON.joint_centres(mirrored)
    names = list(SKELETON.joint_names)
    for name in ("ankle", "mtp", "elbow", "acromial", "walker_knee"):
        a, b = here[names.index(f"{name}_r")], there[names.index(f"{name}_l")]
        assert np.abs(a * [1, 1, -1] - b).max() < 2e-3, name


def read_csv(path: Path) -> dict[str, np.ndarray]:
    head, *rows = path.read_text().splitlines()
    return dict(zip(head.split(","), np.array([row.split(",") for row in rows], float).T))


def test_the_table_and_its_dictionary(simulated, tmp_path):
    pd = pytest.importorskip("pandas")
    export_bundles(simulated / "squat.mot", "csv", tmp_path)
    table, words = read_csv(tmp_path / "motion.csv"), pd.read_csv(tmp_path / "dictionary.csv")
    assert list(words["column"]) == list(table) and not words.isna().any().any()
    motion = read_motion(simulated / "squat.mot")
    assert np.allclose(np.deg2rad(table["knee_angle_r_deg"]), motion["knee_angle_r"], atol=1e-8)
    assert np.allclose(table["pelvis_ty_m"], motion["pelvis_ty"], atol=1e-8)
    assert np.allclose(table["vasmed_l_activation"], motion["vasmed_l/activation"], atol=1e-8)
    loads = read_motion(simulated / "kinetics_squat_joint_loads.mot")
    size = np.linalg.norm(loads.columns([f"hip_l_on_femur_l_f{x}" for x in "xyz"]), axis=1)
    weight = read_records(simulated)["squat"]["body_weight_n"]
    assert np.allclose(table["hip_l_load_bw"] * weight, size, rtol=1e-6)
    forces = read_force_table(simulated / "ground_forces_squat.mot")
    assert np.allclose(table["ground_force_r_y_n"], forces.forces[:, 0, 1], atol=1e-5)


def test_the_phase_is_that_of_the_exercise():
    q, squat = example_squat().coordinates(), load_exercise("squat")
    percent = phase_percent(squat, q)
    for wanted in (0, 30, 100):
        frame = float(squat.frame_at(q, wanted))
        assert np.interp(frame, np.arange(len(q)), percent) == pytest.approx(wanted)


# files

def test_kinds_do_not_replace_each_other(tmp_path):
    path = _squat(tmp_path)
    export_bundles(path, "mujoco", tmp_path / "out")
    before = {f: f.read_bytes() for f in (tmp_path / "out").iterdir()}
    with pytest.raises(InputError, match="README.txt|bundle.json|motion.csv"):
        export_bundles(path, "csv", tmp_path / "out")
    assert {f: f.read_bytes() for f in (tmp_path / "out").iterdir()} == before
    again = export_bundles(path, "mujoco", tmp_path / "out")
    assert {f: f.read_bytes() for f in (tmp_path / "out").iterdir()} == before
    digests = {name: sha256(before[tmp_path / "out" / name]).hexdigest() for name in again["files"]}
    assert digests == again["files"]


def test_an_edited_file_is_kept(tmp_path):
    path, out = _squat(tmp_path), tmp_path / "out"
    export_bundles(path, "opensim", out)
    setup = out / "setup_inverse_dynamics.xml"
    setup.write_text(setup.read_text().replace("6.0", "10.0"))
    with pytest.raises(InputError, match="setup_inverse_dynamics.xml"):
        export_bundles(path, "opensim", out)
    assert "10.0" in setup.read_text()
    export_bundles(path, "opensim", out, force=True)
    assert "10.0" not in setup.read_text()


def test_nothing_is_left_where_a_bundle_fails(tmp_path, monkeypatch):
    def stop(found, folder):
        (folder / "half.txt").write_text("half")
        raise OSError(28, "No space left on device")
    monkeypatch.setitem(BUNDLES, "csv", stop)
    with pytest.raises((OSError, InputError)):
        export_bundles(_squat(tmp_path), "csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_leaves_the_old_bundle_or_the_new_one(tmp_path):
    for name, end in (("old", 2.0), ("new", 2.2)):
        write_motion(example_squat().slice(0, end), tmp_path / f"{name}.mot")

    def write(name: str):
        return lambda folder: export_bundles(tmp_path / f"{name}.mot", "csv", folder, force=True)
    (tmp_path / "root").mkdir()
    assert try_every(Case(write("old"), write("new")), tmp_path / "root", "kill") > 10


def test_a_folder_gives_a_bundle_for_each_motion(tmp_path, capsys):
    for k in range(2):
        write_motion(example_squat().slice(0, 2 + 0.1 * k), tmp_path / f"sample_{k:02d}.mot")
    assert main(["export", str(tmp_path), "--as", "bvh", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "sample_00" in said and "sample_01" in said and "3 files written" in said
    assert (tmp_path / "out" / "sample_01" / "sample_01.bvh").read_text().startswith("HIERARCHY")


@pytest.mark.parametrize("command, words", [
    (["missing.mot", "--as", "csv"], "missing.mot"),
    (["empty", "--as", "csv"], "no sample_00.mot"),
    (["markers.mot", "--as", "mujoco"], "33 coordinates missing"),
    (["squat.mot", "--as", "opensim", "--load", "piano:300"], "piano"),
    (["squat.mot", "--as", "opensim", "--model", "none.osim"], "none.osim"),
    (["squat.mot", "--as", "opensim", "--exercise", "dance"], "dance"),
    (["squat.mot", "--as", "opensim", "--model", "squat.mot"], "squat.mot")])
def test_bad_input_is_status_2(command, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    _squat(tmp_path)
    (tmp_path / "empty").mkdir()
    write_motion(Motion(np.arange(5) / 100, np.zeros((5, 1)), ("force_vx",)), tmp_path / "markers.mot")
    assert main(["export", *command, "--out", "out"]) == 2
    said = capsys.readouterr().err
    assert words in said and "Cure" in said and not (tmp_path / "out").exists()


def test_an_unknown_kind_is_named(tmp_path, capsys):
    assert main(["export", "squat.mot", "--as", "open-sim", "--out", str(tmp_path)]) == 2
    assert "opensim" in capsys.readouterr().err
    with pytest.raises(InputError, match="opensim, mujoco, csv, bvh"):
        export_bundles(_squat(tmp_path), "gltf", tmp_path / "out")


def test_json_answer(simulated, tmp_path, capsys):
    command = ["export", str(simulated / "squat.mot"), "--as", "csv", "--out", str(tmp_path), "--json"]
    assert main(command) == 0
    record = json.loads(capsys.readouterr().out)
    assert record == json.loads((tmp_path / "bundle.json").read_text())
    assert record["bundles"] == [{"motion": "squat", "folder": ".", "model": None, "simulation": "qp",
                                  "load": None, "exercise": "squat"}]


@settings(max_examples=15, deadline=None)
@given(reps=st.integers(1, 2), rate=st.sampled_from([30.0, 60.0, 100.0]), depth=st.floats(30, 110))
def test_tables_of_any_motion_read_back(reps, rate, depth, tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    write_motion(analytic_squat(reps, rate, depth_deg=depth), folder / "m.mot")
    motion = read_motion(folder / "m.mot")
    export_bundles(folder / "m.mot", "csv", folder / "out")
    table = read_csv(folder / "out" / "motion.csv")
    assert np.allclose(table["time_s"], motion.time, atol=1e-7)
    assert np.allclose(np.deg2rad(table["hip_flexion_l_deg"]), motion["hip_flexion_l"], atol=1e-7)
    assert np.all(np.diff(table["phase_percent"]) > 0)


# full simulations

@pytest.mark.slow
@needs_opensim
def test_a_tracked_squat_in_opensim(tmp_path):
    """Ground forces of a tracking simulation explain its motion in OpenSim too."""
    result = simulate(read_motion(_squat(tmp_path)), intervals="12/s")
    result.save(tmp_path, "squat")
    export_bundles(tmp_path / "squat.mot", "opensim", tmp_path / "out")
    for setup in ("setup_inverse_dynamics.xml", "setup_joint_reaction.xml"):
        run_opensim(run_setup, str(tmp_path / "out"), setup)
    theirs = table_of(tmp_path / "out" / "results" / "inverse_dynamics.sto")
    weight = result.record["body_weight_n"]
    residual = np.linalg.norm([theirs[f"{name}_force"] for name in TRANSLATIONS], axis=0)
    found = read_exported(tmp_path / "squat.mot")
    ours = np.linalg.norm(moments_under_loads(found.skeleton, found.simulation)[:, 3:6], axis=1)
    rms, expected = (np.sqrt((x[15:-15] ** 2).mean()) / weight for x in (residual, ours))
    assert rms < 0.05 and abs(rms - expected) < 0.005       # it is zero at the points of the mesh only
    knee = moments_in(theirs, "knee_angle_r") - result.moments[:, COORDINATES.index("knee_angle_r")]
    assert np.sqrt((knee[15:-15] ** 2).mean()) < 2
    loads = table_of(tmp_path / "out" / "results" / "joint_reaction_JointReaction_ReactionLoads.sto")
    b = np.stack([loads[f"walker_knee_r_on_tibia_r_in_tibia_r_f{axis}"] for axis in "xyz"], 1)
    a = result.joint_loads["tibiofemoral_r_on_tibia_r"]
    assert np.abs(a).max() > 1000 and np.linalg.norm(a - b, axis=1)[15:-15].max() < 0.05 * np.abs(a).max()


@pytest.mark.slow
@needs_opensim
def test_a_participant_with_a_load_in_opensim(shared, tmp_path):
    """A recorded squat with the participant's own model and a barbell."""
    lab = shared / "labval_s4_62.6kg" / "squat"
    motion = read_motion(next(lab.glob("*_ik.mot")))
    write_motion(motion.slice(motion.time[0], motion.time[0] + 3), tmp_path / "squat.mot")
    (tmp_path / "own.osim").write_bytes((lab / "manually_scaled.osim").read_bytes())
    result = simulate(read_motion(tmp_path / "squat.mot"), tmp_path / "own.osim", "qp", load="barbell:40")
    result.save(tmp_path, "squat")
    record = export_bundles(tmp_path / "squat.mot", "opensim", tmp_path / "out")
    assert record["bundles"][0] | {"simulation": "qp", "load": "barbell:40", "model": "own.osim"} == (
        record["bundles"][0])
    run_opensim(run_setup, str(tmp_path / "out"), "setup_inverse_dynamics.xml")
    theirs = table_of(tmp_path / "out" / "results" / "inverse_dynamics.sto")
    carried = result.record["body_weight_n"] + 40 * GRAVITY
    loads = read_external_loads(tmp_path / "out" / "external_loads.xml")[0]
    assert abs(loads.forces[:, :, 1].sum(1).mean() / carried - 1) < 0.05
    residual = np.linalg.norm([theirs[f"{name}_force"] for name in TRANSLATIONS], axis=0)[15:-15]
    assert np.sqrt((residual ** 2).mean()) < 0.03 * carried
    for name in ("hip_flexion_r", "knee_angle_r", "ankle_angle_r"):
        away = moments_in(theirs, name) - result.moments[:, COORDINATES.index(name)]
        assert np.sqrt((away[15:-15] ** 2).mean()) < 2, name
