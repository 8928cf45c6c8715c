"""The surrogate: its input on bodies of any size, its network, and what it is trained on."""
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bige.calibration import SCALE_GROUPS
from bige.dataset import about_vertical, mirror_arrays, pelvis_angles, pelvis_rotation, toy_dataset
from bige.external_load import loaded_skeleton, read_load
from bige.files import InputError
from bige.motion import (ACTIVATIONS, COORDINATES, GRAVITY, JOINT_LOADS, Motion, analytic_squat,
                         example_squat, read_motion, write_motion)
from bige.reference_set import load_simulations
from bige.skeleton import Skeleton
from bige.surrogate import (EXERCISES, FEATURES, JOINT_AXES, TABLE_MUSCLES, PublishedSurrogate, Surrogate,
                            SurrogateConfig, activation_scores, features, fit_spread, joint_moments,
                            load_scores, load_surrogate, predict_activations, pseudo_inertia, rate_matrices,
                            scaled_body, scaled_sizes, score_table, to_frames, to_steps, uncertainty)
from bige.train_surrogate import (GENERATED, MOTION_KINDS, Examples, bodies_of, choose, cross_validate,
                                  example_activations, example_features, example_loads, examples_of,
                                  fit_surrogate, fold_table, is_generated, join, load_examples, load_table,
                                  pack_examples, recorded_examples, reliability, unpack_examples)
from bige.training import Plan
from bige.vqvae import save_model

SMALL_NET = SurrogateConfig(width=8, members=2)
RESULTS = Path(__file__).resolve().parents[1] / "nbs" / "results"
AT = {name: i for i, name in enumerate(FEATURES)}
MOMENTS = slice(0, len(JOINT_AXES))
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def squat():
    return example_squat().resample(60.0)


@pytest.fixture(scope="module")
def K(squat):
    return torch.tensor(squat.coordinates())[None]


@pytest.fixture(scope="module")
def bodies():
    return pd.read_csv(RESULTS / "surrogate_bodies.csv").set_index(["exercise", "participant"])


def simulated(exercise: str, trial: str, bodies: pd.DataFrame) -> tuple:
    "A repetition of the reference set, its motion at 196 instants (1, 196, 33), their rate, and its body."
    r = load_simulations(exercise)[trial]
    time = np.linspace(r.motion.time[0], r.motion.time[-1], 196)
    q = np.stack([np.interp(time, r.motion.time, c) for c in r.motion.coordinates().T], 1)
    body = scaled_body(bodies.loc[(exercise, r.participant)], r.record["body_weight_n"] / GRAVITY)
    return r, time, torch.tensor(q)[None], 195 / r.motion.duration, body


# steps and derivatives

def test_steps_and_frames():
    x = torch.arange(10, dtype=torch.double)[None, :, None]
    assert to_steps(x).flatten().tolist() == [1.5, 5.5, 8.75]
    assert torch.allclose(to_frames(to_steps(torch.arange(40.0)[None, :, None]), 38)[0, 2:37, 0],
                          torch.arange(40.0)[2:37])


@pytest.mark.parametrize("steps", [1, 2, 5, 49, 120])
def test_derivatives_of_lines_and_parabolas(steps):
    hz = torch.tensor([8.0, 16.0, 50.0], dtype=torch.double)
    t = torch.arange(steps, dtype=torch.double)[None, :, None] / hz[:, None, None]
    first, second = rate_matrices(steps, hz)
    if steps == 1:
        assert not first.any() and not second.any()
        return
    assert torch.allclose(first @ (3 * t + 1), torch.tensor(3.0).double())
    assert (second @ (3 * t + 1)).abs().max() < 1e-8
    inner = slice(17, -17)
    if steps == 120:
        assert torch.allclose((first @ t**2)[:, inner], 2 * t[:, inner])
        assert torch.allclose((second @ t**2)[:, inner], torch.tensor(2.0).double())


