"""Training on one process and many, in micro-batches, stopped in every way."""
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bige.dataset import save_dataset, toy_dataset
from bige.files import InputError
from bige.surrogate import SurrogateConfig
from bige.train_surrogate import surrogate_main, train_surrogate
from bige.train_vqvae import train_vqvae, vqvae_main
from bige.training import Plan, plan_from_options, random_source, split_batch, train_network, training_parser
from bige.vqvae import VQConfig

ROOT = Path(__file__).resolve().parents[1]
TRAIN = {
    "vqvae": (train_vqvae, VQConfig(width=16, code_dim=8, codes=16, levels=2)),
    "surrogate": (train_surrogate, SurrogateConfig(width=8, members=2)),
}
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def toy():
    return toy_dataset()


@pytest.fixture(scope="module")
def toy_file(toy, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "toy.npz"
    save_dataset(toy, path)
    return path


def curve(out) -> pd.DataFrame:
    return pd.read_csv(Path(out) / "log.csv").set_index("step").drop(columns="seconds")


def little(out, plan, validate=None, **how):
    """Four weights learn to copy four numbers."""
    torch.manual_seed(0)
    model, x = torch.nn.Linear(4, 4), torch.randn(8, 4, generator=torch.Generator().manual_seed(1))

    def loss(i, draw):
        return (model(x[i] + 0.01 * draw(torch.randn, 4)) - x[i]).square().mean(), {}

    rows = train_network(model, loss, len(x), plan, out, validate=validate, **how)
    return model.weight.detach().clone(), rows


# the cut

@pytest.mark.parametrize("world, accumulate", [(1, 1), (1, 4), (2, 2), (8, 2), (16, 1)])
def test_every_row_once_and_in_order(world, accumulate):
    rows = [
        k for r in range(world) for piece in split_batch(16, accumulate, r, world) for k in range(16)[piece]
    ]
    assert rows == list(range(16)) and all(
        len(split_batch(16, accumulate, r, world)) == accumulate for r in range(world)
    )


@pytest.mark.parametrize("size, accumulate, world", [(16, 3, 1), (16, 1, 3), (2, 2, 2)])
def test_a_batch_that_cannot_be_cut_is_refused(size, accumulate, world):
    with pytest.raises(InputError, match=f"multiple of {accumulate * world}"):
        split_batch(size, accumulate, 0, world)


def test_random_numbers_do_not_depend_on_the_cut():
    plan = Plan(steps=9, seed=4)
    whole = random_source(plan, 5, 8, slice(0, 8))(torch.randn, 3)
    assert torch.equal(whole[2:6], random_source(plan, 5, 8, slice(2, 6))(torch.randn, 3))
    assert not torch.equal(whole, random_source(plan, 6, 8, slice(0, 8))(torch.randn, 3))
    assert not torch.equal(whole, random_source(replace(plan, seed=5), 5, 8, slice(0, 8))(torch.randn, 3))


@pytest.mark.parametrize("kind", TRAIN)
def test_micro_batches_give_the_same_curve(kind, toy, tmp_path):
    fit, config = TRAIN[kind]
    plan = Plan(steps=8, batch=8, lr=3e-4, log_every=1)
    fit(toy, tmp_path / "whole", plan, config)
    fit(toy, tmp_path / "cut", replace(plan, accumulate=2), config)
    whole, cut = curve(tmp_path / "whole"), curve(tmp_path / "cut")
    assert (
        np.allclose(whole.iloc[0].dropna(), cut.iloc[0].dropna(), atol=1e-6)
        and np.abs(whole["loss"] - cut["loss"]).max() < 1e-5
    )


def test_one_step_in_two_micro_batches_to_a_millionth(tmp_path):
    a, _ = little(tmp_path / "a", Plan(steps=1, batch=8))
    b, _ = little(tmp_path / "b", Plan(steps=1, batch=8, accumulate=2))
    start, _ = little(tmp_path / "c", Plan(steps=1, batch=8, lr=0.0))
    assert torch.allclose(a, b, atol=1e-6) and not torch.allclose(a, start, atol=1e-4)


# stopping

def test_early_stop_keeps_the_best_weights(tmp_path):
    seen, numbers = [], iter([3.0, 1.0, 2.0, 1.5, 0.5])
    def validate(model):
        seen.append(model.weight.detach().clone())
        return {"val": next(numbers)}
    plan = Plan(steps=20, batch=8, lr=1e-2, checkpoint_every=2, watch="val", patience=2)
    weight, rows = little(tmp_path, plan, validate)
    assert rows[-1]["step"] == 8 and torch.equal(weight, seen[1]) and not torch.equal(seen[1], seen[3])
    again, rows = little(tmp_path, plan, validate, resume=True)
    assert rows[-1]["step"] == 8 and torch.equal(again, weight), "a run that stopped early stays stopped"
    with pytest.raises(InputError, match="no number called 'other'"):
        little(tmp_path / "other", replace(plan, watch="other"), lambda model: {"val": 1.0})


def test_resume_before_the_first_checkpoint_begins_again(tmp_path):
    plan = Plan(steps=6, batch=4, checkpoint_every=4)
    straight, _ = little(tmp_path / "straight", plan)
    little(tmp_path / "killed", plan, until=2)
    assert not (tmp_path / "killed" / "checkpoint.pt").exists()
    with pytest.raises(InputError, match="with batch 4; expected batch 2"):
        little(tmp_path / "killed", replace(plan, batch=2), resume=True)
    assert torch.equal(little(tmp_path / "killed", plan, resume=True)[0], straight)
    with pytest.raises(InputError, match="no begun run"):
        little(tmp_path / "nothing", plan, resume=True)


def test_a_new_run_does_not_continue_an_old_one(tmp_path):
    plan = Plan(steps=6, batch=4, checkpoint_every=2)
    little(tmp_path, plan)
    little(tmp_path, plan, until=1)
    _, rows = little(tmp_path, plan, resume=True, until=1)
    assert not rows, "killed before its first checkpoint: the old one must not be taken for it"


def test_sigterm_saves_and_resume_continues_bit_for_bit(tmp_path):
    plan = Plan(steps=10, batch=4, checkpoint_every=4, log_every=2)
    straight, rows = little(tmp_path / "straight", plan)
    calls = []
    def tell():
        calls.append(1)
        if len(calls) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        little(tmp_path / "told", plan, after=tell)
    assert (
        torch.load(tmp_path / "told" / "checkpoint.pt", weights_only=True)["step"] == 6
        and signal.getsignal(signal.SIGTERM) == before
    )
    weight, again = little(tmp_path / "told", plan, resume=True)
    assert torch.equal(weight, straight) and [r["loss"] for r in rows] == [r["loss"] for r in again]


def test_bfloat16_changes_the_curve_little(toy, tmp_path, monkeypatch):
    """As on a GPU, with the processor's bfloat16: every tensor that meets another must have a type that
    fits. Where a rounded latent is nearer to another word, a step of the VQ-VAE moves by some per cent."""
    for kind, (fit, config) in TRAIN.items():
        plan = Plan(steps=8, batch=8, lr=3e-4, log_every=1)
        fit(toy, tmp_path / kind, plan, config)
        monkeypatch.setattr(sys.modules[fit.__module__], "autocast",
                            lambda x: torch.autocast("cpu", torch.bfloat16))
        fit(toy, tmp_path / f"{kind}16", plan, config)
        single, half = curve(tmp_path / kind)["loss"], curve(tmp_path / f"{kind}16")["loss"]
        assert 0 < np.abs(single - half).max() < 0.15 * single.max()


# what a run leaves

def test_tensorboard_shows_the_same_numbers(tmp_path):
    if find_spec("tensorboard") is None:
        pytest.skip("tensorboard is not installed: pip install bige[train]")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    _, rows = little(tmp_path, Plan(steps=6, batch=4, checkpoint_every=3, log_every=1))
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, pytest.approx(e.value)) for e in board.Scalars("loss")] == [
        (r["step"], r["loss"]) for r in rows
    ]


