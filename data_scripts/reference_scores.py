"""Scores of the shipped squats of participants held out of training -> bige/assets/reference_scores.json.

    python data_scripts/reference_scores.py

They belong to one reference_squat.npz, whose sha256 is kept beside them; run this again when it changes."""
import argparse
from hashlib import sha256

from bige.dataset import reference_path
from bige.files import atomic_write, to_json
from bige.metrics import evaluate, load_reference


def nine_digits(scores: dict) -> dict:
    return {k: None if v is None else float(f"{v:.9g}") for k, v in scores.items()}


def reference_scores() -> dict:
    "Means, standard deviations and metrics of the set; numbers of nine digits."
    motions = load_reference(split="val")
    scores = evaluate(motions, motions)
    digest = sha256(reference_path().read_bytes()).hexdigest()
    return {"n": scores["n"], "sha256": digest, **{k: nine_digits(scores[k]) for k in ("mean", "sd", "set")}}


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__,
                            formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    path = reference_path().with_name("reference_scores.json")
    with atomic_write(path) as file:
        file.write(to_json(reference_scores()) + "\n")
    print(f"written to {path}")
