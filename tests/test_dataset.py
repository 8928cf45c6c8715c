"""Data sets: what goes in comes out, on one skeleton, with participants kept apart; what does not belong in
is refused."""
import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from fuzz.bases import as_version_01
from hypothesis import given, settings
from hypothesis import strategies as st

from bige.dataset import (FRAMES, LEAST_DURATION_S, RATE_HZ, Dataset, all_repetitions, at_instants,
                          build_dataset, canonical, change_tempo_and_depth, concatenate, digest_of,
                          find_simulations, from_motions, load_dataset, mass_of, mirror_arrays,
                          mirrored_count, pack_dataset, part, reference, repetition, save_dataset, select,
                          split_participants, subject_of, toy_dataset, unify_arm_angles, unpack_dataset,
                          with_mirrored)
from bige import simulation
from bige.exercises import load_exercise
from bige.files import InputError, Suspicion
from bige.motion import (ACTIVATIONS, COORDINATES, GRAVITY, Motion, analytic_squat, example_squat,
                         read_motion, write_motion)
from bige.skeleton import Skeleton

KNEE = COORDINATES.index("knee_angle_r")


@pytest.fixture(scope="module")
def toy():
    return toy_dataset()


def simulated(reps=1, depth_deg=100.0, **how):
    squat = analytic_squat(reps=reps, depth_deg=depth_deg, **how)
    push = np.clip(squat["knee_angle_r"] / 3, 0.01, 1)
    return Motion.from_arrays(squat.time, squat.coordinates(), np.repeat(push[:, None], 80, 1))


def write_participants(folder, participants=("s01", "s02", "s07"), **how):
    for k, p in enumerate(participants):
        for e in (1, 2):
            write_motion(simulated(depth_deg=90 + 5 * k + e, **how),
                         folder / f"kinematics_activations_m01_{p}_e{e:02d}_cor_muscle_driven.mot")
    return folder


def arrays(data):
    return {
        k: getattr(data, k)
        for k in ("kinematics", "activations", "duration", "subjects", "trials", "split", "mass", "exercises",
                  "side")
    }


def test_files_become_a_data_set_and_come_back(tmp_path):
    (tmp_path / "sim").mkdir()
    write_participants(tmp_path / "sim")
    (tmp_path / "sim" / "ground_forces_m01_s01_e01_cor.mot").write_text("not read")
    data = build_dataset([tmp_path / "sim"], tmp_path / "data.npz")
    assert data.trials.tolist() == [f"m01_{p}_e0{e}_cor" for p in ("s01", "s02", "s07") for e in (1, 2)]
    assert data.split.tolist() == ["train"] * 4 + ["val"] * 2
    again = load_dataset(tmp_path / "data.npz")
    for key, value in arrays(data).items():
        assert np.array_equal(value, getattr(again, key)), key
    peaks = np.rad2deg(data.kinematics[..., KNEE].max(1))
    assert np.allclose(peaks, [91, 92, 96, 97, 101, 102], atol=0.5)
    first = (tmp_path / "data.npz").read_bytes()
    build_dataset([tmp_path / "sim"], tmp_path / "data.npz")
    assert (tmp_path / "data.npz").read_bytes() == first


def test_a_long_recording_is_cut_into_its_repetitions(tmp_path):
    for name in ("anna", "ben"):
        (tmp_path / name).mkdir()
        write_motion(simulated(reps=3), tmp_path / name / "trial_muscle_driven.mot")
    data = build_dataset([tmp_path])
    assert data.subjects.tolist() == ["anna"] * 3 + ["ben"] * 3 and data.trials.tolist()[:2] == [
        "trial_rep1",
        "trial_rep2",
    ]
    assert np.rad2deg(data.kinematics[..., KNEE].max(1)).min() > 95


@settings(max_examples=15, deadline=None)
@given(rate=st.floats(25.0, 250.0), period=st.floats(1.0, 6.0))
def test_any_frame_rate_gives_the_same_motion(rate, period):
    """Frames a second decide how finely a motion was seen, not which motion it is."""
    squat = simulated(rate_hz=250.0, period=period, pause=0.3)
    seen = squat.resample(rate)
    fine, found = (at_instants(m.time, m.coordinates()) for m in (squat, seen))
    late = abs(seen.duration - squat.duration) / seen.duration
    assert found.shape == (FRAMES, 33) and late < 1.01 / (rate * seen.duration)
    assert np.abs(found[..., KNEE] - fine[..., KNEE]).max() < np.deg2rad(0.6) + 4 * late


