"""The two networks, their training, their files."""
import json
import os
import subprocess
import sys
import time
import zipfile
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from bige.dataset import (concatenate, digest_of, part, reference, reference_path, repetition,
                          save_dataset, select, toy_dataset)
from bige.exercises import shipped_exercises
from bige.files import InputError
from bige.motion import ACTIVATIONS, COORDINATES
from bige.skeleton import Skeleton
from bige.surrogate import Surrogate, SurrogateConfig, load_surrogate, save_surrogate
from bige.train_surrogate import surrogate_main, train_surrogate
from bige.train_vqvae import augmented, train_vqvae, vqvae_main
from bige.training import Plan, batch_indices, learning_rate, process_group, train_network
from bige.ground_contact import plant_feet
from bige.vqvae import (EULER_TRIPLETS, PUBLISHED_VQVAE, VQVAE, LossWeights, VQConfig, continuous_triplets,
                        dead_codes, from_channels, initial_vqvae, load_vqvae, motion_errors, perplexity,
                        reconstruction_loss, reconstruction_scores, rotation_columns, save_vqvae,
                        to_channels)

ROOT = Path(__file__).resolve().parents[1]
SMALL_VQ, SMALL_NET = VQConfig(width=16, code_dim=8, codes=16, levels=2), SurrogateConfig(width=8, members=2)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def toy():
    return toy_dataset()


@pytest.fixture(scope="module")
def squats(toy):
    return torch.tensor(toy.kinematics[:4])


def small_vqvae(squats):
    torch.manual_seed(0)
    model = VQVAE(SMALL_VQ)
    model(squats)
    return model.eval()


# VQ-VAE

def test_shapes_codes_and_straight_through_gradient(squats):
    model = small_vqvae(squats)
    z_e = model.encode(squats)
    z_e.retain_grad()
    z_q, codes, commitment = model.quantise(z_e)
    assert z_e.shape == (4, 8, 49) and codes.shape == (4, 49, 2) and commitment.ndim == 0
    assert torch.allclose(model.from_codes(codes), z_q, atol=1e-5)
    weight = torch.randn_like(z_q)
    (z_q * weight).sum().backward()
    assert torch.equal(z_e.grad, weight), "straight-through in evaluation mode, once"
    assert model.decode(z_q).shape == squats.shape
    with torch.no_grad():
        assert torch.equal(model(squats)[0], model(squats)[0])


def test_quantising_picks_the_nearest_codes(squats):
    model = small_vqvae(squats)
    with torch.no_grad():
        z_e = model.encode(squats)
        _, codes, _ = model.quantise(z_e)
        vectors = model.quantiser.layers[0]._codebook.embed[0]
        nearest = torch.cdist(z_e.transpose(1, 2).reshape(-1, 8), vectors).argmin(1)
    assert torch.equal(nearest, codes[..., 0].flatten())


def test_the_published_configuration_can_be_built():
    model = VQVAE(PUBLISHED_VQVAE)
    assert 17e6 < sum(p.numel() for p in model.parameters()) < 21e6 and model.quantiser.num_quantizers == 1


@pytest.mark.parametrize("shape", [(196, 33), (1, 196, 32), (1, 195, 33), (1, 0, 33)])
def test_wrong_motions_are_refused(squats, shape):
    with pytest.raises(InputError):
        small_vqvae(squats).encode(torch.zeros(shape))
    with pytest.raises(InputError):
        small_vqvae(squats).decode(torch.zeros(2, 9, 49))


def test_units_do_not_matter_inside(squats):
    plain = VQConfig(width=16, code_dim=8, codes=16, levels=2, continuous=False, planted=False, linear=False)
    torch.manual_seed(0)
    model, other = VQVAE(plain), VQVAE(plain)
    model(squats)
    other.load_state_dict(model.eval().state_dict())
    other.eval()
    scale = torch.rand(33) + 0.5
    other.mean, other.std = model.mean * scale, model.std * scale
    with torch.no_grad():
        assert torch.allclose(other(squats * scale)[0], model(squats)[0] * scale, atol=1e-4)


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("planted", [False, True])
def test_channels_and_back(squats, continuous, planted):
    c = VQConfig(continuous=continuous, planted=planted)
    back = from_channels(to_channels(squats, c), c)
    assert torch.allclose(plant_feet(back, Skeleton.default()) if planted else back, squats, atol=1e-4)
    assert to_channels(squats, c).shape[-1] == 33 - 3 * planted + 9 * continuous


