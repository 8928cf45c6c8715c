"""Segmentation: the count of recorded trials however they are disturbed, known boundaries, exact search."""
import json
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bige.segmentation as seg
from bige.exercises import load_exercise
from bige.files import InputError
from bige.markers import read_marker_archive, read_trc
from bige.motion import Motion, analytic_squat, example_squat, read_motion, write_motion
from bige.segmentation import best_choices, segment, segment_file
from bige.skeleton import Skeleton

KNEES = ("knee_angle_r", "knee_angle_l")
TRIALS = {"labval_s4_62.6kg/squat/squats1_manual_scaling_ik.mot": 5,
          "labval_s4_62.6kg/squat_asym/squatsAsym1_manual_scaling_ik.mot": 5,
          "labval_s4_62.6kg/sts/STS1_manual_scaling_ik.mot": 6,
          "labval_s2_78.2kg/squat/squats1_videoAndMocap.mot": 5,
          "fieldstudy_s0_72kg/squat/Squats_0.mot": 5, "kirsten_75.3kg/squat/DLS01_ik.mot": 5}


def knees(time, right, left=None, source="made up"):
    "A motion of two knee angles, rad."
    return Motion(time, np.stack([right, right if left is None else left], axis=1), KNEES, source)


def pair(motion):
    return knees(motion.time, motion[KNEES[0]], motion[KNEES[1]], motion.source)


def remake(motion, values, rate_hz=None):
    rate = rate_hz or motion.rate_hz
    return Motion(motion.time[0] + np.arange(len(values)) / rate, values, motion.names, motion.source)


def noisy(motion, rng):
    "With white noise of one degree, or 5 mm of a height."
    each = np.where([name == "pelvis_ty" for name in motion.names], 0.005, np.deg2rad(1))
    return remake(motion, motion.values + each * rng.normal(0, 1, motion.values.shape))


def at_rate(motion, rate_hz):
    time = np.arange(motion.time[0], motion.time[-1], 1 / rate_hz)
    return remake(motion, np.stack([np.interp(time, motion.time, c) for c in motion.values.T], axis=1),
                  rate_hz)


def stand(motion, blend_s):
    "One second of upright standing on either side, reached within `blend_s`."
    n, m = round(motion.rate_hz), max(1, round(blend_s * motion.rate_hz))
    weight = (1 - np.cos(np.linspace(0, np.pi, m)))[:, None] / 2
    high = motion["pelvis_ty"].max() if motion.has("pelvis_ty") else 0
    posture = [high if name == "pelvis_ty" else np.deg2rad(5) for name in motion.names]
    upright = np.tile(posture, (n, 1))
    before, after = (upright[:m] * (1 - weight) + weight * motion.values[0],
                     upright[:m] * weight + (1 - weight) * motion.values[-1])
    return remake(motion, np.concatenate([upright, before, motion.values, after, upright]))


DISTURBED = {
    "as it is": lambda m, rng: m,
    "sides swapped": lambda m, rng: m.mirror(),
    "backwards": lambda m, rng: remake(m, m.values[::-1]),
    "noise": noisy,
    "30 Hz": lambda m, rng: at_rate(m, 30),
    "200 Hz": lambda m, rng: at_rate(m, 200),
    "30 Hz, noise": lambda m, rng: noisy(at_rate(m, 30), rng),
    "pose held": lambda m, rng: remake(m, np.pad(m.values, ((round(m.rate_hz),) * 2, (0, 0)), mode="edge")),
    "standing": lambda m, rng: stand(m, 0.5),
    "standing, at once": lambda m, rng: stand(m, 0),
    "30 Hz, standing, backwards, noise": lambda m, rng: noisy(remake(m,
                                                                     stand(at_rate(m, 30), 0.5).values[::-1],
                                                                     30), rng),
}


def bridged(markers, name):
    "A marker's positions (T, 3) m with drop-outs bridged by straight lines."
    p = np.array(markers[name])
    lost = ~np.isfinite(p).all(axis=1)
    return np.stack([np.interp(markers.time, markers.time[~lost], axis[~lost]) for axis in p.T], axis=1)


def unit(v):
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def pelvis_axes(markers):
    """Middle of the ASIS markers, unit vectors to the right and up, (T, 3), the vector from the PSIS to the
    ASIS markers, (T, 3) m, and the distance of the ASIS markers, m."""
    p = {n: bridged(markers, n) for n in ("LASI", "RASI", "LPSI", "RPSI")}
    front, right = (p["LASI"] + p["RASI"]) / 2, unit(p["RASI"] - p["LASI"])
    forward = front - (p["LPSI"] + p["RPSI"]) / 2
    width = np.median(np.linalg.norm(p["RASI"] - p["LASI"], axis=1))
    return front, right, unit(np.cross(right, forward)), forward, width


