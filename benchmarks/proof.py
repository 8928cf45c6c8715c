"""Requests that hold in simulation: what direct generation reaches, and what its proof delivers.

    python benchmarks/proof.py WORK [--part direct|proved|kinds|loads|band|advice] [-n 4] [--jobs 2]
                               [--seed 20260]

`direct`: squats for five peaks of vastus medialis (0.15 to 0.55, give or take 0.03), generated, then tracked.
`proved`: the same requests with `generate_verified`. `kinds`: requests of twenty kinds over five exercises
and four bodies, proved. `loads`: ceilings on joint loads, proved. `band`: does the predicted 90 % band of
the direct samples cover what simulation finds. `advice`: recorded repetitions of participants who took part
in no training, `-n` of each trial, advised to leave three quarters of the predicted peak of vastus medialis.
`-n` samples for each target or request. Simulations are kept in WORK, and what is there is not done again.
Each part prints its table and writes nbs/results/proof_PART.csv."""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from bige.advice import advise, own_candidate
from bige.answers import Request
from bige.constraints import BAND_ERROR, times_sd
from bige.constraint_files import default_constraints, override, parse_constraints
from bige.files import InputError
from bige.guidance import Models, bottom_angles, generate
from bige.motion import ACTIVATIONS, read_motion
from bige.segmentation import segment_file
from bige.simulation import read_records
from bige.skeleton import Skeleton
from bige.verification import Simulator, compare, generate_verified, verdict

TARGETS, WITHIN = (0.15, 0.25, 0.35, 0.45, 0.55), 0.03
RESULTS = Path(__file__).resolve().parent.parent / "nbs" / "results"
VASMED = [ACTIVATIONS.index(f"vasmed_{side}/activation") for side in "lr"]


def request(target: float):
    "The default request with another range of the peak of vastus medialis."
    return override(default_constraints(), f"muscle_range.low={target - WITHIN:.4g}",
                    f"muscle_range.high={target + WITHIN:.4g}")


def peaks(motion) -> np.ndarray:
    "Peaks (2,) of vastus medialis, left and right."
    return motion.activations()[:, VASMED].max(0)


def band_of(models: Models, motion) -> np.ndarray:
    "Predicted standard deviation (2,) of vastus medialis at its predicted peaks."
    import torch

    q = torch.tensor(motion.coordinates(), dtype=torch.float32)[None]
    with torch.no_grad():
        mean, sd = models.surrogate.with_uncertainty(q, torch.tensor([motion.rate_hz]).float(),
                                                     Skeleton.default(), None, models.exercise)
    at = mean[0][:, VASMED].argmax(0)
    return sd[0][at, VASMED].numpy()


def direct(args) -> pd.DataFrame:
    models, rows = Models.load(), []
    folder = args.work / "direct"
    folder.mkdir(parents=True, exist_ok=True)
    for k, target in enumerate(TARGETS):
        found = generate(request(target), args.n, args.seed + k, models=models)
        motions = [replace(m, source=f"t{round(100 * target)}_{i:02d}") for i, m in enumerate(found.motions)]
        simulated = Simulator(folder, "tracking", jobs=args.jobs).run(motions)
        for motion in motions:
            result = simulated[motion.source]
            row = compare(motion, result, found.constraints, found.skeleton, "tracking", allowed={})
            said, sd = peaks(motion), band_of(models, motion)
            seen = peaks(result.motion) if result.motion else np.full(2, np.nan)
            rows.append({"motion": motion.source, "target": target, "verdict": verdict(row),
                         **{f"surrogate_{s}": x for s, x in zip("lr", said)},
                         **{f"sd_{s}": x for s, x in zip("lr", sd)},
                         **{f"simulated_{s}": x for s, x in zip("lr", seen)},
                         "cpu_s": result.record.get("cpu_s")})
        print(f"direct, {target}: {len(motions)} simulated", flush=True)
    return pd.DataFrame(rows)


