"""Distances between repetitions, and what is measured with them: properties, known samples, tables."""
import csv
import io
from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bige import novelty as nv
from bige.dataset import about_vertical, mirror_arrays, pelvis_angles, pelvis_rotation, toy_dataset
from bige.exercises import load_exercise
from bige.motion import COORDINATES, Motion, analytic_squat

ANGLES = [i for i, n in enumerate(COORDINATES) if n in nv.COMPARED]
FEW = settings(max_examples=15, deadline=None)


def repetition(depth: float, period: float, seed: int, rate_hz: float = 60.0) -> Motion:
    """A squat of `depth` (deg) and `period` (s), each angle bent by a smooth curve of its own."""
    squat = analytic_squat(1, rate_hz=rate_hz, depth_deg=depth, period=period)
    rng = np.random.default_rng(seed)
    phase = np.linspace(0, np.pi, len(squat.time))[:, None]
    bent = squat.coordinates()
    bent[:, ANGLES] += 0.2 * rng.standard_normal(len(ANGLES)) * np.sin(phase) ** 2
    return Motion.from_arrays(squat.time, bent)


SQUAT = st.builds(repetition, st.floats(60, 120), st.floats(2, 4), st.integers(0, 1000))
VALUES = st.lists(st.floats(0, 20), min_size=2, max_size=30)


def distance(a: Motion, b: Motion, exercise: str = "squat") -> float:
    x, y = (nv.phase_curves([m], exercise) for m in (a, b))
    return float(nv.repetition_distance(x, y, exercise)[0, 0])


@pytest.fixture(scope="module")
def recorded() -> nv.RecordedSet:
    return nv.RecordedSet.of(toy_dataset(participants=6, repetitions=8))


# the distance

@FEW
@given(SQUAT, SQUAT)
def test_distance_is_symmetric_and_zero_for_the_same(a, b):
    assert distance(a, b) == pytest.approx(distance(b, a), abs=1e-9)
    assert distance(a, a) == 0


@FEW
@given(SQUAT, SQUAT, SQUAT)
def test_a_detour_is_no_shorter(a, b, c):
    assert distance(a, c) <= distance(a, b) + distance(b, c) + 1e-9


@FEW
@given(SQUAT, SQUAT)
def test_mirroring_changes_no_distance_of_a_squat(a, b):
    expected = distance(a, b)
    assert distance(a.mirror(), b.mirror()) == pytest.approx(expected, abs=1e-9)
    assert distance(a.mirror(), b) == pytest.approx(expected, abs=1e-9)
    assert distance(a, a.mirror()) == pytest.approx(0, abs=1e-9)


@FEW
@given(SQUAT, SQUAT)
def test_either_leg_may_lead_a_lunge(a, b):
    lunge = load_exercise("inline_lunge")
    left, right = (a.columns(lunge.progress_of(side)).mean(1).max() for side in "lr")
    assume(abs(left - right) > 1e-6)
    assert distance(a.mirror(), b, "inline_lunge") == pytest.approx(distance(a, b, "inline_lunge"), abs=1e-9)


def test_the_other_leg_of_a_lunge_is_another_motion():
    bent = repetition(90, 3, 5)
    curves = nv.phase_curves([bent], "inline_lunge")
    assert nv.repetition_distance(mirror_arrays(curves), curves, "inline_lunge")[0, 0] > 1
    assert nv.repetition_distance(mirror_arrays(curves), curves, "squat")[0, 0] == 0


@FEW
@given(SQUAT, SQUAT, st.floats(-np.pi, np.pi), st.floats(-3, 3), st.floats(-3, 3))
def test_heading_and_place_do_not_count(a, b, heading, x, z):
    q = a.coordinates()
    turn = about_vertical(np.array(heading))
    q[:, :3] = pelvis_angles(turn @ pelvis_rotation(q))
    q[:, 3:6] = q[:, 3:6] @ turn.T + [x, 0, z]
    assert distance(Motion.from_arrays(a.time, q), b) == pytest.approx(distance(a, b), abs=1e-6)