def test_an_arm_over_the_top_keeps_its_angles():
    t = torch.linspace(0, 1, 150)
    arm = torch.stack([2.0 + t, -1.0 - 0.9 * t, 1.0 + 0 * t], -1)[None]
    K = torch.zeros(1, 150, 33)
    places = [COORDINATES.index(n) for n in EULER_TRIPLETS[2]]
    K[..., places] = arm
    c = VQConfig(planted=False)
    assert torch.allclose(from_channels(to_channels(K, c), c)[..., places], arm, atol=1e-4)
    from bige.dataset import unify_arm_angles
    rough = rotation_columns(arm) + 0.02 * torch.randn(1, 150, 6, generator=torch.Generator().manual_seed(0))
    x = to_channels(K, c)
    x[..., -6:] = rough
    named = from_channels(x, c)
    assert (
        torch.equal(torch.as_tensor(unify_arm_angles(named.numpy())), named)
        and named.diff(dim=1).abs().max() < 1.5
    )
    turned = arm + torch.tensor([2.0, -2.0, 4.0]) * torch.pi
    assert torch.allclose(continuous_triplets(turned, torch.pi / 2), arm, atol=1e-4)


def test_the_pelvis_follows_the_feet_as_in_the_data_set():
    K = reference().kinematics[::40]
    moved = torch.tensor(K)
    moved[..., 3:6] += torch.tensor([1.0, 2.0, -3.0])
    assert (plant_feet(moved, Skeleton.default()) - torch.tensor(K)).abs().max() < 1e-3
    model = load_vqvae()
    with torch.no_grad():
        assert torch.equal(model(moved)[0], model(torch.tensor(K))[0]), "where a person stands is no input"
        z = model.encode(moved)
        angles, whole = model.angles(z), model.decode(z)
    assert not angles[..., 3:6].any() and torch.equal(whole[..., 6:], angles[..., 6:])


def test_gradients_reach_a_latent_through_rotations_and_feet():
    model = load_vqvae()
    z = model.encode(torch.tensor(reference().kinematics[:2])).requires_grad_()
    for work in (model.decode, model.angles):
        (grad,) = torch.autograd.grad(work(z).square().sum(), z)
        assert grad.isfinite().all() and grad.abs().sum() > 0


def test_linear_algebra_alone_rebuilds_a_squat(toy):
    seen, unseen = part(toy, "train"), part(toy, "val")
    torch.manual_seed(0)
    model = initial_vqvae(VQConfig(width=16, code_dim=16, codes=64, levels=3), torch.tensor(seen.kinematics))
    scores = reconstruction_scores(model.eval(), unseen.kinematics, unseen.rate_hz)
    assert (
        scores["legs_and_trunk_deg"] < 4
        and len(scores["perplexity"]) == 3
        and 0 <= dead_codes(model) <= 3 * 64
    )


@pytest.mark.parametrize("linear", [False, True])
def test_every_instant_counts_for_mean_and_scale(linear, squats):
    config = VQConfig(width=16, code_dim=8, codes=16, levels=2, linear=linear)
    one, other = (initial_vqvae(config, K) for K in (squats, torch.cat([squats[:, 98:], squats[:, :98]], 1)))
    assert torch.allclose(one.mean, other.mean, atol=1e-5) and torch.allclose(one.std, other.std, rtol=1e-3)
    late = squats.clone()
    late[:, -1] += 0.3
    assert not torch.allclose(one.mean, initial_vqvae(config, late).mean, atol=1e-5) and one.std.min() > 0