def hip_centre(markers, side):
    """Hip centre (T, 3) m: 0.19, 0.30 and 0.36 of the ASIS distance behind, below and beside the middle of
    the ASIS markers (Bell and others 1990)."""
    front, right, up, _, width = pelvis_axes(markers)
    outward = right if side == "R" else -right
    return front + width * (-0.30 * up - 0.19 * np.cross(up, right) + 0.36 * outward)


def flexion(markers, side):
    """Knee flexion, rad, of one side: angle at the knee marker between the ankle marker and the hip
    centre."""
    p = {n: bridged(markers, n) for n in (side + "KNE", side + "ANK")}
    hip, right = hip_centre(markers, side), pelvis_axes(markers)[1]
    axis = unit(np.cross(hip - p[side + "ANK"], p[side + "KNE"] - p[side + "ANK"]).sum(axis=0, keepdims=True))
    axis = axis * np.sign((axis * right).sum(axis=1).mean())
    def flat(v):
        return v - (v * axis).sum(axis=1, keepdims=True) * axis
    thigh, shank = unit(flat(hip - p[side + "KNE"])), unit(flat(p[side + "KNE"] - p[side + "ANK"]))
    return np.arctan2((np.cross(shank, thigh) * axis).sum(axis=1), (thigh * shank).sum(axis=1))


def hip_flexion(markers, side):
    "Hip flexion, rad: angle of the thigh in front of the pelvis' downward axis."
    _, right, up, _, _ = pelvis_axes(markers)
    thigh = bridged(markers, side + "KNE") - hip_centre(markers, side)
    return np.arctan2((thigh * np.cross(up, right)).sum(axis=1), -(thigh * up).sum(axis=1))


def whole_body(markers, source="markers"):
    "What the progress of the exercises needs: knees, hips, height (m) and tilt of the pelvis."
    forward = pelvis_axes(markers)[3]
    columns = {"knee_angle_r": flexion(markers, "R"), "knee_angle_l": flexion(markers, "L"),
               "hip_flexion_r": hip_flexion(markers, "R"), "hip_flexion_l": hip_flexion(markers, "L"),
               "pelvis_ty": (bridged(markers, "LPSI") + bridged(markers, "RPSI"))[:, 1] / 2,
               "pelvis_tilt": np.arctan2(forward[:, 1], np.linalg.norm(forward[:, [0, 2]], axis=1))}
    return Motion(markers.time, np.stack(list(columns.values()), axis=1), tuple(columns), source)


def from_markers(markers, source="markers"):
    return knees(markers.time, flexion(markers, "R"), flexion(markers, "L"), source)


@pytest.fixture(scope="module")
def real(shared):
    """Every shared trial as (motion of the two knees, true count). Trials that come as markers: knee
    flexion from three markers a leg."""
    trials = {name: (pair(read_motion(shared / name)), count) for name, count in TRIALS.items()}
    trials["kuleuven"] = from_markers(read_trc(shared / "kuleuven/squat/markers_Squat2.trc")), 1
    archive = read_marker_archive(shared / "ui_prmd/squat_m01_vicon_markers_mm_100Hz.npz")
    trials |= {name: (from_markers(markers, name), 1) for name, markers in archive.items()}
    assert len(trials) == len(TRIALS) + 1 + 160
    return trials


@pytest.mark.parametrize("how", DISTURBED)
def test_count_of_every_shared_trial(real, how):
    rng, wrong = np.random.default_rng(0), {}
    for name, (motion, count) in real.items():
        try:
            found = len(segment(DISTURBED[how](motion, rng)).segments)
        except InputError as error:
            found = str(error)
        if found != count:
            wrong[name] = found
    assert not wrong


@pytest.mark.parametrize("name", TRIALS)
def test_shared_trial_whole_file(shared, name, tmp_path):
    motion = read_motion(shared / name)
    found = segment(motion)
    mirrored = segment(motion.mirror()) if motion.has("pelvis_list") else found
    assert found.segments == mirrored.segments
    assert 0.7 < found.confidence <= 1 and len(found.scores) == TRIALS[name]
    again = segment_file(shared / name, tmp_path)
    assert again.segments == found.segments and len(list(tmp_path.glob("*_rep*.mot"))) == TRIALS[name]


def test_shared_rests_are_outside(real):
    """Between two squats of a trial with pauses, the knees are straight and slow where nothing is
    selected, and move where something is."""
    for name in list(TRIALS)[:2]:
        motion = real[name][0]
        k, found = seg.smooth_progress(motion), segment(motion)
        inside = np.any([(k.time >= a) & (k.time <= b) for a, b in found.segments], axis=0)
        assert (k.speed[inside] ** 2).sum() > 0.99 * (k.speed ** 2).sum()
        between = ~inside & (k.time > found.segments[0][0]) & (k.time < found.segments[-1][1])
        assert between.sum() > 60 and np.rad2deg(k.values[between].max()) < 25


# ---------------------------------------------------------------------- the other exercises

