"""Are impossible requests told with the constraints that exclude each other, and possible ones let through?

    python benchmarks/impossible.py [--samples 1024] [--exercises NAME ...]

Twenty impossible requests of five exercises: two or three constraints exclude each other by geometry,
by the mechanics of the knee or by time, each of which is reachable alone; the rest is wide. Twenty possible
ones: ranges around what a recorded repetition of a participant does who is not among the known motions. Known
are the repetitions of training participants and the plausible ones of as many samples of the prior. Printed:
what was named for each.
"""
import argparse
import sys

import numpy as np
import pandas as pd
import torch

from bige.constraint_files import ConstraintSet, phases_for
from bige.constraints import Batch, limited_values
from bige.dataset import reference, select
from bige.exercises import load_exercise, shipped_exercises
from bige.files import InputError
from bige.guidance import AT_ONCE, Models, draw_samples, one_thread, select_motions, start_at
from bige.plausibility import plausible
from bige.reachability import check_model, find_conflicts, join_batches
from bige.skeleton import Skeleton


def limit(kind: str, **fields) -> dict:
    return {"kind": kind} | fields


WIDE = {"squat": [limit("trunk_lean", high="75 deg"), limit("knee_valgus", high="12 cm"),
                  limit("muscle", muscle="hamstrings", high=0.95)],
        "inline_lunge": [limit("trunk_lean", high="75 deg"), limit("muscle", muscle="soleus_r", high=0.95)],
        "side_lunge": [limit("trunk_lean", high="80 deg"), limit("muscle", muscle="hamstrings_r", high=0.95)],
        "hurdle_step": [limit("trunk_lean", high="60 deg"), limit("muscle", muscle="soleus_l", high=0.98)],
        "sit_to_stand": [limit("pelvis_tilt", low="-80 deg"), limit("muscle", muscle="soleus", high=0.98)]}
R = {"side": "right"}
IMPOSSIBLE = [
    ("squat", [limit("knee_depth", low="115 deg"), limit("hip_height", low="80 cm")]),
    ("squat", [limit("knee_depth", high="60 deg"), limit("thigh_angle", low="85 deg")]),
    ("squat", [limit("knee_depth", high="60 deg"), limit("muscle", muscle="vasti", low=0.55)]),
    ("squat", [limit("knee_depth", low="115 deg"), limit("muscle", muscle="vasti", high=0.15)]),
    ("squat", [limit("knee_depth", high="65 deg"), limit("hip_height", high="55 cm")]),
    ("squat", [limit("thigh_angle", low="90 deg"), limit("hip_height", low="75 cm")]),
    ("squat", [limit("knee_depth", low="110 deg"), limit("centre_of_mass", low="90 cm")]),
    ("squat", [limit("coordinate", coordinate="ankle_angle", high="5 deg"),
               limit("knee_over_toe", low="4 cm")]),
    ("squat", [limit("knee_depth", low="110 deg"), limit("duration", high="1.9 s"),
               limit("angular_velocity", high="42 deg/s")]),
    ("squat", [limit("muscle", muscle="quadriceps", low=0.5), limit("muscle", muscle="vasti", high=0.45),
               limit("muscle", muscle="recfem", high=0.3)]),
    ("squat", [limit("tempo", phase="descent", low="2 s"), limit("tempo", phase="ascent", low="2 s"),
               limit("duration", high="3 s")]),
    ("inline_lunge", [limit("knee_depth", low="110 deg") | R, limit("hip_height", low="70 cm") | R]),
    ("inline_lunge", [limit("knee_depth", high="65 deg") | R, limit("muscle", muscle="vasti_r", low=0.8)]),
    ("inline_lunge", [limit("thigh_angle", low="80 deg") | R, limit("hip_height", low="70 cm") | R]),
    ("side_lunge", [limit("knee_depth", low="100 deg") | R, limit("thigh_angle", high="45 deg") | R]),
    ("side_lunge", [limit("knee_depth", low="100 deg") | R, limit("hip_height", low="80 cm") | R]),
    ("side_lunge", [limit("knee_depth", low="100 deg") | R, limit("muscle", muscle="vasti_r", high=0.18)]),
    ("hurdle_step", [limit("thigh_angle", low="85 deg") | R,
                     limit("joint_centre", joint="knee_r", high="60 cm")]),
    ("hurdle_step", [limit("coordinate", coordinate="hip_flexion_r", low="95 deg"),
                     limit("thigh_angle", high="40 deg") | R]),
    ("sit_to_stand", [limit("duration", high="0.8 s"), limit("com_velocity", high="0.15 m/s")]),
]
ABOUT = [limit("knee_depth") | R, limit("hip_height") | R, limit("trunk_lean"), limit("thigh_angle") | R,
         limit("knee_valgus") | R, limit("muscle", muscle="vasti_r"), limit("muscle", muscle="soleus_r"),
         limit("muscle", muscle="gluteus_maximus_r"), limit("pelvis_tilt", at="bottom")]
