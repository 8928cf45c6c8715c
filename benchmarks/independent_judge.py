"""OpenSim's own StaticOptimization on the motions and ground forces of this program, beside its activations.

    python benchmarks/independent_judge.py --data ../shared/data [--work out/judge] [--ik FOLDER]

Three repetitions of each exercise: the first correct repetition of the participants s01, s05 and s09 of
UI-PRMD. Each is tracked and statically optimised by `bige simulate` on the participant's scaled model; then
OpenSim's AnalyzeTool runs StaticOptimization on the same model, with the tracked motion and with the tracked
ground and seat forces as external loads. `--ik` names a folder with what `bige ik` made of each movement, in
m01 to m05 (default: WORK/ik, made when it is not there). Whatever is finished in WORK is not computed again.
Writes nbs/results/judge_*.csv."""

import argparse
import os
import subprocess
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd

from bige.cli import main as bige
from bige.dynamics import TORQUE_ACTUATORS, filtered_kinematics
from bige.files import atomic_write
from bige.motion import ACTIVATIONS, COORDINATES, MUSCLES, Motion, read_motion
from bige.opensim_process import run_opensim
from bige.simulation import motion_file, read_records, result_files
from bige.static_optimisation import LEG_RESERVES
from bige.validation import curve_agreement

RESULTS = Path(__file__).resolve().parent.parent / "nbs" / "results"
SCRIPTS = Path(__file__).resolve().parent.parent / "data_scripts"
EVERY, CUTOFF_HZ = 4, 6.0  # frames; of the kinematics that OpenSim differentiates
PEOPLE = ("s01", "s05", "s09")
LUNGES = "lunges_sts_vicon_markers_0.1mm_int16_100Hz.npz"
# exercise: UI-PRMD's movement, archive
MOVEMENTS = {"squat": ("m01", "squat_m01_vicon_markers_mm_100Hz.npz"), "inline_lunge": ("m03", LUNGES),
             "side_lunge": ("m04", LUNGES),
             "hurdle_step": ("m02", "hurdle_step_m02_vicon_markers_0.1mm_int16_100Hz.npz"),
             "sit_to_stand": ("m05", LUNGES)}


def run(*arguments: object) -> None:
    """One verb of `bige`; 2 says that a result looks wrong, and its record says why."""
    print("bige", *arguments, flush=True)
    if bige([str(a) for a in arguments]) not in (0, 2):
        raise SystemExit(f"bige {arguments[0]} failed")


def fitted(data: Path, exercise: str, folder: Path) -> Path:
    """The folder with a movement's joint angles and scaled models, made from its markers if need be."""
    movement, archive = MOVEMENTS[exercise]
    if not (folder / movement / "ik.json").exists():
        markers = folder / f"{movement}.npz"
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, SCRIPTS / "some_trials.py", data / "ui_prmd" / archive, "all",
                        markers, f"{movement}_*"], check=True)
        run("ik", markers, "--model", data / "models" / "LaiUhlrich2022_Vicon_39.osim", "--out",
            folder / movement)
    return folder / movement


def simulated(ik: Path, exercise: str, person: str, work: Path) -> tuple[str, Path]:
    """Name of a person's first correct repetition and the model, after both modes have simulated it."""
    movement, model = MOVEMENTS[exercise][0], ik / f"{person}.osim"
    trial = min(ik.glob(f"{movement}_{person}_e*_cor.mot"))
    if exercise == "sit_to_stand":  # recorded with sitting down first
        cut = work / "segments" / trial.stem
        if not (cut / "segments.json").exists():
            run("segment", trial, "--exercise", exercise, "--out", cut)
        trial = min(cut.glob("*.mot"))
    for mode in ("tracking", "qp"):
        run("simulate", trial, "--model", model, "--exercise", exercise, "--mode", mode, "--jobs", 1,
            "--out", work / mode / trial.stem)
    return trial.stem, model


# ---- OpenSim