@settings(max_examples=25, deadline=None)
@given(frames=st.integers(10, 600), duration=st.floats(0.5, 20.0), begins=st.floats(-5.0, 50.0))
def test_the_ends_of_a_repetition_are_its_first_and_last_frame(frames, duration, begins):
    """However many frames there are; in between no value lies outside what the curve does."""
    time = begins + np.linspace(0, duration, frames)
    share = (time - begins) / duration
    values = np.stack([np.sin(2 * share), 1 - share, np.full(frames, 0.3)], -1)
    found = at_instants(time, values)
    assert np.allclose(found[[0, -1]], values[[0, -1]], atol=0.02 if frames > FRAMES else 1e-9)
    instants = np.linspace(0, 1, FRAMES)
    assert np.allclose(found[:, 0], np.sin(2 * instants), atol=0.02)
    assert np.allclose(found[:, 2], 0.3, atol=1e-9)


def test_data_sets_are_joined_in_order_and_nothing_twice(toy):
    first, second = select(toy, toy.subjects == "p00"), select(toy, toy.subjects != "p00")
    joined = concatenate([second, first])
    assert joined.trials.tolist() == second.trials.tolist() + first.trials.tolist() and np.array_equal(
        joined.kinematics[-len(first) :], first.kinematics)
    with pytest.raises(InputError, match="twice"):
        concatenate([toy, first])
    with pytest.raises(InputError, match="no data set"):
        concatenate([])
    other_side = Dataset(
        **(arrays(second) | {"subjects": ["p00"] * len(second), "split": ["val"] * len(second)})
    )
    with pytest.raises(InputError, match="in training and in validation"):
        concatenate([first, other_side])


def test_body_mass_comes_from_the_record_or_the_session(tmp_path):
    write_participants(tmp_path)
    record = {"trial": "m01_s01_e01_cor", "status": "Solve_Succeeded", "body_weight_n": 784.532}
    (tmp_path / "simulation.json").write_text(json.dumps({"m01_s01_e01_cor": record}))
    data = build_dataset([tmp_path])
    assert data.mass[0] == pytest.approx(80.0) and np.allclose(data.mass[1:], Skeleton.default().mass)
    inside = tmp_path / "OpenCapData_x" / "OpenSimData" / "Dynamics" / "squat"
    (inside.parents[1] / "Kinematics").mkdir(parents=True), inside.mkdir(parents=True)
    for file in (inside / "kinematics_activations_squat_muscle_driven.mot",
                 inside.parents[1] / "Kinematics" / "squat.mot"):
        write_motion(simulated(), file)
    assert find_simulations([tmp_path / "OpenCapData_x"]) == [
        inside / "kinematics_activations_squat_muscle_driven.mot"
    ]
    assert mass_of(inside / "kinematics_activations_squat_muscle_driven.mot", {}) is None
    (tmp_path / "OpenCapData_x" / "sessionMetadata.yaml").write_text("mass_kg: 61.5\n")
    assert mass_of(inside / "kinematics_activations_squat_muscle_driven.mot", {}) == 61.5


def test_records_of_trials_in_folders_are_found_and_read_once(tmp_path, monkeypatch):
    """As `bige simulate anna ben` leaves them: one simulation.json above both folders, a trial of
    the same name in each."""
    weights, read, asked = {"anna": 600.0, "ben": 800.0}, simulation.read_records, []
    for person in weights:
        (tmp_path / person).mkdir()
        write_motion(simulated(reps=3), simulation.motion_file(tmp_path, f"{person}/squat1"))
    (tmp_path / "simulation.json").write_text(
        json.dumps({f"{p}/squat1": {"trial": f"{p}/squat1", "body_weight_n": w} for p, w in weights.items()})
    )
    monkeypatch.setattr(simulation, "read_records", lambda folder: asked.append(folder) or read(folder))
    data = build_dataset([tmp_path / "anna", tmp_path / "ben"])
    assert data.subjects.tolist() == ["anna"] * 3 + ["ben"] * 3
    assert data.mass == pytest.approx([w / GRAVITY for w in weights.values() for _ in range(3)])
    assert tmp_path in asked and len(asked) == len(set(asked)), "each simulation.json once"


