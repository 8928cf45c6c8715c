"""Write `constraints.lock`: what `make demo` installs beside torch, by version and sha256 of its wheels.

    python data_scripts/lock.py

Wheels for Linux on x86-64 and each Python that bige supports, as `pip install --dry-run --report` finds them
for the versions of constraints.txt. torch is left out: its CPU build has another hash on each index. Use:

    pip install --require-hashes --no-deps -r constraints.lock
"""
import json
import re
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
GLIBC = ("2_28", "2_27", "2_17", "2_12", "2_5")
PLATFORMS = (*(f"manylinux_{version}_x86_64" for version in GLIBC),
             *(f"manylinux{year}_x86_64" for year in (2014, 2010, 1)))


def plain(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(package: str, known: set[str]) -> set[str]:
    """The packages that one requires without extras, itself included, among those with a pinned version."""
    found, waiting = set(), [package]
    while waiting:
        name = plain(waiting.pop())
        if name in found or name not in known | {"bige"}:
            continue
        found.add(name)
        try:
            listed = [r for r in requires(name) or [] if "extra ==" not in r]
        except PackageNotFoundError:
            continue
        waiting += [re.match(r"[\w.-]+", r)[0] for r in listed]
    return found - {"bige", "torch"}


def hashes(pins: list[str], python: str) -> dict[str, str]:
    """Pin -> sha256 of its wheel for a Python; nothing is installed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        platforms = [part for name in PLATFORMS for part in ("--platform", name)]
        command = [sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--ignore-installed",
                   "--no-deps", "--only-binary", ":all:", "--python-version", python, *platforms]
        subprocess.run([*command, "--target", folder, "--report", report, *pins], check=True)
        found = json.loads(report.read_text())["install"]
    by_name = {}
    for wheel in found:
        digest = wheel["download_info"]["archive_info"]["hashes"]["sha256"]
        by_name[plain(wheel["metadata"]["name"])] = digest
    return {pin: by_name[plain(pin.split("==")[0])] for pin in pins}


def main() -> None:
    """All pins with the hashes of all Pythons."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {plain(line.split("==")[0]): line for line in lines if "==" in line}
    pins = [pinned[name] for name in sorted(needed("bige", set(pinned)) | {"setuptools", "wheel"})]
    found = [hashes(pins, python) for python in PYTHONS]
    text = f"# Of data_scripts/lock.py: Linux on x86-64, Python {', '.join(PYTHONS)}; without torch.\n"
    for pin in pins:
        allowed = dict.fromkeys(h[pin] for h in found)
        text += f"{pin} \\\n" + " \\\n".join(f"    --hash=sha256:{h}" for h in allowed) + "\n"
    (ROOT / "constraints.lock").write_text(text)


if __name__ == "__main__":
    main()