def test_smoke_passes_on_a_network_that_learns_and_fails_on_one_that_does_not(toy_file, tmp_path, capsys):
    ask = ["--data", str(toy_file), "--batch", "6", "--smoke"]
    assert surrogate_main([*ask, "--out", str(tmp_path / "s")]) == 0
    told = capsys.readouterr()
    assert "step 60/60" in told.err and " s left" in told.err and "soleus" in told.out
    assert vqvae_main([*ask, "--width", "16", "--out", str(tmp_path / "v")]) == 0
    with pytest.raises(InputError, match="smoke test"):
        little(tmp_path, Plan(steps=3, lr=0.0, batch=8, log_every=1, one_batch=True))


@pytest.mark.parametrize("option, value", [
    ("--steps", "0"), ("--accumulate", "0"), ("--patience", "-1"), ("--batch", "-2")])
def test_numbers_out_of_range_are_refused(option, value):
    default = Plan(steps=5)
    with pytest.raises(InputError):
        plan_from_options(
            training_parser("x", "", default).parse_args(["--data", "a", "--out", "b", option, value]),
            default)


# processes

WORKER = """
import sys
from bige.dataset import load_dataset
from bige.surrogate import SurrogateConfig
from bige.train_surrogate import train_surrogate
from bige.train_vqvae import train_vqvae
from bige.training import Plan, run_training
from bige.vqvae import VQConfig

data, out, kind, accumulate, zero, *resume = sys.argv[1:]
plan = Plan(steps=30, batch=8, lr=3e-4 if kind == "vqvae" else 3e-3, log_every=2, checkpoint_every=10,
            accumulate=int(accumulate), zero=None if zero == "-" else int(zero))
fit, config = {"vqvae": (train_vqvae, VQConfig(width=16, code_dim=8, codes=16, levels=2)),
               "surrogate": (train_surrogate, SurrogateConfig(width=8, members=2))}[kind]
until = int(resume.pop()) if resume and resume != ["resume"] else None

def work():
    return str(len(fit(load_dataset(data), out, plan, config, resume=bool(resume), until=until)))
sys.exit(run_training(work))
"""