def opensim_static_optimisation(model_path: str, motion_path: str, loads_path: str, out: str,
                                how: dict) -> None:
    """(runs inside OpenSim) AnalyzeTool with StaticOptimization, and inverse dynamics of the same motion and
    loads; writes OUT/judge_StaticOptimization_activation.sto and OUT/moments.sto."""
    import opensim as osim

    osim.Logger.setLevelString("error")
    model = osim.Model(model_path)
    for name, (size, most) in how["actuators"].items():
        actuator = osim.CoordinateActuator(name)
        actuator.setName("torque_" + name)
        actuator.setOptimalForce(size)
        actuator.setMinControl(-most / size)
        actuator.setMaxControl(most / size)
        model.addForce(actuator)
    muscles = model.getMuscles()
    for i in range(muscles.getSize()):
        muscle = muscles.get(i)
        muscle.setTendonSlackLength(muscle.getTendonSlackLength() * how["stretch"])
    model.finalizeConnections()
    model.printToXML(out + "/judged.osim")

    loads = osim.ExternalLoads()
    loads.setDataFileName(loads_path)
    for body, place in how["contacts"].items():
        force = osim.ExternalForce()
        force.setName(place)
        force.set_applied_to_body(body)
        force.set_force_expressed_in_body("ground")
        force.set_point_expressed_in_body("ground")
        force.set_force_identifier("ground_force_" + place + "_v")
        force.set_point_identifier("ground_force_" + place + "_p")
        force.set_torque_identifier("ground_torque_" + place + "_")
        loads.cloneAndAppend(force)
    loads.printToXML(out + "/loads.xml")

    static = osim.StaticOptimization()
    static.setName("StaticOptimization")
    static.setStepInterval(how["every"])
    static.setUseModelForceSet(True)
    static.setUseMusclePhysiology(how["physiology"])
    static.setActivationExponent(2)
    static.setConvergenceCriterion(1e-4)
    static.setMaxIterations(200)
    tool = osim.AnalyzeTool()
    tool.setName("judge")
    tool.setModelFilename(out + "/judged.osim")
    tool.setCoordinatesFileName(motion_path)
    tool.setExternalLoadsFileName(out + "/loads.xml")
    tool.setLowpassCutoffFrequency(how["cutoff_hz"])
    tool.setInitialTime(how["span"][0])
    tool.setFinalTime(how["span"][1])
    tool.setResultsDir(out)
    tool.setSolveForEquilibrium(False)
    tool.setReplaceForceSet(False)
    tool.updAnalysisSet().cloneAndAppend(static)
    tool.printToXML(out + "/analyze.xml")
    if not osim.AnalyzeTool(out + "/analyze.xml", True).run():
        raise RuntimeError("AnalyzeTool failed")

    inverse = osim.InverseDynamicsTool()
    inverse.setModelFileName(out + "/judged.osim")
    inverse.setCoordinatesFileName(motion_path)
    inverse.setExternalLoadsFileName(out + "/loads.xml")
    inverse.setLowpassCutoffFrequency(how["cutoff_hz"])
    inverse.setStartTime(how["span"][0])
    inverse.setEndTime(how["span"][1])
    without = osim.ArrayStr()
    without.append("Muscles")
    inverse.setExcludedForces(without)
    inverse.setResultsDir(out)
    inverse.setOutputGenForceFileName("moments.sto")
    if not inverse.run():
        raise RuntimeError("InverseDynamicsTool failed")


# ---- ours to OpenSim and back

RESERVE = 1.0  # N·m (N) at control 1: dear, so that muscles come first
RESIDUAL = 100.0  # N or N·m at control 1, at the pelvis, where no muscle helps: its price decides nothing
FREE = 1000.0  # N·m at control 1: what our simulation leaves free or almost free
HIP_ROTATION = 30.0  # N·m at most, as in the tracking problem


def actuators() -> dict[str, tuple[float, float]]:
    """coordinate -> N·m (N) at control 1, and at most."""
    table = {name: (RESIDUAL, 1e6) for name in COORDINATES[:6]}
    table |= {name: (torque, 1e6) for name, torque in TORQUE_ACTUATORS.items()}
    for name in LEG_RESERVES:
        table[name] = (FREE, 1e6) if "mtp" in name else (RESERVE, 1e6)
        table[name] = (FREE, HIP_ROTATION) if "hip_rotation" in name else table[name]
    return table