def direct_table(rows: pd.DataFrame) -> None:
    both = rows[["simulated_l", "simulated_r"]].mean(1)
    error = (both - rows["target"]).abs()
    shown = rows.assign(simulated=both, error=error, within_3=error <= 0.03, within_5=error <= 0.05)
    print(shown.groupby("target")[["simulated", "error", "within_3", "within_5"]].agg(
        {"simulated": ["mean", "std"], "error": "mean", "within_3": "sum", "within_5": "sum"}).round(3))
    rank, known = rows["target"].corr(both, method="spearman"), both.notna()
    slope = np.polyfit(rows["target"][known], both[known], 1)[0]
    print(f"{(error <= 0.05).sum()} of {len(rows)} within 0.05, {(error <= 0.03).sum()} within 0.03; "
          f"Spearman {rank:.3f}, slope {slope:.2f}")


def proved_rows(folder: Path, constraints, n: int, args, name: str, **options) -> list[dict]:
    "A line for each sample requested: proved ones, and those that were not."
    since = time.monotonic()
    try:
        done = generate_verified(constraints, n, args.seed, mode="tracking", folder=folder, jobs=args.jobs,
                                 **options)
        note, certificates = done.note, done.certificates
    except InputError as error:
        print(f"{name}: {error}", flush=True)
        note, certificates = {"simulations": len(read_records(folder)), "drawn": None}, ()
    took = time.monotonic() - since
    rows = [{"request": name, "sample": c["sample"], "verdict": c["verdict"], "simulations": c["simulations"],
             "of": c["request"][0]["constraint"], "first": c["attempts"][0]["verdict"],
             **{f"{when}_{k}": "; ".join(f"{x:.4g}" for x in row.get(k, {}).values())
                for when, row in (("first", c["attempts"][0]["request"][0]), ("last", c["request"][0]))
                for k in ("predicted", "simulated")},
             "residual_percent": c["dynamics"]["rms_force_percent"]} for c in certificates]
    rows += [{"request": name, "verdict": "not proved"} for _ in range(n - len(certificates))]
    share = {"drawn": note["drawn"], "all_simulations": note["simulations"], "seconds": round(took, 1)}
    print(f"{name}: {len(certificates)} of {n} proved, {note['simulations']} simulations, {took:.0f} s",
          flush=True)
    return [row | {k: v if i == 0 else None for k, v in share.items()} for i, row in enumerate(rows)]


def proved(args) -> pd.DataFrame:
    models, rows = Models.load(), []
    for k, target in enumerate(TARGETS):
        folder = args.work / "proved" / f"t{round(100 * target)}"
        rows += proved_rows(folder, request(target), args.n, args, f"{target}", models=models)
    return pd.DataFrame(rows)


KINDS = {  # exercise, body, request
    "squat depth": ("squat", 0, "{kind: knee_depth, low: 95, high: 100}"),
    "squat thigh angle": ("squat", 1, "{kind: thigh_angle, low: 80, high: 90}"),
    "squat tempo": ("squat", 2, "{kind: duration, low: 3.0, high: 3.4}"),
    "squat trunk lean": ("squat", 3, "{kind: trunk_lean, low: 25, high: 32}"),
    "squat vastus medialis": ("squat", 1, "{kind: muscle, muscle: vasmed, low: 0.25, high: 0.31}"),
    "squat gluteus maximus": ("squat", 0, "{kind: muscle, muscle: gluteus_maximus, low: 0.2, high: 0.3}"),
    "squat asymmetry": ("squat", 2, "{kind: asymmetry, high: 3}"),
    "squat valgus": ("squat", 3, "{kind: knee_valgus, high: 2}"),
    "squat pelvis tilt": ("squat", 0, "{kind: pelvis_tilt, low: -30, high: -20}"),
    "squat hip flexion": ("squat", 1,
                          "{kind: coordinate, coordinate: hip_flexion, low: 75 deg, high: 85 deg}"),
    "inline lunge depth": ("inline_lunge", 0, "{kind: knee_depth, low: 80, high: 100}"),
    "inline lunge tempo": ("inline_lunge", 1, "{kind: duration, low: 3, high: 4}"),
    "inline lunge quadriceps": ("inline_lunge", 2, "{kind: muscle, muscle: quadriceps, high: 0.3}"),
    "side lunge depth": ("side_lunge", 0,
                         "{kind: coordinate, coordinate: knee_angle_l, low: 70 deg, high: 90 deg}"),
    "side lunge tempo": ("side_lunge", 3, "{kind: duration, low: 2.5, high: 3.5}"),
    "hurdle step tempo": ("hurdle_step", 0, "{kind: duration, low: 2.5, high: 4}"),
    "hurdle step trunk": ("hurdle_step", 2, "{kind: trunk_lean, high: 20}"),
    "sit to stand tempo": ("sit_to_stand", 0, "{kind: duration, low: 1.5, high: 2.5}"),
    "sit to stand trunk": ("sit_to_stand", 1, "{kind: trunk_lean, low: 25, high: 40}"),
    "sit to stand vasti": ("sit_to_stand", 3, "{kind: muscle, muscle: vasti, low: 0.2, high: 0.4}"),
}


