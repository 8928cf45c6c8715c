"""The constraint file: what it accepts, what it refuses and how; losses against bige.metrics; the vocabulary
against plain geometry; contradictions and reach."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bige import metrics
from bige.constraint_files import (ConstraintSet, default_constraints, override, parse_constraints,
                                   read_constraint, read_constraints, to_yaml, write_constraints)
from bige.constraints import (KINDS, MUSCLE_GROUPS, NATURAL, SIDED_MUSCLES, UNITS, Batch, at_moment,
                              balance_every, in_words, limited_values, loss, members, metric, needed_push,
                              phases, violation)
from bige.reachability import REST_S, check_model, check_reach, requested_durations, shortfalls
from bige.exercises import load_exercise, shipped_exercises
from bige.files import InputError
from bige.motion import COORDINATES, GRAVITY, JOINT_LOADS, Motion, analytic_squat, example_squat
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
    squats = [analytic_squat(reps=1, depth_deg=d, pause=0.2) for d in (80, 110)]
    q = np.stack([m.coordinates() for m in squats]) + 0.01 * rng.standard_normal((2, len(squats[0].time), 33))
    a, loads = (torch.tensor(rng.uniform(0, most, (*q.shape[:2], n))) for most, n in ((1, 80), (9, 9)))
    return Batch(torch.tensor(q), a, SKELETON, 60.0, drift=torch.tensor([1.0, 4.0], dtype=torch.float64),
                 loads=loads)


def test_the_documented_file_reads_and_round_trips(tmp_path):
    c = parse_constraints(ARCHITECTURE)
    assert [x.kind.name for x in c][:8] == [
        "muscle_range",
        "pelvis_tilt",
        "asymmetry",
        "angular_velocity",
        "com_velocity",
        "com_acceleration",
        "foot_sliding",
        "coordinate_range",
    ]
    assert [x.kind.name for x in c][8:] == list(NATURAL)
    assert c.of("coordinate_range")[0].limits == pytest.approx((np.deg2rad(90), np.deg2rad(110)))
    write_constraints(c, tmp_path / "c.yaml")
    again = read_constraints(tmp_path / "c.yaml")
    assert again.constraints == c.constraints and to_yaml(again) == to_yaml(c)
    assert c.constraints[:7] == default_constraints().constraints[:7]


def test_losses_are_differentiable_and_metrics_agree_with_numpy(batch):
    constraints = parse_constraints(ARCHITECTURE)
    q, a = batch.q.clone().requires_grad_(), batch.a.clone().requires_grad_()
    torch_batch = Batch(q, a, SKELETON, 60.0, drift=(q**2).mean((1, 2)), start=batch.q)
    total = sum(c.weight * loss(c, torch_batch) for c in constraints)
    assert total.shape == (2,) and torch.isfinite(total).all()
    grads = torch.autograd.grad(total.sum(), (q, a))
    assert all(torch.isfinite(g).all() and g.abs().max() > 0 for g in grads)
    for i in range(2):
        m = Motion.from_arrays(np.arange(q.shape[1]) / 60, batch.q[i].numpy(), batch.a[i].numpy())
        numpy_values = dict(muscle_range=metrics.mac(m), pelvis_tilt=metrics.pelvis_tilt(m),
                            asymmetry=metrics.asymmetry(m), angular_velocity=metrics.angular_velocity(m),
                            com_velocity=metrics.com_velocity(m),
                            com_acceleration=metrics.com_acceleration(m))
        for name, value in numpy_values.items():
            assert metric(constraints.of(name)[0], batch)[i].item() == pytest.approx(value, rel=1e-4), name


@pytest.mark.parametrize("low, high", [(0, 200), (120, 130), (30, 60)])
def test_violation_is_in_the_files_unit(low, high):
    squat = analytic_squat(reps=1, depth_deg=100)
    knee = np.rad2deg(squat["knee_angle_r"])
    half = int(np.ceil(0.015 * (len(knee) - 1)))  # 3 % of the repetition
    around = knee[knee.argmax() - half : knee.argmax() + half + 1]
    away = np.maximum(low - around, 0) + np.maximum(around - high, 0)
    expected = away.max()
    assert expected == pytest.approx({0: 0, 120: 120 - around.min(), 30: 100 - 60}[low], abs=1e-6)
    b = Batch(torch.tensor(squat.coordinates())[None], torch.zeros(1, len(squat.time), 80), SKELETON)
    c = read_constraint(
        dict(kind="coordinate_range", coordinate="knee_angle_r", low=low, high=high, unit="deg", at="bottom")
    )
    assert violation(c, b).item() == pytest.approx(expected, abs=0.05)
    assert loss(c, b).item() == pytest.approx(np.deg2rad(expected), abs=1e-6)
    in_rad = read_constraint(
        dict(kind="coordinate_range", coordinate="knee_angle_r", low=np.deg2rad(low), high=np.deg2rad(high),
             unit="rad", at="bottom")
    )
    assert violation(in_rad, b).item() == pytest.approx(np.deg2rad(expected), abs=1e-3)


@pytest.mark.parametrize("instants, frames", [(196, 7), (134, 5), (400, 13), (100, 5)])
def test_a_limit_holds_for_three_percent_of_the_repetition_around_its_moment(instants, frames):
    squat = analytic_squat(reps=1, depth_deg=100)
    squat = squat.resample((instants - 1) / squat.duration)
    q = torch.tensor(squat.coordinates())[None]
    assert q.shape[1] == instants
    trunk, bottom = COORDINATES.index("lumbar_extension"), int(squat["knee_angle_r"].argmax())
    c = read_constraint({"kind": "coordinate", "coordinate": "lumbar_extension", "low": "20 deg"})

    def away(first, last):
        "Violation where the trunk is straightened to 30 deg in frames first to last about the bottom only."
        flicked = q.clone()
        flicked[0, :, trunk] = 0
        flicked[0, bottom + first : bottom + last + 1, trunk] = np.deg2rad(30)
        return violation(c, Batch(flicked, torch.zeros(1, q.shape[1], 80), SKELETON)).item()

    half = frames // 2
    assert 2 * half / (instants - 1) >= 0.03 and 2 * (half - 1) / (instants - 1) < 0.03
    assert away(0, 0) == away(-half, half - 1) == away(1 - half, half) == pytest.approx(20)
    assert away(-half, half) == 0


def test_the_window_of_a_muscle_is_about_its_own_peak():
    a = torch.zeros(1, 196, 80, dtype=torch.float64)
    left, right = (SIDED_MUSCLES.index(f"vasmed_{s}") for s in "lr")
    a[0, 40:47, left] = a[0, 150:156, right] = 0.4  # seven frames, six frames
    b = Batch(torch.zeros(1, 196, 33, dtype=torch.float64), a, SKELETON)
    fields = {"kind": "muscle_range", "low": 0.35, "high": 0.45}
    assert violation(read_constraint(fields | {"muscles": "vasmed_r"}), b).item() == pytest.approx(0.35)
    a[0, 43, left] = 0.41
    assert violation(read_constraint(fields | {"muscles": "vasmed_l"}), b).item() == 0


def test_limits_turn_no_limits_into_a_range(batch):
    free, bound = (read_constraint({"kind": "com_velocity"}),
                   read_constraint({"kind": "com_velocity", "high": 100}))
    assert violation(free, batch) is None and loss(free, batch).min() > 0
    assert violation(bound, batch).max() == 0 and loss(bound, batch).max() == 0


def test_a_muscle_without_a_side_is_both():
    assert read_constraint({"kind": "muscle_range", "muscles": "vasmed", "low": 0, "high": 1}).muscles == (
        "vasmed_l", "vasmed_r")


@pytest.mark.parametrize(
    "entry, found, cure",
    [
        ({"kind": "muscle_rang"}, "muscle_rang", "muscle_range"),
        ({"weight": 1}, "kind", "known"),
        ("asymmetry", "asymmetry", "braces"),
        ({"kind": ["asymmetry"]}, "asymmetry", ""),
        ({"kind": "muscle_range", "muscles": ["vasmad_l"], "low": 0, "high": 1}, "vasmad_l", "vasmed_l"),
        ({"kind": "muscle_range", "muscles": [], "low": 0, "high": 1}, "[]", "vasmed"),
        ({"kind": "muscle_range", "muscles": 3, "low": 0, "high": 1}, "3", "vasmed"),
        ({"kind": "muscle_range", "muscles": "vasmed", "low": 0.5, "high": 0.4}, "low 0.5 above high 0.4",
         "exchange"),
        ({"kind": "muscle_range", "muscles": "vasmed", "low": 35, "high": 45}, "35", "0.5"),
        ({"kind": "muscle_range", "muscles": "vasmed", "low": "lots", "high": 1}, "lots", "low"),
        ({"kind": "muscle_range", "muscles": "vasmed", "high": 1}, "no `low`", "add low"),
        ({"kind": "muscle_range", "muscles": "vasmed", "low": 0, "high": 1, "at": "pek"}, "pek", "peak"),
        ({"kind": "muscle_range", "muscles": "vasmed", "low": 0, "high": 1, "unit": "deg"}, "unit", "only"),
        ({"kind": "coordinate_range", "coordinate": "knee_angel_r", "low": 0, "high": 1, "unit": "deg"},
         "knee_angel_r", "knee_angle_r"),
        ({"kind": "coordinate_range", "coordinate": "knee_angle_r", "low": 0, "high": 1, "unit": "m"}, "'m'",
         "deg"),
        ({"kind": "coordinate_range", "coordinate": "pelvis_ty", "low": 0, "high": 1, "unit": "deg"}, "deg",
         "m"),
        ({"kind": "coordinate_range", "coordinate": "knee_angle_r", "low": 0, "high": 1}, "no `unit`",
         "unit"),
        ({"kind": "coordinate_range", "coordinate": None, "low": 0, "high": 1, "unit": "deg"},
         "no `coordinate`", "add"),
        ({"kind": "asymmetry", "weight": -1}, "-1", "weight"),
        ({"kind": "asymmetry", "weight": float("nan")}, "nan", "weight"),
        ({"kind": "asymmetry", "weight": True}, "True", "weight"),
        ({"kind": "asymmetry", "weight": [1]}, "[1]", "weight"),
        ({"kind": "asymmetry", "high": -3}, "-3", "high"),
        ({"kind": "com_velocity", "unit": "km/h"}, "km/h", "m/s"),
        ({"kind": "asymmetry", "wieght": 1}, "wieght", "weight"),
        ({"kind": "asymmetry", 3: 1}, "3", "only"),
    ],
)
def test_each_mistake_is_named_with_its_cure(entry, found, cure):
    with pytest.raises(InputError) as e:
        read_constraint(entry, "request.yaml, line 2")
    assert (
        "request.yaml" in str(e.value)
        and found in str(e.value)
        and cure in str(e.value)
        and "\n" not in str(e.value)
    )


@pytest.mark.parametrize(
    "text, found",
    [
        ("", "empty"),
        ("# nothing\n", "empty"),
        ("constraints:\n", "no list"),
        ("constraints: []\n", "no constraint"),
        ("- {kind: asymmetry}\n", "no list"),
        ("42", "no list"),
        ("constraints: [", "line 1"),
        ("constraints:\n\t- a", "line 2"),
        ("constrains: []\n", "constrains"),
        ("constraints:\n  - {kind: asymmetry, weight: 1, weight: 2}\n", "line 2"),
        ("constraints:\n  - {kind: asymmetry}\nconstraints: []\n", "twice"),
        ("constraints:\n  - {kind: asymmetry}\n---\na: 1\n", "document"),
        ("constraints:\n  - {kind: asymmetry}\n  - {kind: nonsense}\n", "line 3"),
        ("constraints:\n  - {kind: proximity, weight: 0}\n", "no constraint"),
        ("constraints:\n  - {kind: !!python/object:os.system x}\n", "tag"),
        ("constraints:\n  - {kind: ground}\n  - {kind: ground}\n  - {kind: asymmetry}\n", "twice"),
        ("constraints:\n  - {kind: asymmetry, weight: 2020-13-45}\n", ""),
        ("constraints:\n  - &a [*a]\n", ""),
    ],
)
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
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.floats()
        | st.text(max_size=8)
        | st.sampled_from([*KINDS, "deg", "peak", "vasmed_l", "knee_angle_r"]),
        lambda x: (
            st.lists(x, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["kind", "low", "high", "weight", "unit", "at", "muscles", "coordinate", "x"]
                ),
                x,
                max_size=6,
            )
        ),
        max_leaves=12,
    )
)
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
    assert (
        c.of("muscle_range")[0].limits == (0.5, 0.6)
        and c.of("asymmetry")[0].weight == 3
        and c.of("ground")[0].weight == 0
    )
    assert base.of("muscle_range")[0].limits == (0.35, 0.45)
    two = parse_constraints(
        "constraints:\n  - {kind: coordinate_range, coordinate: knee_angle_r, low: 1, high: 2, unit: deg}\n"
        "  - {kind: coordinate_range, coordinate: hip_flexion_r, low: 1, high: 2, unit: deg}\n"
    )
    assert [x["high"] for x in override(two, "hip_flexion_r.high=9").of("coordinate_range")] == [2, 9]
    assert len(override(two, "com_velocity.weight=1")) == len(two) + 1


@pytest.mark.parametrize(
    "setting",
    [
        "",
        "x",
        "vasmed=1",
        "vasmed.low",
        "vasmed.low=",
        "vasmed.low=0.9",
        "vasmed.low=-1",
        "nobody.low=1",
        "asymmetry.wieght=1",
        "asymmetry.weight=[",
        ".weight=1",
        "asymmetry.=1",
    ],
)
def test_settings_that_make_no_sense(setting):
    with pytest.raises(InputError):
        override(default_constraints(), setting)


ABOUT = {
    "muscle_range": dict(muscles="vasmed", low=0, high=0.1),
    "coordinate_range": dict(coordinate="knee_angle", low="90 deg", high="100 deg"),
    "coordinate": dict(coordinate="hip_flexion_r"),
    "muscle": dict(muscle="quadriceps"),
    "joint_centre": dict(joint="knee"),
    "body": dict(body="torso"),
    "tempo": dict(phase="ascent"),
    "joint_load": dict(joint="patellofemoral"),
}


def unit_of(k):
    return "deg" if k.unit is None else k.unit


WITH_GOAL = [k for k in KINDS.values() if "goal" in k.fields]


def example(name, **request):
    "A constraint of each kind: with what it is about, and the request given or any."
    k = KINDS[name]
    return read_constraint(
        {
            "kind": name,
            **ABOUT.get(name, {}),
            **(request or ({"goal": "minimise"} if "goal" in k.fields else {})),
        }
    )


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_has_a_finite_gradient_at_rest_and_in_motion(name, batch):
    for q in (torch.zeros(1, 20, 33, dtype=torch.float64), batch.q.clone()):
        a = torch.full((*q.shape[:2], 80), 0.5, dtype=torch.float64, requires_grad=True)
        q.requires_grad_()
        b = Batch(q, a, SKELETON, drift=(q**2).mean((1, 2)), start=torch.zeros_like(q), loads=10 * a[..., :9])
        value = loss(example(name), b)
        assert value.shape == (len(q),) and torch.isfinite(value).all()
        grads = [g for g in torch.autograd.grad(value.sum(), (q, a), allow_unused=True) if g is not None]
        assert grads and all(torch.isfinite(g).all() for g in grads)
    assert max(g.abs().max() for g in grads) > 0, "no pull on a squat"


@pytest.fixture(scope="module")
def person():
    m = example_squat()
    a = torch.tensor(m.activations())[None]
    return Batch(torch.tensor(m.coordinates())[None], a, SKELETON, m.rate_hz, loads=10 * a[..., :9])


def test_clinical_words_are_what_geometry_says(person):
    q = person.q[0].numpy()
    low = q[int(q[:, [COORDINATES.index(f"knee_angle_{s}") for s in "lr"]].max(1).argmax())]
    centres = dict(zip(SKELETON.joint_names, SKELETON.joint_centres(low)))
    points = SKELETON.contact_points(low)

    def value(name, **w):
        return metric(example(name, **(w | {"low": 0})), person).item()

    for side, foot in (("left", points[6:]), ("right", points[:6])):
        s = side[0]
        hip, knee, ankle = (centres[f"{j}_{s}"] for j in ("hip", "walker_knee", "ankle"))
        down = np.array([0, -1, 0])
        assert value("thigh_angle", side=side) == pytest.approx(
            np.degrees(np.arccos((knee - hip) @ down / np.linalg.norm(knee - hip))), abs=1e-3)
        assert value("knee_depth", side=side) == pytest.approx(
            np.degrees(low[COORDINATES.index(f"knee_angle_{s}")]), abs=1e-6)
        assert value("hip_height", side=side) == pytest.approx(hip[1], abs=1e-6)
        assert value("knee_over_toe", side=side) == pytest.approx(
            100 * (knee[0] - foot[:, 0].max()), abs=1e-4)
        assert value("heel_contact", side=side, at="bottom") == pytest.approx(
            100 * foot[foot[:, 0].argmin(), 1], abs=1e-4)
        line = (hip - ankle)[[1, 2]] / np.linalg.norm((hip - ankle)[[1, 2]])
        off = (knee - ankle)[[1, 2]] - (knee - ankle)[[1, 2]] @ line * line
        assert value("knee_valgus", side=side) == pytest.approx(
            100 * np.linalg.norm(off) * np.sign(off[1]) * (1 if s == "l" else -1), abs=1e-3)
    up = SKELETON.body_transforms(low, ("torso",))[0, :3, 1]
    assert (
        value("trunk_lean") == pytest.approx(np.degrees(np.arctan2(up[0], up[1])), abs=1e-4) == value("body")
    )
    assert metric(example("centre_of_mass", low=0), person).item() == pytest.approx(
        SKELETON.centre_of_mass(low)[1], abs=1e-6)
    travel = read_constraint(
        {"kind": "joint_centre", "joint": "knee_r", "from": "ankle_r", "axis": "forward", "low": 0}
    )
    assert metric(travel, person).item() == pytest.approx(centres["walker_knee_r"][0] - centres["ankle_r"][0],
                                                          abs=1e-6)


def test_knees_falling_in_are_positive_valgus():
    q = torch.tensor(analytic_squat(reps=1, depth_deg=90).coordinates())[None]
    value = {}
    for degrees in (-10, 10):
        turned = q.clone()
        for s in "lr":
            turned[..., COORDINATES.index(f"hip_adduction_{s}")] += np.deg2rad(degrees)
        value[degrees] = metric(read_constraint({"kind": "knee_valgus"}),
                                Batch(turned, torch.zeros(1, q.shape[1], 80), SKELETON)).item()
    assert value[10] > 1 and value[-10] < -1


def test_a_group_is_the_mean_of_its_muscles_and_every_group_exists(person):
    assert all(m in SIDED_MUSCLES for g in MUSCLE_GROUPS for side in "lr" for m in members(f"{g}_{side}"))
    vasti = person.a[..., [SIDED_MUSCLES.index(m) for m in ("vasint_r", "vaslat_r", "vasmed_r")]].mean(-1)
    assert metric(read_constraint({"kind": "muscle", "muscle": "vasti_r", "low": 0}),
                  person).item() == pytest.approx(vasti.max().item())
    assert metric(read_constraint({"kind": "muscle", "muscle": "vasti_r", "low": 0, "at": "all"}),
                  person).item() == pytest.approx(vasti.mean().item())


def test_moments_do_not_depend_on_standing_before_and_after(person):
    longer = Batch(
        *(
            torch.cat([x[:, :1].expand(-1, 30, -1), x, x[:, -1:].expand(-1, 25, -1)], 1)
            for x in (person.q, person.a)
        ),
        SKELETON,
        person.rate_hz,
    )
    (first, last), (first2, last2) = person.exercise.cycle(person.q), longer.exercise.cycle(longer.q)
    assert (first2 - first, last2 - last) == (30, 30)
    for moment in ("0 %", "30 %", "bottom", "peak", "100 %"):
        assert torch.equal(at_moment(longer, moment).q, at_moment(person, moment).q)
    assert [p.item() for p in phases(longer)] == pytest.approx([p.item() for p in phases(person)], abs=1e-6)


RATES = st.lists(st.floats(20, 200), min_size=2, max_size=4)


def paced(batch, rates_hz):
    "Motions of a batch, one after another, at rates of their own."
    rows = torch.arange(len(rates_hz)) % len(batch.q)
    q = batch.q[rows]
    return Batch(q, batch.a[rows], SKELETON, torch.tensor(rates_hz, dtype=q.dtype), drift=batch.drift[rows],
                 start=0.9 * q, loads=batch.loads[rows])


def one_of(batch, i):
    "One motion of a batch as a batch at one rate, given as a number."
    return Batch(batch.q[[i]], batch.a[[i]], SKELETON, batch.rate_hz[i].item(), drift=batch.drift[[i]],
                 start=batch.start[[i]], loads=batch.loads[[i]])


@settings(max_examples=3, deadline=None)
@given(RATES)
def test_a_batch_of_motions_at_their_own_rates_is_measured_as_each_alone(batch, rates_hz):
    together = paced(batch, rates_hz)
    for k in KINDS.values():
        c = example(k.name)
        apart = [[f(c, one_of(together, i)) for i in range(len(rates_hz))] for f in (loss, metric)]
        for found, each in zip((loss(c, together), metric(c, together)), apart):
            assert torch.allclose(found, torch.cat(each), rtol=1e-9, atol=1e-12), k.name


@pytest.mark.parametrize("name, power", [("angular_velocity", 1), ("com_velocity", 1), ("foot_sliding", 1),
                                         ("com_acceleration", 2), ("smoothness", 2), ("duration", -1)])
def test_twice_the_duration_is_half_as_fast_and_the_rate_has_a_gradient(batch, name, power):
    rates_hz = torch.tensor([60.0, 30.0], dtype=batch.q.dtype, requires_grad=True)
    same = batch.q[:1].expand(2, -1, -1)
    two = Batch(same, batch.a[:1].expand(2, -1, -1), SKELETON, rates_hz)
    value = metric(read_constraint({"kind": name} | ({"low": 0} if name == "duration" else {})), two)
    assert value[0].item() == pytest.approx(2.0**power * value[1].item(), rel=1e-5)
    (slope,) = torch.autograd.grad(value.sum(), rates_hz)
    assert torch.allclose(slope, power * value / rates_hz, rtol=1e-5)


def test_a_rate_given_as_a_number_is_that_of_all(batch):
    for given_hz in (60, 60.0, np.float64(60), torch.tensor(60.0), [60, 60], np.array([60.0, 60.0])):
        rate_hz = Batch(batch.q, batch.a, SKELETON, given_hz).rate_hz
        assert rate_hz.dtype == batch.q.dtype and rate_hz.tolist() == [60, 60]
    with pytest.raises(RuntimeError):
        Batch(batch.q, batch.a, SKELETON, [60.0, 60.0, 60.0])


def test_phases_of_a_squat_drawn_with_known_times():
    t = np.arange(0, 8, 1 / 60)
    depth = np.interp(t, [1, 4, 5, 7], [0, 1, 1, 0])  # 3-1-2, straight lines
    q = torch.zeros(1, len(t), 33, dtype=torch.float64)
    for s in "lr":
        q[0, :, COORDINATES.index(f"knee_angle_{s}")] = torch.tensor(1.7 * depth)
    b = Batch(q, None, SKELETON)
    expected = (
        3 * 0.85,
        1 + (3 + 2) * 0.05,
        2 * 0.85,
    )  # standing is the first tenth, the pause includes the last twentieth
    assert [p.item() for p in phases(b)] == pytest.approx(expected, abs=0.02)
    assert metric(read_constraint({"kind": "duration", "target": 5.5}), b).item() == pytest.approx(
        sum(expected), abs=0.02)
    assert metric(read_constraint({"kind": "tempo", "phase": "descent", "low": 0}),
                  replace(b, rate_hz=30.0)).item() == pytest.approx(2 * expected[0], abs=0.1)


@pytest.mark.parametrize("k", WITH_GOAL, ids=lambda k: k.name)
def test_limits_of_a_request_are_where_its_metric_is(k, person):
    value = metric(example(k.name, goal="minimise"), person).item()
    if "at" in k.fields and k.fields["at"] == "all":
        return
    spread = 10 * (example(k.name, goal="minimise").unit == "deg") + 0.2
    around = (
        example(k.name, target=f"{value} {unit_of(k)}", within=spread)
        if not (k.unit == "" and value > 0.8)
        else example(k.name, low=value - spread, high=min(1, value + spread))
    )
    x = limited_values(around, person) / around.per_unit
    assert violation(around, person).item() == pytest.approx(max(0, (abs(x - value).max() - spread).item()),
                                                             abs=1e-6)
    assert loss(example(k.name, goal="minimise"), person).item() == pytest.approx(
        -loss(example(k.name, goal="maximise"), person).item()
    )


def test_equal_compares_the_sides():
    squat = analytic_squat(reps=1, depth_deg=100)
    q = torch.tensor(squat.coordinates())[None].clone()
    q[..., COORDINATES.index("knee_angle_r")] *= 0.9
    b = Batch(q, torch.zeros(1, q.shape[1], 80), SKELETON)
    request, limit = (
        read_constraint({"kind": "knee_depth", "goal": "equal", **o}) for o in ({}, {"within": "4 deg"})
    )
    assert metric(request, b).item() == pytest.approx(10, abs=0.1) and violation(request, b) is None
    assert violation(limit, b).item() == pytest.approx(6, abs=0.1) and "equal within 4 deg" in in_words(limit)
    sideways = read_constraint(
        {"kind": "joint_centre", "joint": "hip", "axis": "right", "from": "back", "goal": "equal"}
    )
    assert metric(sideways, b).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "fields, limits",
    [
        (dict(low="100 deg", high="2 rad"), (np.deg2rad(100), 2)),
        (dict(low=100), (np.deg2rad(100), None)),
        (dict(low=1.5, high=2, unit="rad"), (1.5, 2)),
        (dict(target="100°"), (np.deg2rad(98), np.deg2rad(102))),
        (dict(target=100, within="0.1 rad"), (np.deg2rad(100) - 0.1, np.deg2rad(100) + 0.1)),
        (dict(high="1e2 degrees"), (None, np.deg2rad(100))),
    ],
)
def test_units_of_a_value(fields, limits):
    for c in (read_constraint({"kind": "knee_depth", **fields}),
              read_constraint({"kind": "coordinate", "coordinate": "knee_angle", "unit": "deg"} | fields)):
        assert [x for x in c.limits if x is not None] == pytest.approx(
            [x for x in limits if x is not None]
        ) and [x is None for x in c.limits] == [x is None for x in limits]


@pytest.mark.parametrize(
    "entry, found, cure",
    [
        ({"kind": "hip_height", "low": "30 deg"}, "an angle", "m"),
        ({"kind": "knee_depth", "low": "0.5 m"}, "a length", "deg"),
        ({"kind": "knee_depth", "low": 1, "unit": "kg"}, "'kg'", "deg"),
        ({"kind": "muscle", "muscle": "vasti", "high": "40 deg"}, "an angle", "share"),
        ({"kind": "muscle", "muscle": "vasti", "high": "140 %"}, "1.4", "0.5"),
        ({"kind": "duration", "target": "2 m"}, "a length", "s"),
        ({"kind": "coordinate", "coordinate": "pelvis_ty", "high": "3 deg"}, "an angle", "m"),
        ({"kind": "coordinate", "coordinate": "knee_angle", "high": 90}, "no `unit`", "90 deg"),
        ({"kind": "pelvis_tilt", "high": "1 m"}, "a length", "deg"),
        ({"kind": "knee_depth", "target": "nan"}, "nan", "target"),
        ({"kind": "knee_depth", "low": [1]}, "[1]", "low"),
        ({"kind": "knee_depth"}, "no request", "target"),
        ({"kind": "knee_depth", "low": 1, "target": 2}, "low or high and target", "remove"),
        ({"kind": "knee_depth", "low": 1, "within": 2}, "within", "remove"),
        ({"kind": "knee_depth", "goal": "equl"}, "equl", "did you mean 'equal'"),
        ({"kind": "knee_depth", "goal": "equal", "side": "left"}, "equal", "without its side"),
        ({"kind": "duration", "goal": "equal"}, "equal", "side"),
        ({"kind": "muscle", "muscle": "quadricep", "high": 1}, "quadricep", "did you mean 'quadriceps'"),
        ({"kind": "muscle_range", "muscles": "vasti", "low": 0, "high": 1}, "vasti", "kind: muscle"),
        ({"kind": "coordinate", "coordinate": "knee_angel", "goal": "minimise"}, "knee_angel",
         "did you mean 'knee_angle'"),
        ({"kind": "knee_depth", "low": 1, "at": "130 %"}, "130", "50"),
        ({"kind": "knee_depth", "low": 1, "at": "30"}, "'30'", "30 %"),
        ({"kind": "knee_depth", "low": 100, "high": "1 rad"}, "low 100 above high 57", "exchange"),
        ({"kind": "tempo", "target": 1}, "no `phase`", "phase"),
        ({"kind": "tempo", "phase": "decent", "target": 1}, "decent", "did you mean 'descent'"),
        ({"kind": "body", "body": ["torso"], "high": 1}, "torso", "body"),
        ({"kind": "joint_centre", "joint": "knee", "axis": "z", "high": 1}, "'z'", "up"),
        ({"kind": "duration", "target": -1}, "-1", "60"),
    ],
)
def test_mistakes_of_the_vocabulary(entry, found, cure):
    with pytest.raises(InputError) as e:
        read_constraint(entry, "request.yaml, line 2")
    assert found in str(e.value) and cure in str(e.value) and "\n" not in str(e.value)


@st.composite
def requests(draw):
    "One valid entry of any kind that takes limits, its numbers in any unit that fits."
    k = draw(st.sampled_from(WITH_GOAL))
    entry = {"kind": k.name, **ABOUT.get(k.name, {})} | {
        f: draw(st.sampled_from(c))
        for f, c in (("side", ("left", "both")), ("axis", ("up", "forward")),
                     ("plane", ("frontal", "sagittal")))
        if f in k.fields and draw(st.booleans())
    }
    if "at" in k.fields and draw(st.booleans()):
        entry["at"] = draw(
            st.sampled_from(["peak", "bottom", "all"]) | st.integers(0, 1000).map(lambda x: f"{x / 10:g} %")
        )
    sort = UNITS[unit_of(k)][0]
    unit, top = (draw(st.sampled_from([u for u in UNITS if UNITS[u][0] == sort])),
                 {"a share": 0.5, "a time": 9}.get(sort, 2))

    def value(low, high):
        return f"{draw(st.floats(low, high)) / UNITS[unit][1]!r} {unit}".strip()

    request = draw(st.sampled_from(["low", "high", "both", "target", "minimise", "maximise"]))
    if request in ("minimise", "maximise"):
        entry["goal"] = request
    elif request == "target":
        entry |= {"target": value(0, top)} | ({"within": value(0, top)} if draw(st.booleans()) else {})
    else:
        entry |= {
            w: v
            for w, v in (("low", value(0, top / 2)), ("high", value(top / 2, top)))
            if request in (w, "both")
        }
    return entry | {"weight": draw(st.floats(0, 1e6))}


@settings(max_examples=200, deadline=None)
@given(requests())
def test_any_request_survives_the_file(entry):
    c = ConstraintSet.from_entries([entry])
    again = parse_constraints(to_yaml(c))
    assert again.constraints == c.constraints and to_yaml(again) == to_yaml(c) and in_words(c.constraints[0])


KNEES = {"kind": "knee_depth", "low": 100, "high": 110}


@pytest.mark.parametrize(
    "entries, words",
    [
        ([KNEES, {"kind": "coordinate", "coordinate": "knee_angle_r", "high": "90 deg"}],
         ("knee_angle_r", "at least 90 deg in knee_depth", "at most 100 deg in coordinate")),
        (
            [
                KNEES,
                {
                    "kind": "coordinate_range",
                    "coordinate": "knee_angle_l",
                    "low": 0,
                    "high": 1,
                    "unit": "rad",
                    "at": "all",
                },
            ],
            ("knee_angle_l", "57.3 deg", "1.745 rad"),
        ),
        (
            [
                {"kind": "muscle_range", "muscles": "soleus", "low": 0.3, "high": 0.4},
                {"kind": "muscle", "muscle": "soleus_l", "high": "20 %", "at": "all"},
            ],
            ("soleus_l", "0.2", "0.3"),
        ),
        (
            [
                {"kind": "muscle_range", "muscles": "soleus", "low": 0.1, "high": 0.2},
                {"kind": "muscle", "muscle": "soleus", "low": 0.3, "at": "bottom"},
            ],
            ("soleus", "0.2", "0.3"),
        ),
        ([{"kind": "trunk_lean", "high": 10}, {"kind": "body", "body": "torso", "low": 30}],
         ("torso", "10 deg", "30 deg")),
        ([{"kind": "trunk_lean", "goal": "minimise"}, {"kind": "body", "body": "torso", "goal": "maximise"}],
         ("minimised and maximised", "remove")),
        (
            [
                {"kind": "duration", "high": 3},
                *({"kind": "tempo", "phase": p, "low": 1.5} for p in ("descent", "ascent", "pause")),
            ],
            ("4.5 s", "duration"),
        ),
        (
            [
                {"kind": "knee_depth", "goal": "equal", "within": 5},
                {"kind": "knee_depth", "low": 100, "side": "left"},
                {"kind": "coordinate", "coordinate": "knee_angle_r", "high": "90 deg"},
            ],
            ("within 5 deg", "at least 100 deg", "at most 90 deg", "within 10 deg"),
        ),
        ([{"kind": "asymmetry"}, {"kind": "asymmetry", "high": 3}], ("asymmetry twice", "join")),
    ],
)
def test_contradictions_are_found_with_the_nearest_values(entries, words):
    with pytest.raises(InputError) as e:
        ConstraintSet.from_entries(entries, "request.yaml",
                                   [f"request.yaml, line {i}" for i in range(2, 2 + len(entries))])
    assert all(w in str(e.value) for w in (*words, "request.yaml, line"))
    off = [x | {"weight": 0} for x in entries[:1]] + entries[1:]
    if entries[0]["kind"] != "asymmetry":
        assert len(ConstraintSet.from_entries(off)) == len(entries) + len(
            NATURAL
        )  # one that is switched off contradicts none


@pytest.mark.parametrize(
    "entries",
    [
        [KNEES, {"kind": "knee_depth", "high": 30, "at": "0 %"}],
        [KNEES, {"kind": "knee_depth", "goal": "equal", "within": 3}],
        [KNEES, {"kind": "coordinate", "coordinate": "knee_angle_r", "high": "100 deg"}],
        [
            {"kind": "knee_depth", "low": 100, "side": "left"},
            {"kind": "knee_depth", "high": 90, "side": "right"},
        ],
        [
            {"kind": "knee_depth", "goal": "equal", "within": 12},
            {"kind": "knee_depth", "low": 100, "side": "left"},
            {"kind": "knee_depth", "high": 90, "side": "right"},
        ],
        [
            {"kind": "knee_depth", "goal": "equal", "within": 5, "at": "30 %"},
            {"kind": "knee_depth", "low": 100, "side": "left"},
            {"kind": "knee_depth", "high": 90, "side": "right"},
        ],
        [
            {"kind": "muscle", "muscle": "soleus", "high": 0.1, "at": "bottom"},
            {"kind": "muscle", "muscle": "soleus", "low": 0.3},
        ],
    ],
)
def test_constraints_that_only_look_contradictory(entries):
    assert len(ConstraintSet.from_entries(entries)) == len(entries) + len(NATURAL)


@settings(max_examples=30, deadline=None)
@given(st.floats(-40, 40), st.floats(-15, 15), st.sampled_from([30.0, 60.0, 100.0]))
def test_who_stands_still_pushes_below_the_centre_of_mass(tilt_deg, list_deg, rate_hz):
    q = np.zeros((1, 200, 33))
    q[..., [COORDINATES.index("pelvis_tilt"), COORDINATES.index("pelvis_list")]] = np.deg2rad(
        [tilt_deg, list_deg]
    )
    still = Batch(torch.tensor(q), None, SKELETON, rate_hz)
    com, feet = SKELETON.centre_of_mass(q[0, 0])[[0, 2]], SKELETON.contact_points(q[0, 0])[:, [0, 2]]
    away = np.hypot(*np.maximum(0, np.maximum(feet.min(0) - com, com - feet.max(0))))
    assert metric(read_constraint({"kind": "balance"}), still).item() == pytest.approx(100 * away, abs=1e-3)


def test_a_body_that_speeds_up_needs_the_push_behind_it():
    q, t = np.zeros((2, 121, 33)), np.arange(121) / 60
    q[..., COORDINATES.index("pelvis_tx")] = 0.5 * np.outer([1.0, -1.0], t**2)  # 1 m/s² forward and backward
    push, _ = needed_push(Batch(torch.tensor(q), None, SKELETON, 60.0))
    com = SKELETON.centre_of_mass(q[:, :: balance_every(121)])[:, 1:-1]
    height = com[..., 1] - SKELETON.contact_points(q[0, 0])[:, 1].min()
    assert np.allclose(push[..., 0].numpy(), com[..., 0] - height * np.array([[1.0], [-1.0]]) / GRAVITY,
                       atol=1e-9)


def test_balance_joins_with_its_usual_limit_and_can_be_changed_or_switched_off():
    asked = {c.kind.name: c for c in default_constraints()}["balance"]
    assert asked.limits == (None, pytest.approx(0.02)) and asked.weight == 1
    assert override(default_constraints(), "balance.high=1").of("balance")[0].limits == (
        None, pytest.approx(0.01))
    assert override(default_constraints(), "balance.weight=0").of("balance")[0].weight == 0


def without(body):
    "The default skeleton as a model that calls a body otherwise."
    return replace(
        SKELETON,
        name="other",
        tree=tuple(
            replace(j, child=j.child.replace(body, "part"), parent=j.parent.replace(body, "part"))
            for j in SKELETON.tree
        ),
    )


@pytest.mark.parametrize(
    "entry, skeleton, words",
    [
        ({"kind": "knee_depth", "low": 170}, SKELETON,
         ("0 to 140 deg", "nearest value that can be reached is 140 deg")),
        ({"kind": "coordinate", "coordinate": "elbow_flex_r", "high": "-0.1 rad"}, SKELETON,
         ("range", "is 0 rad")),
        ({"kind": "body", "body": "torsoo", "high": 1}, SKELETON, ("torsoo", "did you mean 'torso'")),
        ({"kind": "joint_centre", "joint": "knie_l", "high": 1}, SKELETON,
         ("knie_l", "did you mean 'knee_l'")),
        ({"kind": "joint_centre", "joint": "knee", "from": "hipp", "high": 1}, SKELETON,
         ("hipp", "did you mean 'hip'")),
        ({"kind": "body", "body": "torso", "goal": "minimise"}, without("torso"),
         ("no body 'torso'", "other")),
        ({"kind": "trunk_lean", "high": 30}, without("torso"), ("no body 'torso'", "leave trunk_lean out")),
        ({"kind": "hip_height", "low": 0.3}, replace(SKELETON, tree=SKELETON.tree[:1]),
         ("no joint 'hip'", "give the joint that name")),
        ({"kind": "joint_centre", "joint": "back", "goal": "minimise"},
         replace(SKELETON, tree=SKELETON.tree[:1]), ("no joint 'back'", "one of its 1")),
    ],
)
def test_models_that_cannot_do_it(entry, skeleton, words):
    c = ConstraintSet.from_entries([entry], "request.yaml")
    with pytest.raises(InputError) as e:
        check_model(c, skeleton)
    assert all(w in str(e.value) for w in (*words, "request.yaml"))
    check_model(default_constraints(), skeleton)
    check_model(
        [
            replace(x, weight=0.0)
            for x in c
            if x.limits != (None, None) and x.kind.name in ("knee_depth", "coordinate")
        ],
        skeleton,
    )


def test_what_nobody_does_is_refused_and_what_somebody_nearly_does_is_not():
    reps = torch.stack(
        [torch.tensor(analytic_squat(reps=1, depth_deg=d).coordinates()) for d in np.linspace(60, 120, 10)]
    )
    real = Batch(reps, torch.zeros(*reps.shape[:2], 80, dtype=torch.float64), SKELETON)
    far, near = (
        ConstraintSet.from_entries([{"kind": "hip_height", **w}])
        for w in ({"low": "2 m"}, {"low": "0.4 m", "high": "0.9 m"})
    )
    check_reach(near, real)
    with pytest.raises(InputError, match="nearest value that one of them reaches is 0.[5-9]"):
        check_reach(far, real)
    check_reach(far, Batch(real.q[:2], real.a[:2], SKELETON))  # two people say nothing about mankind
    check_reach(ConstraintSet.from_entries([{"kind": "duration", "low": 20}]), real)


def test_shortfalls_name_requested_reached_nearest_and_why():
    reps = [
        torch.tensor(analytic_squat(reps=1, depth_deg=d, pause=0.2).coordinates()) for d in (60, 80, 100, 110)
    ]
    real = Batch(torch.stack(reps), torch.zeros(4, len(reps[0]), 80, dtype=torch.float64), SKELETON)
    made = Batch(real.q[:2], real.a[:2], SKELETON)
    met, alone, torn = (
        ConstraintSet.from_entries(e)
        for e in (
            [{"kind": "knee_depth", "low": 50}],
            [{"kind": "muscle", "muscle": "soleus", "low": 0.5}],
            [
                {"kind": "knee_depth", "low": 95},
                {"kind": "trunk_lean", "goal": "minimise"},
                {"kind": "coordinate", "coordinate": "hip_flexion_l", "high": "20 deg"},
            ],
        )
    )
    assert shortfalls(met, made, real) == []
    (s,) = shortfalls(alone, made, real)
    assert (
        s["violated_by"] == 2
        and s["nearest"] == 0
        and "none of 4 recorded" in s["sentence"]
        and "requested at least 0.5" in s["sentence"]
    )
    knees = [np.rad2deg(r[:, COORDINATES.index("knee_angle_l")].numpy()) for r in reps[:2]]
    low60, low80 = (k[k.argmax() - 3 : k.argmax() + 4].min() for k in knees)  # over 3 % of the repetition
    s = shortfalls(torn, made, real)[0]
    assert (
        s["reached"] == pytest.approx(low80, abs=1e-3)
        and s["constraint"] == "knee_depth"
        and "coordinate hip_flexion_l" in s["because"]
    )
    (s,) = shortfalls(ConstraintSet.from_entries([{"kind": "knee_depth", "low": 95}]), made, real)
    assert s["nearest"] >= 95 and "more samples" in s["because"] and "violated by 2 of 2" in s["sentence"]
    (s,) = shortfalls(ConstraintSet.from_entries([{"kind": "knee_depth", "low": 70}]), made, real)
    assert (
        s["violated_by"] == 1
        and s["reached"] == pytest.approx(low60, abs=1e-3)
        and "1 of 2 that violate it" in s["sentence"]
    )


def durations(*entries, **options):
    return requested_durations(ConstraintSet.from_entries(list(entries)), **options)


def tempo(phase, **limits):
    return {"kind": "tempo", "phase": phase} | limits


def test_a_request_says_how_long_a_repetition_may_last():
    assert requested_durations(default_constraints()) == (None, None) == requested_durations(())
    assert durations({"kind": "duration", "target": 2}) == pytest.approx((1.9 + REST_S, 2.1 + REST_S))
    three = [tempo(p, low=s, high=s + 0.5) for p, s in (("descent", 3), ("pause", 1), ("ascent", 2))]
    assert durations(*three) == pytest.approx((6 + REST_S, 7.5 + REST_S))
    assert durations(*three, rest_s=1.0) == pytest.approx((7, 8.5))
    assert durations(*three, {"kind": "duration", "low": 6.5, "high": 7}) == pytest.approx(
        (6.5 + REST_S, 7 + REST_S))
    assert durations(*three[:2]) == (pytest.approx(4 + REST_S), None)  # the third may take any time
    assert durations(three[0] | {"weight": 0}) == (None, None)
    assert durations(tempo("descent", high=1), {"kind": "duration", "high": 3}) == (None, 3 + REST_S)


def test_the_phases_are_those_of_the_exercise():
    exercise = next(e for e in map(load_exercise, shipped_exercises()) if "descent" not in e.phases)
    each = [tempo(p, low=1, high=2) for p in exercise.phases]
    asked = ConstraintSet.from_entries(each)
    n = len(exercise.phases)
    assert requested_durations(asked, exercise) == pytest.approx((n + REST_S, 2 * n + REST_S))


def test_a_movement_that_must_last_longer_than_its_phases_may_is_refused():
    phases_at_most = [tempo(p, high=1) for p in load_exercise().phases]
    assert durations(*phases_at_most, {"kind": "duration", "low": 3})[0] == pytest.approx(3 + REST_S)
    with pytest.raises(InputError, match="at least 3.1 s and of at most 3 s"):
        durations(*phases_at_most, {"kind": "duration", "low": 3.1})


@pytest.mark.parametrize(
    "text, words",
    [
        ("- {kind: muscle_range, muscles: [vasmad_l], low: 0.3, high: 0.4}", "did you mean 'vasmed_l'"),
        ("- {kind: knee_depth, low: 110, high: 90}", "exchange"),
        ("- {kind: knee_depth, low: 0.3 m}", "a length"),
        ("- {kind: asymmetry, weight: -1}", "weight"),
        ("- {kind: asymmetry, weight: .nan}", "weight"),
        ("", "no list"),
        ("- {kind: knee_depth, low: 100}\n  - {kind: knee_depth, high: 90, at: all}", "nearest"),
    ],
)
def test_generate_refuses_a_bad_request_with_exit_status_2(text, words, tmp_path, capsys):
    from bige.cli import main

    (tmp_path / "request.yaml").write_text(f"constraints:\n  {text}\n")
    assert (
        main(
            [
                "generate",
                "-n",
                "2",
                "--constraints",
                str(tmp_path / "request.yaml"),
                "--out",
                str(tmp_path / "out"),
            ]
        )
        == 2
    )
    said = capsys.readouterr().err
    assert words in said and "request.yaml" in said and "Cure" in said and not (tmp_path / "out").exists()


def test_generate_refuses_what_the_model_cannot_do_with_exit_status_2(tmp_path, capsys, shared):
    "The body is there under another name: named, with the cure, before anything is searched."
    from bige.cli import main

    model = (
        next((shared / "labval_s4_62.6kg").rglob("*.osim"))
        .read_text()
        .replace('name="torso"', 'name="trunk"')
        .replace("/torso<", "/trunk<")
        .replace("/torso/", "/trunk/")
        .replace(">torso<", ">trunk<")
    )
    (tmp_path / "other.osim").write_text(model)
    (tmp_path / "request.yaml").write_text("constraints:\n  - {kind: trunk_lean, high: 30 deg}\n")
    assert (
        main(
            [
                "generate",
                "-n",
                "2",
                "--model",
                str(tmp_path / "other.osim"),
                "--constraints",
                str(tmp_path / "request.yaml"),
                "--out",
                str(tmp_path / "out"),
            ]
        )
        == 2
    )
    said = capsys.readouterr().err
    assert (
        "no body 'torso'" in said
        and "request.yaml, line 2" in said
        and "give the body that name" in said
        and not (tmp_path / "out").exists()
    )
    (tmp_path / "request.yaml").write_text("constraints:\n  - {kind: knee_depth, low: 170 deg}\n")
    assert (
        main(
            [
                "generate",
                "-n",
                "2",
                "--constraints",
                str(tmp_path / "request.yaml"),
                "--out",
                str(tmp_path / "out"),
            ]
        )
        == 2
    )
    assert "nearest value that can be reached is 140 deg" in capsys.readouterr().err
    (tmp_path / "request.yaml").write_text("constraints:\n  - {kind: hip_height, low: 1.9 m}\n")
    assert (
        main(
            [
                "generate",
                "-n",
                "2",
                "--constraints",
                str(tmp_path / "request.yaml"),
                "--out",
                str(tmp_path / "out"),
            ]
        )
        == 2
    )
    assert "nearest value that one of them reaches" in capsys.readouterr().err
    assert (
        main(["generate", "-n", "0", "--out", str(tmp_path / "out")]) == 2 and not (tmp_path / "out").exists()
    )


def test_bottom_and_cycle_are_those_of_the_exercise(person):
    exercise = person.exercise
    low = at_moment(person, "bottom").q[0, 0]
    assert torch.equal(low, person.q[0, exercise.bottom(person.q)[0]])
    assert np.array_equal(
        exercise.bottom(person.q.numpy()), exercise.bottom(person.q).numpy()
    )  # numpy or torch
    first, last = (int(f[0]) for f in exercise.cycle(person.q))
    assert torch.equal(at_moment(person, "30 %").q[0, 0], person.q[0, round(first + 0.3 * (last - first))])


def test_nothing_depends_on_the_name_of_a_kind():
    "A kind under another name behaves alike: what it needs is in its fields."
    flags = {k.name: (k.natural, k.of_latent, k.distance, k.span) for k in KINDS.values()}
    assert [n for n, f in flags.items() if f[0]] == list(NATURAL)
    assert [n for n, f in flags.items() if f[1]] == ["proximity"] and [
        n for n, f in flags.items() if f[2]
    ] == ["muscle_range"]
    assert {n: f[3] for n, f in flags.items() if f[3]} == {"duration": "whole", "tempo": "phase"}
    predicted = {k.name: k.predicted for k in KINDS.values() if k.predicted}
    assert predicted == {"muscle_range": "a", "muscle": "a", "joint_load": "loads"}


@pytest.mark.parametrize("joint, columns", [
    ("patellofemoral", ("patellofemoral_l", "patellofemoral_r")), ("hip_r", ("hip_r",)),
    ("lumbosacral", ("lumbosacral",)), ("ankle_l", ("ankle_l",))])
def test_a_joint_load_is_the_peak_of_each_joint(batch, joint, columns):
    c = read_constraint({"kind": "joint_load", "joint": joint, "high": "3 BW"})
    peaks = batch.loads[..., [JOINT_LOADS.index(name) for name in columns]].amax(1)
    assert c.parts == tuple(f"{name} load" for name in columns) and c.limits == (None, 3.0)
    assert torch.equal(metric(c, batch), peaks.mean(1))
    assert torch.allclose(violation(c, batch), peaks.amax(1) - 3)
    at_bottom = read_constraint({"kind": "joint_load", "joint": joint, "high": 3, "at": "bottom"})
    low = at_moment(batch, "bottom").loads[:, 0, [JOINT_LOADS.index(name) for name in columns]]
    assert torch.equal(metric(at_bottom, batch), low.mean(1))


@pytest.mark.parametrize("entry, words", [
    ({"joint": "knee", "high": 3}, "one of the 9 joint loads"),
    ({"joint": "patelofemoral_r", "high": 3}, "did you mean 'patellofemoral_r'?"),
    ({"joint": "lumbosacral_r", "high": 3}, "did you mean 'lumbosacral'?"),
    ({"joint": "hip", "high": "2100 N"}, "only in BW"), ({"joint": "hip", "high": -1}, "from 0 to 100"),
    ({"joint": "lumbosacral", "goal": "equal"}, "without sides")])
def test_mistakes_about_joint_loads(entry, words):
    with pytest.raises(InputError, match="request.yaml, line 2") as e:
        read_constraint({"kind": "joint_load"} | entry, "request.yaml, line 2")
    assert words in str(e.value)


def test_motions_without_loads_say_so(batch):
    c = read_constraint({"kind": "joint_load", "joint": "hip", "high": 3}, "request.yaml, line 4")
    bare = Batch(batch.q, batch.a, SKELETON)
    for function in (loss, metric, violation, limited_values):
        with pytest.raises(InputError, match="line 4, joint_load: found motions without joint loads"):
            function(c, bare)
    check_model([c], SKELETON)  # its joint is none of the model's joint centres


def test_a_users_exercise_names_its_own_phases(tmp_path):
    record = shipped_exercises()["squat"].read_text()
    record = record.replace("name: squat", "name: wave").replace("descent", "lift")
    (tmp_path / "wave.yaml").write_text(record)
    wave = load_exercise(tmp_path / "wave.yaml")
    text = "constraints:\n  - {kind: tempo, phase: lift, low: 0.5 s, high: 2 s}\n"
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(InputError, match="lift"):
        read_constraints(tmp_path / "c.yaml")
    found = override(read_constraints(tmp_path / "c.yaml", wave), "tempo.high=3")
    assert found.of("tempo")[0]["phase"] == "lift"
    assert parse_constraints(to_yaml(found), "c", wave).entries() == found.entries()