@FEW
@given(SQUAT, SQUAT, st.integers(1, 200), st.integers(0, 60))
def test_standing_still_before_and_after_does_not_count(a, b, after, before):
    q = a.coordinates()
    held = np.concatenate([np.repeat(q[:1], before, 0), q, np.repeat(q[-1:], after, 0)])
    assert distance(Motion.from_arrays(np.arange(len(held)) / 60, held), b) == pytest.approx(
        distance(a, b), abs=1e-9)


@FEW
@given(SQUAT, st.floats(40, 250), st.floats(0.5, 2))
def test_neither_rate_nor_tempo_counts(a, rate_hz, tempo):
    other = Motion(a.time / tempo, a.values, a.names).resample(rate_hz)
    assert distance(a, other) < 0.3


@FEW
@given(SQUAT, SQUAT, st.sampled_from(nv.COMPARED), st.integers(-2, 2))
def test_whole_turns_do_not_count(a, b, name, turns):
    turned = a.with_columns((name,), (a[name] + 2 * np.pi * turns)[:, None])
    assert distance(turned, b) == pytest.approx(distance(a, b), abs=1e-6)


def test_angles_are_compared_about_the_short_way_round():
    still = np.zeros((2, nv.INSTANTS, len(COORDINATES)))
    for side, deg in enumerate((179, -179)):
        still[side][:, COORDINATES.index("lumbar_rotation")] = np.deg2rad(deg)
    found = nv.repetition_distance(still[:1], still[1:], "inline_lunge")[0, 0]
    assert found == pytest.approx(2 / np.sqrt(len(nv.COMPARED)))


def test_a_wrap_within_a_repetition_is_no_jump():
    q = analytic_squat(1).coordinates()
    q[:, COORDINATES.index("hip_rotation_l")] = np.linspace(3.0, 3.4, len(q))
    wrapped = (q + np.pi) % (2 * np.pi) - np.pi
    curves = nv.phase_curves([Motion.from_arrays(np.arange(len(q)) / 60, x) for x in (q, wrapped)])
    assert nv.repetition_distance(curves[:1], curves[1:])[0, 0] == pytest.approx(0, abs=1e-9)


def test_arms_toes_and_translations_do_not_count():
    a = repetition(90, 3, 1)
    others = [n for n in COORDINATES if n.startswith(("arm_", "elbow", "pro_sup", "mtp"))]
    changed = a.with_columns(others, a.columns(others) + 0.5)
    assert distance(a, changed) == 0
    assert all(distance(a, a.with_columns((n,), a[n][:, None] * 1.2 + 0.1)) > 0 for n in nv.COMPARED)


def test_a_motion_that_never_moves_is_taken_whole():
    q = np.tile(analytic_squat(1).coordinates()[:1], (30, 1))
    assert nv.moving_part(q) == (0, 29)


@FEW
@given(SQUAT, SQUAT, st.randoms(use_true_random=False))
def test_poses_count_at_whatever_instant(a, b, random):
    x, y = nv.phase_curves([a]), nv.phase_curves([b])
    order = list(range(nv.INSTANTS))
    random.shuffle(order)
    found = nv.pose_distance(x, y)[0, 0]
    assert nv.pose_distance(x, y[:, order])[0, 0] == pytest.approx(found, abs=1e-6)
    assert nv.pose_distance(x, x[:, order])[0, 0] == pytest.approx(0, abs=1e-4)
    assert nv.pose_distance(mirror_arrays(x), y)[0, 0] == pytest.approx(found, abs=1e-6)


def test_the_nearest_pose_by_hand():
    curves = nv.phase_curves([repetition(60 + 3 * i, 3, i) for i in range(20)])
    degrees = np.rad2deg(curves[..., ANGLES])
    found = nv.pose_distance(curves[:17], curves[17:], "inline_lunge")
    for i, j in ((0, 0), (9, 1), (16, 2)):
        apart = ((degrees[i, ::4, None] - degrees[17 + j][None]) ** 2).mean(-1)
        assert found[i, j] == pytest.approx(np.sqrt(apart.min(1).mean()), abs=1e-6)


