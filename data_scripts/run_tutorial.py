"""Run the commands of the tutorial, as they stand, on a session of the motion data; keep what they print.

    python data_scripts/run_tutorial.py [DATA_FOLDER] [WORK_FOLDER]

DATA_FOLDER holds the motion data that CONTRIBUTING.md describes. The outputs go to
nbs/book/tutorial.json, from where the page takes them.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "nbs" / "book" / "tutorial.md"
KEPT = PAGE.with_suffix(".json")
PLACES = {"MarkerData": "Squats_0.trc", "OpenSimData/Kinematics": "Squats_0.mot",
          "OpenSimData/Model": "LaiArnoldModified2017_poly_withArms_weldHand_scaled.osim"}
MASS_KG = 72.       # of the participant of that session


def commands(text: str) -> list[str]:
    """The lines of the page's shell blocks after the installation."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text.partition("source .venv/bin/activate")[2], re.S | re.M)
    lines = "\n".join(blocks).replace("\\\n", " ").split("\n")
    return [line for line in lines if line and not line.startswith("pip ")]


def session(data: Path, folder: Path) -> None:
    """A folder as OpenCap's web page gives it, from files of the motion data."""
    for place, name in PLACES.items():
        (folder / place).mkdir(parents=True)
        shutil.copy(next(data.rglob(name)), folder / place / name)
    (folder / "sessionMetadata.yaml").write_text(f"mass_kg: {MASS_KG}\n", encoding="utf-8")


def run(lines: list[str], folder: Path) -> dict[str, str]:
    """Command -> what it prints, run one after the other in a folder."""
    shorthands = [line for line in lines if re.match(r"\w+=", line)]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    outputs = {}
    for line in lines:
        if line in shorthands:
            continue
        done = subprocess.run(["bash", "-c", "\n".join([*shorthands, line])], cwd=folder, env=environment,
                              capture_output=True, text=True)
        said = (done.stdout + done.stderr).replace(str(folder.resolve()), "…").strip()
        print(f"$ {line}\n{said}\n", flush=True)
        outputs[line] = said
        if done.returncode not in (0, 2):
            sys.exit(f"run_tutorial: exit status {done.returncode} of {line}")
    return outputs


def main() -> None:
    """Run all of it."""
    known = os.environ.get("BIGE_SHARED_DATA", ROOT.parent / "shared" / "data")
    data = Path(sys.argv[1] if len(sys.argv) > 1 else known)
    work = Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp()).resolve()
    text = PAGE.read_text(encoding="utf-8")
    session(data / "fieldstudy_s0_72kg", work / "OpenCapData_squats")
    (work / "request.yaml").write_text(re.search(r"```yaml\n(.*?)```", text, re.S)[1], encoding="utf-8")
    outputs = run(commands(text), work)
    KEPT.write_text(json.dumps(outputs, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
