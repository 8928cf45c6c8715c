"""One squat: tracking simulation at several mesh densities, static optimisation and OpenSim Moco, one thread.

    python benchmarks/simulation.py [--data ../shared/data] [--intervals 25 50 137] [--moco] [--out FILE.json]

The squat is the first of `labval_s4` (2.83 to 5.56 s, measured model and markers). Every solve runs in a
process of its own, so that CPU seconds and peak memory are its own. The finest mesh is what the others are
compared with. `--moco` adds MocoInverse on the same squat (about eight minutes): it is given the motion and
the plates' forces and seeks muscles only, a smaller problem. What one iteration of MocoTrack takes is
measured by `benchmarks/moco.py track`.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from bige.dynamics import MusculoskeletalModel
from bige.files import atomic_write
from bige.motion import read_motion
from bige.simulation import simulate

START, END = 2.83, 5.56  # s
HERE = Path(__file__).resolve().parent


def one_solve(squat: Path, mode: str, intervals: int | None) -> tuple[dict, np.ndarray]:
    """Figures of one simulation, and its activations (T, 80) at the trial's own frames."""
    model, motion = (MusculoskeletalModel(squat / "manually_scaled.osim"),
                     read_motion(squat / "squats1_manual_scaling_ik.mot"))
    result = simulate(motion, model, mode, START, END, intervals=intervals)
    record = result.record
    return (
        {
            "mesh": "every frame" if mode == "qp" else f"N = {intervals}",
            "status": result.status,
            "iterations": record.get("iterations", "-"),
            "cpu_s": record["cpu_s"],
            "peak_gb": record["peak_gb"],
        },
        result.motion.activations(),
    )


def in_own_process(*arguments) -> tuple[dict, np.ndarray]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(one_solve, *arguments).result()


def moco(squat: Path) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "moco.json"
        files = [
            (squat / name).resolve()
            for name in ("manually_scaled.osim", "squats1_manual_scaling_ik.mot", "squats1_grf.mot")
        ]
        subprocess.run([sys.executable, HERE / "moco.py", "inverse", *files, str(START), str(END), out],
                       check=True, cwd=folder)
        figures = json.loads(out.read_text())
    return {
        "mesh": "MocoInverse, N = 50",
        **{key: figures[key] for key in ("status", "iterations", "cpu_s", "peak_gb")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path,
                        default=Path(os.environ.get("BIGE_SHARED_DATA", "../shared/data")))
    parser.add_argument("--intervals", type=int, nargs="+", default=[25, 50, 137])
    parser.add_argument("--moco", action="store_true", help="also MocoInverse on the same squat")
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    a = parser.parse_args()
    folders = sorted(a.data.glob("labval_s4*/squat"))
    if not folders:
        parser.error(f"no labval_s4*/squat in {a.data}: name the folder of the shared data with --data")
    started = time.perf_counter()
    solved = [in_own_process(folders[0].resolve(), "tracking", n) for n in sorted(a.intervals)]
    solved.append(in_own_process(folders[0].resolve(), "qp", None))
    finest = solved[len(a.intervals) - 1][1]
    rows = [
        figures | {"activation_rmse": round(float(np.sqrt(((activations - finest) ** 2).mean())), 4)}
        for figures, activations in solved
    ]
    if a.moco:
        rows.append(moco(folders[0].resolve()))
    ours = next((row["cpu_s"] for row in rows if row["mesh"] == "N = 50"), None)
    for row in rows:
        row["cpu_ratio"] = round(row["cpu_s"] / ours, 2) if ours else None
    columns = ("mesh", "status", "iterations", "cpu_s", "peak_gb", "activation_rmse", "cpu_ratio")
    print(" | ".join(f"{name:>19}" for name in columns))
    for row in rows:
        print(" | ".join(f"{row.get(name, '-')!s:>19}" for name in columns))
    print(
        f"cpu_ratio: CPU seconds against N = 50; activation_rmse: against the finest mesh. "
        f"{time.perf_counter() - started:.0f} s in all."
    )
    if a.out:
        with atomic_write(a.out) as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
