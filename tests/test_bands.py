"""Predictive bands and probabilities: against sampling, and what changes when limits or deviations do."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bige.constraint_files import read_constraint
from bige.constraints import (BAND_ERROR, KINDS, SIDED_MUSCLES, Batch, Constraint, constraint_band,
                              metric, standard_deviations, times_sd, violation)
from bige.files import InputError
from bige.motion import JOINT_LOADS, example_squat
from bige.skeleton import Skeleton


@pytest.fixture(scope="module")
def squat():
    m = example_squat()
    q, a = (torch.tensor(x)[None] for x in (m.coordinates(), m.activations()))
    return Batch(q, a, Skeleton.default(), m.rate_hz, loads=10 * a[..., : len(JOINT_LOADS)])


def deviation(batch, share=0.2):
    return 0.02 + share * batch.a


@pytest.mark.parametrize("entry", [
    {"kind": "muscle", "muscle": "vasti", "low": 0.5, "high": 0.65},
    {"kind": "muscle", "muscle": "soleus_r", "high": 0.6},
    {"kind": "muscle_range", "muscles": "vasmed", "low": 0.35, "high": 0.55},
    {"kind": "muscle", "muscle": "hamstrings", "at": "bottom", "low": 0.25}])
def test_the_probability_is_the_share_of_random_errors_that_hold(squat, entry):
    c, sd, n = read_constraint(entry), deviation(squat), 4000
    floor, factor = BAND_ERROR["a"]
    g = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, n, 1, 1, generator=g, dtype=squat.a.dtype)
    each = torch.cat([left.expand(-1, 1, 40), right.expand(-1, 1, 40)], -1)
    assert SIDED_MUSCLES[39].endswith("_l") and SIDED_MUSCLES[40].endswith("_r")
    held = []
    for part in each.split(500):
        a = squat.a + part * (floor**2 + (factor * sd) ** 2) ** 0.5
        off = Batch(squat.q.expand(len(part), -1, -1), a, squat.skeleton, squat.rate_hz)
        held.append(violation(c, off) <= 0)
    sampled = torch.cat(held).double().mean().item()
    found = constraint_band(c, squat, sd).probability.item()
    assert 0.02 < sampled < 0.98 and found == pytest.approx(sampled, abs=0.06)


@pytest.mark.parametrize("name", [n for n in KINDS if not KINDS[n].of_latent and KINDS[n].unit is not None])
def test_every_kind_has_a_band_around_its_value_or_none(squat, name):
    fields = {"muscles": ("vasmed_l",), "muscle": "vasti", "joint": "hip" if name == "joint_load" else "knee",
              "body": "torso", "phase": "ascent", "low": 0.0, "high": 1.0}
    k = KINDS[name]
    c = Constraint(k, {f: fields[f] for f in k.fields if f in fields}, 1)
    band = constraint_band(c, squat, 0.5 * squat.loads if name == "joint_load" else deviation(squat))
    if band is None:
        assert name == "smoothness"  # the only kind of its sort of quantity, and no limit
        return
    assert (band.low <= band.value).all() and (band.value <= band.high).all() and (band.low < band.high).all()
    if not k.distance and k.signed:
        assert torch.allclose(band.value, metric(c, squat))
    assert band.probability is None or 0 <= band.probability.item() <= 1


@settings(max_examples=30, deadline=None)
@given(st.floats(0.05, 0.9), st.floats(0.01, 0.3), st.floats(0, 0.2), st.floats(0.05, 1))
def test_what_widens_limits_makes_them_likelier(squat, middle, half, tolerance, share):
    def probability(half, tolerance=0.0):
        c = read_constraint({"kind": "muscle", "muscle": "vasti", "target": middle, "within": half})
        return constraint_band(c, squat, deviation(squat, share), tolerance).probability.item()

    assert probability(half) <= probability(half, tolerance) + 1e-12
    assert probability(half) <= probability(half + 0.05) + 1e-12
    if tolerance:
        assert probability(half, tolerance) == pytest.approx(probability(half + tolerance), abs=1e-9)


def test_a_band_is_as_wide_as_the_deviation(squat):
    c = read_constraint({"kind": "muscle", "muscle": "vasti_r", "goal": "minimise"})
    flat = torch.full_like(squat.a, 0.1)
    s, (floor, factor) = standard_deviations(c, squat, flat), BAND_ERROR["a"]
    assert torch.allclose(s, torch.tensor(math.hypot(floor, factor * 0.1), dtype=s.dtype))
    band = constraint_band(c, squat, flat)
    assert (band.high - band.low).item() == pytest.approx(2 * times_sd() * s[0, 0, 0].item())
    assert band.probability is None


def test_the_difference_of_two_sides_is_less_sure_than_each(squat):
    flat = torch.full_like(squat.a, 0.1)
    vasti = {"kind": "muscle", "muscle": "vasti"}
    requests = (vasti | x for x in ({"high": 0.5}, {"goal": "equal", "within": 0.1}))
    each, difference = (standard_deviations(read_constraint(r), squat, flat) for r in requests)
    floor, factor = BAND_ERROR["a"]
    assert difference[0, 0, 0].item() == pytest.approx(math.hypot(floor, factor * 0.1 * 2**0.5))
    assert (difference[0, 0, 0] > each[0, 0, 0]).item()


def test_a_band_needs_what_it_is_about(squat):
    load = read_constraint({"kind": "joint_load", "joint": "hip", "high": 3})
    assert constraint_band(load, squat) is None and constraint_band(load, squat, squat.loads / 10) is not None
    bare = Batch(squat.q, squat.a, squat.skeleton, squat.rate_hz)
    with pytest.raises(InputError, match="without joint loads"):
        constraint_band(load, bare, squat.loads / 10)