def read_sto(path: Path) -> pd.DataFrame:
    """A table of OpenSim."""
    text = path.read_text()
    skip = text[: text.index("endheader")].count("\n") + 1
    return pd.read_csv(path, sep=r"\s+", skiprows=skip)


def write_coordinates(motion: Motion, path: Path) -> None:
    """The 33 coordinates, and the patellae's, as OpenSim reads them (rad, m)."""
    table = pd.DataFrame(motion.coordinates(), columns=COORDINATES)
    table.insert(0, "time", motion.time)
    for side in "lr":  # coupled to the knee one to one
        table[f"knee_angle_{side}_beta"] = table[f"knee_angle_{side}"]
    head = f"Coordinates\nversion=1\nnRows={len(table)}\nnColumns={table.shape[1]}\ninDegrees=no\nendheader\n"
    path.write_text(head + table.to_csv(sep="\t", index=False, float_format="%.9f"))


def judged(model: Path, motion: Motion, loads: Path, out: Path, stretch: float = 1.0,
           physiology: bool = True) -> tuple[pd.DataFrame, pd.DataFrame]:
    """OpenSim's activations (and controls of the actuators), and its moments, of a motion and its external
    loads."""
    if not (out / "moments.sto").exists():
        out.mkdir(parents=True, exist_ok=True)
        write_coordinates(motion, out / "coordinates.sto")
        contacts = {"calcn_r": "r", "calcn_l": "l"}
        contacts |= {"pelvis": "seat"} if "ground_force_seat_vy" in read_motion(loads).names else {}
        how = {"actuators": actuators(), "stretch": stretch, "physiology": physiology, "every": EVERY,
               "contacts": contacts, "cutoff_hz": CUTOFF_HZ,
               "span": (float(motion.time[0]), float(motion.time[-1]))}
        paths = (model, out / "coordinates.sto", loads, out)
        run_opensim(opensim_static_optimisation, *(str(p.resolve()) for p in paths), how)
    return read_sto(out / "judge_StaticOptimization_activation.sto"), read_sto(out / "moments.sto")


# ---- what is compared

GROUPS = {"vasti": ("vasint", "vaslat", "vasmed"), "rectus femoris": ("recfem",),
          "gluteus maximus": ("glmax1", "glmax2", "glmax3"),
          "gluteus medius, minimus": ("glmed1", "glmed2", "glmed3", "glmin1", "glmin2", "glmin3"),
          "hamstrings": ("bflh", "semimem", "semiten"), "biceps femoris short head": ("bfsh",),
          "adductors": ("addbrev", "addlong", "addmagDist", "addmagIsch", "addmagMid", "addmagProx"),
          "gastrocnemius": ("gaslat", "gasmed"), "soleus": ("soleus",), "iliopsoas": ("iliacus", "psoas"),
          "ankle dorsiflexors": ("tibant", "edl", "ehl"),
          "peronei, tibialis posterior, toe flexors": ("perbrev", "perlong", "tibpost", "fdl", "fhl"),
          "gracilis, sartorius, tensor, piriformis": ("grac", "sart", "tfl", "piri")}
assert sorted(sum(GROUPS.values(), ())) == sorted(MUSCLES)
SHOWN = ("vasti", "gluteus maximus", "gluteus medius, minimus", "hamstrings", "adductors", "soleus")
EDGE_S = 0.1  # left out at both ends, where a low-pass filter and a spline have nothing to lean on
# how the judge is changed to see what a difference depends on; with the first participant only
VARIANTS = {"tendons 2 % longer": {"stretch": 1.02}, "no force-length-velocity": {"physiology": False},
            "recorded motion": {}}