def test_derivatives_do_not_depend_on_how_densely_a_motion_is_sampled():
    fine, coarse = (torch.arange(n, dtype=torch.double)[None, :, None] * 3 / (n - 1) for n in (97, 49))
    bump = [torch.exp(-((t - 1.5) / 0.4)**2) for t in (fine, coarse)]
    for k in (0, 1):
        rates = (torch.tensor([(x.shape[1] - 1) / 3.0]).double() for x in bump)
        found = [rate_matrices(x.shape[1], hz)[k] @ x for x, hz in zip(bump, rates)]
        assert (found[0][:, ::2] - found[1]).abs().max() < 0.1 * found[0].abs().max()


# moments

def test_pseudo_inertia_gives_the_inertia_back():
    body = Skeleton.default().bodies["femur_r"]
    J = pseudo_inertia(body)
    assert J[3, 3] == body.mass and np.allclose(J[:3, 3], body.mass * body.mass_center)
    about_centre = J[:3, :3] - body.mass * np.outer(body.mass_center, body.mass_center)
    I = np.trace(about_centre) * np.eye(3) - about_centre
    assert np.allclose([I[0, 0], I[1, 1], I[2, 2], I[0, 1], I[0, 2], I[1, 2]], body.inertia)


@pytest.mark.parametrize("exercise, trial, most", [
    ("squat", "m01_s06_e03_cor", 8), ("squat", "m01_s10_e05_inc", 12), ("side_lunge", "m04_s06_e03_cor", 10),
    ("side_lunge", "m04_s02_e05_cor", 12), ("hurdle_step", "m02_s06_e03_cor", 15)])
def test_moments_are_those_of_the_simulation(exercise, trial, most, bodies):
    r, time, q, rate_hz, body = simulated(exercise, trial, bodies)
    with torch.no_grad():
        found = joint_moments(to_steps(q), torch.tensor([rate_hz / 4]), body).moments[0].numpy()
    middle = time.reshape(49, 4).mean(1)
    for name in ("knee_angle_r", "knee_angle_l", "ankle_angle_r", "hip_flexion_r", "lumbar_extension"):
        truth = np.interp(middle, r.moments.time, r.moments[f"{name}_moment"])
        error = np.sqrt(np.mean((found[:, JOINT_AXES.index(name)] - truth)**2))
        assert error < most, (name, error, np.abs(truth).max())


def test_a_standing_body_weighs_its_weight():
    still = torch.zeros(1, 30, 33, dtype=torch.double)
    found = joint_moments(still, torch.tensor([15.0]).double())
    assert torch.allclose(found.shares.sum(2), torch.tensor(1.0).double(), atol=0.01)
    assert torch.allclose(found.shares, torch.tensor(0.5).double(), atol=0.05)
    assert found.lean.abs().max() < 1e-9 and found.velocity.abs().max() < 1e-9
    lifted = still.clone()
    lifted[..., COORDINATES.index("hip_flexion_l")] = lifted[..., COORDINATES.index("knee_angle_l")] = 1.2
    lifted[:, 0] = 0                                    # it stood on both feet at first
    lifted[:, :6] = 0
    shares = joint_moments(lifted, torch.tensor([15.0]).double()).shares[0, -5:]
    assert (shares[:, 0] > 0.9).all() and (shares[:, 1] < 0.1).all()


def test_a_seat_carries_until_the_hips_rise(bodies):
    r, _, q, rate_hz, body = simulated("sit_to_stand", "m05_s06_e03_cor_rep1", bodies)
    with torch.no_grad():
        on_feet = joint_moments(to_steps(q), torch.tensor([rate_hz / 4]), body, seated=True).shares[0].sum(1)
    assert on_feet[:5].min() < 0.6 and on_feet[-10:].min() > 0.95


# features

def test_features_ignore_position_heading_and_euler_branches(K):
    x = features(K, 60.0)
    moved, turned, branch = K.clone(), K.clone(), K.clone()
    moved[..., 3:6] += torch.tensor([1.0, 2.0, -3.0])
    turn = about_vertical(np.array(2.0))
    turned[..., :3] = torch.tensor(pelvis_angles(turn @ pelvis_rotation(K.numpy())))
    for name, sign, shift in (("arm_flex_l", 1, np.pi), ("arm_add_l", -1, np.pi), ("arm_rot_l", 1, -np.pi)):
        branch[..., COORDINATES.index(name)] = sign * K[..., COORDINATES.index(name)] + shift
    for same in (moved, turned, branch):
        assert torch.allclose(features(same, 60.0), x, atol=2e-3)


