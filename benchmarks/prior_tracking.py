"""Are samples of the prior motions that a body can do? Each is simulated by tracking.

    python benchmarks/prior_tracking.py WORK [-n 40] [--seed 0] [--exercises NAME ...] [--jobs 2]

Plausible samples of each exercise, without any request, are written to WORK/EXERCISE/samples and simulated
into WORK/EXERCISE/tracked (about 25 s of one core each). A run that was stopped continues where it stopped.
The table goes to nbs/results/prior_tracking.csv: solved or why not, iterations, how far the simulated joint
angles are from the sample's, and the most active muscle.
"""
import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from bige.cli import explain
from bige.exercises import shipped_exercises
from bige.files import InputError
from bige.guidance import Models, one_thread, sampled_start
from bige.motion import COORDINATES, TRANSLATIONS, Motion, read_motion, write_motion
from bige.simulation import motion_file, simulate_files
from bige.skeleton import Skeleton

ROOT = Path(__file__).resolve().parents[1]
ANGLES = [n for n in COORDINATES if n not in TRANSLATIONS]


def write_samples(exercise: str, folder: Path, n: int, seed: int) -> list[Path]:
    "Sample files of an exercise, drawn ten at a time; those that are there stay."
    files = [folder / f"{exercise}_{seed}_{i:03d}.mot" for i in range(n)]
    folder.mkdir(parents=True, exist_ok=True)
    models, skeleton = Models.load(exercise=exercise), Skeleton.default()
    for block in range(-(-n // 10)):
        ten = files[10 * block : 10 * block + 10]
        if all(f.exists() for f in ten):
            continue
        g = torch.Generator().manual_seed(1000 * seed + block)
        with one_thread():
            real = sampled_start(models, (), 10, g, skeleton).real
        for file, q, hz in zip(ten, real.q.double().numpy(), real.rate_hz.tolist()):
            write_motion(Motion.from_arrays(np.arange(len(q)) / hz, q), file)
    return files


def row(exercise: str, file: Path, tracked: Path, record: dict) -> dict:
    "One line of the table."
    out = {"exercise": exercise, "sample": file.stem, "status": record["status"]}
    if record["status"] != "Solve_Succeeded":
        return out | {"reason": record.get("reason", "")}
    sample, found = read_motion(file), read_motion(motion_file(tracked, file.stem))
    off = [np.abs(found[n] - np.interp(found.time, sample.time, sample[n])) for n in ANGLES]
    peaks = {n.split("/")[0]: found[n].max() for n in found.names if n.endswith("/activation")}
    most = max(peaks, key=peaks.get)
    return out | {"iterations": record["iterations"], "cpu_s": record["cpu_s"],
                  "deviation_deg": float(np.rad2deg(np.mean(off))), "most_active": most,
                  "activation": float(peaks[most])}


def main(arguments=None) -> int:
    "Write, simulate, tell; 0, or 2 for bad input."
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work")
    parser.add_argument("-n", type=int, default=40, help="samples of each exercise (default: 40)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--exercises", nargs="+", default=list(shipped_exercises()))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", default=ROOT / "nbs" / "results" / "prior_tracking.csv")
    a = parser.parse_args(arguments)
    rows = []
    try:
        for exercise in a.exercises:
            folder = Path(a.work) / exercise
            files = write_samples(exercise, folder / "samples", a.n, a.seed)
            records = simulate_files(files, folder / "tracked", exercise=exercise, jobs=a.jobs)
            rows += [row(exercise, f, folder / "tracked", records[f.stem]) for f in files]
    except (InputError, OSError) as error:
        print(explain(error), file=sys.stderr)
        return 2
    table = pd.DataFrame(rows)
    table.to_csv(a.out, index=False, float_format="%.4g")
    solved = table[table["status"] == "Solve_Succeeded"].groupby("exercise")
    medians = solved[["iterations", "cpu_s", "deviation_deg"]].median().round(2)
    medians.insert(0, "solved", solved.size())
    medians.insert(1, "of", table.groupby("exercise").size())
    print(medians.to_string())
    return 0


if __name__ == "__main__":
    sys.exit(main())
