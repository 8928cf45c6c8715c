"""Train everything that bige ships: python data_scripts/train_assets.py OUT_ASSETS [--data FILE ...]

Packs the simulated repetitions of every exercise (OUT_ASSETS/simulations_EXERCISE.npz, else those of the
package) into reference_EXERCISE.npz where that is not there yet, reads them back, and trains on what was
read, so that what is shipped is what the networks learned from. --recorded EXERCISE=FOLDER,... names what
`bige ik` made of the same trials: the surrogate then learns from recorded motions and each participant's
body, too (chapter 24). Writes vqvae.safetensors, surrogate.safetensors and provenance.json beside the sets,
each whole or not at all, and the logs of the runs into runs/assets (or --runs). About an hour on one core.
Started again with --resume, it keeps finished runs and continues an unfinished one from its last checkpoint.
With --data the networks learn from the participants of data sets of `bige dataset` too; these repetitions are
not written to OUT_ASSETS."""
import argparse
import hashlib
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from bige.cli import explain
from bige.dataset import (Dataset, concatenate, digest_of, from_simulations, load_dataset, pack_dataset,
                          unpack_dataset)
from bige.exercises import shipped_exercises
from bige.files import InputError, atomic_write, write_json
from bige.surrogate import TABLE_MUSCLES
from bige.train_surrogate import (SURROGATE_PLAN, Examples, examples_of, join, load_examples,
                                  train_surrogate)
from bige.train_vqvae import VQVAE_PLAN, train_vqvae
from bige.training import Plan, progress_lines, run_record


def packed(exercise: str, out: Path) -> Dataset:
    """The repetitions in `out`/reference_EXERCISE.npz, which is packed first where it is not there."""
    path, simulated = out / f"reference_{exercise}.npz", out / f"simulations_{exercise}.npz"
    if not path.exists():
        pack_dataset(from_simulations(simulated if simulated.exists() else exercise), path)
        print(f"{path.name}: packed, {path.stat().st_size / 1e6:.1f} MB", flush=True)
    return unpack_dataset(path)


def for_training(file: str) -> Dataset:
    """A data set of other participants, who are all for training."""
    data = load_dataset(file)
    return replace(data, split=np.full(len(data), "train"))


def to_learn_from(shipped: Iterable[Dataset], files: Iterable[str]) -> Dataset:
    """All that is shipped, and data sets of other participants."""
    return concatenate([*shipped, *map(for_training, files)])


def examples(shipped: Iterable[Dataset], files: Iterable[str], recorded: str | None) -> Examples:
    """What the surrogate learns from: all that the VQ-VAE does, but with the shipped repetitions as they were
    recorded where that is known."""
    if not recorded:
        return examples_of(to_learn_from(shipped, files))
    return join([load_examples(recorded), *(examples_of(for_training(file)) for file in files)])


def finished(folder: Path, name: str, plan: Plan, data: Dataset) -> dict | None:
    """The record of a run that is done; None without one. InputError for a run of another plan or data."""
    if not (folder / "run.json").exists() or not (folder / f"{name}.safetensors").exists():
        return None
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    asked = json.loads(json.dumps(asdict(plan) | of_whom_and_what(data)))
    found = record | record["plan"]
    for key in (k for k in asked if found.get(k) != asked[k]):
        raise InputError(folder / "run.json", f"a run with {key} {found.get(key)}", f"{key} {asked[key]}",
                         "leave out --resume to train again, or name another folder with --runs")
    return record


def of_whom_and_what(data: Dataset | Examples) -> dict:
    """Who is for training and who for validation, and the exercises, as the records of runs name them."""
    participants = {s: sorted(set(data.subjects[data.split == s].tolist())) for s in ("train", "val")}
    return {"participants": participants, "exercises": sorted(set(data.exercises.tolist()))}