def test_features_of_the_mirror_image_change_sides(K):
    x, seen = features(K, 60.0), features(torch.tensor(mirror_arrays(K.numpy())), 60.0)
    for name in ("hip_flexion", "hip_adduction", "knee_angle", "ankle_angle"):
        for kind in ("moment", "angle"):
            right, left = (AT[f"{name}_{s} {kind}"] for s in "rl")
            assert torch.allclose(x[..., right], seen[..., left], atol=0.03), (name, kind)
    BENDING = AT["lumbar_bending moment"]
    assert torch.allclose(x[..., BENDING], -seen[..., BENDING], atol=0.03)


def test_mass_and_size(K):
    skeleton = Skeleton.default()
    x, heavier = features(K, 60.0), features(K, 60.0, mass=2 * skeleton.mass)
    assert torch.allclose(heavier[..., MOMENTS], 2 * x[..., MOMENTS])
    angles = slice(len(JOINT_AXES), AT["share right"])
    assert torch.equal(heavier[..., angles], x[..., angles])
    ones = np.ones(len(SCALE_GROUPS) + 1)
    same = features(K, 60.0, scaled_body(ones, skeleton.mass))
    assert torch.allclose(same, x, atol=1e-6)
    taller = features(K, 10.0, scaled_body(1.1 * ones, skeleton.mass))      # slowly: weight, hardly inertia
    KNEE = AT["knee_angle_r moment"]
    slow = features(K, 10.0)[..., KNEE]
    assert (taller[..., KNEE] - slow).abs().max() < 0.05 * slow.abs().max(), "longer arms of both kinds"


@pytest.mark.parametrize("carried", ["barbell:40", "dumbbells:2x10", "vest:15"])
def test_a_load_is_a_skeleton_that_carries_it(carried, K):
    skeleton, load = Skeleton.default(), read_load(carried)
    with_load = features(K, 60.0, load=load)
    assert torch.allclose(with_load, features(K, 60.0, loaded_skeleton(skeleton, load)), atol=1e-6)
    shares = [AT["share right"], AT["share left"]]
    whole, bare = (x[..., shares].sum(-1).mean() for x in (with_load, features(K, 60.0)))
    assert float(whole / bare) == pytest.approx(1 + load.mass / skeleton.mass, rel=0.02)
    heavier = features(K, 60.0, mass=skeleton.mass + 20.0, load=load)[..., shares].sum(-1).mean()
    assert float(heavier / bare) == pytest.approx(1 + (load.mass + 20) / skeleton.mass, rel=0.02)


