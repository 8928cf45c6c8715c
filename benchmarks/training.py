"""Step time and memory of training, default and published networks, on the device there is.

    python benchmarks/training.py [--steps 12] [--batch 16] [--processes 1 2] [--out FIGURES.json]

Every case runs in processes of its own, by torchrun, on made-up squats; a GPU is used where there is one
(one for each process) and bfloat16 with it. A step is everything from one batch to the next; the figures, by
the clock and in CPU time of one process, are medians without the first two. More processes share the same
batch. Memory is the largest allocation on the GPU, or without one the peak of a process. "As published" is
the published network rebuilt with the published loss: no normalisation of the input, velocities and
accelerations pulled to zero, no skeleton."""
import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from bige import training
from bige.dataset import toy_dataset
from bige.files import write_json
from bige.skeleton import Skeleton
from bige.surrogate import SurrogateConfig
from bige.train_surrogate import SURROGATE_PLAN, fit_surrogate
from bige.train_vqvae import vqvae_objective
from bige.vqvae import PUBLISHED_VQVAE, VQVAE, LossWeights, VQConfig, initial_vqvae

CASES = {
    "VQ-VAE, default (width 128)": VQConfig(),
    "VQ-VAE, width 256": VQConfig(width=256),
    "VQ-VAE, width 512": VQConfig(width=512),
    "VQ-VAE, published network, our loss": PUBLISHED_VQVAE,
    "VQ-VAE, as published": PUBLISHED_VQVAE,
    "surrogate, default": SurrogateConfig(),
}


def fit(case: str, plan: training.Plan, out: str) -> torch.nn.Module:
    """A short training run of one case."""
    torch.manual_seed(0)
    data, config = toy_dataset(participants=8, repetitions=8), CASES[case]
    if isinstance(config, SurrogateConfig):
        return fit_surrogate(data, out, plan, config)[0]
    K, published = torch.as_tensor(data.kinematics), case == "VQ-VAE, as published"
    skeleton = None if published else Skeleton.default()
    model = VQVAE(config) if published else initial_vqvae(config, K)
    if published:
        with torch.no_grad():
            model.train().quantise(model.encode(K[:plan.batch]))        # codes from the first batch
    loss, after = vqvae_objective(model, (K, Skeleton.default().contact_points(K)),
                                  LossWeights(temporal="published" if published else "match"), skeleton)
    training.train_network(model, loss, len(K), plan, out, after=after)
    return model


def measure(case: str, steps: int, batch: int) -> dict:
    """Figures of one case in this process."""
    begun, whole_step = [], training.whole_step
    def timed(*arguments):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        begun.append((time.perf_counter(), time.process_time()))
        return whole_step(*arguments)
    training.whole_step = timed
    plan = training.Plan(steps=steps + 3, batch=batch, checkpoint_every=steps + 3, log_every=steps + 3,
                         lr=SURROGATE_PLAN.lr / 10)
    with tempfile.TemporaryDirectory() as folder:
        model = fit(case, plan, folder)
    step, cpu = 1000 * np.median(np.diff(begun, axis=0)[2:], axis=0)
    peak = (
        torch.cuda.max_memory_allocated()
        if torch.cuda.is_available()
        else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )
    return {
        "case": case,
        "processes": training.world_size(),
        "weights_millions": round(sum(p.numel() for p in model.parameters()) / 1e6, 2),
        "step_ms": round(float(step), 1),
        "cpu_ms": round(float(cpu), 1),
        "peak_mb": round(peak / 1e6),
    }


def in_own_processes(case: str, processes: int, a: argparse.Namespace) -> dict:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(processes),
        __file__,
        "--case",
        case,
        "--steps",
        str(a.steps),
        "--batch",
        str(a.batch),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        sys.exit(f"{case}, {processes} processes:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.case:
        return training.run_training(lambda: json.dumps(measure(a.case, a.steps, a.batch)))
    rows = []
    print(f"{'':38}{'processes':>10}{'weights':>10}{'step':>10}{'CPU':>10}{'memory':>10}")
    for case in CASES:
        for processes in a.processes:
            row = in_own_processes(case, processes, a)
            rows.append(row)
            print(
                f"{row['case']:38}{row['processes']:10}{row['weights_millions']:8.2f} M"
                f"{row['step_ms']:7.0f} ms{row['cpu_ms']:7.0f} ms{row['peak_mb']:7} MB",
                flush=True,
            )
    if a.out:
        write_json(a.out, training.run_record(batch=a.batch, steps=a.steps, cores=os.cpu_count(), rows=rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