# the measures

def test_the_scale_of_each_repetition(recorded):
    scale = nv.distance_scales(recorded)
    same = recorded.training_subjects[:, None] == recorded.training_subjects
    for i in range(len(same)):
        mine = [recorded.among[i, j] for j in range(len(same)) if j != i and same[i, j]]
        others = [recorded.among[i, j] for j in range(len(same)) if not same[i, j]]
        assert scale["nearest, same participant"][i] == min(mine)
        assert scale["nearest, another participant"][i] == min(others)
    assert len(scale["any, another participant"]) == (~same).sum()


@FEW
@given(VALUES, VALUES)
def test_z_is_antisymmetric_and_counts_pairs(a, b):
    a, b = np.array(a), np.array(b)
    z, n, m = nv.mann_whitney_z(a, b), len(a), len(b)
    u = (a[:, None] > b).sum() + 0.5 * (a[:, None] == b).sum()
    assert z == pytest.approx((u - n * m / 2) / np.sqrt(n * m * (n + m + 1) / 12), abs=1e-9)
    assert z == pytest.approx(-nv.mann_whitney_z(b, a), abs=1e-9)


@FEW
@given(st.integers(0, 100), st.integers(10, 120))
def test_the_sign_of_c_t(recorded, seed, n):
    rng = np.random.default_rng(seed)
    copies = recorded.training[rng.integers(len(recorded.training), size=n)]
    far = copies.copy()
    far[..., ANGLES] += rng.choice([-1, 1], (n, 1, len(ANGLES)))
    of = {name: nv.novelty(x, recorded)["value"] for name, x in (("copies", copies), ("far", far))}
    assert of["copies"]["c_t"] < -3 and of["far"]["c_t"] > 3
    assert all(value["cells"] >= 1 for value in of.values())


def test_cells_do_not_depend_on_mirroring_and_find_a_copier_of_one_kind():
    """Half of the samples, the deep ones, are copies; the others lie as far as the held-out repetitions."""
    rng = np.random.default_rng(0)

    def group(depth, n, deg):
        base = nv.phase_curves([repetition(depth, 3, 0)])[0]
        out = np.tile(base, (n, 1, 1))
        out[..., ANGLES] += np.deg2rad(deg) * rng.standard_normal((n, 1, len(ANGLES)))
        return out

    training = np.concatenate([group(50, 60, 1), group(120, 60, 1)])
    held = np.concatenate([group(50, 40, 1), group(120, 40, 1)])
    known = nv.RecordedSet(training, np.repeat(["a", "b"], 60), held, np.repeat(["c", "d"], 40),
                           load_exercise())
    where, where_held = nv.cells_of(known, training, 2)
    assert len(set(where[:60])) == len(set(where[60:])) == 1 and where[0] != where[-1]
    assert set(where_held[:40]) == {where[0]}
    assert (nv.cells_of(known, mirror_arrays(training), 2)[0] == where).all()
    samples = np.concatenate([group(50, 40, 1), training[60:100]])
    nearest = nv.repetition_distance(samples, training).min(1)
    z, cells = nv.data_copying(samples, known, nearest)
    each = [nv.mann_whitney_z(nearest[part], known.from_held_out.min(1)[part])
            for part in (slice(0, 40), slice(40, 80))]
    assert cells == 2 and z == pytest.approx(np.mean(each)) and each[1] < -6 < -3 < each[0]


def test_few_samples_are_one_cell(recorded):
    assert nv.novelty(recorded.training[:20], recorded)["value"]["cells"] == 1


def test_no_copy_is_authentic_and_the_training_set_covers_itself(recorded):
    of = nv.novelty(mirror_arrays(recorded.training), recorded)["value"]
    assert of["authentic_percent"] == 0 and of["coverage"] == 1
    assert of["nearest_deg"] == pytest.approx(0, abs=1e-9) and of["repeated_percent"] == 100


