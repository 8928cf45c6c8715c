"""Loads: what the text may say, and joint moments against OpenSim's with the same bodies added."""

import importlib.util
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bige.cli import main
from bige.dynamics import MusculoskeletalModel, body_motions, inverse_dynamics
from bige.external_load import (LOAD_FORMS, LOAD_LIMITS_KG, ExternalLoad, joined_bodies, load_bodies,
                                load_segments, loaded_skeleton, read_load)
from bige.files import InputError
from bige.motion import COORDINATES, GRAVITY, Motion, example_squat, read_motion, write_motion
from bige.muscles import MUSCLE_NAMES
from bige.opensim_process import run_opensim
from bige.simulation import read_records, settings_of, simulate
from bige import simulation
from bige.skeleton import Body, Skeleton
from opensim_moments import opensim_inverse_dynamics, random_motion

needs_opensim = pytest.mark.skipif(importlib.util.find_spec("opensim") is None,
                                   reason="OpenSim is not installed (pip install --no-deps opensim==4.6)")


@pytest.mark.parametrize("text", [
    "", ":", "barbell", "barbell:", "barbell:nan", "barbell:inf", "barbell:-40", "barbell:0", "barbell:1000",
    "barbell:0.49", "barbell:40kg", "barbell:40,5", "barbell:0x28", "barbell:2x20", "barbel:40", "40",
    "dumbbells:10", "dumbbells:2x", "dumbbells:2xnan", "dumbbells:2x-10", "dumbbells:2x100", "dumbbells:3x10",
    "dumbbells:2x0.1", "vest:1000", "vest:nan", "vest:2x15", "sandbag:20"])
def test_what_is_no_load_is_one_named_error(text):
    with pytest.raises(InputError) as error:
        read_load(text)
    assert error.value.where == "--load" and repr(text) in error.value.found and ":" in error.value.expected


def test_a_kind_that_is_nearly_right_is_suggested():
    with pytest.raises(InputError, match="did you mean 'barbell'"):
        read_load("barbel:40")


@given(st.sampled_from(sorted(LOAD_FORMS)), st.floats(0, 1))
def test_a_load_reads_back_what_it_writes(kind, share):
    low, high = LOAD_LIMITS_KG[kind]
    load = ExternalLoad(kind, float(f"{low + share * (high - low):g}"))
    assert read_load(str(load)) == load


def test_joined_bodies_are_one_cloud_of_points():
    rng = np.random.default_rng(0)

    def body(points, mass):
        arms = points - points.mean(0)
        i = mass / len(points) * ((arms**2).sum() * np.eye(3) - arms.T @ arms)
        return Body(mass, points.mean(0), i[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]])

    parts = [rng.normal(size=(20, 3)), rng.normal(size=(30, 3)) + [1, 2, 3]]
    joined, cloud = joined_bodies(body(parts[0], 2.0), body(parts[1], 3.0)), body(np.vstack(parts), 5.0)
    assert joined.mass == cloud.mass
    np.testing.assert_allclose(joined.mass_center, cloud.mass_center)
    np.testing.assert_allclose(joined.inertia, cloud.inertia)


@pytest.mark.parametrize("text", LOAD_FORMS.values())
def test_the_ground_carries_person_and_load_in_any_still_pose(text):
    load, default = read_load(text), Skeleton.default()
    skeleton = loaded_skeleton(default, load)
    q = np.random.default_rng(1).uniform(-0.4, 0.4, (5, 33))
    tau = inverse_dynamics(skeleton, *body_motions(skeleton, q, 0 * q, 0 * q))
    weight = (default.mass + load.mass) * GRAVITY
    np.testing.assert_allclose(tau[:, COORDINATES.index("pelvis_ty")], weight, rtol=1e-12)
    np.testing.assert_allclose(skeleton.mass, default.mass + load.mass)


def test_a_load_keeps_its_place_on_its_carrier():
    default, q = Skeleton.default(), np.random.default_rng(2).uniform(-0.4, 0.4, (4, 33))
    for text, carriers in (("barbell:40", ["torso"]), ("dumbbells:2x10", ["hand_r", "hand_l"])):
        middle = load_segments(default, read_load(text), q).mean(2)
        bodies = load_bodies(default, read_load(text))
        assert list(bodies) == carriers
        centres = np.array([bodies[name].mass_center for name in carriers])
        np.testing.assert_allclose(middle, default.points(q, carriers, centres), atol=1e-12)
    assert load_segments(default, read_load("vest:15"), q).shape == (4, 0, 2, 3)


