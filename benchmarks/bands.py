"""How far do simulated values lie from predicted ones, and does a band of 90 % hold nine in ten of them?

    python benchmarks/bands.py --of EXERCISE SAMPLES TRACKED [--of EXERCISE SAMPLES TRACKED ...]

SAMPLES: a folder of generated motions on the default body, which the surrogate has not learned from; TRACKED:
their tracking simulations (`bige simulate`). The table goes to nbs/results/bands.csv: a line for each motion,
constraint and side, with the predicted value, the surrogate's standard deviation of it (0: of joint angles and
places no network says one) and the simulated value. Chapter 28 finds the numbers of its bands in it. Printed:
the standard deviation of the differences, as a multiple of the surrogate's or in the unit, that puts nine in
ten into the band.
"""
import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch

from bige.cli import explain
from bige.constraint_files import read_constraint
from bige.constraints import (BAND_SHARE, MUSCLE_GROUPS, Batch, constraint_values, predicted_deviations,
                              times_sd)
from bige.dataset import at_instants
from bige.exercises import load_exercise
from bige.files import InputError
from bige.guidance import one_thread
from bige.motion import Motion, read_motion
from bige.simulation import motion_file
from bige.skeleton import Skeleton
from bige.surrogate import load_surrogate

ROOT = Path(__file__).resolve().parents[1]
MUSCLES = (*MUSCLE_GROUPS, "vasmed")
ACTIVE = 0.1                                               # peak activation of a muscle that one would request
COORDINATES = ("hip_flexion", "hip_adduction", "ankle_angle", "lumbar_extension", "pelvis_tilt")
PLACES = ("hip_height", "knee_over_toe", "knee_valgus", "heel_contact", "knee_depth", "thigh_angle",
          "trunk_lean", "balance", "asymmetry", "angular_velocity", "com_velocity", "com_acceleration",
          "foot_sliding", "duration")


def constraints() -> list:
    "What the table is about."
    muscles = [{"kind": "muscle", "muscle": name} for name in MUSCLES]
    angles = [{"kind": "coordinate", "coordinate": name, "unit": "deg"} for name in COORDINATES]
    joints = [{"kind": "joint_centre", "joint": "knee", "axis": axis} for axis in ("up", "forward", "right")]
    places = [{"kind": name, "high": 1} for name in PLACES]
    return [read_constraint({"high": 1} | entry) for entry in (*muscles, *angles, *joints, *places)]


def batch_of(motion: Motion, exercise, activations: torch.Tensor) -> Batch:
    "A motion as a batch of one."
    q = torch.tensor(at_instants(motion.time, motion.coordinates()))[None]
    return Batch(q, activations, Skeleton.default(), (q.shape[1] - 1) / motion.duration, exercise=exercise)


def rows_of(exercise: str, sample: Motion, tracked: Motion, name: str, surrogate) -> Iterator[dict]:
    "The lines of one motion."
    e = load_exercise(exercise)
    simulated = batch_of(tracked, e, torch.tensor(at_instants(tracked.time, tracked.activations()))[None])
    plain = batch_of(sample, e, simulated.a)
    a, sd = surrogate.with_uncertainty(plain.q.float(), plain.rate_hz.float(), exercise=exercise)
    predicted = batch_of(sample, e, a.double())
    for c in constraints():
        both = [constraint_values(c, b) for b in (predicted, simulated)]
        if not c.kind.signed:
            both = [(x**2).mean((1, 2), keepdim=True) ** 0.5 for x in both]
        spread = predicted_deviations(c, predicted, sd.double()).mean(1)[0] if c.kind.predicted else None
        for k, part in enumerate(c.parts if both[0].shape[-1] == len(c.parts) else (c.kind.name,)):
            p, s = (x[0, :, k].mean().item() / c.per_unit for x in both)
            if c.kind.predicted and max(p, s) < ACTIVE:
                continue
            own = 0.0 if spread is None else spread[k].item() / c.per_unit
            yield {"exercise": exercise, "motion": name, "kind": c.kind.name, "of": part, "unit": c.unit,
                   "predicted": p, "sd": own, "simulated": s}


def summary(table: pd.DataFrame) -> pd.DataFrame:
    "The multiple, or the deviation, by muscle or by kind."
    key = table["of"].str[:-2].where(table["kind"] == "muscle", table["kind"] + " " + table["unit"])
    away = (table["simulated"] - table["predicted"]).abs() / table["sd"].where(table["sd"] > 0, 1.0)
    found = away.groupby(key).quantile(BAND_SHARE) / times_sd()
    return pd.DataFrame({"values": away.groupby(key).size(), "factor or sd": found.round(3)})


def main(arguments=None) -> int:
    "Compare, write, print; 0, or 2 for bad input."
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--of", nargs=3, action="append", required=True,
                        metavar=("EXERCISE", "SAMPLES", "TRACKED"))
    parser.add_argument("--out", default=ROOT / "nbs" / "results" / "bands.csv")
    a = parser.parse_args(arguments)
    rows, surrogate = [], load_surrogate()
    try:
        with one_thread(), torch.no_grad():
            for exercise, samples, tracked in a.of:
                for file in sorted(Path(samples).glob("*.mot")):
                    if (there := motion_file(Path(tracked), file.stem)).exists():
                        rows += rows_of(exercise, read_motion(file), read_motion(there), file.stem, surrogate)
    except (InputError, OSError) as error:
        print(explain(error), file=sys.stderr)
        return 2
    table = pd.DataFrame(rows)
    table.to_csv(a.out, index=False, float_format="%.4g")
    print(summary(table).to_string())
    return 0


if __name__ == "__main__":
    sys.exit(main())
