"""Is our training loop needed beside Hugging Face accelerate? The toy of chapter 20 by both.

    pip install accelerate; python benchmarks/training_loops.py [--out nbs/results/training_loops.json]

Each loop trains the same network on the same 40 rows with noise on the input, 60 steps of 8 rows: once on
one process, once stopped at step 37 and resumed from the checkpoint of step 30, once on two processes.
Reported: whether the resumed run ends with the same weights bit for bit, and the largest difference between
the losses of one process and two."""
import argparse
import inspect
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from bige import training
from bige.files import write_json

STEPS, BATCH, SAVED = 60, 8, 30


def toy():
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.GELU(), torch.nn.Linear(16, 1))
    return model, torch.randn(40, 3, generator=torch.Generator().manual_seed(2))


def error(model, x, noise):
    return (model(x + 0.1 * noise).squeeze(1) - x.abs().sum(1)).square().mean()


def by_bige(out: Path, until: int, resume: bool) -> None:
    model, x = toy()
    plan = training.Plan(steps=STEPS, batch=BATCH, lr=3e-2, log_every=1, checkpoint_every=SAVED)

    def loss(i, draw):
        return error(model, x[i], draw(torch.randn, 3)), {}

    def work() -> str:
        rows = training.train_network(model, loss, len(x), plan, out, resume=resume, until=until)
        keep(out, model, [row["loss"] for row in rows])
        return ""
    sys.exit(training.run_training(work))


def by_accelerate(out: Path, until: int, resume: bool) -> None:
    from accelerate import Accelerator, DataLoaderConfiguration
    config = DataLoaderConfiguration(split_batches=True, use_seedable_sampler=True, data_seed=0)
    accelerator, (model, x) = Accelerator(cpu=True, dataloader_config=config), toy()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-2, betas=(0.9, 0.99), weight_decay=1e-4)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), batch_size=BATCH, shuffle=True)
    model, optimiser, loader = accelerator.prepare(model, optimiser, loader)
    torch.manual_seed(1)
    losses = []
    if resume:
        accelerator.load_state(out / "state")
        losses = json.loads((out / "log.json").read_text())
    while len(losses) < until:
        epoch, skip = divmod(len(losses), len(x) // BATCH)
        loader.set_epoch(epoch)
        for (rows,) in accelerator.skip_first_batches(loader, skip) if skip else loader:
            if len(losses) == until:
                break
            value = error(model, rows, torch.randn_like(rows))
            accelerator.backward(value)
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
            losses.append(float(accelerator.reduce(value.detach(), "mean")))
            if len(losses) == SAVED:
                accelerator.save_state(out / "state", safe_serialization=False)
                (out / "log.json").write_text(json.dumps(losses))
    if accelerator.is_main_process:
        keep(out, accelerator.unwrap_model(model), losses)


LOOPS = {"bige": by_bige, "accelerate": by_accelerate}


def keep(out: Path, model, losses: list[float]) -> None:
    torch.save(torch.cat([p.detach().flatten() for p in model.parameters()]), out / "weights.pt")
    (out / "losses.json").write_text(json.dumps(losses))


def run(loop: str, out: Path, until: int = STEPS, resume: bool = False,
        processes: int = 1) -> tuple[torch.Tensor, np.ndarray]:
    out.mkdir(exist_ok=True)
    launch = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        if processes > 1
        else []
    )
    words = [
        __file__,
        "--loop",
        loop,
        "--folder",
        str(out),
        "--until",
        str(until),
        *(["--resume"] if resume else []),
    ]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
        "CUDA_VISIBLE_DEVICES": "",
    }
    subprocess.run([sys.executable, *launch, *words], check=True, capture_output=True, env=environment)
    return torch.load(out / "weights.pt"), np.array(json.loads((out / "losses.json").read_text()))


def compare(loop: str, folder: Path) -> dict:
    weights, losses = run(loop, folder / f"{loop}_one")
    run(loop, folder / f"{loop}_cut", until=37)
    resumed, _ = run(loop, folder / f"{loop}_cut", resume=True)
    _, on_two = run(loop, folder / f"{loop}_two", processes=2)
    return {"resumed bit for bit": torch.equal(weights, resumed), "mean loss": float(losses.mean()),
            "largest difference on two processes": float(np.abs(losses - on_two).max())}


def replaceable_lines() -> int:
    """Lines of bige.training that accelerate has an equivalent for: steps, messages of processes, devices."""
    parts = (training.PlainStep, training.ZeroStep, training.gather_rows, training.training_device,
             training.autocast, training.process_group)
    return sum(len(inspect.getsource(part).splitlines()) for part in parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--loop", choices=LOOPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--until", type=int, default=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--resume", action="store_true", help=argparse.SUPPRESS)
    a = parser.parse_args()
    torch.set_num_threads(1)
    if a.loop:
        LOOPS[a.loop](a.folder, a.until, a.resume)
        return
    import accelerate
    with tempfile.TemporaryDirectory() as folder:
        record = {loop: compare(loop, Path(folder)) for loop in LOOPS}
    lines = {
        "lines accelerate would replace": replaceable_lines(),
        "lines of bige.training": len(inspect.getsource(training).splitlines()),
    }
    record |= {"lines": lines, "versions": {"accelerate": accelerate.__version__, "torch": torch.__version__}}
    print(json.dumps(record, indent=1))
    if a.out:
        write_json(a.out, record)


if __name__ == "__main__":
    main()