def test_errors_by_hand(squats):
    rate_hz = torch.full((4,), 60.0)
    wrong = squats.clone()
    wrong[..., COORDINATES.index("elbow_flex_l")] += 0.1
    wrong[..., COORDINATES.index("arm_rot_r")] += 0.2
    scores = motion_errors(wrong, squats, rate_hz, Skeleton.default())
    assert scores["legs_and_trunk_deg"] == 0 and scores["upper_arm_turn_deg"] == pytest.approx(
        np.rad2deg(0.1), rel=1e-2)
    assert scores["arms_deg"] == pytest.approx(np.rad2deg(0.3 / 10), rel=1e-3) and 5 < scores["hands_mm"] < 60
    wrong = squats + 0.01 * torch.sin(torch.arange(196) / 5)[:, None]
    slow, fast = (motion_errors(wrong, squats, factor * rate_hz, Skeleton.default()) for factor in (1, 3))
    assert fast["velocity_deg_s"] == pytest.approx(3 * slow["velocity_deg_s"], rel=1e-4)
    assert fast["legs_deg"] == slow["legs_deg"]


def test_weights_of_an_older_version_are_named(squats, tmp_path):
    save_vqvae(small_vqvae(squats), tmp_path / "w.safetensors")
    new = (tmp_path / "w.safetensors").read_bytes()
    length = int.from_bytes(new[:8], "little")
    header = json.loads(new[8:8 + length])
    record = json.loads(header["__metadata__"]["bige"])
    del record["config"]["planted"]
    header["__metadata__"]["bige"] = json.dumps(record)
    old = json.dumps(header).encode()
    (tmp_path / "w.safetensors").write_bytes(len(old).to_bytes(8, "little") + old + new[8 + length:])
    with pytest.raises(InputError, match="older version.*planted"):
        load_vqvae(tmp_path / "w.safetensors")


def test_loss_terms_see_what_they_should(squats):
    skeleton = Skeleton.default()
    zero = reconstruction_loss(squats, squats, skeleton=skeleton)
    assert all(float(v) < 1e-8 for v in zero.values())
    lifted = squats.clone()
    lifted[..., COORDINATES.index("pelvis_ty")] += 0.02
    terms = reconstruction_loss(lifted, squats, skeleton=skeleton)
    assert terms["feet"] > 0.4 and terms["velocity"] < 1e-6 and terms["sliding"] < 1e-4
    early, late = squats.clone(), squats.clone()
    early[:, :40] += 0.3
    late[:, -40:] += 0.3
    first, last = (float(reconstruction_loss(x, squats)["pose"]) for x in (early, late))
    assert first == pytest.approx(last, rel=1e-3), "every instant counts alike"
    published = reconstruction_loss(squats, squats, LossWeights(temporal="published"))
    assert published["velocity"] > 0.01


def test_perplexity_counts_codes():
    assert np.allclose(perplexity(torch.arange(8).repeat(5)[:, None], 16), 8)
    assert np.allclose(perplexity(torch.zeros(10, 3, dtype=torch.long), 16), 1)


# files

def contrived(good: bytes) -> dict[str, bytes]:
    """Weights whose configuration asks for another network or an endless one, or whose numbers are of
    another type."""
    from safetensors.torch import load, save
    length = int.from_bytes(good[:8], "little")
    header = json.loads(json.loads(good[8:8 + length])["__metadata__"]["bige"])
    tensors, sizes = load(good), header["config"]
    made = {f"{name}={value!r}": header | {"config": sizes | {name: value}}
            for name in sizes for value in (10**9, -1, True, "7", None, [1] * 10**5, {"a": 1})
            if value != sizes[name]}
    made |= {"no mapping": [1], "deep": "[" * 100_000, "no config": {"kind": header["kind"]}}
    texts = {k: save(tensors, {"bige": v if k == "deep" else json.dumps(v)}) for k, v in made.items()}
    kinds = torch.float64, torch.float16, torch.int32, torch.complex64
    return texts | {str(k): save({n: t.to(k) for n, t in tensors.items()}, {"bige": json.dumps(header)})
                    for k in kinds}