def test_participants_whose_trials_share_a_folder_are_told_apart_by_their_models(tmp_path):
    """As `bige ik anna ben` and `bige simulate` leave trials that had one name: anna_squat of the model
    anna.osim."""
    records = {
        f"{p}_squat": {"trial": f"{p}_squat", "model": f"{p}.osim", "body_weight_n": w}
        for p, w in (("anna", 600.0), ("ben", 800.0))
    }
    (tmp_path / "simulation.json").write_text(json.dumps(records))
    for trial in records:
        write_motion(simulated(), simulation.motion_file(tmp_path, trial))
    data = build_dataset([tmp_path])
    assert data.subjects.tolist() == ["anna", "ben"] and data.mass == pytest.approx(
        [600 / GRAVITY, 800 / GRAVITY]
    )


def test_the_digest_is_that_of_the_content(toy, tmp_path):
    save_dataset(toy, tmp_path / "toy.npz")
    assert (
        digest_of(load_dataset(tmp_path / "toy.npz"))
        == digest_of(toy)
        == digest_of(select(toy, np.arange(len(toy))))
    )
    wider = Dataset(**(arrays(toy) | {"trials": toy.trials.astype("<U99")}))
    assert digest_of(wider) == digest_of(toy)
    for key, value in arrays(toy).items():
        other = {
            "split": np.where(toy.subjects == "p00", "val", toy.split),
            "subjects": np.char.add(toy.subjects, "x"),
            "trials": toy.trials[::-1],
            "exercises": np.char.add(toy.exercises, "x"),
            "side": np.where(toy.subjects == "p00", "l", "r"),
        }.get(key)
        assert digest_of(
            Dataset(**(arrays(toy) | {key: value * 0.99 if other is None else other}))
        ) != digest_of(toy), key


@pytest.mark.parametrize("tempo, depth", [(0.9, 1.0), (1.1, 1.05), (1.0, 0.95)])
def test_varied_squats_take_their_time_and_depth_and_stand(tempo, depth):
    squat = simulated()
    other = change_tempo_and_depth(squat, tempo, depth)
    assert other.duration == pytest.approx(squat.duration / tempo) and not other.has(ACTIVATIONS)
    assert np.ptp(other["knee_angle_r"]) == pytest.approx(depth * np.ptp(squat["knee_angle_r"]))
    assert np.abs(Skeleton.default().contact_points(other.coordinates())[..., 1].min(1)).max() < 0.02


@pytest.mark.parametrize("period", [0.9, 2.0, 4.5])
def test_repetitions_of_any_duration_come_back_with_their_times(period, tmp_path):
    squat = simulated(period=period)
    data = from_motions({("a", "1"): squat, ("b", "1"): squat})
    save_dataset(data, tmp_path / "squats.npz")
    again = load_dataset(tmp_path / "squats.npz")
    assert again.duration == pytest.approx(squat.duration) and again.rate_hz == pytest.approx(
        (FRAMES - 1) / squat.duration)
    for motion in all_repetitions(again):
        assert motion.time.size == FRAMES and motion.duration == pytest.approx(squat.duration, abs=1e-6)
        assert motion.rate_hz == pytest.approx(float(again.rate_hz[0]))
        knee = np.interp(squat.time, motion.time, motion["knee_angle_r"])
        assert np.abs(knee - squat["knee_angle_r"]).max() < np.deg2rad(0.5)


def test_very_short_repetitions_are_left_out():
    usual = {("a", "1"): simulated(), ("b", "1"): simulated()}
    short = simulated().slice(0, 0.9 * LEAST_DURATION_S)
    with pytest.warns(Suspicion, match="1 of 3 repetitions under 0.5 s"):
        assert len(from_motions(usual | {("a", "2"): short})) == 2
    with pytest.raises(InputError, match="no repetition of 0.5 s or more"):
        from_motions({("a", "2"): short})


def test_a_repetition_is_its_instants(toy):
    for i, motion in enumerate(all_repetitions(toy)):
        assert motion.time[0] == 0 and motion.time[-1] == pytest.approx(float(toy.duration[i]))
        assert np.array_equal(motion.coordinates(), toy.kinematics[i])
        assert np.array_equal(motion.activations(), toy.activations[i])


