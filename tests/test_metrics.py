"""Metrics against errors of known size, on motions of other lengths and rates, and as text."""

import csv
import io
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from bige import metrics
from bige.dataset import reference, reference_path
from bige.metrics import METRIC_KEYS, evaluate, tables
from bige.files import InputError
from bige.motion import ACTIVATIONS, COORDINATES, Motion, analytic_squat, example_squat
from bige.skeleton import Skeleton

SKELETON = Skeleton.default()


@pytest.fixture(scope="module")
def squat():
    return analytic_squat(reps=1, rate_hz=60.0, pause=0.3)


def plus(motion, **offsets):
    return motion.with_columns(tuple(offsets), np.column_stack([motion[k] + v for k, v in offsets.items()]))


def with_activation(motion, peak):
    a = np.zeros((len(motion.time), 80))
    a[:, [ACTIVATIONS.index(f"vasmed_{s}/activation") for s in "lr"]] = (
        peak * np.sin(np.linspace(0, np.pi, len(a)))[:, None]
    )
    return Motion.from_arrays(motion.time, motion.coordinates(), a)


def test_importing_metrics_stays_light():
    heavy = ("torch", "pandas", "matplotlib", "casadi", "opensim", "nimblephysics")
    code = f"import sys, bige.metrics; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize("metric, expected",
                         [(metrics.asymmetry, 12 / np.sqrt(3)), (metrics.asymmetry_sum, 12.0)])
def test_asymmetry_of_one_knee(squat, metric, expected):
    assert metric(plus(squat, knee_angle_l=np.deg2rad(12))) == pytest.approx(expected)


def test_speed_and_acceleration_of_a_known_oscillation():
    t = np.arange(0, 10, 1 / 60)
    q = np.zeros((len(t), 33))
    q[:, COORDINATES.index("pelvis_ty")] = 0.1 * np.sin(2 * np.pi * 0.5 * t)
    m = Motion.from_arrays(t, q)
    assert metrics.com_velocity(m) == pytest.approx(0.1 * np.pi / np.sqrt(2), rel=1e-3)
    assert metrics.com_acceleration(m) == pytest.approx(0.1 * np.pi**2 / np.sqrt(2), rel=1e-2)


@pytest.mark.parametrize("measure", [metrics.joint_rates, metrics.pelvis_velocity,
                                     metrics.pelvis_acceleration, metrics.rate_of_change])
def test_motions_of_a_batch_have_rates_of_their_own(squat, measure):
    q = np.stack([squat.coordinates(), 0.5 * squat.coordinates()])
    rates_hz = np.array([60.0, 25.0])
    apart = np.stack([measure(x, rate) for x, rate in zip(q, rates_hz)])
    assert np.array_equal(measure(q, rates_hz), apart)
    assert np.array_equal(measure(q, 60.0), measure(q, np.float64(60.0)))
    together = measure(torch.tensor(q), torch.tensor(rates_hz))
    assert np.allclose(together.numpy(), apart, rtol=1e-12, atol=0)


@pytest.mark.parametrize("rate", [30.0, 100.0, 200.0])
def test_smooth_motion_scores_alike_at_every_rate(squat, rate):
    other = analytic_squat(reps=1, rate_hz=rate, pause=0.3)
    a, b = (evaluate([m], skeleton=SKELETON)["mean"] for m in (squat, other))
    for key in ("pelvis_tilt_deg", "angular_velocity_deg_s", "com_velocity_m_s", "com_acceleration_m_s2",
                "diversity_entropy"):
        assert a[key] == pytest.approx(b[key], rel=0.05), key
    assert b["mac"] is None and a["fidelity_w2"] is None


@pytest.mark.parametrize("peak, expected", [(0.2, 0.15), (0.4, 0.0), (0.6, 0.15)])
def test_mac_is_the_distance_of_the_peak_from_the_band(squat, peak, expected):
    assert metrics.mac(with_activation(squat, peak)) == pytest.approx(expected, abs=1e-3)


def test_peak_follows_activation_when_there_is_one(squat):
    a = np.zeros((len(squat.time), 80))
    a[7, ACTIVATIONS.index("vasmed_r/activation")] = 1
    assert metrics.peak_frame(Motion.from_arrays(squat.time, squat.coordinates(), a)) == 7
    assert metrics.peak_frame(squat) == squat["knee_angle_r"].argmax()


def test_floor_notices_drift_lift_and_sinking(squat):
    late = np.arange(len(squat.time)) > len(squat.time) * 0.75
    for floor in (metrics.ground_contact_spheres, metrics.ground_contact_joints):
        base = floor(squat, SKELETON)
        assert floor(plus(squat, pelvis_tx=0.4 * squat.time), SKELETON)[2] == pytest.approx(0.4, abs=0.05)
        assert floor(plus(squat, pelvis_ty=0.04 * late), SKELETON)[1] == pytest.approx(base[1] + 1, abs=0.3)
        assert floor(plus(squat, pelvis_ty=-0.04 * late), SKELETON)[0] > base[0] + 0.5
        assert floor(plus(squat, pelvis_ty=0.2, pelvis_tx=3.0), SKELETON) == pytest.approx(base, abs=1e-9)


def test_sound_fidelity_sees_what_the_published_one_cannot(squat):
    crowd = [analytic_squat(reps=1, depth_deg=d, pause=0.3) for d in (80, 90, 100)]
    swapped = [
        m.with_columns(("hip_flexion_r", "elbow_flex_r"),
                       np.column_stack([m["elbow_flex_r"], m["hip_flexion_r"]]))
        for m in crowd
    ]
    sets = metrics.score_set(swapped, crowd)
    assert (
        sets["fidelity_w2"] == pytest.approx(0, abs=1e-9)
        and sets["sliced_w2"] > 0.2
        and sets["coordinate_w2"] > 0.2
    )
    itself = metrics.score_set(crowd, crowd)
    assert itself["sliced_w2"] == 0 and itself["coverage"] == 1 and itself["density"] >= 1


