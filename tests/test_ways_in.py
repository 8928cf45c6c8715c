"""Wheel, conda and Docker promise what settings.ini says, and nothing that is needed is left out."""
import re
import shlex
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
INI = ConfigParser(delimiters=["="], interpolation=None)
INI.read(ROOT / "settings.ini", encoding="utf-8")
CFG = INI["DEFAULT"]
EXTRAS = {key.removesuffix("_requirements") for key in CFG if key.endswith("_requirements")}
CONSTRAINTS = (ROOT / "constraints.txt").read_text()
DOCKER = (ROOT / "Dockerfile").read_text()
STEPS = [(line.split()[0], line.partition(" ")[2]) for line in
         re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", DOCKER, flags=re.M)).splitlines() if line.strip()]


def supported(version: str) -> bool:
    """Whether setup.py and the tests know this Python."""
    known = re.findall(r"Python :: (3\.\d+)", (ROOT / "setup.py").read_text())
    at_least = tuple(map(int, CFG["min_python"].split(".")))
    return version in known and tuple(map(int, version.split("."))) >= at_least


def extras_in(text: str) -> set[str]:
    return {name for found in re.findall(r"\[([a-z,]+)\]", text) for name in found.split(",")}


# conda

@pytest.fixture(scope="module")
def conda() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text())


def test_environment_of_conda_has_a_known_python_and_known_extras(conda):
    assert conda["name"] == CFG["lib_name"]
    (python,) = (d for d in conda["dependencies"] if isinstance(d, str) and d.startswith("python="))
    assert supported(python.removeprefix("python="))
    (pip,) = (d["pip"] for d in conda["dependencies"] if isinstance(d, dict))
    (package,) = (line for line in pip if line.startswith("-e "))
    assert package.startswith("-e .[") and extras_in(package) <= EXTRAS
    assert "-c constraints.txt" in pip and "pip" in conda["dependencies"]


def test_pip_reads_the_part_of_conda(conda, tmp_path):
    """As conda does: the lines become a file of requirements beside the environment's."""
    parse = pytest.importorskip("pip._internal.req.req_file").parse_requirements
    session = pytest.importorskip("pip._internal.network.session").PipSession()
    (pip,) = (d["pip"] for d in conda["dependencies"] if isinstance(d, dict))
    (tmp_path / "constraints.txt").write_text(CONSTRAINTS)
    (tmp_path / "condaenv.txt").write_text("\n".join(pip))
    found = list(parse(str(tmp_path / "condaenv.txt"), session))
    assert sum(f.is_editable for f in found) == 1
    assert len([f for f in found if f.constraint]) == len(re.findall(r"^[\w.-]+==", CONSTRAINTS, re.M))


# Docker

def test_image_is_of_a_known_python_and_says_that_it_was_not_built():
    images = [rest for what, rest in STEPS if what == "FROM"]
    assert len(images) == 2
    for image in images:
        python = re.match(r"python:(3\.\d+)-slim-\w+( AS wheel)?$", image)
        assert python and supported(python[1])
    assert "has not been built" in DOCKER


def test_image_copies_what_exists_and_what_dockerignore_lets_through():
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    sources = {name for what, rest in STEPS if what == "COPY" and "--from" not in rest
               for name in rest.split()[:-1]}
    assert sources == let_through and all((ROOT / name).exists() for name in sources)
    setup = (ROOT / "setup.py").read_text()
    read = set(re.findall(r'HERE / "([^"]+)"', setup))
    read |= set(re.findall(r'"(\w+)"', re.search(r"license_files=\[(.*)\]", setup)[1]))
    assert read <= sources


def test_image_installs_known_extras_with_the_pins_and_runs_without_rights():
    (extras,) = (rest for what, rest in STEPS if what == "ARG")
    assert set(extras.removeprefix("EXTRAS=").split(",")) <= EXTRAS
    whats = [what for what, _ in STEPS]
    account = next(rest for what, rest in STEPS if what == "USER")
    assert account not in ("root", "0") and f"--uid 1000 {account}" in DOCKER
    assert whats.index("USER") > max(i for i, what in enumerate(whats) if what == "RUN")
    assert all("-c " in rest for what, rest in STEPS if what == "RUN" and "pip install" in rest)
    program = CFG["console_scripts"].split("=")[0]
    assert dict(STEPS)["ENTRYPOINT"] == f'["{program}"]' and dict(STEPS)["CMD"] == '["--help"]'


def test_shell_of_the_image_is_understood():
    for what, rest in STEPS:
        if what == "RUN":
            done = subprocess.run(["bash", "-n", "-c", rest], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr


def test_commands_in_its_head_are_understood():
    from bige.cli import parser
    lines = re.findall(r"^#   docker run .* bige (generate.*|tune.*)$", DOCKER, re.M)
    assert len(lines) == 2
    for line in lines:
        parser().parse_args(shlex.split(re.sub(r"\s+\(.*", "", line)))


# the wheel

def test_the_wheel_takes_every_file_of_the_package():
    """What setup.py names, against what lies in bige/."""
    setup = (ROOT / "setup.py").read_text()
    patterns = eval(re.search(r'package_data=\{"bige": (\[.*?\])\}', setup)[1])
    named = {p for pattern in patterns for p in (ROOT / "bige").glob(pattern) if p.is_file()}
    there = {p for p in (ROOT / "bige").rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert {p for p in there if p.suffix != ".py"} <= named
    assert {p.parent for p in there if p.suffix == ".py"} == {ROOT / "bige"}


# what is missing is installed from where bige came from

def test_the_cure_names_this_installation(tmp_path, monkeypatch):
    from importlib import metadata

    from bige import files
    monkeypatch.chdir(ROOT)
    assert files.install_command("tune") == "pip install -e '.[tune]'"
    monkeypatch.setattr(files, "__file__", str(tmp_path / "site-packages" / "bige" / "files.py"))

    class Wheel:
        def read_text(self, name):
            return '{"url": "file:///w/bige-0.2.0-py3-none-any.whl"}' if name == "direct_url.json" else None

    class Index:
        def read_text(self, name):
            return None

    from_wheel = "'bige[tune] @ file:///w/bige-0.2.0-py3-none-any.whl'"
    for origin, said in ((Wheel, from_wheel), (Index, "'bige[tune]'")):
        monkeypatch.setattr(metadata, "distribution", lambda name, origin=origin: origin())
        assert files.install_command("tune") == f"pip install {said}"


def test_the_command_line_starts_without_what_verbs_need():
    code = ("import sys; from bige.cli import main; main(['--help']); "
            "print(*{'numpy', 'torch', 'matplotlib', 'scipy'} & set(sys.modules))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1].strip() == ""