def test_a_file_of_version_01_is_read_without_its_padding(tmp_path):
    quick, slow = simulated(period=2.0), simulated(period=4.5)
    data = from_motions({("a", "1"): quick, ("b", "1"): slow})
    old = as_version_01(data)
    assert old["mask"].sum(1).tolist() == [round(quick.duration * RATE_HZ) + 1, FRAMES]
    for left_out in ((), ("side",), ("side", "exercise")):
        np.savez(tmp_path / "old.npz", **{k: v for k, v in old.items() if k not in left_out})
        again = load_dataset(tmp_path / "old.npz")
        assert again.duration == pytest.approx(data.duration, abs=0.51 / RATE_HZ)
        assert np.abs(again.kinematics - data.kinematics)[..., KNEE].max() < np.deg2rad(2.5), "whole frames"
        assert np.abs(again.activations - data.activations).max() < 0.02
        assert again.exercise == "squat" and set(again.side.tolist()) == {""}
        assert np.allclose(again.kinematics[:, -1], data.kinematics[:, -1], atol=1e-3)


OLD_AND_BROKEN = {
    "a hole": (lambda a: a["mask"].__setitem__((0, 5), False), "mask.*holes in repetition 0"),
    "nothing recorded": (lambda a: a["mask"].__setitem__(1, False), "mask.*holes in repetition 1"),
    "numbers as mask": (lambda a: a.update(mask=a["mask"] * 0.5), "mask.*float64"),
    "a mask of others": (lambda a: a.update(mask=a["mask"][:-1]), "of shape"),
    "one stretch": (lambda a: a.update(stretch=a["stretch"][0]), "stretch.*shape"),
    "stretch in words": (lambda a: a.update(stretch=a["stretch"].astype(str)), "stretch.*<U"),
    "one number": (lambda a: a.update(kinematics=a["kinematics"][0, 0, 0]), "kinematics.*shape"),
    "nothing": (lambda a: a.update({k: a[k][:0] for k in a if a[k].ndim and k != "names"}), "mask.*shape"),
    "negative stretch": (lambda a: a.update(stretch=-a["stretch"]), "duration of -"),
    "huge stretch": (lambda a: a.update(stretch=a["stretch"] * 1e6), "duration of"),
    "another rate": (lambda a: a.update(rate_hz=np.float64(50)), "rate_hz.*50 Hz"),
    "two rates": (lambda a: a.update(rate_hz=np.array([60.0, 60.0])), "rate_hz"),
    "frames": (lambda a: a.update(kinematics=a["kinematics"][:, :100]), "kinematics.*shape"),
    "NaN": (lambda a: a["kinematics"].__setitem__((0, 0, 0), np.nan), "NaN"),
    "text": (lambda a: a.update(activations=a["activations"].astype(str)), "activations"),
}


@pytest.mark.parametrize("change, words", OLD_AND_BROKEN.values(), ids=OLD_AND_BROKEN)
def test_a_broken_file_of_version_01_is_one_error(toy, tmp_path, change, words):
    old = as_version_01(toy)
    change(old)
    np.savez(tmp_path / "old.npz", **old)
    with pytest.raises(InputError, match=words):
        load_dataset(tmp_path / "old.npz")


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), slow=st.floats(0.5, 30.0))
def test_packing_rounds_to_half_a_step(seed, slow, toy, tmp_path_factory):
    """Second differences of whole numbers of steps: what is read differs by rounding alone, and packing that
    again changes nothing more."""
    rng, path = np.random.default_rng(seed), tmp_path_factory.mktemp("packed") / "toy.npz"
    data = replace(toy, kinematics=toy.kinematics + rng.normal(scale=0.3, size=toy.kinematics.shape),
                   activations=rng.uniform(0, 1, toy.activations.shape),
                   duration=np.full(len(toy), slow))
    pack_dataset(data, path)
    found = unpack_dataset(path)
    assert np.abs(found.kinematics.astype(float) - data.kinematics).max() <= 2.0**-18 + 1e-6
    assert np.abs(found.activations.astype(float) - data.activations).max() <= 2.0**-13 + 1e-6
    for key in ("duration", "subjects", "trials", "split", "mass", "exercises", "side"):
        assert np.array_equal(getattr(found, key), getattr(data, key)), key
    once = path.read_bytes()
    pack_dataset(found, path)
    assert path.read_bytes() == once


