"""Advice for a recorded repetition: changes that are the same left and right, the gain of two simulations,
and the whole loop with a simulation whose answer is known."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from bige.advice import REACHED_DEG, advice_text, advise, other_side, own_candidate, removed, single_change
from bige.answers import Answer, Request
from bige.cli import main
from bige.constraint_files import parse_constraints
from bige.dataset import mirror_arrays, part, reference, repetition
from bige.exercises import load_exercise
from bige.files import InputError
from bige.guidance import (Models, Search, bottom_angles, even_change, joint_change, one_repetition,
                           smallest_change)
from bige.motion import ACTIVATIONS, COORDINATES, TRANSLATIONS, Motion, read_motion, write_motion
from bige.skeleton import Skeleton
from bige.verification import (CERTAIN, GAIN_RANGE, Simulated, Simulator, corrected_start, gain_between,
                               search_near)

LESS = "constraints:\n- {kind: muscle_range, muscles: [vasmed_l, vasmed_r], low: 0.15, high: 0.3}\n"


@pytest.fixture(scope="module")
def models():
    return Models.load()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    "A squat of a participant held out of training, as a file."
    path = tmp_path_factory.mktemp("own") / "own.mot"
    write_motion(repetition(part(reference("squat"), "val"), 6), path)
    return path


@pytest.fixture
def invented(models, monkeypatch):
    "In place of simulations: a fifth more activation than the surrogate says, and a little on top."
    trials = []

    def run(self, motions, done=None):
        found = {}
        for m in motions:
            trials.append(m.source)
            q = torch.tensor(m.coordinates(), dtype=torch.float32)[None]
            with torch.no_grad():
                said = models.predict(q, Skeleton.default(), torch.tensor([m.rate_hz]).float())[0][0]
            names = [f"{n}_{'force' if n in TRANSLATIONS else 'moment'}" for n in COORDINATES]
            record = {"status": "Solve_Succeeded", "body_weight_n": 700.0, "mean_vertical_force_bw": 1.0}
            activations = (said.double().numpy() * 1.2 + 0.03).clip(0, 1)
            still = Motion(m.time, np.zeros((len(m.time), 33)), names)
            found[m.source] = Simulated(record, m.with_columns(ACTIVATIONS, activations), still)
        return found

    monkeypatch.setattr(Simulator, "run", run)
    return trials


def request(recorded, text=LESS, **more) -> Request:
    return Request(parse_constraints(text), 1, like=recorded, verified="tracking", **more)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_an_even_change_is_its_own_mirror_image(seed):
    g = torch.Generator().manual_seed(seed)
    before, angles = torch.randn(2, 2, 5, 33, generator=g)
    change = (even_change(angles, before) - before).numpy()
    np.testing.assert_allclose(mirror_arrays(change), change, atol=1e-5)
    again = even_change(before + torch.tensor(change), before) - before
    np.testing.assert_allclose(again.numpy(), change, atol=1e-5)
    assert even_change(angles, None) is angles


@given(st.floats(0.1, 8), st.floats(0.05, 0.4), st.integers(0, 100))
@settings(max_examples=50, deadline=None)
def test_the_gain_is_that_of_proportional_changes(slope, size, seed):
    said = size * torch.randn(1, 196, 3, generator=torch.Generator().manual_seed(seed))
    found = gain_between(said, slope * said, torch.ones_like(said), CERTAIN["a"])
    expected = np.clip(slope, *GAIN_RANGE)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0.2)
    nothing = gain_between(0 * said, 0 * said, 0 * said, CERTAIN["a"])
    assert (nothing == 1).all()


def test_at_a_simulated_motion_the_simulation_is_expected(models, recorded):
    own = read_motion(recorded)
    candidate = own_candidate(models, own, Skeleton.default())
    start = corrected_start(models, candidate.start, candidate.search, own)
    for again in (False, True):
        hoped = start.change.expected(start.real)
        assert hoped.a.numpy()[0] == pytest.approx(own.activations(), abs=1e-4)
        assert hoped.q.numpy()[0] == pytest.approx(own.coordinates(), abs=1e-4)
        start = corrected_start(models, start, candidate.search, own, again)


def test_the_smallest_change_is_smaller_and_even(models, recorded):
    own = read_motion(recorded)
    candidate = own_candidate(models, own, Skeleton.default())
    anchor = corrected_start(models, candidate.start, candidate.search, own)
    with torch.no_grad():
        base = models.vqvae.angles(anchor.latents)
    wanted = tuple(parse_constraints(LESS))
    found = search_near(models, wanted, anchor)
    assert joint_change(found.q, anchor.real.q).sqrt().rad2deg().item() < 5
    assert isinstance(found, Search) and found.detail is not None
    again = smallest_change(models, wanted, anchor, found, steps=3)
    assert joint_change(again.q, anchor.real.q) <= joint_change(found.q, anchor.real.q) + 1e-9
    even = search_near(models, wanted, replace(anchor, even_from=base))
    change = (even.detail + models.vqvae.angles(even.latents) - anchor.detail - base).detach().numpy()
    np.testing.assert_allclose(mirror_arrays(change), change, atol=1e-4)


def test_the_whole_loop(models, recorded, invented, tmp_path):
    counts = []
    found = advise(request(recorded), models, lambda *a: counts.append(a), folder=tmp_path / "simulations")
    assert invented[0] == "own_1" and 2 <= len(invented) <= 5 and len(counts) == len(invented)
    motion, lines = found.motions[0], found.changes[0]
    peaks = [motion[f"vasmed_{side}/activation"].max() for side in "lr"]
    assert 0.15 <= min(peaks) and max(peaks) <= 0.3
    assert max(found.before[f"vasmed_{side}/activation"].max() for side in "lr") > 0.3
    shares = [removed(line["effects"]) for line in lines]
    assert shares == sorted(shares, reverse=True) and shares[0] > 0.1
    for line in lines:
        (effect,) = line["effects"].values()
        assert effect["before"] > 0 and abs(line["degrees"]) >= 2
    assert found.certificates[0]["verdict"] == "proved" and found.verified["simulations"] == len(invented)
    text = advice_text(found)
    assert "own.mot as recorded" in text and lines[0]["words"] in text
    out = found.save(tmp_path / "advice")
    back = Answer.load(out)
    assert back.before.values.shape == found.before.values.shape and back.changes == found.changes
    assert back.request.command()[:2] == ["bige", "advise"] and "--mode" in back.request.command()
    assert json.loads((out / "certificates" / "sample_00.json").read_text())["verdict"] == "proved"


def test_nothing_to_change(models, recorded, invented, tmp_path):
    wide = LESS.replace("0.15", "0.1").replace("0.3", "0.9")
    found = advise(request(recorded, wide), models, folder=tmp_path)
    assert found.changes == [[]] and invented == ["own_1"]
    assert "nothing to change" in advice_text(found)


def test_what_no_small_change_satisfies_is_said(models, recorded, invented, tmp_path):
    far = LESS.replace("0.15", "0.01").replace("0.3", "0.03")  # less than what the simulation puts on top
    with pytest.raises(InputError, match="muscle_range"):
        advise(request(recorded, far), models, folder=tmp_path)


def test_a_failed_simulation_is_said(models, recorded, monkeypatch, tmp_path):
    failed = Simulated({"status": "Failed", "reason": "an invented failure"})
    monkeypatch.setattr(Simulator, "run", lambda self, motions: {m.source: failed for m in motions})
    with pytest.raises(InputError, match="an invented failure"):
        advise(request(recorded), models, folder=tmp_path)


@pytest.mark.parametrize("change, match",
                         [(dict(like=None), "no repetition"), (dict(verified="soon"), "--mode")])
def test_a_request_without_what_it_needs(recorded, change, match, tmp_path):
    with pytest.raises(InputError, match=match):
        advise(replace(request(recorded), **change), folder=tmp_path)


def test_a_line_as_a_request(models, recorded):
    own = read_motion(recorded)
    row = {"coordinates": "knee_angle_l and knee_angle_r"}
    left, right, *natural = single_change(row, own, models.exercise)
    assert all(c.kind.natural for c in natural)
    at = bottom_angles(own)
    for c, name in ((left, "knee_angle_l"), (right, "knee_angle_r")):
        around = [at[name] - REACHED_DEG, at[name] + REACHED_DEG]
        assert np.rad2deg(c.limits) == pytest.approx(around, abs=1e-3)


def test_a_repetition_of_the_other_leg():
    lunge = load_exercise("inline_lunge")
    assert other_side(lunge, lunge.leading) == [] and other_side(load_exercise("squat"), None) == []
    assert "left leg leads" in other_side(lunge, "l")[0]


def test_bad_input_of_the_verb(tmp_path, capsys):
    assert main(["advise", str(tmp_path / "none.mot"), "--out", str(tmp_path / "out")]) == 2
    assert "none.mot" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_mirrored_halves_of_a_lunge_start_alike():
    "The search near a lunge that the left leg leads is that of its mirror image."
    lunge = load_exercise("inline_lunge")
    own = repetition(part(reference("inline_lunge"), "val"), 0)
    one, two = (one_repetition(m, lunge).motions for m in (own, own.mirror()))
    np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.slow
def test_advice_in_tracking(recorded, tmp_path):
    wanted = request(recorded, LESS.replace("0.3", "0.33"))
    found = advise(wanted, folder=tmp_path / "simulations")
    assert found.certificates[0]["verdict"] == "proved" and found.changes[0]
