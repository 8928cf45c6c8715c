"""OpenSim's StaticOptimization as a judge: our motion, our forces and our reserves are what it is given."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bige.dynamics import MusculoskeletalModel
from bige.motion import COORDINATES, Motion, example_squat, read_motion, write_motion
from bige.muscles import MUSCLE_NAMES
from bige.simulation import motion_file, result_files, simulate

RESULTS = Path(__file__).resolve().parents[1] / "nbs" / "results"
SPEC = importlib.util.spec_from_file_location(
    "independent_judge", Path(__file__).resolve().parents[1] / "benchmarks" / "independent_judge.py")
judge = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(judge)
needs_opensim = pytest.mark.skipif(importlib.util.find_spec("opensim") is None,
                                   reason="OpenSim is not installed (pip install --no-deps opensim==4.6)")


def test_a_groups_activation_is_that_of_its_force():
    table = pd.DataFrame({name: [0.0, 0.2] for name in MUSCLE_NAMES})
    table["vaslat_r"] = [0.4, 0.6]
    strengths = dict.fromkeys(MUSCLE_NAMES, 1000.0) | {"vaslat_r": 3000.0}
    vasti = judge.group_curves(table, strengths, "r")[:, list(judge.GROUPS).index("vasti")]
    np.testing.assert_allclose(vasti, [0.4 * 3 / 5, (0.6 * 3 + 0.2 * 2) / 5])
    left = judge.group_curves(table, strengths, "l")
    np.testing.assert_allclose(left, np.tile([[0.0], [0.2]], len(judge.GROUPS)))


def test_every_coordinate_has_an_actuator_where_muscles_do_not_reach():
    table = judge.actuators()
    assert set(table) == set(COORDINATES)
    assert all(table[f"{name}_{s}"] == (judge.RESERVE, 1e6) for name in ("knee_angle", "hip_flexion")
               for s in "lr")
    assert table["hip_rotation_l"][1] == judge.HIP_ROTATION


def test_kept_tables_hold_three_repetitions_of_five_exercises():
    rows = pd.read_csv(RESULTS / "judge_repetitions.csv")
    assert rows.groupby("exercise").trial.nunique().to_dict() == dict.fromkeys(judge.MOVEMENTS, 3)
    assert all(rows.trial.str.contains("_s01_|_s05_|_s09_"))
    groups = pd.read_csv(RESULTS / "judge_groups.csv")
    assert len(groups) == len(judge.MOVEMENTS) * len(judge.GROUPS) * 2
    assert groups.RMSE.between(0, 1).all() and np.isfinite(groups.r[groups["mode"] == "tracking"]).all()


@needs_opensim
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # a part does not start and end at rest
def test_opensim_is_given_our_motion_and_our_forces(shared, tmp_path):
    path, squat = shared / "models" / "LaiUhlrich2022.osim", example_squat()
    coarse = Motion.from_arrays(squat.time[::3], squat.coordinates()[::3])
    result = simulate(coarse, MusculoskeletalModel(path), "qp", 0.8, 1.8)
    result.save(tmp_path, "part")
    motion, loads = read_motion(motion_file(tmp_path, "part")), result_files(tmp_path, "part")[1]
    answer, moments = judge.judged(path, motion, loads, tmp_path / "with")
    kinetics = read_motion(result_files(tmp_path, "part")[2])
    found = judge.figures(judge.inside(answer), moments, kinetics, result.record["body_weight_n"])
    assert found["moment_off_n_m"] < 0.03 * found["moment_peak_n_m"]
    assert found["leg_reserve_n_m"] < 1 and found["residual_force_bw"] < 0.05
    ours = np.interp(answer.time, motion.time, motion["vasmed_r/activation"])
    assert np.corrcoef(ours, answer["vasmed_r"])[0, 1] > 0.9

    half = read_motion(loads)  # a load that is lost on the way would be noticed
    values = half.values * np.where(["_v" in name for name in half.names], 0.5, 1.0)
    write_motion(Motion(half.time, values, half.names), tmp_path / "half.mot")
    answer, moments = judge.judged(path, motion, tmp_path / "half.mot", tmp_path / "without")
    lost = judge.figures(judge.inside(answer), moments, kinetics, result.record["body_weight_n"])
    assert 0.4 < lost["residual_force_bw"] < 0.6
    assert lost["moment_off_n_m"] > 5 * found["moment_off_n_m"]