def test_features_have_a_gradient(K):
    body, q = scaled_body(np.full(16, 0.95), 60.0), K[:, 60:84].clone().requires_grad_(True)
    weights = torch.randn(1, 6, len(FEATURES), dtype=torch.double, generator=torch.Generator().manual_seed(0))

    def loss(x: torch.Tensor) -> torch.Tensor:
        return (features(x, 60.0, body) * weights).sum()
    loss(q).backward()
    assert q.grad.isfinite().all() and not q.grad[..., 3:6].any()
    step = torch.randn(q.shape, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        slope = (loss(q + 1e-6 * step) - loss(q - 1e-6 * step)) / 2e-6
    assert float(slope) == pytest.approx(float((q.grad * step).sum()), rel=1e-3)


def test_each_motion_of_a_batch_has_its_own_rate_and_mass(K):
    both = K.repeat(2, 1, 1)
    rates, masses = torch.tensor([60.0, 25.0]), torch.tensor([60.0, 90.0])
    x = features(both, rates, mass=masses)
    for k in (0, 1):
        assert torch.allclose(x[k], features(K, float(rates[k]), mass=float(masses[k]))[0], atol=1e-6)


def test_the_exercise_is_named(K):
    for exercise in EXERCISES:
        signs = features(K, 60.0, exercise=exercise)[0, 0, -len(EXERCISES):]
        assert signs.sum() == 1 and signs[EXERCISES.index(exercise)] == 1


# network

@pytest.mark.parametrize("instants", [1, 3, 50, 196, 500])
def test_any_length(instants):
    model = Surrogate(SMALL_NET).eval()
    mean, std = model.with_uncertainty(torch.zeros(2, instants, 33), 60.0)
    assert mean.shape == std.shape == (2, instants, 80)
    assert (mean > 0).all() and (mean < 1).all() and (std >= 0).all()
    with pytest.raises(InputError):
        model(torch.zeros(2, instants, 32), 60.0)


def test_outputs_are_activations_and_loads_in_body_weights(K):
    model, q = Surrogate(SMALL_NET, unit=2.0).eval(), K.float()
    with torch.no_grad():
        activations, loads = model.outputs(q, 60.0)
        mean, sd = model.loads_with_uncertainty(q, 60.0)
        assert torch.equal(activations, model(q, 60.0)) and torch.equal(mean, loads)
        assert loads.shape == sd.shape == (*q.shape[:2], len(JOINT_LOADS)) and (loads > 0).all()
        x = model.normalised(q, 60.0, mass=120.0)
        own = to_frames(model.members_from(x).mean(1), q.shape[1])[..., 80:] * 2 * Skeleton.default().mass
        assert torch.allclose(model.outputs(q, 60.0, mass=120.0)[1], own / 120, atol=1e-5)
        each = model.outputs(q.repeat(2, 1, 1), 60.0, mass=torch.tensor([120.0, 60.0]))[1]
        assert torch.allclose(each[:1], own / 120, atol=1e-5), "a mass for each motion"
    without = Surrogate(SurrogateConfig(width=8, members=2, loads=False)).eval()
    assert without.outputs(q, 60.0)[1] is None and without.loads_with_uncertainty(q, 60.0) is None


def test_shipped_weights_know_what_carrying_costs(squat):
    model = load_surrogate()
    alone, loaded = (predict_activations(squat, model, load=x) for x in (None, read_load("barbell:40")))
    more = loaded.loads.max(0) / alone.loads.max(0)
    knees = [JOINT_LOADS.index(f"{joint}_{s}") for joint in ("tibiofemoral", "patellofemoral") for s in "rl"]
    assert alone.loads.shape == (len(squat.time), 9) and (more[knees] > 1.2).all() and (more[knees] < 2).all()
    name = "vasmed_r/activation"
    assert loaded.motion[name].max() > alone.motion[name].max()


def test_batches_do_not_mix(K):
    model, q = load_surrogate(), torch.cat([K, K.flip(1), 0.8 * K]).float()
    with torch.no_grad():
        assert torch.allclose(model(q, 60.0)[2], model(q[2:3], 60.0)[0], atol=1e-4)


@pytest.mark.parametrize("written", [1, 2, 3])
def test_weights_of_older_formats_are_named(tmp_path, written):
    model = Surrogate(SMALL_NET)
    record = {} if written == 1 else {"format": written}
    save_model(model, tmp_path / "old.safetensors", "surrogate", model.config, **record)
    with pytest.raises(InputError, match=f"format {written}.*train them again"):
        load_surrogate(tmp_path / "old.safetensors")


@pytest.mark.parametrize("rate", [30.0, 50.0, 100.0])
def test_predictions_at_any_rate_agree(rate, squat):
    model, other = load_surrogate(), example_squat().resample(rate)
    guess, again = predict_activations(squat, model), predict_activations(other, model)
    assert again.uncertainty.shape == (other.time.size, 80)
    assert np.array_equal(again.motion.coordinates(), other.coordinates())
    for name in ("vasmed_r/activation", "soleus_r/activation"):
        same = np.interp(squat.time, again.motion.time, again.motion[name])
        assert np.abs(same - guess.motion[name]).max() < 0.05


def test_a_long_recording_is_answered_like_its_repetitions():
    one = analytic_squat(reps=1, period=3.0, pause=0.5)
    three = analytic_squat(reps=3, period=3.0, pause=0.5)
    assert three.duration > 6 > one.duration
    alone, long = (predict_activations(m, load_surrogate()).motion for m in (one, three))
    name = "vasmed_r/activation"
    assert abs(long[name].max() - alone[name].max()) < 0.05


def test_uncertainty_is_fitted_to_errors():
    draw = torch.Generator().manual_seed(0)
    level, apart = torch.rand(3000, 80, generator=draw), 0.05 * torch.rand(3000, 80, generator=draw)
    sigma = uncertainty(torch.tensor([[0.02], [0.1], [2.0]]), level, apart)
    error = sigma * torch.randn(3000, 80, generator=draw)
    for known in (3000, 2000):
        error[known:, 40:] = torch.nan
        found = uncertainty(fit_spread(error, level, apart), level, apart)
        assert 0.9 < float((found / sigma).median()) < 1.1
    noise = torch.randn(240000, generator=draw)
    claimed, actual = np.array(reliability(sigma.flatten(), sigma.flatten() * noise)).T
    assert np.allclose(claimed, actual, rtol=0.1) and (np.diff(claimed) > 0).all()


def test_scores_by_hand():
    truth = np.random.default_rng(0).uniform(size=(2, 50, 80))
    scores = activation_scores(truth + 0.1, truth)
    k = ACTIVATIONS.index("soleus_l/activation")
    assert scores["rmse"]["soleus_l"] == pytest.approx(0.1)
    assert scores["r2"]["soleus_l"] == pytest.approx(1 - 0.01 / truth[..., k].var())
    table = score_table({"ours": scores})
    assert table.shape == (8, 4) and table.loc["vaslat_l", ("published", "R²")] == 0.873


def test_scores_of_loads_by_hand():
    truth = np.random.default_rng(0).uniform(1, 3, size=(2, 50, 9))
    scores = load_scores(1.1 * truth, truth)
    assert scores["peak"]["hip_l"] == pytest.approx(0.1)
    k = JOINT_LOADS.index("ankle_r")
    assert scores["rmse"]["ankle_r"] == pytest.approx(np.sqrt((0.01 * truth[..., k]**2).mean()))


def test_published_weights_and_their_two_readings(shared):
    path = shared / "published/transformer_surrogate_model_v2.pth"
    frame, batch = load_surrogate(path), load_surrogate(path, axis="batch")
    q = torch.tensor(
        np.stack([analytic_squat(reps=1, depth_deg=d).coordinates()[:150] for d in (80, 100, 120)]),
        dtype=torch.float32)
    with torch.no_grad():
        assert torch.allclose(frame(q)[:1], batch(q[:1]), atol=1e-6)
        assert (batch(q)[0] - batch(q[:1])[0]).abs().max() > 0.01
        order = torch.randperm(150, generator=torch.Generator().manual_seed(0))
        frame.positional_encoding.zero_()
        assert torch.allclose(frame(q[:, order]), frame(q)[:, order], atol=1e-5), "each frame for itself"
    assert predict_activations(example_squat(), frame).uncertainty is None
    with pytest.raises(InputError):
        PublishedSurrogate("time")


def test_published_weights_on_a_new_person_score_as_recorded(shared):
    """Design note: soleus 0.73 / 0.12, vastus intermedius 0.65 / 0.24, lateralis -0.05 / -0.06, medialis
    -0.33 / -0.11 on three repetitions tiled to 196 frames."""
    model = load_surrogate(shared / "published/transformer_surrogate_model_v2.pth")
    q, A = [], []
    for file in sorted((shared / "fieldstudy_s0_72kg").rglob("*kinematics_activations*.mot")):
        motion = read_motion(file).resample(60.0)
        index = np.arange(196) % motion.time.size
        q.append(motion.coordinates()[index])
        A.append(motion.activations()[index])
    with torch.no_grad():
        guess = model(torch.tensor(np.stack(q), dtype=torch.float32)).numpy()
    r2 = activation_scores(guess, np.stack(A))["r2"]
    assert np.allclose([r2[m] for m in TABLE_MUSCLES], [0.73, 0.12, 0.65, 0.24, -0.05, -0.06, -0.33, -0.11],
                       atol=0.1), "resampling moves them by some hundredths"


@pytest.mark.parametrize("participant", ["s07", "s10"])
def test_shipped_weights_on_participants_they_have_not_seen(participant, bodies):
    guesses, truths = [], []
    for k in range(1, 6):
        r, time, _, _, body = simulated("squat", f"m01_{participant}_e{k:02d}_cor", bodies)
        found = predict_activations(r.motion, load_surrogate(), body).motion.activations()
        for kept, values in ((guesses, found), (truths, r.motion.activations())):
            kept.append(np.stack([np.interp(time, r.motion.time, c) for c in values.T], 1))
    r2 = activation_scores(np.stack(guesses), np.stack(truths))["r2"]
    assert np.mean([r2[m] for m in TABLE_MUSCLES[2:]]) > 0.85, "vasti"
    assert np.mean([r2[m] for m in TABLE_MUSCLES[:2]]) > 0.5, "soleus"


# examples

@pytest.fixture(scope="module")
def toy():
    return examples_of(toy_dataset(participants=3, repetitions=2))


def test_examples_of_a_data_set(toy):
    assert isinstance(toy, Examples) and len(toy) == 6 and toy.rate_hz.shape == (6,)
    assert np.array_equal(toy.recorded, toy.kinematics) and (toy.scales == 1).all()
    half = choose(toy, toy.split == "val")
    assert len(join([half, choose(toy, toy.split == "train")])) == len(toy) and set(half.split) == {"val"}


def test_features_are_those_of_each_ones_body(toy):
    other = Examples(**{**vars(toy), "mass": toy.mass * np.array([1, 1, 1, 1.2, 1.2, 1.2], np.float32),
                        "exercises": np.array(["squat"] * 5 + ["side_lunge"])})
    assert sorted(len(rows) for rows, _, _ in bodies_of(other)) == [1, 2, 3]
    x = example_features(other)
    for rows, skeleton, exercise in bodies_of(other):
        i = int(rows[0])
        q = torch.tensor(other.recorded[i:i + 1])
        own = features(q, float(other.rate_hz[i]), skeleton, exercise=exercise)[0]
        assert torch.allclose(x[i], own, atol=1e-4)
    mirrored = example_features(other, MOTION_KINDS[1], mirrored=True)
    assert mirrored.shape == x.shape
    assert example_activations(other, mirrored=True).shape == (6, 49, 80)


def with_loads(toy: Examples) -> Examples:
    "Toy squats with made-up loads, the last one drawn for a person who carries 40 kg."
    knee = toy.kinematics[..., [COORDINATES.index("knee_angle_r")]]
    subjects = np.array([*toy.subjects[:-1], f"{GENERATED}0_0000"])
    return Examples(**{**vars(toy), "loads": (1 + knee * np.arange(1, 10)).astype(np.float32),
                       "subjects": subjects, "carries": np.array([""] * 5 + ["barbell:40"])})


def test_loads_are_in_weights_of_the_embedded_body_and_mirrored(toy):
    found = Examples(**{**vars(with_loads(toy)), "mass": 2 * toy.mass})
    assert np.allclose(example_loads(found)[..., 1], 2 * toy.mass[0] / Skeleton.default().mass * to_steps(
        torch.tensor(found.loads))[..., 1])
    right, left = (JOINT_LOADS.index(f"ankle_{s}") for s in "rl")
    mirrored = example_loads(found, mirrored=True)
    assert torch.equal(mirrored[..., left], example_loads(found)[..., right])
    assert torch.equal(mirrored[..., -1], example_loads(found)[..., -1])


def test_a_load_that_is_carried_is_on_the_skeleton(toy):
    found = with_loads(toy)
    (carrying,) = [s for rows, s, _ in bodies_of(found) if 5 in rows]
    assert carrying.mass == pytest.approx(found.mass[5] + 40, abs=1e-3)
    assert is_generated(found).tolist() == [False] * 5 + [True]


def test_packed_examples_are_the_same_but_for_rounding(toy, tmp_path):
    found = with_loads(toy)
    pack_examples(found, tmp_path / "some.npz", failed=np.array("{}"))
    again = unpack_examples(tmp_path / "some.npz")
    for name, most in (("kinematics", 2e-5), ("recorded", 2e-5), ("activations", 3e-4), ("loads", 3e-3)):
        assert np.abs(getattr(found, name) - getattr(again, name)).max() < most
    for name in ("duration", "mass", "scales", "carries", "subjects", "trials", "exercises", "split"):
        assert np.array_equal(getattr(found, name), getattr(again, name))


def test_loads_are_learnt_where_they_are_known(toy, tmp_path):
    found, plan = with_loads(toy), Plan(steps=60, batch=6, lr=1e-2, warmup=0.2)
    crossed = cross_validate(found, tmp_path / "folds", plan, SMALL_NET, folds=2)
    table = load_table(crossed)
    assert set(table.kinematics) == {"recorded", "tracked", "generated"}
    assert table[table.kinematics == "recorded"].r2.median() > 0.5
    assert not any(GENERATED in p for p in table.participants)
    unknown = Examples(**{**vars(found), "loads": np.full_like(found.loads, np.nan)})
    model, _ = fit_surrogate(unknown, tmp_path / "none", plan, SMALL_NET)
    assert not model.config.loads and model.head.out_channels == 80 * SMALL_NET.members


@pytest.mark.parametrize("exercise, trial", [("side_lunge", "m04_s01_e01_cor"),
                                             ("sit_to_stand", "m05_s05_e08_cor_rep1"),
                                             ("inline_lunge", "m03_s02_e09_inc")])
def test_loads_of_kept_simulations_are_those_that_were_noted(exercise, trial, bodies):
    r = load_simulations(exercise)[trial]
    scales = bodies.loc[(exercise, r.participant)].to_numpy()
    loads = r.joint_loads(scaled_body(scales, r.record["body_weight_n"] / GRAVITY), scaled_sizes(scales))
    for joint, own in zip(JOINT_LOADS, loads.T):
        noted = r.record["joint_loads"][joint]
        if noted["peak_at_s"] - r.motion.time[0] > 0.3:      # tendons of a simulation begin stretched
            assert own.max() == pytest.approx(noted["peak_bw"], rel=0.02), joint


def test_recorded_examples_need_all_trials(tmp_path, monkeypatch):
    few = {t: load_simulations("squat")[t] for t in ("m01_s01_e01_cor", "m01_s07_e01_cor")}
    monkeypatch.setattr("bige.train_surrogate.load_simulations", lambda exercise: few)
    sizes = {"scales": dict.fromkeys(SCALE_GROUPS, 1.1), "body_scale": 1.2}
    (tmp_path / "ik.json").write_text(json.dumps({"persons": {"s01": sizes, "s07": sizes}, "trials": {}}))
    first, second = few.values()

    def write(r, shift: float) -> None:
        recorded = Motion.from_arrays(r.motion.time, r.motion.coordinates() + shift)
        write_motion(recorded, tmp_path / f"{r.trial}.mot")
    write(first, 0.1)
    with pytest.raises(InputError, match="m01_s07_e01_cor"):
        recorded_examples("squat", tmp_path)
    write(second, 0.0)
    found = load_examples(f"squat={tmp_path}")
    assert found.split.tolist() == ["train", "val"]
    assert found.scales[0].tolist() == pytest.approx([1.1] * 15 + [1.2])
    assert np.allclose(found.recorded[0] - found.kinematics[0], 0.1, atol=1e-3)
    assert found.mass[0] == pytest.approx(first.record["body_weight_n"] / GRAVITY)
    with pytest.raises(InputError, match="EXERCISE=FOLDER"):
        load_examples(f"squads={tmp_path}")


def test_fold_table_names_everything(toy):
    names = [n.split("/")[0] for n in ACTIVATIONS]
    scores = {"exercise": "squat", "kinematics": "recorded", "r2": dict.fromkeys(names, 0.5),
              "rmse": dict.fromkeys(names, 0.1)}
    table = fold_table({"folds": [{"participants": ["a", "b"], "scores": [scores]}]}, toy)
    assert len(table) == 80 and set(table.participants) == {"a b"}
    k = names.index("soleus_r")
    assert table.loc[k, "mean"] == pytest.approx(toy.activations[..., k].mean(), rel=1e-4)