def group_curves(table: pd.DataFrame, strengths: dict, side: str) -> np.ndarray:
    """Activation (T, groups) of each group of one leg: mean of its muscles, weighted by maximal isometric
    force. `table` has a column a muscle, `strengths` its force (N)."""
    columns = []
    for muscles in GROUPS.values():
        names = [f"{m}_{side}" for m in muscles]
        columns.append(np.average(table[names], axis=1, weights=[strengths[n] for n in names]))
    return np.stack(columns, 1)


def at_times(folder: Path, trial: str, time: np.ndarray) -> pd.DataFrame:
    """Our activations at `time` (s), a column a muscle."""
    motion = read_motion(motion_file(folder, trial))
    return pd.DataFrame({name.split("/")[0]: np.interp(time, motion.time, column)
                         for name, column in zip(ACTIVATIONS, motion.activations().T)})


def strengths_of(model: Path) -> dict[str, float]:
    """Maximal isometric force (N) of each muscle in a model file."""
    muscles = ElementTree.parse(model).iter("Millard2012EquilibriumMuscle")
    return {m.get("name"): float(m.findtext("max_isometric_force")) for m in muscles}


def figures(answer: pd.DataFrame, moments: pd.DataFrame, kinetics: Motion, weight: float) -> dict:
    """What closes and what does not: residuals at the pelvis, reserves, and OpenSim's moments beside
    ours."""
    sizes = {name: size for name, (size, _) in actuators().items()}
    used = {name: answer[f"torque_{name}"].to_numpy() * size for name, size in sizes.items()}

    def length(names):
        return np.sqrt(np.mean(sum(used[n] ** 2 for n in names)))
    legs = [n for n in LEG_RESERVES if not n.startswith(("hip_rotation", "mtp"))]
    off, largest = {}, 0.0
    inner = (moments.time > moments.time.iloc[0] + EDGE_S) & (moments.time < moments.time.iloc[-1] - EDGE_S)
    for name in legs:
        ours = np.interp(moments.time, kinetics.time, kinetics[f"{name}_moment"])
        off[name] = float(np.sqrt(((moments[f"{name}_moment"] - ours)[inner] ** 2).mean()))
        largest = max(largest, float(np.abs(ours).max()))
    return {"residual_force_bw": length(COORDINATES[3:6]) / weight,
            "residual_moment_n_m": length(COORDINATES[:3]),
            "leg_reserve_n_m": max(np.abs(used[n]).max() for n in legs),
            "hip_rotation_reserve_n_m": max(np.abs(used[f"hip_rotation_{s}"]).max() for s in "lr"),
            "moment_off_n_m": max(off.values()), "moment_peak_n_m": largest}


def agreement(ours: np.ndarray, theirs: np.ndarray) -> dict:
    """r, RMSE and bias of two curves, and the peak of each."""
    return curve_agreement(ours, theirs) | {"peak": ours.max(), "peak, OpenSim": theirs.max()}


def inside(answer: pd.DataFrame) -> pd.DataFrame:
    """OpenSim's rows without both ends."""
    time = answer["time"]
    return answer[(time > time.iloc[0] + EDGE_S) & (time < time.iloc[-1] - EDGE_S)].reset_index(drop=True)


