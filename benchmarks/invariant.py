"""Random requests on several bodies: nothing that is called satisfied may be refused by the simulation.

    python benchmarks/invariant.py [--requests 500] [--bodies 5] [--seed 0] [--out nbs/results/invariant.csv]

Each request draws one to three entries of the vocabulary with limits that are often impossible, durations
from half a second to eight, and tries to switch natural constraints off (weight 0). Two motions are generated
for each body: the embedded model, and the models in `--models` (OpenSim files with muscles, looked for in
BIGE_SHARED_DATA). Whatever is called satisfied is simulated by static optimisation and measured again by
`defects`, in plain numpy. A line a request and body is appended to `--out` when it is done; started again,
the program goes on after the last line. At the end: how many were satisfied, refused by the simulation
(must be 0), found defective (must be 0), and not satisfied because implausible."""

import argparse
import csv
import json
import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")

from functools import lru_cache
from pathlib import Path
from time import process_time

import numpy as np

from bige.constraint_files import ConstraintSet
from bige.dataset import part, reference
from bige.dynamics import MusculoskeletalModel
from bige.exercises import load_exercise
from bige.files import InputError
from bige.guidance import Models, generate
from bige.motion import ACTIVATIONS, COORDINATES, Motion
from bige.reachability import check_reach
from bige.simulation import simulate
from bige.tables import table

ROOT = Path(__file__).resolve().parent.parent
_FIELD = "fieldstudy_s0_72kg/squat/LaiArnoldModified2017_poly_withArms_weldHand_scaled"
MODELS = (f"{_FIELD}_adjustedMA_contacts.osim",
          "labval_s2_78.2kg/squat/LaiArnoldModified2017_contacts.osim",
          "labval_s4_62.6kg/squat/manually_scaled.osim", "models/LaiUhlrich2022.osim")
COLUMNS = ("request", "body", "outcome", "n", "satisfied", "plausible", "refused", "defective", "consistent",
           "cpu_s", "entries", "why")
ANGLES = [c for c in COORDINATES if not c.startswith("pelvis_t") or c == "pelvis_tilt"]


def limits(rng: np.random.Generator, low: float, high: float, usual: float) -> dict:
    "A lower, an upper limit or both, somewhere from `low` to `high`."
    a, width = rng.uniform(low, high), usual * rng.uniform(0.2, 2)
    return [{"low": round(a, 3)}, {"high": round(a, 3)}, {"low": round(a, 3), "high": round(a + width, 3)}][
        rng.integers(3)
    ]


def moment(rng: np.random.Generator) -> str:
    return str(rng.choice(["bottom", "bottom", "peak", "30 %", "60 %", "all"]))


def entry(rng: np.random.Generator) -> dict:
    "One random entry of a constraint file."
    muscles = sorted({m.partition("/")[0] for m in ACTIVATIONS})
    goal = {"goal": str(rng.choice(["minimise", "maximise"]))}
    choices = [
        lambda: {"kind": "knee_depth", **limits(rng, 20, 139, 15)},
        lambda: {"kind": "thigh_angle", **limits(rng, 10, 130, 15)},
        lambda: {"kind": "trunk_lean", **limits(rng, -20, 80, 15)},
        lambda: {"kind": "trunk_lean", **goal},
        lambda: {"kind": "hip_height", **limits(rng, 0.2, 1.0, 0.1)},
        lambda: {"kind": "knee_over_toe", **limits(rng, -20, 25, 5)},
        lambda: {"kind": "knee_valgus", "high": round(rng.uniform(-10, 5), 2)},
        lambda: {"kind": "heel_contact", "high": round(rng.uniform(0.2, 4), 2)},
        lambda: {"kind": "asymmetry", "high": round(rng.uniform(0.2, 15), 2)},
        lambda: {"kind": "duration", **limits(rng, 0.5, 8, 0.5)},
        lambda: {"kind": "duration", "low": round(rng.uniform(0.5, 8), 2)},
        lambda: {"kind": "tempo", "phase": str(rng.choice(["descent", "pause", "ascent"])),
                 **limits(rng, 0.2, 3, 0.4)},
        lambda: {"kind": "com_velocity", "high": round(rng.uniform(0.05, 0.6), 3)},
        lambda: {"kind": "foot_sliding", "high": round(rng.uniform(0.005, 0.1), 4)},
        lambda: {"kind": "muscle_range", "muscles": ["vasmed_l", "vasmed_r"],
                 "low": (a := round(rng.uniform(0, 0.7), 3)), "high": round(a + rng.uniform(0.05, 0.3), 3)},
        lambda: {"kind": "muscle", "muscle": str(rng.choice(muscles)),
                 "high": round(rng.uniform(0.02, 0.9), 3)},
        lambda: {"kind": "muscle", "muscle": str(rng.choice(["soleus", "gluteus_maximus", "hamstrings"])),
                 "low": round(rng.uniform(0.02, 0.6), 3)},
        lambda: {"kind": "coordinate", "coordinate": str(rng.choice(ANGLES)), "unit": "deg",
                 "at": moment(rng), **limits(rng, -60, 120, 20)},
        lambda: {"kind": "coordinate",
                 "coordinate": str(rng.choice(["hip_flexion", "ankle_angle", "knee_angle"])),
                 "at": moment(rng), "unit": "deg", **limits(rng, -10, 120, 20)},
        lambda: {"kind": "pelvis_tilt", **limits(rng, -70, 30, 15)},
        lambda: {"kind": "centre_of_mass", "axis": "up", **limits(rng, 0.4, 1.1, 0.1)},
        lambda: {"kind": "joint_centre", "joint": "knee", "axis": "right", "goal": "equal"},
    ]
    return choices[rng.integers(len(choices))]()


