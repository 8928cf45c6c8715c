"""Inverse kinematics of all shared recordings, as `bige ik` does it, and a table of the marker errors.

    python data_scripts/inverse_kinematics_table.py DATA_FOLDER OUT [--jobs 2]

Motions and models of UI-PRMD's deep squats (m01), hurdle steps (m02), inline lunges (m03), side lunges (m04)
and sit-to-stands (m05) go to OUT/m01 … OUT/m05, those of labval_s4 to OUT/labval_s4_squat and
OUT/labval_s4_sts, with one line a trial in OUT/errors.csv and one a participant in
OUT/inverse_kinematics.csv, which chapter 07 shows from nbs/results. A run that was stopped continues with the
first person that is not done.
"""
import argparse
import csv
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np

from bige.files import atomic_write
from bige.inverse_kinematics import ik_files

UI_PRMD = {
    "m02": "hurdle_step_m02_vicon_markers_0.1mm_int16_100Hz.npz",
    "m03": "lunges_sts_vicon_markers_0.1mm_int16_100Hz.npz",
    "m04": "lunges_sts_vicon_markers_0.1mm_int16_100Hz.npz",
    "m05": "lunges_sts_vicon_markers_0.1mm_int16_100Hz.npz",
    "m01": "squat_m01_vicon_markers_mm_100Hz.npz",
}
LABORATORY = {"squat": ("squat/squats1", "squat_asym/squatsAsym1"),
              "sts": ("sts/STS1", "sts/STSAsym1", "sts/STSweakLegs1")}
COLUMNS = ("movement", "person", "trial", "frames", "frames_lost", "rms_mm", "max_mm", "worst_marker",
           "worst_marker_mm", "missing", "left_out", "doubted", "body_scale", "ms_per_frame")
SUMMARY = ("movement", "person", "trials", "frames", "frames_lost", "rms_mm", "max_mm", "worst_trial",
           "trials_with_missing", "missing", "doubted", "body_scale", "ms_per_frame")


def of_movement(archive: Path, movement: str, out: Path) -> Path:
    "The trials of one movement as an archive of its own."
    with np.load(archive) as source:
        names = [n for n in source.files if n == "marker_names" or n.startswith(movement)]
        arrays = {name: source[name] for name in names}
    with atomic_write(out, "wb") as file:
        np.savez(file, **arrays)
    return out


def rows(movement: str, report: dict):
    "What a report of `ik_files` says, a row (COLUMNS) a trial."
    for name, trial in report["trials"].items():
        person = report["persons"][trial["person"]]
        marker, worst_mm = trial["worst_marker"] or ("", None)
        outliers = [f"{m} {a}-{b}" for m, runs in trial["outliers"].items() for a, b in runs]
        yield (movement, trial["person"], name, trial["frames"], trial["frames_lost"], trial["rms_mm"],
               trial["max_mm"], marker, worst_mm, " ".join(trial["dropouts"]), ", ".join(outliers),
               " ".join(person["doubted_markers"]), person["body_scale"], person["ms_per_frame"])


def main(data: Path, out: Path, jobs: int) -> None:
    """Fit every movement, and write OUT/errors.csv after each."""
    out.mkdir(parents=True, exist_ok=True)
    lab = data / "labval_s4_62.6kg"
    runs = [(m, lambda m=m, f=f: [of_movement(data / "ui_prmd" / f, m, out / f"{m}.npz")], None)
            for m, f in UI_PRMD.items()]
    runs += [(f"labval_s4_{name}", lambda t=trials: [lab / f"{trial}.trc" for trial in t],
              lab / "squat/manually_scaled.osim") for name, trials in LABORATORY.items()]
    table = []
    for movement, files, model in runs:
        report = ik_files(files(), out / movement, model, jobs, partial(print, movement, flush=True))
        table += rows(movement, report)
        write_table(out / "errors.csv", COLUMNS, table)
        write_table(out / "inverse_kinematics.csv", SUMMARY, summaries(table))


def write_table(path: Path, columns: tuple, table: list[tuple]) -> None:
    """Write a CSV file."""
    with atomic_write(path) as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *table])


def summaries(table: list[tuple]) -> list[tuple]:
    "A row (SUMMARY) a movement and person."
    found = []
    for (movement, person), trials in groupby(table, key=lambda row: row[:2]):
        trials = [dict(zip(COLUMNS, row)) for row in trials]
        worst = max(trials, key=lambda t: t["max_mm"])
        found.append((movement, person, len(trials), sum(t["frames"] for t in trials),
                      sum(t["frames_lost"] for t in trials), round(np.mean([t["rms_mm"] for t in trials]), 2),
                      worst["max_mm"], worst["trial"], sum(bool(t["missing"]) for t in trials),
                      " ".join(sorted({m for t in trials for m in t["missing"].split()})),
                      trials[0]["doubted"], trials[0]["body_scale"], trials[0]["ms_per_frame"]))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the shared data")
    parser.add_argument("out", type=Path, help="folder of the results")
    parser.add_argument("--jobs", type=int, default=1, help="people at a time")
    args = parser.parse_args()
    main(args.data, args.out, args.jobs)