@pytest.mark.parametrize("kind", ["vqvae", "surrogate"])
def test_weights_come_back_and_damage_is_named(kind, squats, tmp_path):
    path = tmp_path / "w.safetensors"
    if kind == "vqvae":
        model, save, load = small_vqvae(squats), save_vqvae, load_vqvae
    else:
        model, save, load = Surrogate(SMALL_NET).eval(), save_surrogate, load_surrogate
    save(model, path, note="test")
    again = load(path)
    def answer(m):
        return m(squats)[0] if kind == "vqvae" else m(squats, 60.0)

    with torch.no_grad():
        assert torch.equal(answer(model), answer(again))
    assert not any(p.requires_grad for p in again.parameters()) and not again.training
    good = path.read_bytes()
    length = int.from_bytes(good[:8], "little")
    wrong_size = json.loads(good[8:8 + length])
    config = json.loads(wrong_size["__metadata__"]["bige"])
    config["config"]["width"] = 24
    wrong_size["__metadata__"]["bige"] = json.dumps(config)
    header = json.dumps(wrong_size).encode()
    config["config"]["width"] = -3
    wrong_size["__metadata__"]["bige"] = json.dumps(config)
    negative = json.dumps(wrong_size).encode()
    with_nan = model.state_dict()
    with_nan = {k: v.clone() for k, v in with_nan.items()}
    next(v for v in with_nan.values() if v.is_floating_point())[..., 0] = float("nan")
    model.load_state_dict(with_nan)
    save(model, path)
    cases = {
        "empty": b"",
        "half": good[: len(good) // 2],
        "binary": os.urandom(3000),
        "width": len(header).to_bytes(8, "little") + header + good[8 + length :],
        "negative": len(negative).to_bytes(8, "little") + negative + good[8 + length :],
        "nan": path.read_bytes(),
        **contrived(good),
    }
    for name, data in cases.items():
        path.write_bytes(data)
        with pytest.raises(InputError) as error:
            load(path)
        assert "w.safetensors" in str(error.value), name
    with pytest.raises(InputError):
        load(tmp_path / "missing.safetensors")
    other = load_surrogate if kind == "vqvae" else load_vqvae
    path.write_bytes(good)
    with pytest.raises(InputError, match="weights of a"):
        other(path)


# the loop

def test_every_repetition_once_a_pass():
    plan = Plan(steps=1, batch=5)
    passes = [torch.cat([batch_indices(23, plan, 4 * e + k) for k in range(4)]) for e in range(3)]
    assert all(len(set(p.tolist())) == 20 for p in passes) and not torch.equal(passes[0], passes[1])
    assert batch_indices(3, plan, 7).numel() == 3
    assert batch_indices(23, replace(plan, seed=2**63 - 1), 0).numel() == 5


def test_learning_rate_rises_and_falls():
    plan = Plan(steps=100, lr=1.0, warmup=0.1)
    rates = [learning_rate(plan, s) for s in range(100)]
    assert (
        rates[0] == pytest.approx(0.1)
        and max(rates) == pytest.approx(1.0)
        and int(np.argmax(rates)) in (9, 10)
        and rates[-1] < 0.02
    )
    assert learning_rate(Plan(steps=1), 0) > 0


@pytest.mark.parametrize("kind", ["vqvae", "surrogate"])
def test_killed_and_resumed_is_the_same_bit_for_bit(kind, toy, tmp_path):
    plan = Plan(steps=12, batch=4, lr=3e-3, log_every=2, checkpoint_every=4)
    fit, config = {"vqvae": (train_vqvae, SMALL_VQ), "surrogate": (train_surrogate, SMALL_NET)}[kind]

    def run(out, **how):
        fit(toy, tmp_path / out, plan, config, **how)
    run("straight")
    run("killed", until=6)
    run("killed", resume=True)
    a, b = ((tmp_path / out / f"{kind}.safetensors").read_bytes() for out in ("straight", "killed"))
    assert a == b
    rows = [
        [c for k, c in enumerate(line.split(",")) if k != 1]
        for line in (tmp_path / "killed" / "log.csv").read_text().splitlines()
    ]
    assert rows == [
        [c for k, c in enumerate(line.split(",")) if k != 1]
        for line in (tmp_path / "straight" / "log.csv").read_text().splitlines()
    ]
    record = json.loads((tmp_path / "killed" / "run.json").read_text())
    assert record["plan"]["steps"] == 12 and "torch" in record["versions"] and record["participants"]["val"]
    assert not [p for p in (tmp_path / "killed").iterdir() if p.suffix == ".tmp"]


@pytest.mark.parametrize("told, threads", [(None, 1), ("2", 2)])
def test_training_takes_one_thread_unless_told_otherwise(told, threads, toy, tmp_path, monkeypatch):
    """On a busy machine threads that wait for each other made training an order of magnitude slower."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if told:
        monkeypatch.setenv("OMP_NUM_THREADS", told)
    torch.set_num_threads(3)
    seen, augment = [], sys.modules["bige.train_vqvae"].augmented
    def watched(*a):
        seen.append(torch.get_num_threads())
        return augment(*a)
    monkeypatch.setattr(sys.modules["bige.train_vqvae"], "augmented", watched)
    train_vqvae(toy, tmp_path, Plan(steps=1, batch=2), SMALL_VQ)
    assert seen == [threads] and torch.get_num_threads() == 3
    torch.set_num_threads(1)


@pytest.mark.parametrize("run, config", [(train_vqvae, SMALL_VQ), (train_surrogate, SMALL_NET)])
def test_deepspeed_is_asked_for_by_the_plan(run, config, toy, tmp_path):
    if find_spec("deepspeed"):
        pytest.skip("deepspeed is installed: tests/test_scale.py trains with it")
    with pytest.raises(InputError, match="no deepspeed"), process_group():
        run(toy, tmp_path, Plan(steps=1, batch=2, zero=1), config)


def test_bad_checkpoints_and_other_plans_are_refused(toy, tmp_path):
    plan = Plan(steps=4, batch=4, checkpoint_every=2)
    train_vqvae(toy, tmp_path, plan, SMALL_VQ)
    with pytest.raises(
        InputError,
        match="another run, with steps 4, checkpoint_every 2; expected steps 6, checkpoint_every 200"):
        train_vqvae(toy, tmp_path, Plan(steps=6, batch=4), SMALL_VQ, resume=True)
    (tmp_path / "checkpoint.pt").write_bytes(b"x" * 1000)
    with pytest.raises(InputError, match="cannot be read"):
        train_vqvae(toy, tmp_path, plan, SMALL_VQ, resume=True)
    with pytest.raises(InputError, match="no checkpoint"):
        train_vqvae(toy, tmp_path / "new", plan, SMALL_VQ, resume=True)


def test_a_flipped_bit_of_a_checkpoint_is_named(toy, tmp_path):
    plan = Plan(steps=4, batch=4, checkpoint_every=2)
    train_vqvae(toy, tmp_path, plan, SMALL_VQ, until=3)
    path = tmp_path / "checkpoint.pt"
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda part: part.file_size)
    content[largest.header_offset + 500] ^= 1                    # within its numbers
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"checkpoint.pt.*part {largest.filename} is damaged.*--resume"):
        train_vqvae(toy, tmp_path, plan, SMALL_VQ, resume=True)


@pytest.mark.parametrize("until", [1, 3], ids=["before the first checkpoint", "after it"])
@pytest.mark.parametrize("run, config, wider", [
    (train_vqvae, SMALL_VQ, replace(SMALL_VQ, width=24)),
    (train_surrogate, SMALL_NET, replace(SMALL_NET, width=16))])
def test_a_run_is_resumed_with_its_own_data_and_network_only(run, config, wider, until, toy, tmp_path):
    plan, few = Plan(steps=4, batch=4, checkpoint_every=2), select(toy, np.arange(0, 12, 3))
    run(few, tmp_path, plan, config, until=until)
    for changed in ("train", "val"):
        other = replace(
            few,
            activations=np.where((few.split == changed)[:, None, None], 0.9 * few.activations,
                                 few.activations),
        )
        with pytest.raises(
            InputError,
            match="plan.json: .*another run, with data digest [0-9a-f]{64}; expected data digest .*--resume"):
            run(other, tmp_path, plan, config, resume=True)
    with pytest.raises(InputError,
                       match=f"network width {config.width}; expected network width {wider.width}"):
        run(few, tmp_path, plan, wider, resume=True)
    run(few, tmp_path, plan, config, resume=True)


def test_runs_begun_by_an_older_version_can_be_resumed(toy, tmp_path):
    plan = Plan(steps=4, batch=4, checkpoint_every=2)
    train_vqvae(toy, tmp_path, plan, SMALL_VQ, until=3)
    (tmp_path / "plan.json").write_text(json.dumps(asdict(plan)))
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    torch.save(state | {"plan": json.dumps(asdict(plan))}, tmp_path / "checkpoint.pt")
    assert train_vqvae(toy, tmp_path, plan, SMALL_VQ, resume=True)["plan"]["steps"] == 4
    (tmp_path / "plan.json").write_text("[")
    with pytest.raises(InputError, match="plan.json, line 1, column 2.*the plan of a run"):
        train_vqvae(toy, tmp_path, plan, SMALL_VQ, resume=True)


def test_a_failed_write_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    model = torch.nn.Linear(2, 1)
    def loss(i, draw):
        return model(torch.ones(len(i), 2)).square().mean(), {}

    plan = Plan(steps=4, batch=2, checkpoint_every=2)
    train_network(model, loss, 4, plan, tmp_path, until=2)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    def full(state, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match="No space left"):
        train_network(model, loss, 4, plan, tmp_path, resume=True)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert not [p for p in tmp_path.iterdir() if p.suffix == ".tmp"]


def test_a_loss_that_is_no_number_ends_the_run(tmp_path):
    model = torch.nn.Linear(2, 1)
    with pytest.raises(InputError, match="not a number"):
        train_network(model, lambda i, draw: (model(torch.ones(1, 2)).sum() * float("nan"), {}), 4,
                      Plan(steps=2), tmp_path)


def test_augmented_motions_are_squats(toy):
    seen = part(toy, "train")
    K = augmented(seen)
    assert np.array_equal(K, augmented(seen)) and len(K) == 16 * len(seen) and np.isfinite(K).all()
    knee = np.rad2deg(K[..., COORDINATES.index("knee_angle_r")].max(1))
    recorded = np.rad2deg(seen.kinematics[..., COORDINATES.index("knee_angle_r")].max(1))
    assert knee.min() > recorded.min() - 30 and knee.max() < recorded.max() + 30, (
        "a third beyond, and another manner"
    )
    points = Skeleton.default().contact_points(K.astype(float))
    assert np.abs(points[..., 1].min(-1)).max() < 0.02


def test_augmented_lunges_are_led_by_the_leg_that_leads():
    """None is mirrored: the front knee of every mixture is the one that was the front knee of both."""
    lunges = part(reference("inline_lunge"), "train")
    K = augmented(select(lunges, np.arange(0, len(lunges), 8)), times=4)
    assert len(K) == 4 * len(range(0, len(lunges), 8))
    for knee in (COORDINATES.index(f"knee_angle_{side}") for side in "lr"):
        rise, seen = (np.median(np.ptp(x[..., knee], axis=1)) for x in (K, lunges.kinematics))
        assert rise == pytest.approx(seen, rel=0.1)


def test_one_person_or_an_empty_part_is_refused(toy, tmp_path):
    only = select(toy, toy.split == "train")
    for run in (train_vqvae, train_surrogate):
        with pytest.raises(InputError, match="val"):
            run(only, tmp_path, Plan(steps=1))


@pytest.mark.parametrize("main", [vqvae_main, surrogate_main])
def test_command_lines(main, toy, tmp_path, capsys):
    save_dataset(toy, tmp_path / "toy.npz")
    assert main(["--data", str(tmp_path / "none.npz"), "--out", str(tmp_path / "run")]) == 2
    assert "none.npz" in capsys.readouterr().err
    assert main(["--data", str(tmp_path / "toy.npz"), "--out", str(tmp_path / "run"), "--steps", "0"]) == 2
    for seed in (-1, 2**63):
        capsys.readouterr()
        assert (
            main(["--data", str(tmp_path / "toy.npz"), "--out", str(tmp_path / "run"), "--seed", str(seed)])
            == 2
        )
        assert str(seed) in capsys.readouterr().err
    extra = ["--width", "16"] if main is vqvae_main else []
    assert (
        main(
            [
                "--data",
                str(tmp_path / "toy.npz"),
                "--out",
                str(tmp_path / "run"),
                "--steps",
                "2",
                "--batch",
                "4",
                *extra,
            ]
        )
        == 0
    )
    assert {"checkpoint.pt", "run.json", "log.csv", "curves.png"} <= {
        p.name for p in (tmp_path / "run").iterdir()
    }
    (tmp_path / "file").write_text("")
    assert main(["--data", str(tmp_path / "toy.npz"), "--out", str(tmp_path / "file")]) == 2


@pytest.mark.slow
def test_killed_by_signal_and_resumed(toy, tmp_path):
    save_dataset(toy, tmp_path / "toy.npz")
    command = [
        sys.executable,
        "-m",
        "bige.train_surrogate",
        "--data",
        str(tmp_path / "toy.npz"),
        "--steps",
        "450",
        "--batch",
        "2",
    ]
    quiet = {"cwd": ROOT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*command, "--out", str(tmp_path / "straight")], check=True, **quiet)
    running = subprocess.Popen([*command, "--out", str(tmp_path / "killed")], **quiet)
    deadline = time.monotonic() + 120
    while (
        not (tmp_path / "killed" / "checkpoint.pt").exists()
        and running.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.02)
    running.kill()
    running.wait()
    subprocess.run([*command, "--out", str(tmp_path / "killed"), "--resume"], check=True, **quiet)
    assert (tmp_path / "straight" / "surrogate.safetensors").read_bytes() == (
        tmp_path / "killed" / "surrogate.safetensors"
    ).read_bytes()


# what is shipped

@pytest.mark.parametrize("exercise", shipped_exercises())
def test_shipped_vqvae_on_participants_it_has_not_seen(exercise):
    val = part(reference(exercise), "val")
    scores = reconstruction_scores(load_vqvae(), val.kinematics, val.rate_hz)
    assert scores["legs_and_trunk_deg"] < 1.5 and scores["pelvis_cm"] < 2 and min(scores["perplexity"]) > 20
    assert scores["sliding_cm_s"] < 2.5 * scores["sliding_data_cm_s"]
    assert scores["pelvis_acceleration_m_s2"] < 2.5 * scores["pelvis_acceleration_data_m_s2"]


def test_shipped_files_fit_their_record():
    import hashlib
    assets = ROOT / "bige/assets"
    record = json.loads((assets / "provenance.json").read_text())
    for name, digest in record["files"].items():
        assert hashlib.sha256((assets / name).read_bytes()).hexdigest() == digest, name
    assert record["data"]["exercises"] == {e: len(reference(e)) for e in shipped_exercises()}
    assert record["data"]["in_reference"] == record["data"]["repetitions"], "nothing else was learned from"
    learned = concatenate(reference(e) for e in shipped_exercises())
    assert record["data"]["digest"] == digest_of(learned)
    assert record["vqvae"]["participants"] == record["data"]["participants"]
    assert set(record["vqvae"]["scores_by_exercise"]) == set(shipped_exercises())
    sets = [reference_path(e).name for e in shipped_exercises()]
    assert {"vqvae.safetensors", "surrogate.safetensors", *sets} <= set(record["files"])
    assert sum((assets / n).stat().st_size for n in record["files"]) < 22e6


def test_decoding_and_predicting_is_fast():
    vqvae, surrogate = load_vqvae(), load_surrogate()
    z, best = torch.randn(64, vqvae.config.code_dim, 49, generator=torch.Generator().manual_seed(0)), np.inf
    for _ in range(4):
        start = time.process_time()
        with torch.no_grad():
            surrogate(vqvae.decode(z), 60.0)
        best = min(best, time.process_time() - start)
    assert best < 0.9, "0.2 s on an idle core; three times that on a busy one is no reason to fail"
    assert repetition(reference(), 0).has(ACTIVATIONS)
