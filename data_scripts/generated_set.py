"""Samples of the prior on bodies of all sizes, a third of them with an external load, simulated by tracking.

    python data_scripts/generated_set.py WORK [-n 200] [--seed 0] [--jobs 2]

Five repetitions, one of each exercise, on each body: 1.50-2.00 m, 45-110 kg and segments of their own
lengths. Each body's model goes to WORK/bodies (about 15 s for its muscles), each repetition to WORK/samples
(about 25 s of one core). A body and a repetition depend on the seed and their number only, and on the weights
of the VQ-VAE; so a run that was stopped continues where it stopped, with as many jobs as it is then given.
All that is there is packed into nbs/results/generated_repetitions.npz; what could not be simulated, with its
reason.
"""
import argparse
import json
import multiprocessing
import os
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch

from bige.calibration import SCALE_GROUPS
from bige.cli import explain
from bige.dynamics import MusculoskeletalModel
from bige.external_load import ExternalLoad
from bige.files import InputError, write_npz
from bige.guidance import Models, one_thread, sampled_start
from bige.inverse_kinematics import scaled_muscles, write_osim
from bige.joint_loads import load_sizes
from bige.motion import Motion
from bige.simulation import loaded_model, simulate
from bige.skeleton import Skeleton
from bige.surrogate import EXERCISES, scaled_body, scaled_sizes
from bige.train_surrogate import GENERATED, Examples, pack_examples

ROOT = Path(__file__).resolve().parents[1]
HEIGHT_M, MASS_KG, BMI = (1.50, 2.00), (45.0, 110.0), (18.0, 34.0)
SEGMENT_SD = 0.04  # of a segment's scale factors about the body's; participants of UI-PRMD: 0.03 to 0.09
VALIDATION_EVERY = 5  # of the bodies one is held out of training
LOADED_SHARE, MOST_CARRIED = 1 / 3, 0.7  # of the repetitions; of body mass
PIECES_KG = {"barbell": (10.0, 60.0, 2.5), "dumbbells": (2.0, 15.0, 0.5), "vest": (5.0, 20.0, 1.0)}


def draw_body(seed: int, number: int) -> tuple[np.ndarray, float]:
    "Scale factors (16,) and mass (kg) of a body."
    rng = np.random.default_rng((seed, 1, number))
    height, mass = 0.0, 0.0
    while not BMI[0] <= mass / max(height, 1.0)**2 <= BMI[1]:
        height, mass = rng.uniform(*HEIGHT_M), rng.uniform(*MASS_KG)
    scales = 1 + SEGMENT_SD * rng.standard_normal(len(SCALE_GROUPS) + 1).clip(-2, 2)
    for _ in range(3):  # soles do not scale, so the height is not quite proportional
        scales *= height / scaled_body(scales, mass).body_height()
    return scales, mass


def draw_load(seed: int, number: int, mass: float) -> ExternalLoad | None:
    "What a person of `mass` kg carries, in a third of the repetitions."
    rng = np.random.default_rng((seed, 2, number))
    kind = str(rng.choice(list(PIECES_KG)))
    low, high, step = PIECES_KG[kind]
    most = MOST_CARRIED * mass / (2 if kind == "dumbbells" else 1)
    piece = round(rng.uniform(low, min(high, most)) / step) * step
    return ExternalLoad(kind, piece) if rng.random() < LOADED_SHARE else None


def body_model(work: Path, seed: int, number: int) -> MusculoskeletalModel:
    "The model of a body, whose file is written first where it is missing."
    file = work / "bodies" / f"{seed}_{number:04d}.osim"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        scales, mass = draw_body(seed, number)
        write_osim(scaled_body(scales, mass, name=file.stem), file, scaled_sizes(scales))
    return MusculoskeletalModel(file)


def draw_motion(models: Models, skeleton: Skeleton, seed: int, number: int) -> Motion:
    "A plausible sample of the prior on this body."
    g = torch.Generator().manual_seed(1_000_000 * seed + number)
    with one_thread():
        real = sampled_start(models, (), 1, g, skeleton).real
    q = real.q[0].double().numpy()
    return Motion.from_arrays(np.arange(len(q)) / float(real.rate_hz[0]), q, source=f"sample {number}")