def test_pairwise_distance_is_in_degrees_and_zero_for_copies(squat):
    shifted = plus(
        squat,
        **{n: np.deg2rad(3) for n in COORDINATES if not n.startswith("pelvis_t") or n == "pelvis_tilt"})
    d = metrics.pairwise_deg(metrics.normalised([squat, squat, shifted]))
    assert d[0, 1] == pytest.approx(0, abs=1e-4) and d[0, 2] == pytest.approx(
        3 * np.sqrt(29 / 30), rel=1e-6
    )  # heading is taken out


def test_evaluate_is_plain_json_with_the_stable_keys(squat):
    result = evaluate([with_activation(squat, 0.4), with_activation(example_squat(), 0.5)], reference=[squat],
                      skeleton=SKELETON)
    assert json.loads(json.dumps(result, allow_nan=True))["n"] == 2
    for part in ("mean", "sd"):
        assert list(result[part])[: len(METRIC_KEYS)] == list(METRIC_KEYS)
        assert all(v is not None and np.isfinite(v) for v in result[part].values())


@pytest.mark.parametrize("format", metrics.METRIC_FORMATS)
def test_tables_hold_the_same_numbers_in_every_format(squat, format):
    people = [
        evaluate([with_activation(plus(squat, knee_angle_l=e), 0.4)], [squat], SKELETON) for e in (0.1, 0.2)
    ]
    text = tables({"a_model": people, "one": people[0]}, format)
    expected = f"{np.mean([p['mean']['asymmetry_deg'] for p in people]):.3f}"
    if format == "json":
        cell = json.loads(text)["Table 3, as published"]["a_model"]["asymmetry deg →"]
        assert f"{cell[0]:.3f}" == expected and cell[1] > 0
    elif format == "csv":
        rows = list(csv.DictReader(io.StringIO(text)))
        assert expected in {
            f"{float(r['mean']):.3f}"
            for r in rows
            if r["model"] == "a_model" and r["metric"] == "asymmetry deg →"
        }
    else:
        assert expected in text and (r"a\_model" if format == "latex" else "a_model") in text
    assert text.count("Table") >= 4


@pytest.mark.parametrize(
    "call",
    [
        lambda: evaluate([]),
        lambda: tables({}, "md"),
        lambda: tables({"a": {}}, "xml"),
        lambda: metrics.load_reference("no/such.npz"),
    ],
)
def test_bad_input_is_named(call):
    with pytest.raises(InputError):
        call()


def test_the_reference_plays_at_its_true_speed():
    motions, data = metrics.load_reference(), reference()
    assert [m.rate_hz for m in motions] == pytest.approx(data.rate_hz.tolist(), rel=1e-5)
    assert min(m.rate_hz for m in motions) < 50 and max(m.rate_hz for m in motions) > 80
    assert len(metrics.load_reference(split="val")) == (data.split == "val").sum()
    with pytest.raises(InputError, match="test"):
        metrics.load_reference(split="test")


def test_reference_file_of_another_kind(tmp_path):
    np.savez(tmp_path / "x.npz", other=np.zeros(3))
    with pytest.raises(InputError, match="kinematics"):
        metrics.load_reference(tmp_path / "x.npz")
    (tmp_path / "y.npz").write_bytes(b"junk")
    with pytest.raises(InputError):
        metrics.load_reference(tmp_path / "y.npz")


def test_the_reference_is_scored_over_its_duration():
    "A held last pose is no motion: on the held-out participants it took 11 % off the angular velocity."
    data, motions = reference(), metrics.load_reference()
    assert [m.duration for m in motions] == pytest.approx(data.duration.tolist(), rel=1e-5)
    held_out = evaluate(metrics.load_reference(split="val"))["mean"]
    assert held_out["angular_velocity_deg_s"] == pytest.approx(67.2, abs=0.1)
    assert held_out["com_acceleration_m_s2"] == pytest.approx(1.29, abs=0.01)


def test_shipped_scores_belong_to_the_shipped_reference():
    from hashlib import sha256

    shipped, motions = metrics.shipped_scores(), metrics.load_reference(split="val")
    assert (
        shipped["sha256"] == sha256(reference_path().read_bytes()).hexdigest()
    )  # else run data_scripts/reference_scores.py
    again = evaluate(motions, motions)
    for part in ("mean", "sd", "set"):
        for key, value in again[part].items():
            assert shipped[part][key] == pytest.approx(value, rel=1e-6, abs=1e-9), key


def test_no_folder_takes_the_place_of_the_reference_row(tmp_path):
    names = metrics.row_names(
        [tmp_path / "reference", tmp_path / "a" / "x", tmp_path / "b" / "x", tmp_path / "y"]
    )
    assert len(set(names)) == 4 and metrics.REFERENCE_ROW not in names and names[3] == "y"


@pytest.mark.parametrize("low, high", [(None, 0.5), (0.2, None), (0.2, 0.5), (None, None)])
def test_distance_from_a_range_in_numpy_and_torch(low, high):
    torch = pytest.importorskip("torch")
    x = np.linspace(-1, 1, 21)
    expected = np.maximum(
        np.maximum((-np.inf if low is None else low) - x, x - (np.inf if high is None else high)), 0)
    for values in (x, torch.tensor(x)):
        assert np.allclose(metrics.distance_from_range(values, low, high),
                           0 if low is high is None else expected)