@needs_opensim
def test_joint_moments_agree_with_opensim(shared, tmp_path):
    path, motion = shared / "models" / "LaiUhlrich2022.osim", random_motion(10)
    q, qd, qdd = motion.swapaxes(0, 1)
    own, loads = Skeleton.from_osim(path), [read_load(text) for text in LOAD_FORMS.values()]
    added = [{name: (body.mass, body.mass_center.tolist(), body.inertia.tolist())
              for name, body in load_bodies(own, load).items()} for load in loads]
    run_opensim(opensim_inverse_dynamics, str(path), str(tmp_path / "tau.npy"), added, list(COORDINATES),
                motion.tolist())
    alone = inverse_dynamics(own, *body_motions(own, q, qd, qdd))
    for load, expected in zip(loads, np.load(tmp_path / "tau.npy")):
        skeleton = loaded_skeleton(own, load)
        found = inverse_dynamics(skeleton, *body_motions(skeleton, q, qd, qdd))
        assert np.abs(found - expected).max() / np.abs(expected).max() < 1e-6, load
        assert np.abs(alone - expected).max() / np.abs(expected).max() > 0.05, load  # it is not overlooked


# ---- through the simulation and the command

SOME = {"mode": "qp", "start": 1.0, "end": 1.4}


@pytest.mark.filterwarnings("ignore")  # a part does not start and end at rest
def test_static_optimisation_carries_the_load(tmp_path):
    squat, model = example_squat(), MusculoskeletalModel()
    alone, loaded = (simulate(squat, model, load=load, **SOME) for load in (None, "barbell:20"))
    more = loaded.ground_forces[..., 1].sum(1) - alone.ground_forces[..., 1].sum(1)
    assert np.abs(more / (20 * GRAVITY) - 1).mean() < 0.35 and loaded.record["load"] == "barbell:20"
    assert alone.record["body_weight_n"] == loaded.record["body_weight_n"] and "load" not in alone.record
    assert loaded.record["mass_kg"] == alone.record["mass_kg"] and loaded.record["load_kg"] == 20
    for joint in ("tibiofemoral_r", "hip_l", "lumbosacral"):
        light, heavy = (r.record["joint_loads"][joint]["peak_bw"] for r in (alone, loaded))
        assert heavy > 1.1 * light, joint
    loaded.save(tmp_path, "one")
    stored = read_motion(tmp_path / "kinetics_one_joint_loads.mot")
    np.testing.assert_allclose(stored["hip_l_on_femur_l_fy"], loaded.joint_loads["hip_l_on_femur_l"][:, 1],
                               atol=1e-5)


def test_a_loaded_person_is_not_suspected_of_weighing_too_much():
    squat = example_squat()
    coarse = Motion.from_arrays(squat.time[::3], squat.coordinates()[::3])
    loaded = simulate(coarse, mode="qp", load="vest:15")
    assert loaded.record["mean_vertical_force_bw"] > 1.1
    assert not [said for said in loaded.record["suspicions"] if "mean vertical" in said]


def test_a_model_takes_its_muscle_paths_along():
    model = pickle.loads(simulation._packed(None, None))
    assert set(model.paths) == set(MUSCLE_NAMES)


def test_settings_without_a_load_are_those_of_former_results():
    assert "load" not in settings_of("qp") and settings_of("qp", load="vest:15")["load"] == "vest:15"


@pytest.mark.parametrize("text", ["barbell:nan", "vest:1000", "dumbbells:10", "sandbag:20"])
def test_the_command_refuses_what_is_no_load(text, tmp_path, capsys):
    write_motion(example_squat(), tmp_path / "squat.mot")
    command = ["simulate", str(tmp_path / "squat.mot"), "--load", text, "--out", str(tmp_path / "out")]
    assert main(command) == 2 and not (tmp_path / "out").exists()
    assert f"--load: found the load '{text}'" in capsys.readouterr().err


def test_the_command_shows_the_load(tmp_path, capsys):
    write_motion(example_squat(), tmp_path / "squat.mot")
    main(["simulate", str(tmp_path / "squat.mot"), "--mode", "qp", "--start", "1", "--end", "1.2",
          "--load", "dumbbells:2x2", "--jobs", "1", "--out", str(tmp_path / "out")])
    assert "dumbbells:2x2" in capsys.readouterr().out
    assert read_records(tmp_path / "out")["squat"]["job"]["load"] == "dumbbells:2x2"