def test_authentic_is_farther_than_the_recording_from_its_next():
    among = np.array([[0, 2, 9], [2, 0, 8], [9, 8, 0.0]])
    to_training = np.array([[1.9, 5, 9], [2.1, 5, 9], [9, 9, 7.9], [9, 9, 8.1]])
    assert nv.authentic(to_training, among).tolist() == [False, True, False, True]


def test_density_and_coverage_by_hand():
    """Eight recordings at 0, 1, … 7: a ball reaches to the fifth neighbour."""
    place = np.arange(8.0)
    among = np.abs(place[:, None] - place)
    assert nv.in_balls(np.abs(np.array([[3.5], [12.5]]) - place), among).sum(1).tolist() == [8, 0]
    radius = np.sort(among, 1)[:, 5]
    assert (nv.in_balls(np.abs(np.array([[9.0]]) - place), among)[0] == (9 - place <= radius)).all()


@FEW
@given(st.lists(st.floats(0, 20), min_size=1, max_size=7), st.data())
def test_the_expected_nearest_is_the_mean_over_all_draws(values, data):
    n = data.draw(st.integers(1, len(values)))
    expected = np.mean([min(drawn) for drawn in combinations(values, n)])
    assert nv.expected_nearest(np.array([values]), n)[0] == pytest.approx(expected, abs=1e-9)


def test_reach_is_the_mean_over_participants():
    to_training = np.array([[10, 20], [10, 12], [4, 5.0]])
    to_samples = np.array([[5, 9], [5, 5], [4, 8.0]])
    found = nv.reach_percent(to_samples, to_training, np.array(["a", "a", "b"]))
    assert found == pytest.approx((50 + 0) / 2)
    assert nv.reach_percent(to_samples, to_training, np.array(["a", "a", "b"]), 1) < found


def test_copies_do_not_reach_farther_than_recordings(recorded):
    of = nv.novelty(recorded.training, recorded)["value"]
    assert of["reach_percent"] == pytest.approx(0, abs=1e-9)


def test_the_standard_error_of_a_mean(recorded):
    values = np.random.default_rng(0).normal(5, 2, 400)
    assert nv.standard_error(values, "mean") == pytest.approx(values.std() / 20, rel=0.15)
    assert nv.standard_error(np.ones(20), "median") == 0


# the tables

def test_tables_hold_the_same_numbers_in_every_format(recorded):
    squats = [repetition(80 + 5 * i, 3, i) for i in range(6)]
    tables = nv.novelty_tables({"six": squats, "two": squats[:2]}, recorded, held_out="reference")
    rows = tables["Novelty"]
    assert list(rows) == ["six", "two", "reference"] and rows["six"]["motions"][0] == 6
    assert "reach (of 2) % ↑" in rows["six"]
    assert rows["reference"]["C_T →"] == [None, None] == rows["reference"]["reach (of 2) % ↑"]
    assert all(np.isfinite(cell[0]) for row in ("six", "two") for cell in rows[row].values())
    for row in csv.DictReader(io.StringIO(nv.novelty_text(tables, "csv"))):
        mean, sd = tables[row["table"]][row["model"]][row["metric"]]
        assert [row["mean"], row["sd"]] == ["" if x is None else str(x) for x in (mean, sd)]
    for format, title in (("md", "**Novelty**"), ("latex", "% Novelty")):
        text = nv.novelty_text(tables, format)
        assert text.startswith(title) and text.count("Novelty") == 2 and "±" in text or "pm" in text


def test_two_sets_are_compared_at_the_size_of_the_smaller(recorded):
    squats = [repetition(70 + 3 * i, 3, i) for i in range(8)]
    alone = nv.novelty_tables({"eight": squats}, recorded)["Novelty"]["eight"]["reach (of 8) % ↑"][0]
    beside = nv.novelty_tables({"eight": squats, "three": squats[:3]}, recorded)["Novelty"]["eight"]
    assert beside["reach (of 3) % ↑"][0] < alone