def install(source: Path, target: Path) -> None:
    with atomic_write(target, "wb") as file:
        file.write(source.read_bytes())


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def json_in(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def about_set(exercise: str, data: Dataset, out: Path) -> dict:
    """What a packed set holds and where it comes from."""
    note = json_in(out / f"simulations_{exercise}.json")
    return {"repetitions": len(data), "participants": sorted(set(data.subjects.tolist())),
            "packed_from": f"simulations_{exercise}.npz",
            **{k: note[k] for k in ("source", "licence") if k in note}}


def write_provenance(out: Path, shipped: dict[str, Dataset], data: Dataset, a: argparse.Namespace,
                     **runs) -> None:
    """Where all of it comes from: provenance.json, which keeps what other scripts say of other assets."""
    before = json_in(out / "provenance.json")
    made = ["vqvae.safetensors", "surrogate.safetensors", *(f"reference_{name}.npz" for name in shipped)]
    others = [name for name in before.get("files", {}) if (out / name).exists()]
    record = run_record(
        command="python data_scripts/train_assets.py OUT" + " --data FILE" * len(a.data)
                + " --recorded EXERCISE=FOLDER,..." * bool(a.recorded),
        data={
            "repetitions": len(data),
            "in_reference": sum(map(len, shipped.values())),
            "exercises": dict(sorted(Counter(data.exercises.tolist()).items())),
            "participants": of_whom_and_what(data)["participants"],
            "digest": digest_of(data),
            "other_files": {Path(f).name: sha256_of(Path(f)) for f in a.data},
            "processing": "our inverse kinematics and tracking simulations, packed into reference_*.npz",
            "source": "UI-PRMD, optical markers, Vakanski et al. 2018",
            "licence": "PDDL 1.0 (public domain) for all that reference_*.npz hold",
        },
        files={name: sha256_of(out / name) for name in sorted({*others, *made})},
        **{f"reference_{name}": about_set(name, d, out) for name, d in shipped.items()},
        **runs,
    )
    write_json(out / "provenance.json", before | record)


def trained(a: argparse.Namespace) -> tuple[dict, dict]:
    """All that the script does; the records of the two runs."""
    out, runs, began = Path(a.out), Path(a.runs), time.perf_counter()
    if not 0 < a.share <= 10:
        raise InputError("--share", a.share, "a number above 0", "leave it out")
    for folder in (out, runs):
        folder.mkdir(parents=True, exist_ok=True)
    shipped = {name: packed(name, out) for name in shipped_exercises()}
    data = to_learn_from(shipped.values(), a.data)
    if not a.resume:
        shutil.rmtree(runs)

    def run(name, train, plan, learn_from, **more):
        plan, folder = replace(plan, steps=max(20, round(plan.steps * a.share))), runs / name
        print(f"{name} ({time.perf_counter() - began:.0f} s so far)", flush=True)
        record = finished(folder, name, plan, data) if a.resume else None
        if not record:
            begun = a.resume and (name == "surrogate" or (folder / "plan.json").exists())
            with progress_lines():
                record = train(learn_from(), folder, plan, resume=begun, **more)
        install(folder / f"{name}.safetensors", out / f"{name}.safetensors")
        return record
    vqvae = run("vqvae", train_vqvae, VQVAE_PLAN, lambda: data)
    surrogate = run("surrogate", train_surrogate, SURROGATE_PLAN,
                    lambda: examples(shipped.values(), a.data, a.recorded), folds=4)
    write_provenance(out, shipped, data, a, share_of_steps=a.share, surrogate=surrogate, vqvae=vqvae)
    print(f"{time.perf_counter() - began:.0f} s in all")
    return vqvae, surrogate


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", help="folder of assets; bige/assets when they shall be shipped")
    parser.add_argument("--data", nargs="+", default=[], metavar="FILE",
                        help="data sets of other participants to learn from too")
    parser.add_argument("--recorded", metavar="EXERCISE=FOLDER,...",
                        help="what bige ik made of the simulated trials of each exercise")
    parser.add_argument("--runs", default="runs/assets",
                        help="folder for logs and checkpoints (default: runs/assets)")
    parser.add_argument("--resume", action="store_true", help="keep what an interrupted run has finished")
    parser.add_argument("--share", type=float, default=1.0,
                        help="share of the usual number of steps, for a rehearsal")
    torch.set_num_threads(1)
    try:
        vqvae, surrogate = trained(parser.parse_args(arguments))
    except (InputError, OSError) as error:
        print(explain(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; continue with --resume", file=sys.stderr)
        return 130
    for exercise, scores in vqvae["scores_by_exercise"].items():
        print(f"VQ-VAE, validation participants, {exercise}:",
              " ".join(f"{k} {v:.2f}" for k, v in scores.items() if isinstance(v, float)))
    squats = [s["r2"] for fold in surrogate["cross_validation"]["folds"] for s in fold["scores"]
              if (s["exercise"], s["kinematics"]) == ("squat", "recorded")]
    print("R2 of recorded squats, cross-validated:",
          " ".join(f"{m} {np.mean([r2[m] for r2 in squats]):.2f}" for m in TABLE_MUSCLES))
    return 0


if __name__ == "__main__":
    sys.exit(main())
