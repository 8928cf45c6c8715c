"""What does the surrogate learn from generated repetitions?

    python benchmarks/generated.py squat=IK/squat,hurdle_step=IK/hurdle_step,...,GENERATED.npz [--step 50]

The same network is trained on the training participants and on the first 0, 50, 100, ... repetitions of
data_scripts/generated_set.py on bodies that are for training, and scored on the bodies of every fifth number,
which no network has seen, and on recorded motions of the validation participants. The table goes to
nbs/results/surrogate_generated.csv; about three minutes of one core a row.
"""
import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from bige.cli import explain
from bige.files import InputError
from bige.train_surrogate import (SURROGATE_PLAN, Examples, choose, evaluate_surrogate, fit_surrogate,
                                  is_generated, join, load_examples)

ROOT = Path(__file__).resolve().parents[1]
GROUPS = {"vasti": ("vasint", "vaslat", "vasmed"), "soleus": ("soleus",), "gluteus maximus": ("glmax",),
          "hamstrings": ("bflh", "semimem", "semiten")}


def row(scores: dict) -> dict:
    "R² of groups of muscles, means over muscles, and of joint loads."
    found = {name: np.mean([v for m, v in scores["r2"].items() if m.startswith(stems)])
             for name, stems in GROUPS.items()}
    return found | {"joint loads": np.mean(list(scores["loads"]["r2"].values()))}


def learnt_from(people: Examples, drawn: Examples, n: int, unseen: dict[str, Examples], steps: int) -> list:
    "Scores on each of `unseen` of a network that saw `people` and the first `n` of `drawn`."
    seen = join([people, choose(drawn, np.arange(n))])
    with tempfile.TemporaryDirectory() as folder:
        model, _ = fit_surrogate(seen, folder, replace(SURROGATE_PLAN, steps=steps))
    return [{"generated": n, "of": name, **row(evaluate_surrogate(model, examples)[0])}
            for name, examples in unseen.items()]


def main(arguments=None) -> int:
    "Train, score, tell; 0, or 2 for bad input."
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="as --data of bige.train_surrogate")
    parser.add_argument("--step", type=int, default=50, help="repetitions from row to row (default: 50)")
    parser.add_argument("--steps", type=int, default=1000, help="of each training (default: 1000)")
    parser.add_argument("--out", default=ROOT / "nbs" / "results" / "surrogate_generated.csv")
    a = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        examples = load_examples(a.data)
        drawn, train = is_generated(examples), examples.split == "train"
        unseen = {"generated bodies left out": choose(examples, drawn & ~train),
                  "recorded squats": choose(examples, ~drawn & ~train & (examples.exercises == "squat")),
                  "all recorded exercises": choose(examples, ~drawn & ~train)}
        people, bodies = choose(examples, ~drawn & train), choose(examples, drawn & train)
        counts = sorted({*range(0, len(bodies), a.step), len(bodies)})
        rows = [r for n in counts for r in learnt_from(people, bodies, n, unseen, a.steps)]
    except (InputError, OSError) as error:
        print(explain(error), file=sys.stderr)
        return 2
    table = pd.DataFrame(rows)
    table.to_csv(a.out, index=False, float_format="%.4g")
    print(table.round(3).to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