def random_request(seed: int) -> list[dict]:
    "Entries of a request: one to three, and perhaps natural constraints with weight 0."
    rng = np.random.default_rng([12, seed])
    entries = [entry(rng) for _ in range(rng.integers(1, 4))]
    names = ("balance", "ground", "smoothness", "proximity")
    return entries + [{"kind": name, "weight": 0} for name in names if rng.random() < 0.25]


@lru_cache
def recorded() -> tuple:
    "Of the recorded training squats and their mirror images: angles, speeds and accelerations, deg, deg/s, …"
    data = part(reference("squat"), "train")
    angles = np.rad2deg(data.kinematics[..., [COORDINATES.index(c) for c in ANGLES]].astype(float))
    hz = 195 / data.duration.astype(float)[:, None]
    low, high = angles.min((0, 1)), angles.max((0, 1))
    speed = (np.abs(np.diff(angles, axis=1)).max(1) * hz).max(0)
    turn = (np.abs(np.diff(angles, 2, axis=1)).max(1) * hz**2).max(0)
    sides = [ANGLES.index(c[:-1] + {"l": "r", "r": "l"}[c[-1]]) if c[-2:] in ("_l", "_r") else i
             for i, c in enumerate(ANGLES)]
    turned = [c in ("pelvis_list", "pelvis_rotation", "lumbar_bending", "lumbar_rotation") for c in ANGLES]
    low, high = (np.where(turned, np.minimum(low, -high), np.minimum(low, low[sides])),
                 np.where(turned, np.maximum(high, -low), np.maximum(high, high[sides])))
    return low, high, np.maximum(speed, speed[sides]), np.maximum(turn, turn[sides])


def defects(motion: Motion, skeleton) -> list[str]:
    "What is wrong with a motion, measured without bige.plausibility."
    q, hz = motion.coordinates(), motion.rate_hz
    low, high, speed, turn = recorded()
    columns = [COORDINATES.index(c) for c in ANGLES]
    angles, model = np.rad2deg(q[:, columns]), np.rad2deg(skeleton.ranges[columns])
    found = []
    if not np.isfinite(motion.values).all():
        found.append("not a number")
    for what, away in {
        "angle beyond the recorded": np.maximum(low - angles, angles - high) - 10.5,
        "angle beyond the model": np.maximum(np.minimum(low, model[:, 0]) - angles,
                                             angles - np.maximum(high, model[:, 1])) - 0.1,
        "speed": np.abs(np.diff(angles, axis=0)) * hz - speed - 45,
        "acceleration": np.abs(np.diff(angles, 2, axis=0)) * hz**2 - turn - 330,
    }.items():
        if away.max() > 0:
            found.append(f"{what}: {ANGLES[away.max(0).argmax()]} by {away.max():.1f}")
    feet = skeleton.contact_points(q).reshape(len(q), 2, 6, 3)
    lowest = feet[..., 1].min(2)
    if lowest.max() > 0.022 or lowest.min() < -0.02 or feet[..., 1].max() > 0.10:
        found.append(f"feet from {lowest.min():.3f} to {lowest.max():.3f} m, points to "
                     f"{feet[..., 1].max():.3f}")
    centre = feet[..., [0, 2]].mean(2)
    second = min(int(round(hz)), len(q) - 1)  # a shorter motion: from its first instant to its last
    travel = np.linalg.norm(centre[second:] - centre[:-second], axis=-1)
    if travel.max() > 0.30:
        found.append(f"a foot travels {travel.max():.2f} m in a second")
    com, box = skeleton.centre_of_mass(q)[:, [0, 2]], feet.reshape(len(q), 12, 3)[..., [0, 2]]
    outside = np.maximum(np.maximum(box.min(1) - com, com - box.max(1)), 0).max(1)
    if outside.mean() > 0.03:
        found.append(f"centre of mass {100 * outside.mean():.1f} cm outside the feet on average")
    return found


