"""Pack what `bige simulate` made of an exercise of UI-PRMD into one file.

    python data_scripts/pack_simulations.py FOLDER OUT.npz

FOLDER was written by bige simulate; trials that failed are kept with their reasons. Beside OUT.npz a .json
file (or --provenance) says where the numbers come from, how they were made and rounded, and its sha256.
Each file appears whole or not at all; the same FOLDER gives the same bytes.
"""
import argparse
import hashlib
import sys
from collections import Counter
from pathlib import Path

from bige.cli import explain
from bige.files import InputError
from bige.files import write_npz
from bige.reference_set import SimulatedRepetitions, load_simulations, pack_simulations, rounding
from bige.files import write_json
from bige.training import run_record

ROUNDING = {"coordinates (rad, m)": "pelvis_ty", "activations": "soleus_l/activation",
            "ground forces (N)": "ground_force_l_vy", "centres of pressure (m)": "ground_force_l_px",
            "moments (N·m)": "knee_angle_l_moment"}


def made_by(records: list[dict]) -> dict:
    """Versions and settings that the simulated trials share; what differs between trials is left out."""
    solved = [r for r in records if r["status"] == "Solve_Succeeded"]
    return {"versions": shared([r["versions"] for r in solved]), "mode": sorted({r["mode"] for r in solved}),
            "settings": shared([r["settings"] for r in solved]),
            "cpu_s": round(sum(r["cpu_s"] for r in solved))}


def shared(parts: list[dict]) -> dict:
    """The entries that all of them have."""
    return {k: v for k, v in parts[0].items() if all(p.get(k) == v for p in parts)} if parts else {}


def provenance(found: SimulatedRepetitions, status: Counter, out: Path) -> dict:
    """Where the numbers come from, how they were made and rounded."""
    repetitions = list(found.values())
    failed = {r.trial: f"{r.status}: {r.record.get('reason', '')}"
              for r in repetitions if r.status != "Solve_Succeeded"}
    movements = ", ".join(sorted({r.trial.partition("_")[0] for r in repetitions}))
    return run_record(
        command=f"data_scripts/reference_set.sh {found.exercise} DATA WORK OUT", exercise=found.exercise,
        source=f"UI-PRMD {movements}, optical markers, Vakanski et al. 2018, doi:10.3390/data3010002",
        licence="PDDL 1.0 (public domain)",
        processing="bige ik, then bige simulate (tracking), then this packing",
        repetitions=len(found), status=dict(status), correct=sum(r.correct for r in repetitions),
        people=sorted({r.participant for r in repetitions}), failed=failed,
        rounding={kind: rounding(name) for kind, name in ROUNDING.items()},
        simulated_by=made_by([r.record for r in repetitions]),
        sha256=hashlib.sha256(out.read_bytes()).hexdigest())


def main(arguments=None) -> int:
    """Write the archive and its provenance; 0, or 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="what bige simulate wrote")
    parser.add_argument("out", help="the .npz file to write")
    parser.add_argument("--provenance", help="where to say how it was made (default: OUT.json)")
    a = parser.parse_args(arguments)
    out = Path(a.out)
    try:
        if out.suffix != ".npz":
            raise InputError(out, f"the ending {out.suffix or 'of no file type'}", ".npz",
                             "give a name that ends in .npz")
        write_npz(out, pack_simulations(a.folder))
        found = load_simulations(out)
        status = Counter(r.status for r in found.values())
        write_json(a.provenance or out.with_suffix(".json"), provenance(found, status, out))
    except (InputError, OSError) as error:
        print(explain(error), file=sys.stderr)
        return 2
    solved, size = status["Solve_Succeeded"], out.stat().st_size / 1e6
    print(f"{len(found)} repetitions, {solved} of them simulated; {size:.1f} MB in {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