PROGRESS = ("knee_angle_r", "knee_angle_l", "hip_flexion_r", "hip_flexion_l", "pelvis_ty", "pelvis_tilt")
ARCHIVES = {"hurdle_step": ("m02", "hurdle_step_m02"), "inline_lunge": ("m03", "lunges_sts"),
            "side_lunge": ("m04", "lunges_sts"), "sit_to_stand": ("m05", "lunges_sts")}
NO_PELVIS = {"m03_s10_e01_inc", "m03_s10_e02_inc"}      # RASI is missing throughout
NO_LUNGE = {"m03_s02_e10_inc"}                          # the participant stands, and steps back


@pytest.fixture(scope="module")
def recorded(shared):
    "Exercise -> trial -> motion, each of one repetition; kinematics from markers, read when asked for."
    def trials(exercise, every=1, people="s"):
        movement, archive = ARCHIVES[exercise]
        file = shared / "ui_prmd" / f"{archive}_vicon_markers_0.1mm_int16_100Hz.npz"
        if file not in archives:
            archives[file] = read_marker_archive(file)
        names = sorted(n for n in archives[file] if n.startswith(f"{movement}_{people}")
                       and n not in NO_PELVIS | NO_LUNGE)
        for name in names[::every]:
            if name not in motions:
                motions[name] = whole_body(archives[file][name], name)
        return {name: motions[name] for name in names[::every]}
    archives, motions = {}, {}
    return trials


def chained(motions, blend_s):
    "Trials one after another, each reached from the end of the last within `blend_s`, or at once."
    parts = [motions[0].values]
    for motion in motions[1:]:
        steps = np.linspace(0, np.pi, round(blend_s * motion.rate_hz) + 2)[1:-1]
        weight = (1 - np.cos(steps))[:, None] / 2
        parts += [parts[-1][-1] * (1 - weight) + weight * motion.values[0], motion.values]
    return remake(motions[0], np.concatenate(parts))


def miscounted(trials, exercise, count):
    "The trials in which other than `count` repetitions are found, with what was found."
    wrong = {}
    for name, motion in trials.items():
        try:
            found = len(segment(motion, exercise=exercise).segments)
        except InputError as error:
            found = str(error)
        if found != count:
            wrong[name] = found
    return wrong


EVERY = [pytest.param(23, id="some"), pytest.param(1, id="all", marks=pytest.mark.slow)]


@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("how", DISTURBED)
@pytest.mark.parametrize("exercise", ARCHIVES)
def test_one_repetition_a_trial(recorded, exercise, how, every):
    rng = np.random.default_rng(0)
    trials = {name: DISTURBED[how](m, rng) for name, m in recorded(exercise, every).items()}
    assert len(trials) > 5 and not miscounted(trials, exercise, 1)


HARDLY_STRAIGHT = ("inline_lunge", "s01", "inc", 0)     # the legs stay bent between two, which count as one


@pytest.mark.parametrize("people", ["s10", pytest.param("s", marks=pytest.mark.slow)])
@pytest.mark.parametrize("blend_s", [0, 0.3])
@pytest.mark.parametrize("exercise", ARCHIVES)
def test_five_repetitions_in_a_chain(recorded, exercise, blend_s, people):
    """Five trials of one participant one after another; correct, deliberately incorrect, and both in turn."""
    rows = {}
    for name, motion in recorded(exercise, people=people).items():
        for kind in (name[-3:], "both"):
            rows.setdefault((name.split("_")[1], kind), []).append(motion)
    chains = {(exercise, *row, i): chained(trials[i:i + 5], blend_s) for row, trials in rows.items()
              for i in range(0, len(trials) - 4, 5) if (exercise, *row, i) != HARDLY_STRAIGHT}
    assert len(chains) > 3 and not miscounted(chains, exercise, 5)


STS = [f"labval_s4_62.6kg/sts/{name}_manual_scaling_ik.mot" for name in ("STS1", "STSAsym1", "STSweakLegs1")]


@pytest.mark.parametrize("how", DISTURBED)
@pytest.mark.parametrize("name", STS)
def test_six_stays_on_the_seat(shared, name, how):
    """From seated to standing five times; of the sixth the recording has the seat alone, and says so."""
    motion = read_motion(shared / name)
    motion = Motion(motion.time, motion.columns(PROGRESS), PROGRESS, motion.source)
    found = segment(DISTURBED[how](motion, np.random.default_rng(0)), exercise="sit_to_stand")
    whole = "standing" in how
    assert len(found.segments) == 6 and sum(found.cut) == (not whole) and found.cut[:5] == (False,) * 5
    assert 36 < 100 * min(found.depths[:5]) <= 100 * max(found.depths[:5]) < 46


