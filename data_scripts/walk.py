"""Walk the documented path in an empty environment: the commands of README and the pages as printed.

    python data_scripts/walk.py [WORK_FOLDER] [--data DATA_FOLDER] [--page README.md …]

The tree is copied to WORK_FOLDER/bige as a clone would be, `make demo` installs it there, and the lines of
the shell blocks run one after the other in that folder, with its environment on the path. For each it is
checked that the exit status is 0 and that what `--out` or `-o` names is there afterwards. Recordings of a
participant stand in for the reader's own (DATA_FOLDER: CONTRIBUTING.md); without them those lines are left
out. Ends with a table, and exit status 1 where a line failed.
"""
import argparse
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import run_tutorial

ROOT = Path(__file__).resolve().parents[1]
# (page, heading) in the order of a reader; the tuning page follows the demo with no extra but its own
PATH = (("README.md", "Two commands"), ("nbs/book/howto/tune.md", ""), ("nbs/book/tutorial.md", ""),
        ("README.md", "Your own request"), ("README.md", "Your own data"), ("nbs/book/howto/model.md", ""),
        ("nbs/book/howto/constraint.md", ""))
LEFT_OUT = {"make test": "is the test suite", "git clone": "is the copy of this tree",
            "source ": "the environment is on the path"}
SHORTER = {"bige train": " --steps 20"}        # as printed it trains for an hour
WITHIN_S = 1800


@dataclass
class Step:
    """A line of a page and what came of it."""
    page: str
    line: str
    outcome: str
    seconds: float = 0.0
    said: str = ""


def lines_of(page: str, heading: str) -> list[str]:
    """The commands of a page's shell blocks, or of one section; continued lines are joined."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if heading:
        text = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.S | re.M)[1]
    blocks = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.S | re.M))
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in blocks.replace("\\\n", " ").split("\n")]
    return [line for line in lines if line]


def clone(to: Path) -> None:
    """What git would clone: files of the tree that are not ignored."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, check=True,
                            capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


def own_files(data: Path, folder: Path) -> bool:
    """The reader's own session, model, markers and request; False where there are no recordings."""
    page = (ROOT / "nbs/book/tutorial.md").read_text(encoding="utf-8")
    (folder / "request.yaml").write_text(re.search(r"```yaml\n(.*?)```", page, re.S)[1], encoding="utf-8")
    if not (data / "fieldstudy_s0_72kg").is_dir():
        return False
    session = folder / "OpenCapData_squats"
    run_tutorial.session(data / "fieldstudy_s0_72kg", session)
    model = next((session / "OpenSimData" / "Model").glob("*.osim"))
    markers = session / "MarkerData" / "Squats_0.trc"
    (folder / "participants").mkdir()
    for name in ("my_athlete.osim", "LaiUhlrich2022.osim", "participants/anna.osim"):
        shutil.copy(model, folder / name)
    for name in ("trial.trc", "static.trc", "squat1.trc", "squat2.trc"):
        shutil.copy(markers, folder / name)
    return True


OWN = ("trial.trc", "my_athlete.osim", "static.trc", "--sessions participants", "$TRIAL", "$MODEL",
       "OpenCapData_squats", "squats/", "ik/", "repetitions/", "simulated/", "data.npz", "generated")


def environment(folder: Path) -> dict[str, str]:
    """Variables of a stranger: the new environment on the path, no other Python's packages, no browser."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return kept | {"PATH": f"{folder / '.venv' / 'bin'}:{os.environ['PATH']}", "BROWSER": "true"}


def promised(line: str, folder: Path) -> list[str]:
    """What the line was to write and did not."""
    words = shlex.split(line)
    names = [words[i + 1] for i, word in enumerate(words[:-1]) if word in ("--out", "-o")]
    return [name for name in names if not (folder / name).exists()]


def serve(line: str, folder: Path) -> tuple[int, str]:
    """`bige tune`: the page answers at the address that was printed, with a kernel that ran its cell."""
    process = subprocess.Popen(shlex.split(line), cwd=folder, env=environment(folder), text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        first = process.stdout.readline()
        address = re.search(r"http://\S+", first)
        if not address:
            return 1, first + process.stdout.read()
        for _ in range(100):
            try:
                text = urllib.request.urlopen(address[0], timeout=300).read().decode()
                break
            except OSError as error:
                text = str(error)
                time.sleep(0.2)
        good = re.search(r'"?kernelId"?: *"[0-9a-f-]{36}"', text) and "Traceback" not in text
        return (0 if good else 1), text[-1000:]
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)


def run(line: str, folder: Path, shorthands: list[str]) -> tuple[int, str]:
    """Exit status and output of a line, in the folder and environment of the reader."""
    if line.startswith("bige tune"):
        return serve(line, folder)
    done = subprocess.run(["bash", "-c", "\n".join([*shorthands, line])], cwd=folder, timeout=WITHIN_S,
                          env=environment(folder), capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def second_participant(folder: Path) -> None:
    """A data set needs two participants, the walk has one: a copy stands in."""
    if (folder / "simulated" / "anna").is_dir() and not (folder / "simulated" / "bea").exists():
        shutil.copytree(folder / "simulated" / "anna", folder / "simulated" / "bea")


def walk(pages: tuple[tuple[str, str], ...], folder: Path, data: Path) -> list[Step]:
    """All lines of the pages, one after the other."""
    steps, shorthands = [], []
    recorded = own_files(data, folder)
    for page, heading in pages:
        for line in lines_of(page, heading):
            if reason := next((why for start, why in LEFT_OUT.items() if line.startswith(start)), None):
                steps.append(Step(page, line, f"left out: {reason}"))
                continue
            if not recorded and any(name in line for name in OWN):
                steps.append(Step(page, line, "left out: needs recordings"))
                continue
            if re.match(r"[A-Z]+=", line):
                shorthands.append(line)
                continue
            if line.startswith("bige dataset"):
                second_participant(folder)
            shorter = next((more for start, more in SHORTER.items() if line.startswith(start)), "")
            since = time.monotonic()
            status, said = run(line + shorter, folder, shorthands)
            lacking = promised(line, folder)
            outcome = "ok" if not status and not lacking else f"exit status {status}"
            outcome += f", without {', '.join(lacking)}" if lacking else ""
            outcome += f" (with{shorter})" if shorter else ""
            steps.append(Step(page, line, outcome, time.monotonic() - since, said))
            print(f"{steps[-1].seconds:7.1f} s  {outcome:24}  {line}", flush=True)
            if status or lacking:
                print("           " + said.strip()[-1500:].replace("\n", "\n           "), flush=True)
    return steps


def main() -> int:
    """The walk, its table, and the exit status."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("work", nargs="?", type=Path)
    options.add_argument("--data", type=Path,
                         default=Path(os.environ.get("BIGE_SHARED_DATA", ROOT.parent / "shared" / "data")))
    options.add_argument("--page", nargs="+", help="only these pages; make demo is always run")
    given = options.parse_args()
    work = (given.work or Path(tempfile.mkdtemp(prefix="bige-walk-"))).resolve()
    folder = work / "bige"
    clone(folder)
    pages = tuple(p for p in PATH if p == PATH[0] or not given.page or p[0] in given.page)
    steps = walk(pages, folder, given.data.resolve())
    width = max(len(step.outcome) for step in steps)
    print("\n" + "\n".join(f"{s.page:30} {s.seconds:7.1f} s  {s.outcome:{width}}  {s.line}" for s in steps))
    failed = [s for s in steps if not s.outcome.startswith(("ok", "left out"))]
    print(f"\n{len(steps)} lines, {len(failed)} failed; the folder: {folder}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
