"""Constraints that exclude each other: certain ones when the request is read, others by known motions."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bige.constraint_files import ConstraintSet
from bige.constraints import Batch
from bige.files import InputError
from bige.motion import analytic_squat
from bige.reachability import excess, find_conflicts, join_batches, limit_rows, shortfalls
from bige.skeleton import Skeleton

SKELETON = Skeleton.default()


@pytest.fixture(scope="module")
def known():
    "Squats of 60 to 120 degrees, whose activations rise with the depth, of both legs alike."
    batches = []
    for depth in range(60, 122, 3):
        m = analytic_squat(reps=1, depth_deg=depth, pause=0.2).resample(40)
        q = torch.tensor(m.coordinates())[None]
        bent = q[..., 9:10].abs() / math.radians(120)
        a = 0.6 * (depth / 120) ** 2 * bent.expand(-1, -1, 80) / bent.max()
        batches.append((q[:, :80], a[:, :80]))
    parts = [Batch(q, a, SKELETON, 40.0) for q, a in batches]
    return join_batches(parts)


def request(*entries):
    return ConstraintSet.from_entries([*entries], "request.yaml")


DEEP, HIGH = {"kind": "knee_depth", "low": "105 deg"}, {"kind": "hip_height", "low": "75 cm"}
SPARED = {"kind": "muscle", "muscle": "vasti", "high": 0.2}
WIDE = [{"kind": "trunk_lean", "high": "90 deg"}, {"kind": "knee_valgus", "high": "20 cm"}]


@pytest.mark.parametrize("pair", [(DEEP, HIGH), (DEEP, SPARED)])
def test_the_pair_is_named_and_each_relaxation_ends_it(known, pair):
    constraints = request(WIDE[0], pair[1], WIDE[1], pair[0])
    (found,) = find_conflicts(constraints, known)
    assert {c.kind.name for c in found.constraints} == {e["kind"] for e in pair}
    assert len(found.relaxations) == 2 and found.relaxations[0].cost <= found.relaxations[1].cost
    for way in found.relaxations:
        assert way.words in found.sentence
        relaxed = [e | {way.end: f"{way.value} {way.constraint.unit}".strip()}
                   if e["kind"] == way.constraint.kind.name else e for e in (*WIDE, *pair)]
        assert find_conflicts(request(*relaxed), known) == []


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 20), st.floats(1, 10))
def test_what_a_known_motion_does_is_possible(known, i, wide):
    from bige.constraints import limited_values

    entries = []
    for entry in ({"kind": "knee_depth"}, {"kind": "hip_height"}, {"kind": "muscle", "muscle": "vasti"},
                  {"kind": "trunk_lean"}):
        (c,) = list(request(entry | {"low": 0}))[:1]
        x = limited_values(c, known)[i] / c.per_unit
        off = wide * {"deg": 1.0, "m": 0.01, "": 0.01}[c.unit]
        low, high = x.min().item() - off, x.max().item() + off
        entries.append(entry | ({"low": low, "high": high} if c.unit else {"low": max(low, 0), "high": high}))
    assert find_conflicts(request(*entries), known) == []


def test_more_limits_never_make_a_set_easier(known):
    rows = [r for e in (DEEP, HIGH, SPARED) for r in limit_rows(request(e).constraints[0], [known])]
    assert 0 <= excess(rows[:2]) <= excess(rows[:4]) + 1e-9 and excess(rows[:4]) <= excess(rows) + 1e-9


def test_few_known_motions_and_missing_loads_tell_nothing(known):
    few = Batch(known.q[:4], known.a[:4], SKELETON, known.rate_hz[:4])
    assert find_conflicts(request(DEEP, HIGH), few) == []
    assert find_conflicts(request({"kind": "joint_load", "joint": "hip", "high": 0.1}), known) == []


def test_shortfalls_name_the_conflict(known):
    made = Batch(known.q[-2:], known.a[-2:], SKELETON, known.rate_hz[-2:])
    rows = shortfalls(request(DEEP, HIGH), made, known)
    assert len(rows) == 1 and "exclude each other" in rows[0]["sentence"]


@pytest.mark.parametrize("entries, words", [
    ([{"muscle": "quadriceps", "low": 0.5}, {"muscle": "vasti", "high": 0.45},
      {"muscle": "recfem", "high": 0.3}], ("muscle quadriceps", "muscle vasti", "muscle recfem", "is 0.41")),
    ([{"muscle": "vasmed_r", "low": 0.7}, {"muscle": "vasti_r", "high": 0.2}],
     ("vasmed_r", "vasti_r", "is 0.6")),
    ([{"muscle": "vasti", "low": 0.6}, {"muscle": "vasmed", "high": 0.1}, {"muscle": "vasint", "high": 0.4}],
     ("muscle vasti", "muscle vasmed", "muscle vasint", "0.5"))])
def test_a_group_cannot_be_above_what_its_muscles_reach(entries, words):
    with pytest.raises(InputError) as e:
        request(*({"kind": "muscle"} | entry for entry in entries))
    assert all(w in str(e.value) for w in words)


@pytest.mark.parametrize("entries", [
    [{"muscle": "quadriceps", "low": 0.5}, {"muscle": "vasti", "high": 0.45}],  # with rectus femoris at 0.65
    [{"muscle": "vasmed", "low": 0.55}, {"muscle": "vasti", "high": 0.2}],
    [{"muscle": "vasti", "low": 0.6, "at": "bottom"}, {"muscle": "vasmed", "high": 0.1, "at": "30 %"}]])
def test_what_muscles_can_do_is_no_contradiction(entries):
    assert request(*({"kind": "muscle"} | entry for entry in entries))