def test_a_rise_begins_with_the_trunk_and_ends_standing(shared):
    """Where a repetition starts the pelvis is on the seat and the trunk still upright; where it ends the
    knees are straight."""
    motion = read_motion(shared / STS[0])
    for start, end in segment(motion, exercise="sit_to_stand").segments[:5]:
        part = motion.slice(start, end)
        lean, height = part["pelvis_tilt"], part["pelvis_ty"]
        assert height[0] - height.min() < 0.05 and height.max() - height[-1] < 0.02
        assert np.rad2deg(lean[0] - lean.min()) > 25 and lean[:10].max() - lean[0] < 0.02
        assert np.rad2deg(max(part["knee_angle_r"][-1], part["knee_angle_l"][-1])) < 15


SIDES = {"s01": "r", "s02": "l", "s05": "r", "s06": "r", "s07": "l", "s10": "l"}


@pytest.mark.parametrize("exercise", ["hurdle_step", "inline_lunge"])
def test_the_side_is_a_label(recorded, exercise):
    """s02, s07 and s10 do hurdle step and inline lunge with the other leg."""
    trials = recorded(exercise, 23)
    assert {SIDES[n.split("_")[1]] for n in trials if n.split("_")[1] in SIDES} == {"l", "r"}
    for name, motion in trials.items():
        (side,), (mirrored,) = (segment(m, exercise=exercise).sides for m in (motion, motion.mirror()))
        assert {side, mirrored} == {"l", "r"} and side == SIDES.get(name.split("_")[1], side)
    found = segment(chained([motion, motion.mirror()], 0.3), exercise=exercise)
    assert found.sides == (side, mirrored)
    assert [s["side"] for s in found.to_json()["segments"]] == list(found.sides)
    assert found.to_json()["exercise"] == exercise and list(found.to_pandas()["side"]) == list(found.sides)


def made(seed):
    """Random squats: number, tempo, depth, rests, waiting at the bottom, asymmetry, noise, rate; with
    their true starts and ends."""
    rng = np.random.default_rng(seed)
    n, rate = int(rng.integers(1, 13)), float(rng.choice([30, 50, 60, 100, 200]))
    tempo, depth, lopsided = rng.uniform(0.9, 4.5), rng.uniform(40, 130), rng.uniform(0.6, 1)
    rest, wait = rng.choice([0, rng.uniform(0, 2)]), rng.choice([0, rng.uniform(0, 1.5)])
    at, truth, parts = rng.uniform(0, 1.5), [], []
    for _ in range(n):
        period = tempo * rng.uniform(0.8, 1.2)
        truth.append((at, at + period + wait))
        parts.append((at, period, depth * rng.uniform(0.87, 1.13)))
        at += period + wait + rest * rng.uniform(0.7, 1.3)
    time = np.arange(0, truth[-1][1] + rng.uniform(0, 1.5), 1 / rate)
    angle = np.zeros_like(time)
    for start, period, deep in parts:
        u = time - start
        ascent = np.where(u < period / 2 + wait, 0.5, (u - wait) / period)
        phase = np.where(u < period / 2, u / period, ascent)
        angle += np.where((phase > 0) & (phase < 1), deep / 2 * (1 - np.cos(2 * np.pi * phase)), 0)
    both = np.stack([angle, lopsided * angle], axis=1) + rng.uniform(0, 8)
    both = both + rng.uniform(0, 1) * rng.normal(size=(time.size, 2))
    return Motion(time, np.deg2rad(both), KNEES), np.array(truth)


def sweep(seeds):
    wrong, errors = [], []
    for seed in seeds:
        motion, truth = made(seed)
        try:
            found = np.array(segment(motion).segments)
        except InputError:
            found = np.empty((0, 2))
        if len(found) != len(truth):
            wrong.append(seed)
        else:
            errors.append(np.abs(found - truth).max() / (truth[:, 1] - truth[:, 0]).mean())
    return wrong, np.array(errors)


def test_random_squats():
    wrong, errors = sweep(range(300))
    assert not wrong
    assert np.median(errors) < 0.04 and np.quantile(errors, 0.95) < 0.08 and errors.max() < 0.2


@pytest.mark.slow
def test_many_random_squats():
    wrong, errors = sweep(range(1000, 6000))
    assert not wrong
    assert errors.max() < 0.25


@pytest.mark.parametrize("rate_hz", [20, 30, 60, 100, 240])
@pytest.mark.parametrize("pause", [0.0, 0.5, 3.0])
def test_known_boundaries(rate_hz, pause):
    motion = analytic_squat(reps=4, rate_hz=rate_hz, pause=pause)
    truth = pause + (2.7 + pause) * np.arange(4)[:, None] + [0, 2.7]
    found = segment(motion)
    assert np.abs(np.array(found.segments) - truth).max() < 0.1
    assert np.isin(found.segments, motion.time).all() and np.allclose(np.rad2deg(found.depths), 100, atol=2)
    assert not any(found.cut) and not found.rejected and found.confidence > 0.95
    assert found == segment(motion)


def test_boundaries_follow_the_clock():
    motion = analytic_squat(3)
    later = Motion(motion.time + 100, motion.values, motion.names)
    assert np.allclose(np.array(segment(later).segments), np.array(segment(motion).segments) + 100, atol=1e-6)