def violated_in_window(motion: Motion, entries: list[dict]) -> list[str]:
    "Angles at the bottom that leave their limits within 1.5 % of the motion before or after, by numpy."
    knees = np.rad2deg(motion["knee_angle_l"] + motion["knee_angle_r"])
    half = int(np.ceil(0.015 * (len(knees) - 1) - 1e-6))
    first = min(max(int(knees.argmax()) - half, 0), len(knees) - 1 - 2 * half)
    found = []
    for e in entries:
        if e.get("goal") or e.get("weight") == 0 or e.get("at", "bottom") != "bottom":
            continue
        name = {"knee_depth": "knee_angle", "coordinate": e.get("coordinate")}.get(e["kind"])
        for column in (name,) if name in COORDINATES else (f"{name}_l", f"{name}_r") if name else ():
            x = np.rad2deg(motion[column])[first : first + 2 * half + 1]
            if x.min() < e.get("low", -1e9) - 0.01 or x.max() > e.get("high", 1e9) + 0.01:
                found.append(f"{column} {x.min():.1f} to {x.max():.1f}")
    return found


def one(number: int, name: str, model: MusculoskeletalModel, models: Models, own: bool, n: int = 2,
        steps: int = 40) -> dict:
    "What comes of a request on a body."
    entries, since = random_request(number), process_time()
    counts = dict.fromkeys(("n", "satisfied", "plausible", "refused", "defective", "consistent"), 0)
    row = {"request": number, "body": name, **counts, "entries": json.dumps(entries), "why": ""}
    try:
        constraints = ConstraintSet.from_entries(entries)
        check_reach(constraints, models.bank)
        found = generate(constraints, n=n, seed=number, models=models,
                         skeleton=model.skeleton if own else None, steps=steps)
    except InputError as error:
        return row | {"outcome": "request refused", "cpu_s": round(process_time() - since, 2),
                      "why": str(error)[:200]}
    why = []
    for motion, good in zip(found.motions, found.satisfied):
        if not good:
            continue
        try:
            result = simulate(motion, model, mode="qp")
            failed = result.status != "Solve_Succeeded" and result.status
        except InputError as error:
            failed = str(error)
        if failed:
            row["refused"] += 1
            why.append(failed)
        else:
            force = result.record["largest_pelvis_force_bw"]
            row["consistent"] += force <= 0.25
        if wrong := defects(motion, model.skeleton) + violated_in_window(motion, entries):
            row["defective"] += 1
            why += wrong
    why += [s["sentence"] for s in found.shortfalls if s["constraint"] == "plausible motion"]
    plausible = sum(not rows for rows in found.implausible)
    satisfied = int(found.satisfied.sum())
    return row | {"outcome": "answered", "n": len(found), "satisfied": satisfied,
                  "plausible": plausible, "cpu_s": round(process_time() - since, 2),
                  "why": "; ".join(why)[:400]}


def summary(rows: list[dict]) -> str:
    bodies = list(dict.fromkeys(r["body"] for r in rows))
    table_rows = []
    for body in [*bodies, "all"]:
        own = [r for r in rows if body in (r["body"], "all")]
        keys = ("n", "satisfied", "refused", "defective", "plausible", "consistent")
        total = {k: sum(int(r[k]) for r in own) for k in keys}
        table_rows.append({"body": body, "requests": len(own), "motions": total["n"],
                           "satisfied": total["satisfied"], "refused by simulate": total["refused"],
                           "defective": total["defective"],
                           "pelvis force to 0.25 BW": total["consistent"],
                           "implausible": total["n"] - total["plausible"]})
    return table(table_rows)


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words.add_argument("--requests", type=int, default=500)
    words.add_argument("--bodies", type=int, default=5)
    words.add_argument("--first", type=int, default=0)
    words.add_argument("--models", nargs="*", type=Path)
    words.add_argument("--out", type=Path, default=ROOT / "nbs" / "results" / "invariant.csv")
    args = words.parse_args()
    shared = Path(os.environ.get("BIGE_SHARED_DATA", ROOT.parent / "shared" / "data"))
    paths = args.models or [shared / m for m in MODELS if (shared / m).is_file()]
    done = list(csv.DictReader(args.out.open(encoding="utf-8"))) if args.out.exists() else []
    seen = {(int(r["request"]), r["body"]) for r in done}
    bodies = [("embedded", None), *((p.parent.parent.name + "/" + p.stem, p) for p in paths)][: args.bodies]
    load = lru_cache(MusculoskeletalModel)
    models = Models.load(exercise=load_exercise("squat"))
    with args.out.open("a", newline="", encoding="utf-8") as file:
        write = csv.DictWriter(file, COLUMNS)
        if not done:
            write.writeheader()
        for first in range(args.first, args.first + args.requests, 20):  # a few of each body at a time
            numbers = range(first, min(first + 20, args.first + args.requests))
            for number, (name, path) in ((k, body) for body in bodies for k in numbers):
                if (number, name) not in seen:
                    row = one(number, name, load(path), models, path is not None)
                    done.append({k: str(v) for k, v in row.items()})
                    write.writerow(row)
                    file.flush()
    print(summary(done))
    return int(any(int(r["refused"]) or int(r["defective"]) for r in done))


if __name__ == "__main__":
    sys.exit(main())