def simulated(motion: Motion, model: MusculoskeletalModel, exercise: str, load: ExternalLoad | None,
              muscles: dict) -> dict:
    "Arrays by name, and the record, of a repetition."
    found = {"drawn": motion.coordinates()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = simulate(motion, model, exercise=exercise, intervals="12/s", load=load and str(load))
    except InputError as error:
        return found | {"record": {"status": "refused", "reason": str(error)}}
    if result.status == "Solve_Succeeded":
        carrying = loaded_model(model, load).skeleton if load else model.skeleton
        found |= {"kinematics": result.motion.coordinates(), "activations": result.motion.activations(),
                  "loads": load_sizes(carrying, muscles, result, model.weight)}
    return found | {"record": result.record}


def sample_file(work: Path, seed: int, number: int) -> Path:
    "Where a repetition is kept."
    return work / "samples" / f"{seed}_{number:04d}.npz"


def simulate_body(work: Path, seed: int, number: int, count: int) -> None:
    "Simulate the missing repetitions of a body, of the first `count` of all, and say so."
    torch.set_num_threads(1)
    exercises = len(EXERCISES)
    for k in range(exercises * number, min(exercises * (number + 1), count)):
        file, exercise = sample_file(work, seed, k), EXERCISES[k % exercises]
        if file.exists():
            continue
        model, (scales, mass) = body_model(work, seed, number), draw_body(seed, number)
        load = draw_load(seed, k, mass)
        motion = draw_motion(Models.load(exercise=exercise), model.skeleton, seed, k)
        muscles = scaled_muscles(model.skeleton, scaled_sizes(scales))
        found = simulated(motion, model, exercise, load, muscles)
        record = found.pop("record") | {"exercise": exercise, "load": str(load or ""), "mass": mass,
                                        "scales": scales.tolist(), "duration": motion.duration}
        file.parent.mkdir(parents=True, exist_ok=True)
        arrays = {name: x.astype(np.float32) for name, x in found.items()}
        write_npz(file, arrays | {"record": np.array(json.dumps(record, default=float))})
        peaks = " ".join(f"{x:.1f}" for x in found.get("loads", np.zeros((1, 9))).max(0))
        print(f"{k} {exercise} {model.skeleton.body_height():.2f} m {mass:.0f} kg {load or ''}: "
              f"{record['status']}, {record.get('cpu_s', 0):.0f} s, peaks in BW {peaks}", flush=True)


def examples_in(work: Path) -> tuple[Examples, dict]:
    "What was simulated, every fifth body for validation; and what was not, reason by number."
    rows, failed = [], {}
    for file in sorted((work / "samples").glob("*.npz")):
        with np.load(file) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        record = json.loads(found["record"].item())
        if record["status"] != "Solve_Succeeded":
            why = record.get("reason", record["status"])
            failed[file.stem] = f"{record['exercise']} {record['load']}: {why}"
            continue
        seed, number = map(int, file.stem.split("_"))
        body = number // len(EXERCISES)
        rows.append((found["kinematics"], found["drawn"], found["activations"].clip(0, 1), found["loads"],
                     record["duration"], record["mass"], record["scales"], record["load"],
                     f"{GENERATED}{seed}_{body:04d}", f"generated_{file.stem}", record["exercise"],
                     "val" if body % VALIDATION_EVERY == VALIDATION_EVERY - 1 else "train"))
    *numbers, carries, subjects, trials, exercises, split = (np.array(x) for x in zip(*rows))
    return Examples(*(x.astype(np.float32) for x in numbers), carries, subjects, trials, exercises,
                    split), failed


def pack(work: Path, out: Path) -> None:
    "Write all that is there into one file, and say what it holds."
    found, failed = examples_in(work)
    pack_examples(found, out, failed=np.array(json.dumps(failed, sort_keys=True)))
    print(f"{len(found)} repetitions of {len(set(found.subjects))} bodies, {(found.carries != '').sum()} "
          f"with a load, {len(failed)} failed; {out.stat().st_size / 1e6:.2f} MB in {out.name}")


def main(arguments=None) -> int:
    "Simulate what is missing, pack all; 0, or 2 for bad input."
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work")
    parser.add_argument("-n", type=int, default=200, help="repetitions in all (default: 200)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", default=ROOT / "nbs" / "results" / "generated_repetitions.npz")
    parser.add_argument("--only-pack", action="store_true", help="simulate nothing")
    a = parser.parse_args(arguments)
    work = Path(a.work)
    os.environ.setdefault("BIGE_CACHE", str(work / "muscles"))
    bodies = range(0 if a.only_pack else -(-a.n // len(EXERCISES)))
    try:
        if a.jobs == 1:
            for b in bodies:
                simulate_body(work, a.seed, b, a.n)
        else:
            with ProcessPoolExecutor(a.jobs, multiprocessing.get_context("spawn")) as pool:
                for job in [pool.submit(simulate_body, work, a.seed, b, a.n) for b in bodies]:
                    job.result()
        pack(work, Path(a.out))
    except (InputError, OSError) as error:
        print(explain(error), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
