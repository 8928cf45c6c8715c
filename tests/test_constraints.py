"""The constraint file: what it accepts, what it refuses and how; losses against bige.metrics."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bige import metrics
from bige.constraints import (KINDS, MUSCLES, NATURAL, Batch, ConstraintSet, default_constraints, loss, metric, override, parse_constraints,
                              read_constraint, read_constraints, to_yaml, violation, write_constraints)
from bige.motion import COORDINATES, InputError, Motion, analytic_squat
from bige.skeleton import Skeleton

SKELETON = Skeleton.default()
ARCHITECTURE = """constraints:
  - {kind: muscle_range, muscles: [vasmed_l, vasmed_r], low: 0.35, high: 0.45, at: peak, weight: 1}
  - {kind: pelvis_tilt, weight: 0.5}            # deg, at peak activation
  - {kind: asymmetry, weight: 1}                # deg
  - {kind: angular_velocity, weight: 0.5}       # deg/s
  - {kind: com_velocity, weight: 50}            # m/s
  - {kind: com_acceleration, weight: 100}       # m/s²
  - {kind: foot_sliding, weight: 0.1}           # m/s
  - {kind: coordinate_range, coordinate: knee_angle_r, low: 90, high: 110, unit: deg, at: peak, weight: 1}
"""


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    squats = [analytic_squat(reps=1, depth_deg=d, pause=.2) for d in (80, 110)]
    q = np.stack([m.coordinates() for m in squats]) + 0.01 * rng.standard_normal((2, len(squats[0].time), 33))
    return Batch(torch.tensor(q), torch.tensor(rng.uniform(0, 1, (*q.shape[:2], 80))), SKELETON, 60., drift=torch.tensor([1., 4.], dtype=torch.float64))


def test_the_documented_file_reads_and_round_trips(tmp_path):
    c = parse_constraints(ARCHITECTURE)
    assert [x.kind.name for x in c][:8] == ["muscle_range", "pelvis_tilt", "asymmetry", "angular_velocity", "com_velocity", "com_acceleration", "foot_sliding", "coordinate_range"]
    assert [x.kind.name for x in c][8:] == list(NATURAL)
    assert c.of("coordinate_range")[0].limits == pytest.approx((np.deg2rad(90), np.deg2rad(110)))
    write_constraints(c, tmp_path / "c.yaml")
    again = read_constraints(tmp_path / "c.yaml")
    assert again.constraints == c.constraints and to_yaml(again) == to_yaml(c)
    assert c.constraints[:7] == default_constraints().constraints[:7]


def test_losses_are_differentiable_and_metrics_agree_with_numpy(batch):
    constraints = parse_constraints(ARCHITECTURE)
    q, a = batch.q.clone().requires_grad_(), batch.a.clone().requires_grad_()
    torch_batch = Batch(q, a, SKELETON, 60., drift=(q ** 2).mean((1, 2)), start=batch.q)
    total = sum(c.weight * loss(c, torch_batch) for c in constraints)
    assert total.shape == (2,) and torch.isfinite(total).all()
    grads = torch.autograd.grad(total.sum(), (q, a))
    assert all(torch.isfinite(g).all() and g.abs().max() > 0 for g in grads)
    for i in range(2):
        m = Motion.from_arrays(np.arange(q.shape[1]) / 60, batch.q[i].numpy(), batch.a[i].numpy())
        numpy_values = dict(muscle_range=metrics.mac(m), pelvis_tilt=metrics.pelvis_tilt(m), asymmetry=metrics.asymmetry(m), angular_velocity=metrics.angular_velocity(m),
                            com_velocity=metrics.com_velocity(m), com_acceleration=metrics.com_acceleration(m))
        for name, value in numpy_values.items():
            assert metric(constraints.of(name)[0], batch)[i].item() == pytest.approx(value, rel=1e-4), name


@pytest.mark.parametrize("low, high, expected", [(0, 200, 0), (120, 130, 120 - 100), (30, 60, 100 - 60)])
def test_violation_is_in_the_files_unit(low, high, expected):
    squat = analytic_squat(reps=1, depth_deg=100)
    b = Batch(torch.tensor(squat.coordinates())[None], torch.zeros(1, len(squat.time), 80), SKELETON)
    c = read_constraint(dict(kind="coordinate_range", coordinate="knee_angle_r", low=low, high=high, unit="deg", at="bottom"))
    assert violation(c, b).item() == pytest.approx(expected, abs=0.05)
    assert loss(c, b).item() == pytest.approx(np.deg2rad(expected), abs=1e-3)
    in_rad = read_constraint(dict(kind="coordinate_range", coordinate="knee_angle_r", low=np.deg2rad(low), high=np.deg2rad(high), unit="rad", at="bottom"))
    assert violation(in_rad, b).item() == pytest.approx(np.deg2rad(expected), abs=1e-3)


def test_limits_turn_a_wish_into_a_range(batch):
    free, bound = read_constraint({"kind": "com_velocity"}), read_constraint({"kind": "com_velocity", "high": 100})
    assert violation(free, batch) is None and loss(free, batch).min() > 0
    assert violation(bound, batch).max() == 0 and loss(bound, batch).max() == 0


def test_a_muscle_without_a_side_is_both():
    assert read_constraint({"kind": "muscle_range", "muscles": "vasmed", "low": 0, "high": 1}).muscles == ("vasmed_l", "vasmed_r")


@pytest.mark.parametrize("entry, found, cure", [
    ({"kind": "muscle_rang"}, "muscle_rang", "muscle_range"),
    ({"weight": 1}, "kind", "known"),
    ("asymmetry", "asymmetry", "braces"),
    ({"kind": ["asymmetry"]}, "asymmetry", ""),
    ({"kind": "muscle_range", "muscles": ["vasmad_l"], "low": 0, "high": 1}, "vasmad_l", "vasmed_l"),
    ({"kind": "muscle_range", "muscles": [], "low": 0, "high": 1}, "[]", "vasmed"),
    ({"kind": "muscle_range", "muscles": 3, "low": 0, "high": 1}, "3", "vasmed"),
    ({"kind": "muscle_range", "muscles": "vasmed", "low": .5, "high": .4}, "low 0.5 above high 0.4", "exchange"),
    ({"kind": "muscle_range", "muscles": "vasmed", "low": 35, "high": 45}, "35", "0.5"),
    ({"kind": "muscle_range", "muscles": "vasmed", "low": "lots", "high": 1}, "lots", "low"),
    ({"kind": "muscle_range", "muscles": "vasmed", "high": 1}, "no `low`", "add low"),
    ({"kind": "muscle_range", "muscles": "vasmed", "low": 0, "high": 1, "at": "pek"}, "pek", "peak"),
    ({"kind": "muscle_range", "muscles": "vasmed", "low": 0, "high": 1, "unit": "deg"}, "unit", "only"),
    ({"kind": "coordinate_range", "coordinate": "knee_angel_r", "low": 0, "high": 1, "unit": "deg"}, "knee_angel_r", "knee_angle_r"),
    ({"kind": "coordinate_range", "coordinate": "knee_angle_r", "low": 0, "high": 1, "unit": "m"}, "'m'", "deg"),
    ({"kind": "coordinate_range", "coordinate": "pelvis_ty", "low": 0, "high": 1, "unit": "deg"}, "deg", "m"),
    ({"kind": "coordinate_range", "coordinate": "knee_angle_r", "low": 0, "high": 1}, "no `unit`", "unit"),
    ({"kind": "coordinate_range", "coordinate": None, "low": 0, "high": 1, "unit": "deg"}, "no `coordinate`", "add"),
    ({"kind": "asymmetry", "weight": -1}, "-1", "weight"), ({"kind": "asymmetry", "weight": float("nan")}, "nan", "weight"),
    ({"kind": "asymmetry", "weight": True}, "True", "weight"), ({"kind": "asymmetry", "weight": [1]}, "[1]", "weight"),
    ({"kind": "asymmetry", "high": -3}, "-3", "high"), ({"kind": "com_velocity", "unit": "km/h"}, "km/h", "m/s"),
    ({"kind": "asymmetry", "wieght": 1}, "wieght", "weight"), ({"kind": "asymmetry", 3: 1}, "3", "only")])
def test_each_mistake_is_named_with_its_cure(entry, found, cure):
    with pytest.raises(InputError) as e:
        read_constraint(entry, "request.yaml, line 2")
    assert "request.yaml" in str(e.value) and found in str(e.value) and cure in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize("text, found", [
    ("", "empty"), ("# nothing\n", "empty"), ("constraints:\n", "no list"), ("constraints: []\n", "no constraint"), ("- {kind: asymmetry}\n", "no list"), ("42", "no list"),
    ("constraints: [", "line 1"), ("constraints:\n\t- a", "line 2"), ("constrains: []\n", "constrains"), ("constraints:\n  - {kind: asymmetry, weight: 1, weight: 2}\n", "line 2"),
    ("constraints:\n  - {kind: asymmetry}\nconstraints: []\n", "twice"), ("constraints:\n  - {kind: asymmetry}\n---\na: 1\n", "document"),
    ("constraints:\n  - {kind: asymmetry}\n  - {kind: nonsense}\n", "line 3"), ("constraints:\n  - {kind: proximity, weight: 0}\n", "no constraint"),
    ("constraints:\n  - {kind: !!python/object:os.system x}\n", "tag"), ("constraints:\n  - {kind: ground}\n  - {kind: ground}\n  - {kind: asymmetry}\n", "twice"),
    ("constraints:\n  - {kind: asymmetry, weight: 2020-13-45}\n", ""), ("constraints:\n  - &a [*a]\n", "")])
def test_files_that_are_no_request(text, found):
    with pytest.raises(InputError) as e:
        parse_constraints(text, "request.yaml")
    assert found in str(e.value) and "request.yaml" in str(e.value)


def test_files_that_are_no_text(tmp_path):
    (tmp_path / "b.yaml").write_bytes(bytes(range(256)))
    (tmp_path / "n.yaml").write_bytes(b"constraints:\0")
    for name in ("b.yaml", "n.yaml", "missing.yaml", "."):
        with pytest.raises(InputError):
            read_constraints(tmp_path / name)


@settings(max_examples=150, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=8) | st.sampled_from([*KINDS, "deg", "peak", "vasmed_l", "knee_angle_r"]),
                    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.sampled_from(["kind", "low", "high", "weight", "unit", "at", "muscles", "coordinate", "x"]), x, max_size=6), max_leaves=12))
def test_anything_is_read_or_refused(entry):
    try:
        c = read_constraint(entry)
    except InputError as e:
        assert "\n" not in str(e)
    else:
        assert c.weight >= 0 and read_constraint({"kind": c.kind.name, "weight": c.weight, **c.fields}) == c


def test_settings_change_what_they_name():
    base = default_constraints()
    c = override(base, "vasmed.low=0.5", "muscle_range.high=0.6", "asymmetry.weight=3", "ground.weight=0")
    assert c.of("muscle_range")[0].limits == (.5, .6) and c.of("asymmetry")[0].weight == 3 and c.of("ground")[0].weight == 0
    assert base.of("muscle_range")[0].limits == (.35, .45)
    two = parse_constraints("constraints:\n  - {kind: coordinate_range, coordinate: knee_angle_r, low: 1, high: 2, unit: deg}\n  - {kind: coordinate_range, coordinate: hip_flexion_r, low: 1, high: 2, unit: deg}\n")
    assert [x["high"] for x in override(two, "hip_flexion_r.high=9").of("coordinate_range")] == [2, 9]
    assert len(override(two, "com_velocity.weight=1")) == len(two) + 1


@pytest.mark.parametrize("setting", ["", "x", "vasmed=1", "vasmed.low", "vasmed.low=", "vasmed.low=0.9", "vasmed.low=-1", "nobody.low=1", "asymmetry.wieght=1", "asymmetry.weight=[", ".weight=1", "asymmetry.=1"])
def test_settings_that_make_no_sense(setting):
    with pytest.raises(InputError):
        override(default_constraints(), setting)


def test_every_kind_has_a_finite_gradient_at_rest():
    q = torch.zeros(1, 20, 33, dtype=torch.float64, requires_grad=True)
    a = torch.full((1, 20, 80), .5, dtype=torch.float64)
    full = dict(muscles=MUSCLES[:1], low=0, high=1, coordinate=COORDINATES[0], unit="deg")
    for k in KINDS.values():
        b = Batch(q, a, SKELETON, drift=(q ** 2).mean((1, 2)), start=torch.zeros_like(q))
        value = loss(read_constraint({"kind": k.name} | {f: full[f] for f in k.fields if f in full and k.name.endswith("range")}), b).sum()
        (grad,) = torch.autograd.grad(value, q, allow_unused=True) if value.requires_grad else (None,)
        assert torch.isfinite(value) and (grad is None or torch.isfinite(grad).all()), k.name