WIDTHS = {"deg": 12.0, "m": 0.06, "cm": 6.0, "": 0.15}  # of a usual range, to each side


def known_motions(models: Models, n: int, seed: int = 0) -> Batch:
    "The real repetitions and the plausible ones of `n` samples of the prior."
    g, skeleton, parts = torch.Generator().manual_seed(seed), Skeleton.default(), [models.bank]
    for _ in range(n // AT_ONCE):
        start = start_at(models, *draw_samples(models, AT_ONCE, g), skeleton)
        parts.append(select_motions(start.real, plausible(start.plausible, start.real)))
    return join_batches(parts)


def possible(exercise: str, n: int = 4, seed: int = 0) -> list[list[dict]]:
    "Requests around what participants do who are not among the known motions, of four to eight constraints."
    data, rng, out = reference(exercise), np.random.default_rng(seed), []
    data = select(data, (data.split == "val") & (data.duration < 9))
    for i in rng.choice(len(data), n, replace=False):
        arrays = (torch.tensor(x[[i]]) for x in (data.kinematics, data.activations))
        own = Batch(*arrays, Skeleton.default(), float(data.rate_hz[i]), exercise=load_exercise(exercise))
        out.append([])
        for k in rng.choice(len(ABOUT), rng.integers(4, 9), replace=False):
            entry = ABOUT[k]
            (c, *_) = ConstraintSet.from_entries([entry | {"low": 0}], phases=phases_for(exercise))
            x, wide = limited_values(c, own) / c.per_unit, WIDTHS[c.unit]
            ends = {"low": x.min().item() - wide, "high": x.max().item() + wide}
            if not c.unit:
                ends = {end: min(max(value, 0.0), 1.0) for end, value in ends.items()}
            out[-1].append(entry | ends)
    return out


def told(entries: list[dict], exercise: str, known: Batch) -> tuple[list[set[str]], str]:
    "The sets that are said to exclude each other, by names, and the sentence."
    try:
        request = ConstraintSet.from_entries(entries, "request.yaml", phases=phases_for(exercise))
        check_model(request, known.skeleton)
    except InputError as error:
        names = {name_of(e, exercise) for e in entries}
        return [{n for n in names if n in str(error)}], str(error)
    found = find_conflicts(request, known)
    return [{c.name for c in f.constraints} for f in found], " ".join(f.sentence for f in found)


def name_of(entry: dict, exercise: str) -> str:
    "The name of a constraint."
    return ConstraintSet.from_entries([entry], phases=phases_for(exercise)).constraints[0].name


def main(arguments=None) -> int:
    "Ask, compare, print; 0."
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--exercises", nargs="+", default=list(shipped_exercises()))
    a = parser.parse_args(arguments)
    rows = []
    with one_thread(), torch.no_grad():
        for exercise in a.exercises:
            known = known_motions(Models.load(exercise=exercise), a.samples)
            for name, pair in IMPOSSIBLE:
                if name == exercise:
                    named, sentence = told(WIDE[name] + pair, name, known)
                    right = named == [{name_of(e, name) for e in pair}]
                    rows.append((exercise, "impossible", right, sentence))
            for entries in possible(exercise):
                named, sentence = told(entries, exercise, known)
                rows.append((exercise, "possible", not named, sentence))
    table = pd.DataFrame(rows, columns=["exercise", "request", "right", "told"])
    for row in table.itertuples():
        print(f"{row.exercise}, {row.request}, {'right' if row.right else 'WRONG'}: {row.told or 'nothing'}")
    print(table.groupby("request")["right"].agg(["sum", "size"]).to_string())
    return 0


if __name__ == "__main__":
    sys.exit(main())