def run(*words, processes: int = 0) -> None:
    """A Python program alone (0) or under torchrun."""
    start = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        if processes
        else []
    )  # finds a free port itself
    env = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *start, *map(str, words)], cwd=ROOT, capture_output=True,
                          text=True, timeout=1800, env=env)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    path = tmp_path_factory.mktemp("worker") / "worker.py"
    path.write_text(WORKER)
    return path


@pytest.fixture(scope="module")
def alone(toy_file, worker, tmp_path_factory):
    """The curves of one process, made once."""
    made = {}
    def of(kind: str) -> pd.DataFrame:
        if kind not in made:
            out = tmp_path_factory.mktemp(kind)
            run(worker, toy_file, out, kind, 1, "-")
            made[kind] = curve(out)
        return made[kind]
    return of


def same(out: Path, alone: pd.DataFrame) -> None:
    found = curve(out)
    assert (
        list(found.index) == list(alone.index) == list(range(2, 31, 2))
        and alone["loss"].iloc[-1] < 0.98 * alone["loss"].iloc[0]
    )
    assert np.abs(found["loss"] - alone["loss"]).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("kind", TRAIN)
def test_two_processes_give_the_curve_of_one(kind, accumulate, toy_file, worker, alone, tmp_path):
    run(worker, toy_file, tmp_path, kind, accumulate, "-", processes=2)
    same(tmp_path, alone(kind))
    assert json.loads((tmp_path / "run.json").read_text())["processes"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", TRAIN)
def test_two_processes_resume(kind, toy_file, worker, alone, tmp_path):
    run(worker, toy_file, tmp_path, kind, 1, "-", 15, processes=2)
    run(worker, toy_file, tmp_path, kind, 1, "-", "resume", processes=2)
    same(tmp_path, alone(kind))


deepspeed = pytest.mark.skipif(find_spec("deepspeed") is None,
                               reason="deepspeed is not installed: pip install bige[train]")


@pytest.mark.slow
@deepspeed
@pytest.mark.parametrize("stage, accumulate", [(0, 1), (1, 2), (2, 1)])
@pytest.mark.parametrize("kind", TRAIN)
def test_deepspeed_gives_the_curve_of_one(kind, stage, accumulate, toy_file, worker, alone, tmp_path):
    run(worker, toy_file, tmp_path, kind, accumulate, stage, processes=2)
    same(tmp_path, alone(kind))


@pytest.mark.slow
@deepspeed
@pytest.mark.parametrize("kind", TRAIN)
def test_deepspeed_needs_no_launcher(kind, toy_file, worker, alone, tmp_path):
    run(worker, toy_file, tmp_path, kind, 1, 1)
    same(tmp_path, alone(kind))


@pytest.mark.slow
@deepspeed
def test_deepspeed_resumes(toy_file, worker, alone, tmp_path):
    run(worker, toy_file, tmp_path, "surrogate", 1, 1, 15, processes=2)
    run(worker, toy_file, tmp_path, "surrogate", 1, 1, "resume", processes=2)
    same(tmp_path, alone("surrogate"))


@pytest.mark.slow
@deepspeed
@pytest.mark.parametrize("kind", TRAIN)
def test_the_launcher_of_deepspeed(kind, toy_file, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run("-m", "deepspeed.launcher.runner", "--num_gpus=0", f"--master_port={port}", "--module",
        f"bige.train_{kind}", "--data", toy_file, "--out", tmp_path, "--batch", 8, "--steps", 4,
        "--deepspeed", 1)
    assert list(curve(tmp_path).index) == [4]


@pytest.mark.slow
@pytest.mark.parametrize("kind", TRAIN)
def test_killed_at_any_moment_and_resumed(kind, toy_file, tmp_path):
    """Killed twice, at moments that differ from machine to machine, before and after checkpoints."""
    command = [
        "-m",
        f"bige.train_{kind}",
        "--data",
        str(toy_file),
        "--batch",
        "4",
        "--steps",
        "320",
        *(["--width", "16"] if kind == "vqvae" else []),
    ]
    run(*command, "--out", tmp_path / "straight")
    for waiting_for, resume in (("plan.json", []), ("checkpoint.pt", ["--resume"])):
        running = subprocess.Popen([sys.executable, *command, "--out", str(tmp_path / "killed"), *resume],
                                   cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not (tmp_path / "killed" / waiting_for).exists() and running.poll() is None:
            time.sleep(0.02)
        running.kill()
        running.wait()
    run(*command, "--out", tmp_path / "killed", "--resume")
    assert (tmp_path / "killed" / f"{kind}.safetensors").read_bytes() == (
        tmp_path / "straight" / f"{kind}.safetensors"
    ).read_bytes()
