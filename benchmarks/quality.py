"""Tables 2 and 3 for participants held out of training, beside the targets of this project.

    python benchmarks/quality.py [s07.osim s10.osim] [-n 20] [--simulate FOLDER [--jobs 2] [--each 20]]

For each participant held out of training (s07 and s10 of UI-PRMD) n squats of the default request are
generated, on the participant's own model if it is given (`bige ik` writes it), else on the embedded one.
Rows: the reference set (160 recorded and tracked squats); each participant's own repetitions against all
others (the MoCap row); guided; the published procedure (cut to --iterations); no guidance. With --simulate
the guided squats are also simulated by tracking (20 CPU seconds each; a second call goes on where the first
stopped). Prints the tables and which targets are reached; writes nbs/results/quality.json and quality.csv."""

import argparse
import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import numpy as np

from bige.answers import Answer, Request, answer
from bige.guidance import Models, generate
from bige.metrics import evaluate, load_reference, mac, tables
from bige.files import atomic_write
from bige.motion import read_motion
from bige.skeleton import Skeleton

RESULTS = Path(__file__).resolve().parent.parent / "nbs" / "results"
WITHIN_15 = ("pelvis_tilt_deg", "asymmetry_deg", "angular_velocity_deg_s", "com_velocity_m_s",
             "com_acceleration_m_s2")


def people_of() -> np.ndarray:
    """Participant of each repetition of the reference set."""
    from bige.dataset import reference

    return reference().subjects.astype(str)


def mean(rows: list[dict], key: str) -> float:
    return float(np.mean([r["set"].get(key, r["mean"].get(key)) for r in rows]))


def targets(rows: dict) -> list[dict]:
    """Each target, what came out, and whether it is reached."""
    guided, reference, mocap = rows["guided"], rows["reference set"], rows["MoCap (own against the rest)"]
    out = [
        {
            "what": f"{k}: ratio to the reference set",
            "found": mean(guided, k) / mean(reference, k),
            "low": 0.85,
            "high": 1.15,
        }
        for k in WITHIN_15
    ]
    out += [
        {
            "what": "muscle constraint violation, surrogate",
            "found": mean(guided, "mac"),
            "low": 0,
            "high": 0.01,
        },
        {
            "what": "fidelity (MoCap row is the limit)",
            "found": mean(guided, "fidelity_w2"),
            "low": 0,
            "high": mean(mocap, "fidelity_w2"),
        },
        {
            "what": "entropy minus the reference's",
            "found": mean(guided, "diversity_entropy") - mean(reference, "diversity_entropy"),
            "low": -0.03,
            "high": 0.03,
        },
    ]
    out += [
        {"what": k, "found": mean(guided, k), "low": 0, "high": high}
        for k, high in (("sliding_m_s", 0.1), ("penetration_cm", 0.5), ("floating_cm", 0.5))
    ]
    return out


def simulated(folder: Path, people: dict, samples: dict[str, Answer], jobs: int, each: int) -> dict:
    """Muscle constraint violation of `each` tracked squats of each participant."""
    from bige.simulation import motion_file, simulate_files

    found = {}
    for name, model in people.items():
        samples[name].save(folder / name)
        files = sorted((folder / name).glob("sample_*.mot"))
        chosen = [files[i] for i in np.linspace(0, len(files) - 1, min(each, len(files))).round().astype(int)]
        records = simulate_files(
            chosen, folder / f"{name}_tracking", model, jobs=jobs, done=lambda trial, record, finished,
            total: print(f"{name}: {finished} of {total} {record['status']}", flush=True))
        found[name] = [
            mac(read_motion(motion_file(folder / f"{name}_tracking", trial)))
            for trial, r in records.items()
            if r["status"] == "Solve_Succeeded"
        ]
    return found


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("models", nargs="*", type=Path)
    p.add_argument("-n", type=int, default=20)
    p.add_argument("--iterations", type=int, default=120)
    p.add_argument("--simulate", type=Path)
    p.add_argument("--jobs", type=int, default=2)
    p.add_argument("--each", type=int, default=20, help="how many squats of each participant to simulate")
    args = p.parse_args()
    people = {m.stem: m for m in args.models} or {"s07": None, "s10": None}
    skeletons = {name: Skeleton.from_osim(m) if m else None for name, m in people.items()}
    reference, who, models = load_reference(), people_of(), Models.load()
    rows = {
        "reference set": [evaluate(reference, reference)],
        "MoCap (own against the rest)": [
            evaluate([r for r, w in zip(reference, who) if w == one],
                     [r for r, w in zip(reference, who) if w != one])
            for one in sorted(set(who))
        ],
    }
    made = {
        "guided": {
            name: answer(Request(n=args.n, seed=seed, model=model), models)
            for seed, (name, model) in enumerate(people.items())
        }
    }
    made |= {
        method: {
            name: generate(n=args.n, seed=seed, method=method, skeleton=skeleton, models=models,
                           iterations=args.iterations)
            for seed, (name, skeleton) in enumerate(skeletons.items())
        }
        for method in ("published", "vqvae")
    }
    rows |= {
        method: [evaluate(g.motions, reference, g.skeleton) for g in each.values()]
        for method, each in made.items()
    }
    shown = {
        k if k != "published" else f"published, {args.iterations} iterations": v for k, v in rows.items()
    }
    goals, notes = (
        targets(rows),
        {"people": list(people), "own_models": bool(args.models), "n": args.n, "request": "default"})
    print(tables(shown))
    write(shown, goals, notes)
    if args.simulate:
        tracked = simulated(args.simulate, people, made["guided"], args.jobs, args.each)
        goals.append(
            {
                "what": f"muscle constraint violation, tracking ({sum(map(len, tracked.values()))} squats)",
                "found": float(np.mean(sum(tracked.values(), []))),
                "low": 0,
                "high": 0.05,
            }
        )
        write(shown, goals, notes | {"tracked": tracked})
    for g in goals:
        word = "reached" if g["reached"] else "MISSED "
        print(f"{word} {g['what']}: {g['found']:.3f} (from {g['low']:.3g} to {g['high']:.3g})")


def write(shown: dict, goals: list[dict], notes: dict) -> None:
    """The results' files."""
    for g in goals:
        g["reached"] = bool(g["low"] <= g["found"] <= g["high"])
    with atomic_write(RESULTS / "quality.csv") as f:
        f.write(tables(shown, "csv"))
    with atomic_write(RESULTS / "quality.json") as f:
        f.write(json.dumps(notes | {"targets": goals}, indent=1) + "\n")


if __name__ == "__main__":
    main()