def test_a_packed_file_that_is_none_is_one_error(toy, tmp_path):
    save_dataset(toy, tmp_path / "plain.npz")
    with pytest.raises(InputError, match="plain.npz.*without kinematics_differences"):
        unpack_dataset(tmp_path / "plain.npz")
    pack_dataset(toy, tmp_path / "packed.npz")
    good = (tmp_path / "packed.npz").read_bytes()
    (tmp_path / "packed.npz").write_bytes(good[: len(good) // 2])
    with pytest.raises(InputError, match="packed.npz"):
        unpack_dataset(tmp_path / "packed.npz")


def test_the_exercise_travels_with_the_data(toy, tmp_path):
    lunges = from_motions({(p, "1"): simulated() for p in ("a", "b", "c")},
                          exercise=replace(load_exercise(), name="lunge", validation=("a",)))
    assert lunges.exercise == "lunge" and lunges.split.tolist() == ["val", "train", "train"]
    save_dataset(lunges, tmp_path / "lunges.npz")
    assert (
        load_dataset(tmp_path / "lunges.npz").exercise
        == select(lunges, [0]).exercise
        == with_mirrored(lunges).exercise
        == "lunge"
    )
    assert reference().exercise == "squat"
    with pytest.raises(InputError, match="no shipped repetitions of cartwheel.*squat"):
        reference(replace(load_exercise(), name="cartwheel"))


def test_several_exercises_share_a_data_set(toy, tmp_path):
    """Each repetition keeps its exercise; what is of one exercise only asks for one."""
    lunges = from_motions({(p, "1"): lunge_of("l") for p in ("p00", "p01", "p03")}, validation=("p03",),
                          exercise="inline_lunge")
    both = concatenate([toy, lunges])
    save_dataset(both, tmp_path / "both.npz")
    again = load_dataset(tmp_path / "both.npz")
    assert again.exercises.tolist() == ["squat"] * len(toy) + ["inline_lunge"] * 3
    assert again.side.tolist() == [""] * len(toy) + ["l"] * 3 and digest_of(again) == digest_of(both)
    with pytest.raises(InputError, match="the exercises inline_lunge, squat; expected one exercise"):
        again.exercise
    assert select(again, again.exercises == "squat").exercise == "squat"
    pack_dataset(both, tmp_path / "packed.npz")
    assert unpack_dataset(tmp_path / "packed.npz").exercises.tolist() == again.exercises.tolist()


def test_mirror_images_are_made_only_where_no_leg_leads(toy):
    """The mirror image of a lunge would be one of the other leg; which leg led stays with each repetition."""
    lunges = from_motions({(p, "1"): lunge_of("r") for p in ("p00", "p01", "p03")}, validation=("p03",),
                          exercise="inline_lunge")
    assert digest_of(with_mirrored(lunges)) == digest_of(lunges)
    both = with_mirrored(concatenate([lunges, toy]))
    assert (both.exercises == "inline_lunge").sum() == 3 and (both.exercises == "squat").sum() == 2 * len(toy)
    images = both.kinematics[len(lunges) + len(toy) :]
    assert np.array_equal(mirror_arrays(images), toy.kinematics)
    assert both.trials[len(lunges) + len(toy) :].tolist() == toy.trials.tolist()


@settings(max_examples=20, deadline=None)
@given(chosen=st.lists(st.booleans(), min_size=12, max_size=12).filter(any), seed=st.integers(0, 99))
def test_partners_are_of_one_exercise_and_of_two_participants_where_there_are(toy, chosen, seed):
    from bige.train_vqvae import draw_partners
    mixed = replace(toy, exercises=np.where(chosen, "squat", "sit_to_stand"))
    first, other = draw_partners(mixed, 60, np.random.default_rng(seed))
    assert (mixed.exercises[first] == mixed.exercises[other]).all()
    several = {name: len(set(mixed.subjects[mixed.exercises == name].tolist())) > 1
               for name in ("squat", "sit_to_stand")}
    alone = mixed.subjects[first] == mixed.subjects[other]
    assert not [name for name in mixed.exercises[first][alone].tolist() if several[name]]
    assert set(first.tolist()) <= set(range(len(toy)))


def lunge_of(side):
    "An analytic squat whose other leg flexes by a third, with activations of that leg at a third."
    squat, other = simulated(), "lr".replace(side, "")
    weak = [f"knee_angle_{other}", *(n for n in ACTIVATIONS if n.endswith(f"_{other}/activation"))]
    return squat.with_columns(weak, squat.columns(weak) / 3)


def test_lunges_are_led_by_one_leg_and_keep_the_side_that_led(tmp_path):
    lunge, leg = load_exercise("inline_lunge"), COORDINATES.index("knee_angle_r")
    data = from_motions({("a", "1"): lunge_of("r"), ("b", "1"): lunge_of("l"), ("c", "1"): lunge_of("l")},
                        exercise=lunge)
    assert data.side.tolist() == ["r", "l", "l"] and mirrored_count(data, lunge) == 2
    assert np.allclose(data.kinematics[1:], data.kinematics[:1], atol=1e-5)
    assert np.allclose(data.activations[1:], data.activations[:1], atol=1e-6)
    other = COORDINATES.index("knee_angle_l")
    assert (data.kinematics[..., leg].max(1) > 2 * data.kinematics[..., other].max(1)).all()
    save_dataset(data, tmp_path / "lunges.npz")
    again = load_dataset(tmp_path / "lunges.npz")
    assert again.side.tolist() == ["r", "l", "l"] == concatenate([part(again, "train"),
                                                                  part(again, "val")]).side.tolist()
    assert digest_of(again) == digest_of(data)


def test_repetitions_simulated_as_another_exercise_are_refused(tmp_path):
    write_participants(tmp_path)
    record = {"trial": "m01_s01_e01_cor", "status": "Solve_Succeeded", "exercise": "inline_lunge"}
    (tmp_path / "simulation.json").write_text(json.dumps({record["trial"]: record}))
    with pytest.raises(InputError, match="exercise inline_lunge.*one of the exercise squat"):
        build_dataset([tmp_path])


def test_canonical_motions_stand_on_the_ground_wherever_they_were_recorded():
    skeleton, squat = Skeleton.default(), example_squat()
    q = squat.coordinates()
    moved = q.copy()
    moved[:, [COORDINATES.index(t) for t in ("pelvis_tx", "pelvis_ty", "pelvis_tz")]] += [3.0, 0.4, -2.0]
    a, b = canonical(q, rate_hz=squat.rate_hz), canonical(moved, rate_hz=squat.rate_hz)
    assert np.allclose(a, b, atol=1e-9)
    same = [i for i, n in enumerate(COORDINATES) if not n.startswith(("pelvis", "arm_"))]
    assert np.allclose(a[:, same], q[:, same], atol=1e-9)
    lowest = skeleton.contact_points(a)[..., 1].min(1)
    assert np.abs(lowest).max() < 0.015
    assert skeleton.sliding_speed(a, squat.rate_hz).mean() < 0.04
    assert np.allclose(canonical(a, rate_hz=squat.rate_hz)[:, :3], a[:, :3], atol=1e-9)
    two = canonical(np.stack([q, q]), rate_hz=squat.rate_hz)
    assert np.allclose(two[0], a) and np.allclose(two[1], a)


def test_arms_keep_their_direction_under_the_agreed_name():
    skeleton, rng = Skeleton.default(), np.random.default_rng(0)
    K = example_squat().coordinates() + 0.3 * rng.standard_normal(33)
    K[:, COORDINATES.index("arm_flex_r")] += 4 * np.pi
    K[:, COORDINATES.index("arm_add_l")] = np.pi - K[:, COORDINATES.index("arm_add_l")]
    named = unify_arm_angles(K)
    assert np.allclose(skeleton.body_transforms(K), skeleton.body_transforms(named), atol=1e-9)
    assert np.abs(np.median(named[:, COORDINATES.index("arm_add_l")])) <= np.pi / 2
    assert -np.pi / 2 <= np.median(named[:, COORDINATES.index("arm_flex_r")]) <= 3 * np.pi / 2


def test_mirroring_agrees_with_motion_and_undoes_itself(toy):
    K, A = mirror_arrays(toy.kinematics, toy.activations)
    motion = repetition(toy, 0).mirror()
    assert np.allclose(K[0], motion.coordinates(), atol=1e-6) and np.allclose(A[0], motion.activations(),
                                                                              atol=1e-6)
    assert np.array_equal(mirror_arrays(K, A)[0], toy.kinematics) and np.array_equal(
        mirror_arrays(K, A)[1], toy.activations)
    assert len(with_mirrored(toy)) == 2 * len(toy)


@pytest.mark.parametrize("path, who", [
    ("out/kinematics_activations_m01_s07_e01_cor_muscle_driven.mot", "s07"), ("m03_s02_e10.mot", "s02"),
    ("OpenCapData_ab12/OpenSimData/Dynamics/x/kinematics_activations_squat_muscle_driven.mot",
     "OpenCapData_ab12"),
    ("anna/squat/trial.mot", "anna")])
def test_subjects_by_name(path, who):
    assert subject_of(path) == who


def test_split_is_by_person():
    assert split_participants(["s07", "s01", "s10", "s02"]).tolist() == ["val", "train", "val", "train"]
    assert split_participants(list("abcdefghij") * 2).tolist() == (["train"] * 8 + ["val"] * 2) * 2
    assert split_participants(["s01", "s02"], validation=["s01"]).tolist() == ["val", "train"]
    for participants, validation in ((["s01"] * 5, None), (["s07", "s10"], None), (["a", "b"], ["c"])):
        with pytest.raises(InputError):
            split_participants(participants, validation)


@pytest.mark.parametrize("change", [
    lambda a: a.update(kinematics=np.where(np.arange(33) == 3, np.nan, a["kinematics"])),
    lambda a: a.update(activations=a["activations"] * np.inf),
    lambda a: a.update(activations=a["activations"] * 100),
    lambda a: a.update(kinematics=a["kinematics"] * 180 / np.pi),
    lambda a: a.update(kinematics=a["kinematics"][:, :100]),
    lambda a: a.update(activations=a["activations"][..., :79]),
    lambda a: a.update(duration=np.zeros_like(a["duration"])),
    lambda a: a.update(duration=a["duration"][:-1]),
    lambda a: a.update(duration=a["duration"] * 1000),
    lambda a: a.update(split=np.array(["test"] * len(a["split"]))),
    lambda a: a.update(split=np.array(["train", "val"] * (len(a["split"]) // 2))),
    lambda a: a.update(mass=a["mass"] * 1000),
    lambda a: a.update(subjects=np.array("s01")),
    lambda a: a.update(side=np.array(["l", ""] * (len(a["split"]) // 2))),
    lambda a: a.update({k: v[:0] for k, v in a.items()})],
    ids=("nan inf percent degrees frames muscles instant duration milliseconds split both-sides grams scalar "
         "no-side none").split())
def test_wrong_data_are_refused(toy, change):
    broken = arrays(toy)
    change(broken)
    with pytest.raises(InputError):
        Dataset(**broken)


def test_wrong_files_are_refused(toy, tmp_path):
    save_dataset(toy, tmp_path / "good.npz")
    good = (tmp_path / "good.npz").read_bytes()
    with np.load(tmp_path / "good.npz") as archive:
        content = dict(archive)
    def zipped(**change):
        np.savez(tmp_path / "made.npz", **{k: v for k, v in (content | change).items() if v is not None})
        return (tmp_path / "made.npz").read_bytes()
    pickled = io.BytesIO()
    np.savez(pickled, **(content | {"subjects": np.array([object()] * len(toy), dtype=object)}))
    array = io.BytesIO()
    np.save(array, toy.kinematics)
    cases = {
        "empty": b"",
        "binary": bytes(range(256)) * 50,
        "half": good[: len(good) // 2],
        "flipped": good[:9000] + b"\0" * 50 + good[9050:],
        "array": array.getvalue(),
        "pickled": pickled.getvalue(),
        "no duration": zipped(duration=None),
        "no exercises": zipped(exercises=None),
        "order": zipped(names=content["names"][::-1]),
        "text": zipped(kinematics=np.array(["a"])),
    }
    for name, data in cases.items():
        (tmp_path / "bad.npz").write_bytes(data)
        with pytest.raises(InputError) as error:
            load_dataset(tmp_path / "bad.npz")
        assert "bad.npz" in str(error.value), name
    for missing in (tmp_path / "missing.npz", tmp_path):
        with pytest.raises(InputError):
            load_dataset(missing)


def test_folders_without_simulations_are_refused(tmp_path):
    with pytest.raises(InputError, match="no .mot file"):
        find_simulations([tmp_path])
    with pytest.raises(InputError, match="nothing there"):
        find_simulations([tmp_path / "missing"])
    write_motion(example_squat().slice(0, 2), tmp_path / "squat.mot")
    plain = analytic_squat(reps=1)
    write_motion(plain, tmp_path / "plain_muscle_driven.mot")
    with pytest.raises(InputError, match="activations"):
        build_dataset([tmp_path])


def test_one_person_only_writes_nothing(tmp_path):
    (tmp_path / "sim").mkdir()
    write_participants(tmp_path / "sim", participants=("s01",))
    with pytest.raises(InputError, match="participants to train on"):
        build_dataset([tmp_path / "sim"], tmp_path / "data.npz")
    assert not (tmp_path / "data.npz").exists()


def test_an_empty_part_is_refused(toy):
    with pytest.raises(InputError, match="val"):
        part(select(toy, toy.split == "train"), "val")


def test_the_file_holds_no_code(toy, tmp_path):
    save_dataset(toy, tmp_path / "toy.npz")
    with zipfile.ZipFile(tmp_path / "toy.npz") as archive:
        for name in archive.namelist():
            assert np.lib.format.read_array(archive.open(name), allow_pickle=False).dtype.kind != "O"


def test_published_simulations_can_be_read(shared):
    files = sorted((shared / "fieldstudy_s0_72kg").rglob("*kinematics_activations*.mot"))
    with pytest.raises(InputError, match="1 participants"):
        build_dataset(files)
    data = from_motions({(f"p{k}", f.stem): read_motion(f) for k, f in enumerate(files)})
    assert len(data) == len(files) and set(data.split) == {"train", "val"}
    assert (
        data.activations.shape[2] == len(ACTIVATIONS)
        and 70 < np.rad2deg(data.kinematics[..., KNEE].max()) < 140
    )


CONTRIVED = {
    "per cent": (lambda d: {"activations": d.activations * 100}, "per cent"),
    "complex": (lambda d: {"kinematics": d.kinematics * (1 + 1j)}, "kinematics of type complex"),
    "text numbers": (lambda d: {"duration": d.duration.astype(str)}, "duration of type"),
    "negative duration": (lambda d: {"duration": -d.duration}, "a duration of -"),
    "huge duration": (lambda d: {"duration": d.duration * 1e6}, "a duration of .*e\\+06"),
    "overflow": (lambda d: {"mass": d.mass.astype(float) * 1e300}, "infinity in mass"),
    "twice": (lambda d: {k: np.repeat(getattr(d, k)[:1], len(d)) for k in ("trials", "subjects", "split")},
              "come twice"),
    "an exercise for two": (lambda d: {"exercises": d.exercises[:2]}, "exercises of shape"),
    "an exercise with blanks": (lambda d: {"exercises": np.full(len(d), "a squat")}, "exercise named"),
}


@pytest.mark.parametrize("change, words", CONTRIVED.values(), ids=CONTRIVED)
def test_contrived_files_are_refused_for_what_they_are(toy, tmp_path, change, words):
    stored = arrays(toy) | {"names": np.array(COORDINATES + ACTIVATIONS)}
    np.savez(tmp_path / "good.npz", **stored)
    assert len(load_dataset(tmp_path / "good.npz")) == len(toy)
    np.savez(tmp_path / "bad.npz", **stored | change(toy))
    with pytest.raises(InputError, match=words):
        load_dataset(tmp_path / "bad.npz")


def test_an_archive_that_would_fill_the_memory_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("kinematics.npy", "w", force_zip64=True) as file:
            for _ in range(300):
                file.write(bytes(1_000_000))
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("unpacked"))
    with pytest.raises(InputError, match="300 MB in 0.* packed by a factor of at most 100"):
        load_dataset(tmp_path / "bomb.npz")


def test_activations_in_per_cent_are_refused_before_they_are_clipped(tmp_path):
    percent = simulated()
    percent = percent.with_columns(ACTIVATIONS, 100 * percent.activations())
    with pytest.raises(InputError, match="activations from .* per cent"):
        from_motions({("a", "1"): percent, ("b", "1"): percent})
    write_participants(tmp_path)
    write_motion(percent, tmp_path / "kinematics_activations_m01_s03_e01_cor_muscle_driven.mot")
    with pytest.raises(InputError, match="s03.*per cent"):
        build_dataset([tmp_path])