def test_backwards_is_the_mirror_image():
    motion, _ = made(7)
    back = remake(motion, motion.values[::-1])
    end = motion.time[-1]
    assert np.allclose(np.array(segment(back).segments), end - np.array(segment(motion).segments)[::-1, ::-1],
                       atol=0.05)


def test_segments_do_not_overlap_and_lie_inside():
    for seed in range(40):
        motion, _ = made(seed)
        flat = np.ravel(segment(motion).segments)
        assert (np.diff(flat) >= 0).all() and flat[0] >= motion.time[0] and flat[-1] <= motion.time[-1]


def test_example_squat_is_one():
    found = segment(example_squat())
    assert len(found.segments) == 1 and np.rad2deg(found.depths[0]) > 90


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.integers(1, 9), st.integers(1, 4))
def test_search_equals_brute_force(seed, size, most):
    rng = np.random.default_rng(seed)
    start = np.sort(rng.integers(0, 60, size))
    end, cost = start + rng.integers(1, 30, size), rng.random(size)
    apart = seg.differences(seg.Pairs(start, end, start, cost, rng.random((size, 101, 2))), 1.0)
    for n, (least, path) in enumerate(best_choices(cost, apart, most), 1):
        prices = {c: cost[list(c)].sum() + sum(apart[a, b] for a, b in zip(c, c[1:]))
                  for c in combinations(range(size), n)}
        best = min(prices, key=prices.get, default=None)
        if best is None or np.isinf(prices[best]):
            assert np.isinf(least)
        else:
            assert np.isclose(least, prices[best]) and tuple(path) == best


@pytest.mark.parametrize("reps", [1, 2, 3, 4])
def test_segment_finds_the_cheapest_of_all_choices(reps):
    rng = np.random.default_rng(reps)
    motion = noisy(pair(analytic_squat(4, pause=1.5)), rng)
    k = seg.smooth_progress(motion)
    excursions = seg.find_excursions(k.least)
    pairs = seg.possible_pairs(k, excursions, range(len(excursions)))
    apart = seg.differences(pairs, float(np.median([e.depth for e in excursions])))
    least = min(pairs.cost[list(c)].sum() + sum(apart[a, b] for a, b in zip(c, c[1:]))
                for c in combinations(range(len(pairs.cost)), reps))
    assert len(pairs.cost) > 4 and np.isclose(segment(motion, reps).scores[reps - 1].cost * reps, least)


def test_number_of_repetitions_given():
    time = np.arange(0, 17, 1 / 60)
    angle = sum(np.where(np.abs(time - c) < 1.35, d * (1 + np.cos(2 * np.pi * (time - c) / 2.7)) / 2, 0)
                for c, d in ((2, 100), (5.2, 60), (8.4, 101), (11.6, 99), (14.8, 122)))
    motion = knees(time, np.deg2rad(angle))
    auto = segment(motion)
    assert len(auto.segments) == 4 and [r.reason for r in auto.rejected] == ["less than its share of depth"]
    assert np.allclose([s for s, _ in segment(motion, 3).segments], np.array([2, 8.4, 11.6]) - 1.35,
                       atol=0.1), "the three most alike"
    assert len(segment(motion, 5).segments) == 5
    with pytest.raises(InputError, match="6 as requested"):
        segment(motion, 6)
    for wrong in (0, -1, 2.5, "many"):
        with pytest.raises(InputError, match="whole number"):
            segment(motion, wrong)


def walking(time, swing):
    def knee(phase):
        loading = 15 * np.exp(-((phase % 1 - 0.15) / 0.07) ** 2)
        return 5 + loading + swing * np.exp(-((phase % 1 - 0.72) / 0.09) ** 2)
    return np.deg2rad(knee(time)), np.deg2rad(knee(time + 0.5))


NOTHING = {
    "standing": lambda t, rng: np.deg2rad(5 + rng.normal(0, 1, (2, t.size))),
    "still": lambda t, rng: np.zeros((2, t.size)),
    "white noise 5": lambda t, rng: np.deg2rad(rng.normal(0, 5, (2, t.size))),
    "white noise 60": lambda t, rng: np.deg2rad(rng.normal(0, 60, (2, t.size))),
    "same noise in both": lambda t, rng: np.tile(np.deg2rad(rng.normal(0, 40, t.size)), (2, 1)),
    "sway": lambda t, rng: np.tile(np.deg2rad(7.5 * np.sin(2 * np.pi * t * rng.uniform(.2, 1.5))), (2, 1)),
    "walking": lambda t, rng: walking(t * rng.uniform(.8, 1.1), 60),
    "small steps": lambda t, rng: walking(t * rng.uniform(.8, 1.1), 20),
    "one knee": lambda t, rng: np.stack([np.deg2rad(40 * (1 - np.cos(2 * np.pi * t / 3))), 0 * t]),
    "knees in turn": lambda t, rng: np.deg2rad([40 * (1 - np.cos(2 * np.pi * t / 3)),
                                                40 * (1 + np.cos(2 * np.pi * t / 3))]),
}