def bodies() -> list[Path | None]:
    "The default body, and three participants' models of the shared data."
    shared = Path(os.environ.get("BIGE_SHARED_DATA", "."))
    field = "LaiArnoldModified2017_poly_withArms_weldHand_scaled_adjustedMA_contacts.osim"
    names = (f"fieldstudy_s0_72kg/squat/{field}",
             "labval_s2_78.2kg/squat/LaiArnoldModified2017_contacts.osim", "kirsten_75.3kg/squat/final.osim")
    return [None, *(shared / name for name in names)]


def each_request(args, entries: dict, part: str) -> pd.DataFrame:
    rows, people, known = [], bodies(), {}
    for name, (exercise, body, text) in list(entries.items())[args.skip:]:
        if exercise not in known:
            known = {exercise: Models.load(exercise=exercise)}
        model = people[body]
        skeleton = Skeleton.from_osim(model) if model else None
        wanted = parse_constraints(f"constraints:\n  - {text}\n", exercise=exercise)
        folder = args.work / part / name.replace(" ", "_")
        rows += proved_rows(folder, wanted, args.n, args, name, model=model,
                            skeleton=skeleton, models=known[exercise])
    return pd.DataFrame(rows)


LOADS = {f"{joint} at most {high} BW": ("squat", 0, f"{{kind: joint_load, joint: {joint}, high: {high}}}")
         for joint, high in (("patellofemoral", 3.0), ("hip", 3.0), ("tibiofemoral", 3.5),
                             ("ankle", 2.0), ("lumbosacral", 2.5))}


ADVISED = {  # exercise, trial of the shared data, model beside it
    "field study": ("squat", "fieldstudy_s0_72kg/squat/Squats_0.mot",
                    "LaiArnoldModified2017_poly_withArms_weldHand_scaled_adjustedMA_contacts.osim"),
    "validation study, participant 2": ("squat", "labval_s2_78.2kg/squat/squats1_videoAndMocap.mot",
                                        "LaiArnoldModified2017_contacts.osim"),
    "validation study, participant 4": ("squat", "labval_s4_62.6kg/squat/squats1_manual_scaling_ik.mot",
                                        "manually_scaled.osim"),
    "participant 4, sit to stand": ("sit_to_stand", "labval_s4_62.6kg/sts/STS1_manual_scaling_ik.mot",
                                    "../squat/manually_scaled.osim"),
}
SHARE = 0.75  # of the predicted peak that the advice is to leave


