"""Activation targets, checked by simulation: requests for a peak vastus medialis activation, and what
simulation finds.

    python benchmarks/dial.py FOLDER [--jobs 2] [--mode tracking] [-n 20] [--limit 6]

Twenty squats for each of five requests (0.15 to 0.55, give or take 0.02) are generated and simulated: about
20 CPU seconds each by tracking. What FOLDER holds already is kept, so an interrupted run goes on where it
stopped. Prints rank correlations and means, and writes one line a motion into nbs/results/dial_MODE.csv."""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import numpy as np
import pandas as pd

from bige.constraint_files import default_constraints, override
from bige.guidance import Models, generate
from bige.exercises import load_exercise
from bige.metrics import activation
from bige.motion import read_motion, write_motion
from bige.simulation import motion_file, simulate_files
from bige.verification import corrected_activations

EFFORT = load_exercise().effort
REQUESTS, WITHIN = (0.15, 0.25, 0.35, 0.45, 0.55), 0.02
RESULTS = Path(__file__).resolve().parent.parent / "nbs" / "results"


def generated(folder: Path, n: int) -> dict[str, float]:
    """The requests by name of the motion; the motions are in `folder` afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    models, requested = Models.load(), {}
    for k, request in enumerate(REQUESTS):
        found = generate(
            override(default_constraints(), f"vasmed.low={request - WITHIN}",
                     f"vasmed.high={request + WITHIN}"),
            n=n,
            seed=k,
            models=models,
        )
        for i, motion in enumerate(found.motions):
            name = f"dial_{round(100 * request)}_{i:02d}"
            requested[name] = request
            if not (folder / f"{name}.mot").exists():
                write_motion(motion, folder / f"{name}.mot")
    return requested


def line(name: str, request: float, folder: Path, mode: str, record: dict) -> dict:
    """One motion: what was requested, what the surrogate said, what simulation found."""
    sample = read_motion(folder / f"{name}.mot")
    knee = np.rad2deg(max(sample["knee_angle_l"].max(), sample["knee_angle_r"].max()))
    hip = float(sample["pelvis_ty"].max() - sample["pelvis_ty"].min())
    row = {
        "motion": name,
        "request": request,
        "surrogate": float(activation(sample, EFFORT).max(0).mean()),
        "knee_deg": float(knee),
        "depth_m": hip,
        "status": record["status"],
    }
    if record["status"] != "Solve_Succeeded":
        return row
    simulated = corrected_activations(read_motion(motion_file(folder / mode, name)), mode)
    peaks = activation(simulated, EFFORT).max(0)
    return row | {
        "simulated": float(peaks.mean()),
        "simulated_l": float(peaks[0]),
        "simulated_r": float(peaks[1]),
    }


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", type=Path)
    p.add_argument("--jobs", type=int, default=2)
    p.add_argument("--mode", choices=("tracking", "qp"), default="tracking")
    p.add_argument("-n", type=int, default=20)
    p.add_argument("--limit", type=int, help="simulate only this many of each request's motions")
    args = p.parse_args()
    requested = {
        name: request
        for name, request in generated(args.folder, args.n).items()
        if args.limit is None or int(name[-2:]) < args.limit
    }
    files = [args.folder / f"{name}.mot" for name in requested]
    records = simulate_files(sorted(files, key=lambda f: f.stem[-2:]), args.folder / args.mode,
                             jobs=args.jobs, mode=args.mode, done=lambda name, record, finished,
                             total: print(f"{finished} of {total}: {name} {record['status']}", flush=True))
    table = pd.DataFrame(
        [line(name, request, args.folder, args.mode, records[name]) for name, request in requested.items()]
    )
    table.round(4).to_csv(RESULTS / f"dial_{args.mode}.csv", index=False)
    done = table.dropna()
    print(done.groupby("request")[["surrogate", "simulated", "knee_deg", "depth_m"]].mean().round(3))
    outside = np.maximum((done["simulated"] - done["request"]).abs() - WITHIN, 0).mean()
    print(f"outside the requested range by {outside:.3f} on average")
    for what in ("surrogate", "simulated", "knee_deg", "depth_m"):
        rank = done["request"].corr(done[what], method="spearman")
        print(f"Spearman of the request and {what}: {rank:.3f} over {len(done)} motions")


if __name__ == "__main__":
    main()