@pytest.mark.parametrize("what", NOTHING)
def test_no_repetition(what):
    for seed in range(25):
        rng = np.random.default_rng(seed)
        time = np.arange(0, rng.uniform(2, 12), 1 / 60)
        with pytest.raises(InputError, match="no repetition found"):
            segment(knees(time, *NOTHING[what](time, rng)))


IDLE = {
    "still": lambda t, rng: 0 * t,
    "standing": lambda t, rng: rng.normal(0, 1, t.size),
    "sway": lambda t, rng: 4 * np.sin(2 * np.pi * t * rng.uniform(.2, 1.5)),
    "white noise": lambda t, rng: rng.normal(0, 20, t.size)}


@pytest.mark.parametrize("what", IDLE)
@pytest.mark.parametrize("exercise", ARCHIVES)
def test_nothing_to_count(exercise, what):
    """The same in every coordinate, in degrees and in millimetres; without the shared data too."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        time = np.arange(0, rng.uniform(2, 12), 1 / 60)
        signal = IDLE[what](time, rng)
        scale = [0.001 if name == "pelvis_ty" else np.deg2rad(1) for name in PROGRESS]
        with pytest.raises(InputError, match="no repetition found"):
            segment(Motion(time, signal[:, None] * scale + 0.5, PROGRESS), exercise=exercise)


@pytest.mark.parametrize("leading", "lr")
def test_made_up_steps_are_counted_on_their_side(leading):
    """Five hip flexions of one leg; of one of them the other leg's, and one of half the height."""
    step = replace(load_exercise("hurdle_step"), progress=(f"hip_flexion_{leading}",), leading=leading)
    time = np.arange(0, 20, 1 / 60)
    legs = {side: np.zeros(time.size) for side in "lr"}
    for i, (side, height) in enumerate(zip("rrlrr", (90, 85, 92, 50, 88))):
        hill = height / 2 * (1 + np.cos(2 * np.pi * (time - 2.5 - 3.5 * i) / 2.5))
        legs[side] = legs[side] + np.where(np.abs(time - 2.5 - 3.5 * i) < 1.25, hill, 0)
    names = ("hip_flexion_l", "hip_flexion_r")
    motion = Motion(time, np.deg2rad(np.stack([legs["l"], legs["r"]], axis=1)), names)
    found = segment(motion, exercise=step)
    assert found.sides == tuple("rrlrr") and segment(motion.mirror(), exercise=step).sides == tuple("llrll")
    strict = segment(motion, exercise=replace(step, fair_share=0.75))
    assert strict.sides == tuple("rrlr") and np.rad2deg(strict.rejected[0].depth) == pytest.approx(50, abs=1)


def glide(time, moments):
    "A curve through (s, value), at rest at each of them."
    x = np.full(time.size, float(moments[0][1]))
    for (a, low), (b, high) in zip(moments, moments[1:]):
        share = np.clip((time - a) / (b - a), 0, 1)
        x = x + (high - low) * (1 - np.cos(np.pi * share)) / 2
    return x


def test_made_up_sit_to_stands():
    """Lean at 1 s, rise from 1.5 to 2.5 s, down from 4 to 5 s; lean at 6 s, rise from 6.5 to 7.5 s, down from
    9 to 10 s; the recording ends on the seat at 11 s."""
    time = np.arange(0, 11, 0.01)
    height = glide(time, [(1.5, .5), (2.5, .9), (4, .9), (5, .5), (6.5, .5), (7.5, .9), (9, .9), (10, .5)])
    tilt = glide(time, [(1, 0), (1.6, -40), (2.5, 0), (6, 0), (6.6, -40), (7.5, 0)])
    motion = Motion(time, np.stack([height, np.deg2rad(tilt)], axis=1), ("pelvis_ty", "pelvis_tilt"))
    found = segment(motion, exercise="sit_to_stand")
    assert np.allclose(found.segments[:2], [[1.1, 2.4], [6.1, 7.4]], atol=0.12)
    assert found.cut == (False, False, True) and np.allclose(found.depths[:2], 0.4, atol=0.01)
    assert found.to_json()["segments"][0].keys() == {"start_s", "end_s"}
    assert list(found.to_pandas().columns)[3] == "depth_cm"
    assert len(segment(motion.slice(0, 9), exercise="sit_to_stand").segments) == 2
    no_lead_in = replace(load_exercise("sit_to_stand"), lead_in=None)
    assert np.allclose(segment(motion, exercise=no_lead_in).segments[0], [1.55, 2.4], atol=0.12)
    with pytest.raises(InputError, match="pelvis_tilt"):
        segment(Motion(time, height[:, None], ("pelvis_ty",)), exercise="sit_to_stand")
    low = Motion(time, motion.values * [0.3, 1], motion.names, "low.mot")
    with pytest.raises(InputError, match="up to 12 cm, rejected as shallow; expected pelvis_ty rising by 15"):
        segment(low, exercise="sit_to_stand")


