"""Train everything that bige ships: python data_scripts/train_assets.py DATA.npz OUT_ASSETS_FOLDER

DATA.npz comes from `bige dataset`. Writes vqvae.safetensors, surrogate.safetensors, reference.npz and
provenance.json into the output folder, each whole or not at all, and the logs of the runs into runs/assets
(or --runs). About fifteen minutes on one core. Started again with --resume, it keeps finished runs and
continues an unfinished one from its last checkpoint. Weights learn from all participants in DATA.npz;
reference.npz holds only those of UI-PRMD, which is in the public domain."""
import argparse
import hashlib
import json
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bige.cli import explain
from bige.dataset import load_dataset, save_dataset, select
from bige.files import InputError, atomic_write
from bige.train_surrogate import SURROGATE_PLAN, train_surrogate
from bige.train_vqvae import VQVAE_PLAN, train_vqvae
from bige.files import write_json
from bige.training import progress_lines, run_record


def compact(data):
    """Rounded, so that it compresses: activations to 1/4096, coordinates to 1/131072 rad or m. Coarser
    coordinates would show in the derivatives: 1/4096 doubles the sliding speed of feet that stand still."""
    def grid(x, steps):
        return (np.round(x.astype(np.float64) * steps) / steps).astype(np.float32)
    return replace(data, kinematics=grid(data.kinematics, 2**17), activations=grid(data.activations, 2**12),
                   source="reference")


def public_domain(data):
    "The repetitions that may be passed on: those of UI-PRMD, by their trial names."
    kept = np.array([trial.startswith("m01_s") for trial in data.trials])
    return select(data, kept) if kept.any() else data


def install(source: Path, target: Path):
    with atomic_write(target, "wb") as file:
        file.write(source.read_bytes())


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("out")
    parser.add_argument("--runs", default="runs/assets",
                        help="folder for logs and checkpoints (default: runs/assets)")
    parser.add_argument("--resume", action="store_true", help="keep what an interrupted run has finished")
    parser.add_argument("--share", type=float, default=1.0,
                        help="share of the usual number of steps, for a rehearsal")
    a = parser.parse_args(arguments)
    torch.set_num_threads(1)
    out, runs, began = Path(a.out), Path(a.runs), time.perf_counter()
    try:
        if not 0 < a.share <= 10:
            raise InputError("--share", a.share, "a number above 0", "leave it out")
        data = load_dataset(a.data)
        if not a.resume:
            shutil.rmtree(runs, ignore_errors=True)
        for folder in (out, runs):
            folder.mkdir(parents=True, exist_ok=True)

        def shorter(plan):
            return replace(plan, steps=max(20, round(plan.steps * a.share)))

        def run(name, train, plan, **more):
            if a.resume and (runs / name / "run.json").exists():
                return json.loads((runs / name / "run.json").read_text())
            with progress_lines():
                return train(
                    data, runs / name, shorter(plan),
                    resume=a.resume and (name == "surrogate" or (runs / name / "plan.json").exists()), **more)
        print("surrogate: cross-validation in four folds, then the training participants", flush=True)
        surrogate = run("surrogate", train_surrogate, SURROGATE_PLAN, folds=4)
        print(f"vqvae ({time.perf_counter() - began:.0f} s so far)", flush=True)
        vqvae = run("vqvae", train_vqvae, VQVAE_PLAN)
        for name in ("surrogate", "vqvae"):
            install(runs / name / f"{name}.safetensors", out / f"{name}.safetensors")
        shipped = public_domain(data)
        save_dataset(compact(shipped), out / "reference.npz")
        participants = {s: sorted(set(data.subjects[data.split == s].tolist())) for s in ("train", "val")}
        others = (
            json.loads((out / "provenance.json").read_text()) if (out / "provenance.json").exists() else {}
        )  # what other scripts say of other assets
        record = run_record(
            command="python data_scripts/train_assets.py DATA.npz OUT",
            share_of_steps=a.share,
            data={
                "repetitions": len(data),
                "in_reference": len(shipped),
                "participants": participants,
                "sha256": hashlib.sha256(Path(a.data).read_bytes()).hexdigest(),
                "processing": "our inverse kinematics and tracking simulations, then bige dataset",
                "source": "UI-PRMD deep squats (m01), optical markers, Vakanski et al. 2018; "
                          "the networks also saw OpenCap and OpenSim example squats",
                "licence": "PDDL 1.0 (public domain) for all that reference.npz holds",
            },
            files=others.get("files", {})
            | {
                p: hashlib.sha256((out / p).read_bytes()).hexdigest()
                for p in ("vqvae.safetensors", "surrogate.safetensors", "reference.npz")
            },
            surrogate=surrogate,
            vqvae=vqvae,
        )
        write_json(out / "provenance.json", others | record)
    except (InputError, OSError) as error:
        print(explain(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; continue with --resume", file=sys.stderr)
        return 130
    scores = surrogate["cross_validation"]["r2"]
    print(
        "R2, cross-validated:",
        " ".join(
            f"{m} {scores[m]:.2f}"
            for m in ("soleus_l", "soleus_r", "vasint_l", "vasint_r", "vaslat_l", "vaslat_r", "vasmed_l",
                      "vasmed_r")
        ),
    )
    print("VQ-VAE, validation participants:",
          " ".join(f"{k} {v:.2f}" for k, v in vqvae["scores"].items() if isinstance(v, float)))
    print(f"{time.perf_counter() - began:.0f} s in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