def judge(trial: str, model: Path, work: Path,
          variant: str | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """OpenSim's activations and moments of a tracked repetition, perhaps in a changed way."""
    folder = work / "tracking" / trial
    motion = read_motion(motion_file(folder, trial))
    if variant == "recorded motion":
        cutoff = read_records(folder)[trial]["settings"]["cutoff_hz"]
        source = work / "segments" / trial.rsplit("_rep", 1)[0] if "_rep" in trial else model.parent
        recorded = read_motion(source / f"{trial}.mot")
        motion = Motion.from_arrays(recorded.time, filtered_kinematics(recorded, cutoff)[0])
    loads = result_files(folder, trial)[1]
    name = "plain" if variant is None else variant.replace(" ", "_").replace("%", "percent")
    return judged(model, motion, loads, work / "opensim" / trial / name, **VARIANTS.get(variant, {}))


def compare(exercise: str, trials: list[tuple[str, Path]], work: Path) -> dict[str, list[dict]]:
    """Rows of the four tables for one exercise."""
    rows = {"repetitions": [], "groups": [], "curves": [], "variants": []}
    stacks, means = {}, []
    for n, (trial, model) in enumerate(trials):
        record, strengths = read_records(work / "tracking" / trial)[trial], strengths_of(model)
        kinetics = read_motion(result_files(work / "tracking" / trial, trial)[2])
        answer, moments = judge(trial, model, work)
        answer = inside(answer)
        time, weight = answer["time"].to_numpy(), record["body_weight_n"]
        sets = {"OpenSim": answer} | {mode: at_times(work / mode / trial, trial, time)
                                      for mode in ("tracking", "qp")}
        curves = {name: {s: group_curves(table, strengths, s) for s in "lr"} for name, table in sets.items()}
        ground = read_motion(result_files(work / "tracking" / trial, trial)[1])
        leg = max("lr", key=lambda s: ground[f"ground_force_{s}_vy"].mean())
        both = {name: np.vstack([c["l"], c["r"]]) for name, c in curves.items()}
        every = {name: table[list(strengths)].to_numpy().ravel() for name, table in sets.items()}
        row = {"exercise": exercise, "trial": trial, "status": record["status"], "frames": len(time)}
        for mode in ("tracking", "qp"):
            one = curve_agreement(every[mode], every["OpenSim"])
            row |= {f"r, {mode}": one["r"], f"RMSE, {mode}": one["RMSE"]}
        rows["repetitions"].append(row | figures(answer, moments, kinetics, weight))
        stacks = {name: [*stacks.get(name, []), table] for name, table in both.items()}
        percent = np.linspace(0, 100, 51)
        share = 100 * (time - time[0]) / (time[-1] - time[0])
        means.append({name: np.stack([np.interp(percent, share, c) for c in own[leg].T], 1)
                      for name, own in curves.items()})
        if n == 0:
            for variant in (None, *VARIANTS):
                changed = answer if variant is None else inside(judge(trial, model, work, variant)[0])
                theirs = np.vstack([group_curves(changed, strengths, s) for s in "lr"])
                ours = at_times(work / "tracking" / trial, trial, changed["time"].to_numpy())
                ours = np.vstack([group_curves(ours, strengths, s) for s in "lr"])
                for g, group in enumerate(GROUPS):
                    rows["variants"].append({"exercise": exercise, "judge": variant or "as it is",
                                             "group": group, **agreement(ours[:, g], theirs[:, g])})
    stacked = {name: np.vstack(tables) for name, tables in stacks.items()}
    for mode in ("tracking", "qp"):
        for g, group in enumerate(GROUPS):
            rows["groups"].append({"exercise": exercise, "mode": mode, "group": group,
                                   **agreement(stacked[mode][:, g], stacked["OpenSim"][:, g])})
    for name in ("OpenSim", "tracking", "qp"):
        mean = np.mean([m[name] for m in means], 0)
        for g, group in enumerate(GROUPS):
            if group in SHOWN:
                rows["curves"] += [{"exercise": exercise, "of": name, "group": group, "percent": p,
                                    "activation": a} for p, a in zip(np.linspace(0, 100, 51), mean[:, g])]
    return rows


def main(data: Path, work: Path, ik: Path) -> None:
    """Compute what is missing, and write the tables."""
    tables = {"repetitions": [], "groups": [], "curves": [], "variants": []}
    for exercise in MOVEMENTS:
        folder = fitted(data, exercise, ik)
        trials = [simulated(folder, exercise, person, work) for person in PEOPLE]
        for name, rows in compare(exercise, trials, work).items():
            tables[name] += rows
    for name, rows in tables.items():
        with atomic_write(RESULTS / f"judge_{name}.csv") as file:
            pd.DataFrame(rows).to_csv(file, index=False, float_format="%.4f")
    print(pd.DataFrame(tables["repetitions"]).to_string(index=False))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(os.environ.get("BIGE_SHARED_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=shared)
    parser.add_argument("--work", type=Path, default=Path("out/judge"))
    parser.add_argument("--ik", type=Path)
    options = parser.parse_args()
    main(options.data, options.work, options.ik or options.work / "ik")