@pytest.mark.parametrize("frames", [2, 4, 10, 20])
def test_too_short(frames):
    with pytest.raises(InputError, match="no repetition found"):
        segment(analytic_squat().slice(1, 1 + (frames - 1) / 60))


def test_unusable_knees():
    motion = analytic_squat(2)
    with pytest.raises(InputError, match="knee_angle_r"):
        segment(Motion(motion.time, motion[KNEES[1]][:, None], KNEES[1:], "one.mot"))
    angle = np.array(motion[KNEES[0]])
    angle[30] = np.nan
    with pytest.raises(InputError, match=r"gap\.mot: found knee_angle_l that is not a number at 0\.5 s"):
        segment(knees(motion.time, angle, source="gap.mot"))


def test_record():
    found = segment(analytic_squat(3))
    with pytest.raises(AttributeError):
        found.confidence = 0
    table = found.to_pandas()
    assert list(table.columns) == ["start_s", "end_s", "duration_s", "depth_deg", "likeness",
                                   "cut"] and len(table) == 3
    assert set(np.ravel(found.segments)) <= set(found.candidates)
    written = json.loads(json.dumps(found.to_json("five")))
    assert list(written)[:4] == ["trial", "rate_hz", "confidence", "segments"]
    assert written["exercise"] == "squat" and found.sides == (None,) * 3
    assert written["rejected"] == [] and written["suspicions"] == [] and written["model"] is None
    assert written["trial"] == "five" and written["rate_hz"] == 60
    assert [list(s) for s in written["segments"]] == [["start_s", "end_s"]] * 3


@pytest.fixture
def trial(tmp_path):
    write_motion(analytic_squat(3), tmp_path / "three.mot")
    return tmp_path / "three.mot"


def test_files(trial, tmp_path):
    out = tmp_path / "deep" / "out"
    found, whole = segment_file(trial, out), read_motion(trial)
    assert sorted(p.name for p in out.iterdir()) == ["segments.json", "three_rep1.mot", "three_rep2.mot",
                                                     "three_rep3.mot"]
    listed = json.loads((out / "segments.json").read_text())
    for i, part in enumerate(listed["segments"], 1):
        rep = read_motion(out / f"three_rep{i}.mot")
        assert rep.names == whole.names and np.allclose(rep.time[[0, -1]], [part["start_s"], part["end_s"]],
                                                        atol=1e-5)
        first = np.abs(whole.time - rep.time[0]).argmin()
        assert np.allclose(rep.values, whole.values[first:first + len(rep.time)], atol=1e-6)
    assert listed["trial"] == "three" and listed["confidence"] == round(found.confidence, 4)


def test_files_of_an_earlier_run_are_replaced(trial, tmp_path):
    """Repetitions of the same trial that the second run does not write go; files of others stay."""
    out = tmp_path / "out"
    segment_file(trial, out)
    for name in ("three_rep_notes.mot", "thirty_three_rep1.mot", "other_rep2.mot"):
        (out / name).write_text("mine")
    segment_file(trial, out, reps=1)
    assert {p.name for p in out.iterdir()} == {"other_rep2.mot", "segments.json", "thirty_three_rep1.mot",
                                               "three_rep1.mot", "three_rep_notes.mot"}
    assert len(json.loads((out / "segments.json").read_text())["segments"]) == 1


