"""Data sets: what goes in comes out, on one skeleton, with participants kept apart; what does not belong in
is refused."""
import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from bige.dataset import (FRAMES, RATE_HZ, Dataset, all_repetitions, build_dataset, canonical,
                          change_tempo_and_depth, concatenate, digest_of, find_simulations, fit_length,
                          from_motions, load_dataset, mass_of, mirror_arrays, mirrored_count, part,
                          reference, repetition, save_dataset, select, split_participants, subject_of,
                          toy_dataset, unify_arm_angles, with_mirrored)
from bige import simulation
from bige.exercises import load_exercise
from bige.files import InputError, Suspicion, write_npz
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
        for k in ("kinematics", "activations", "mask", "subjects", "trials", "split", "stretch", "mass",
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


@pytest.mark.parametrize("rate", [25.0, 50.0, 100.0, 200.0])
def test_any_frame_rate_gives_the_same_motion(rate):
    squat = simulated(rate_hz=200.0, period=2.0, pause=0.3)
    values, mask, stretch = fit_length(squat.resample(rate))
    reference, reference_mask, _ = fit_length(squat)
    n = min(mask.sum(), reference_mask.sum()) - 6
    assert stretch == 1 and abs(int(mask.sum()) - int(reference_mask.sum())) <= 3
    assert np.abs(values[6:n, KNEE] - reference[6:n, KNEE]).max() < np.deg2rad(0.6)


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
            "mask": np.ones_like(toy.mask),
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


def test_long_repetitions_are_stretched_and_short_ones_left_out():
    slow = simulated(period=4.5)
    values, mask, stretch = fit_length(slow)
    assert mask.all() and stretch == pytest.approx(slow.duration * RATE_HZ / (FRAMES - 1))
    assert np.allclose(values[-1, :33], slow.values[-1, :33], atol=0.02)
    usual = {("a", "1"): simulated(), ("b", "1"): simulated()}
    with pytest.warns(Suspicion, match="1 of 3 repetitions under 64 frames"):
        assert len(from_motions(usual | {("a", "2"): simulated().slice(0, 0.9)})) == 2
    with pytest.raises(InputError, match="64 frames"):
        from_motions({("a", "2"): simulated().slice(0, 0.9)})


def test_slow_squats_alone_are_a_data_set_at_their_true_rates(tmp_path):
    """All longer than 3.25 s: stored with fewer frames a second, and given back as they were."""
    slow = simulated(period=4.5)
    assert slow.duration > 3.25
    save_dataset(from_motions({("a", "1"): slow, ("b", "1"): slow}), tmp_path / "slow.npz")
    data = load_dataset(tmp_path / "slow.npz")
    assert (data.rate_hz < 60).all() and set(data.split) == {"train", "val"} and len(part(data, "train")) == 1
    for motion in all_repetitions(data):
        assert motion.duration == pytest.approx(slow.duration, abs=1e-6) and motion.rate_hz == pytest.approx(
            float(data.rate_hz[0])
        )
        assert np.abs(
            np.interp(slow.time, motion.time, motion["knee_angle_r"]) - slow["knee_angle_r"]
        ).max() < np.deg2rad(0.5)


def test_a_repetition_is_its_recorded_frames(toy):
    for i, motion in enumerate(all_repetitions(toy)):
        assert motion.time.size == toy.mask[i].sum() < FRAMES
        assert np.array_equal(motion.coordinates(), toy.kinematics[i, toy.mask[i]])


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
    with pytest.raises(InputError, match="lunge, squat"):
        concatenate([lunges, toy])
    save_dataset(toy, tmp_path / "toy.npz")
    with np.load(tmp_path / "toy.npz") as archive:
        np.savez(tmp_path / "old.npz", **{k: archive[k] for k in archive if k != "exercise"})
    assert load_dataset(tmp_path / "old.npz").exercise == "squat", "files of version 0.1 hold squats"
    assert reference().exercise == "squat"
    with pytest.raises(InputError, match="of the lunge"):
        reference(replace(load_exercise(), name="lunge"))


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


def test_a_file_of_squats_differs_by_the_array_of_sides_alone(toy, tmp_path):
    """All bytes before the new entry are those of a file without it, and such a file is still read."""
    save_dataset(toy, tmp_path / "toy.npz")
    with np.load(tmp_path / "toy.npz") as archive:
        former = {k: archive[k] for k in archive.files}
    assert set(former.pop("side").tolist()) == {""} == set(toy.side.tolist())
    write_npz(tmp_path / "former.npz", former)
    with zipfile.ZipFile(tmp_path / "former.npz") as archive:
        entries = archive.start_dir
    assert (tmp_path / "toy.npz").read_bytes()[:entries] == (tmp_path / "former.npz").read_bytes()[:entries]
    assert load_dataset(tmp_path / "former.npz").side.tolist() == toy.side.tolist()


def test_repetitions_simulated_as_another_exercise_are_refused(tmp_path):
    write_participants(tmp_path)
    record = {"trial": "m01_s01_e01_cor", "status": "Solve_Succeeded", "exercise": "inline_lunge"}
    (tmp_path / "simulation.json").write_text(json.dumps({record["trial"]: record}))
    with pytest.raises(InputError, match="exercise inline_lunge.*one of the exercise squat"):
        build_dataset([tmp_path])


def test_tiling_starts_again_and_padding_holds():
    values, mask, _ = fit_length(example_squat())
    n = int(mask.sum())
    tiled, every, _ = fit_length(example_squat(), "tile")
    assert np.array_equal(values[n:], np.repeat(values[n - 1:n], FRAMES - n, 0)) and every.all()
    assert np.array_equal(tiled[n:], tiled[:FRAMES - n])
    with pytest.raises(InputError, match="pad"):
        fit_length(example_squat(), "repeat")


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
    n = motion.time.size
    assert np.allclose(K[0, :n], motion.coordinates(), atol=1e-6) and np.allclose(
        A[0, :n], motion.activations(), atol=1e-6)
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
    lambda a: a.update(mask=np.zeros_like(a["mask"])),
    lambda a: a.update(mask=a["mask"][:-1]),
    lambda a: a.update(split=np.array(["test"] * len(a["split"]))),
    lambda a: a.update(split=np.array(["train", "val"] * (len(a["split"]) // 2))),
    lambda a: a.update(mass=a["mass"] * 1000),
    lambda a: a.update(subjects=np.array("s01")),
    lambda a: a.update(side=np.array(["l", ""] * (len(a["split"]) // 2))),
    lambda a: a.update({k: v[:0] for k, v in a.items()})],
    ids=("nan inf percent degrees frames muscles empty-mask mask split both-sides grams scalar "
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
        "no mask": zipped(mask=None),
        "rate": zipped(rate_hz=np.float64(50)),
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


def holed(data):
    mask = data.mask.copy()
    mask[0, 5] = False
    return {"mask": mask}


CONTRIVED = {
    "per cent": (lambda d: {"activations": d.activations * 100}, "per cent"),
    "complex": (lambda d: {"kinematics": d.kinematics * (1 + 1j)}, "kinematics of type complex"),
    "text numbers": (lambda d: {"stretch": d.stretch.astype(str)}, "stretch of type"),
    "numbers as mask": (lambda d: {"mask": d.mask * 0.5}, "mask of type float64"),
    "holes": (holed, "mask with holes"),
    "negative stretch": (lambda d: {"stretch": -d.stretch}, "a stretch of -1"),
    "huge stretch": (lambda d: {"stretch": d.stretch * 1e6}, r"a stretch of 1e\+06"),
    "overflow": (lambda d: {"mass": d.mass.astype(float) * 1e300}, "infinity in mass"),
    "twice": (lambda d: {k: np.repeat(getattr(d, k)[:1], len(d)) for k in ("trials", "subjects", "split")},
              "come twice"),
    "an exercise of two": (lambda d: {"exercise": np.array(["squat", "lunge"])}, "exercise named"),
    "rate of two": (lambda d: {"rate_hz": np.array([60.0, 60.0])}, "Hz"),
}


@pytest.mark.parametrize("change, words", CONTRIVED.values(), ids=CONTRIVED)
def test_contrived_files_are_refused_for_what_they_are(toy, tmp_path, change, words):
    stored = arrays(toy) | {"names": np.array(COORDINATES + ACTIVATIONS), "rate_hz": np.float64(RATE_HZ)}
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