def advised(name: str, repetition: Path, model: Path, exercise: str, args) -> dict:
    "Advice on one recorded repetition: verdict, simulations, and the changes at the turning point."
    own, models = read_motion(repetition), Models.load(exercise=exercise)
    peak = max(peaks(own_candidate(models, own, Skeleton.from_osim(model)).begun))
    text = f"constraints:\n  - {{kind: muscle, muscle: vasmed, high: {SHARE * peak:.3f}}}\n"
    wanted = Request(parse_constraints(text, exercise=exercise), 1, exercise=exercise, model=model,
                     like=repetition, verified="tracking")
    row = {"participant": name, "repetition": repetition.stem,
           "limit": round(float(SHARE * peak), 3)}
    try:
        found = advise(wanted, models, folder=args.work / "advice" / repetition.stem, jobs=args.jobs)
    except InputError as error:
        return row | {"verdict": str(error)}
    before, after = (bottom_angles(m, exercise) for m in (found.before, found.motions[0]))
    change = {k: round((after[f"{k}_l"] + after[f"{k}_r"] - before[f"{k}_l"] - before[f"{k}_r"]) / 2, 1)
              for k in ("hip_flexion", "knee_angle", "ankle_angle")}
    change |= {k: round(after[k] - before[k], 1) for k in ("pelvis_tilt", "lumbar_extension")}
    effort = max(peaks(found.before)), max(peaks(found.motions[0]))
    return row | {"before": effort[0], "after": effort[1], "verdict": found.certificates[0]["verdict"],
                  "simulations": found.verified["simulations"]} | change


def advice(args) -> pd.DataFrame:
    shared, rows = Path(os.environ["BIGE_SHARED_DATA"]), []
    for name, (exercise, trial, model) in ADVISED.items():
        path = shared / trial
        cut = args.work / "advice" / path.stem
        found = segment_file(path, cut, exercise=exercise, force=True)
        for k in range(min(args.n, len(found.segments))):
            file = cut / f"{path.stem}_rep{k + 1}.mot"
            rows.append(advised(name, file, path.parent / model, exercise, args))
            print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def advice_table(rows: pd.DataFrame) -> None:
    "How many were proved, and how far the advice on repetitions of one participant differs."
    proved = rows[rows["verdict"] == "proved"]
    angles = ["hip_flexion", "knee_angle", "ankle_angle", "pelvis_tilt", "lumbar_extension"]
    if proved.empty:
        return print(f"none of {len(rows)} proved")
    apart = proved.groupby("participant")[angles].agg(lambda x: x.max() - x.min())
    print(f"{len(proved)} of {len(rows)} proved, {proved['simulations'].mean():.1f} simulations each")
    print("largest difference between repetitions (°):", apart.round(1).to_string(), sep="\n")


def band(args) -> pd.DataFrame:
    rows = pd.read_csv(RESULTS / "proof_direct.csv")
    keys, short = ("surrogate", "sd", "simulated"), ["mean", "sd", "seen"]
    sides = [rows[[f"{k}_{s}" for k in keys]].set_axis(short, axis=1) for s in "lr"]
    both = pd.concat(sides).dropna()
    least, share = BAND_ERROR["a"]
    both["half"] = times_sd() * np.hypot(least, share * both["sd"])
    both["covered"] = (both["seen"] - both["mean"]).abs() <= both["half"]
    print(f"90 % band: {both['covered'].mean():.0%} of {len(both)} peaks within")
    return both


PARTS = {"advice": advice, "direct": direct, "proved": proved,
         "kinds": lambda a: each_request(a, KINDS, "kinds"),
         "loads": lambda a: each_request(a, LOADS, "loads"), "band": band}


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("work", type=Path)
    p.add_argument("--part", choices=PARTS, default="proved")
    p.add_argument("-n", type=int, default=4)
    p.add_argument("--jobs", type=int, default=2)
    p.add_argument("--seed", type=int, default=20260)
    p.add_argument("--skip", type=int, default=0, help="leave out so many requests at the beginning")
    args = p.parse_args()
    rows = PARTS[args.part](args)
    rows.round(4).to_csv(RESULTS / f"proof_{args.part}.csv", index=False)
    if args.part == "direct":
        direct_table(rows)
    elif args.part == "advice":
        advice_table(rows)
    elif args.part != "band":
        done = rows[rows["verdict"] == "proved"]
        total = rows["all_simulations"].sum()
        print(rows.groupby("request", sort=False)[["simulations"]].agg(["count", "mean"]).round(2))
        print(f"{len(done)} of {len(rows)} proved; {total:.0f} simulations, "
              f"{total / max(len(done), 1):.2f} for each proved sample; "
              f"{rows['seconds'].sum() / max(len(done), 1):.0f} s for each")


if __name__ == "__main__":
    main()