def test_a_run_that_fails_leaves_the_earlier_one(trial, tmp_path, monkeypatch):
    out = tmp_path / "out"
    segment_file(trial, out)
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    write = seg.write_motion

    def stop_at_the_second(motion, path):
        if path.name.endswith("rep2.mot"):
            raise KeyboardInterrupt
        write(motion, path)
    monkeypatch.setattr(seg, "write_motion", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        segment_file(trial, out, reps=2)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


def test_one_leading_knee():
    """Progress of one angle: the other knee may do as it likes, and does not change the cuts."""
    lunge = replace(load_exercise("squat"), name="lunge", title="lunge", progress=("knee_angle_r",))
    motion = pair(analytic_squat(4))
    rear = motion["knee_angle_r"].max() - motion["knee_angle_r"]
    lunges = knees(motion.time, motion["knee_angle_r"], rear)
    assert segment(lunges, exercise=lunge).segments == segment(motion).segments
    with pytest.raises(InputError, match="this is the squat trial"):
        segment(lunges)
    with pytest.raises(InputError, match="this is the lunge trial and that knee_angle_r"):
        segment(knees(motion.time, 0 * rear, rear), exercise=lunge)


def test_three_progress_angles(tmp_path):
    """All angles of the record count: the hip may not stay behind the knees."""
    names = ("knee_angle_l", "knee_angle_r", "hip_flexion_r")
    three = replace(load_exercise("squat"), progress=names)
    motion = analytic_squat(3)
    assert len(segment(motion, exercise=three).segments) == 3
    stiff = motion.with_columns(["hip_flexion_r"], 0 * motion.time)
    assert len(segment(stiff).segments) == 3
    with pytest.raises(InputError, match="hip_flexion_r"):
        segment(stiff, exercise=three)
    deeper = replace(three, least_progress_deg=97)      # the hip reaches 94 degrees, the knees 100
    with pytest.raises(InputError, match="shallow.*rising by 97"):
        segment(motion, exercise=deeper)


def test_same_bytes_every_time(trial, tmp_path):
    for name in "ab":
        segment_file(trial, tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_nothing_written_when_nothing_found(tmp_path):
    still = analytic_squat(1)
    write_motion(Motion(still.time, 0 * still.values, still.names), tmp_path / "still.mot")
    with pytest.raises(InputError, match=r"still\.mot: no repetition found"):
        segment_file(tmp_path / "still.mot", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folder_that_is_a_file(trial, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="a folder that cannot be written"):
        segment_file(trial, tmp_path / "out")
    assert (tmp_path / "out").read_text() == ""


def test_a_squat_cut_off_at_the_bottom_is_not_trusted():
    motion = analytic_squat(reps=1)
    half = segment(motion.slice(0, 0.5 + 1.35))
    assert half.cut == (True,) and half.confidence <= 0.5 < segment(motion).confidence


def test_the_persons_model_comes_along(trial, tmp_path):
    """Simulated from the folder of repetitions alone, a person of 59 kg weighed the default's 75.3 kg."""
    from bige.simulation import find_trials
    write_model(tmp_path / "anna.osim", 59)
    found = segment_file(trial, tmp_path / "out")
    assert found.model == "anna.osim" and found.mass_kg == pytest.approx(59)
    assert json.loads((tmp_path / "out/segments.json").read_text())["mass_kg"] == 59
    (model,) = {t.model for t in find_trials([tmp_path / "out"])}
    assert model == tmp_path / "out" / "anna.osim"
    assert Skeleton.from_osim(model).mass == pytest.approx(59)


def write_model(path, kg):
    """The default model with another mass."""
    from bige.inverse_kinematics import write_osim
    default = Skeleton.default()
    bodies = {name: replace(b, mass=b.mass * kg / default.mass) for name, b in default.bodies.items()}
    write_osim(replace(default, bodies=bodies), path)


def test_one_of_two_models_is_the_persons(trial, tmp_path):
    for name in ("anna.osim", "ben.osim"):
        write_model(tmp_path / name, 70)
    with pytest.warns(UserWarning, match="no person.s model is taken.*2 models beside it, 0 of them named"):
        segment_file(trial, tmp_path / "nobody")
    assert not list((tmp_path / "nobody").glob("*.osim"))
    (tmp_path / "ik.json").write_text(json.dumps({"trials": {"t": {"person": "ben", "file": "three.mot"}}}))
    segment_file(trial, tmp_path / "ben")
    assert [p.name for p in (tmp_path / "ben").glob("*.osim")] == ["ben.osim"]


def test_another_persons_model_is_not_overwritten(trial, tmp_path):
    """Two sessions whose models share a name: the repetitions of the first keep theirs."""
    out, others = tmp_path / "out", tmp_path / "others"
    others.mkdir()
    write_motion(analytic_squat(2), others / "two.mot")
    for folder, kg in ((tmp_path, 60), (others, 70)):
        write_model(folder / "scaled.osim", kg)
    segment_file(trial, out)
    with pytest.raises(InputError, match="another model of this name, of three_rep1.mot"):
        segment_file(others / "two.mot", out)
    assert mass_in(out / "scaled.osim") == pytest.approx(60) and not list(out.glob("two_*"))
    write_model(tmp_path / "scaled.osim", 61)
    segment_file(trial, out)
    assert mass_in(out / "scaled.osim") == pytest.approx(61)


def mass_in(model):
    return Skeleton.from_osim(model).mass


def test_records_of_several_trials_stay(trial, tmp_path):
    """The record of the last trial alone was kept."""
    write_motion(analytic_squat(2), tmp_path / "two.mot")
    for path in (trial, tmp_path / "two.mot", trial):
        segment_file(path, tmp_path / "out")
    record = json.loads((tmp_path / "out/segments.json").read_text())
    assert {name: len(r["segments"]) for name, r in record.items()} == {"three": 3, "two": 2}
    for rep in (tmp_path / "out").glob("two_*"):
        rep.unlink()                                # nothing of that trial is there any more
    segment_file(trial, tmp_path / "out")
    assert json.loads((tmp_path / "out/segments.json").read_text())["trial"] == "three"


def test_a_model_that_is_none_is_refused(trial, tmp_path):
    (tmp_path / "anna.osim").write_text("her model")
    with pytest.raises(InputError, match="anna.osim"):
        segment_file(trial, tmp_path / "out")
    assert not (tmp_path / "out").exists()
