"""`import bige`: quick, lazy, complete; objects that say in a line what they are; the lines of the README."""
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bige
from bige.files import InputError
from bige.markers import Markers, write_trc
from bige.motion import Motion, analytic_squat, example_squat, write_motion

ROOT = Path(__file__).resolve().parents[1]
NAMES = [(name, module) for module, names in bige.NAMES.items() for name in names]


def python(code: str, **more) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, **more)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


# names that wait

def test_the_package_imports_nothing_by_itself():
    found = python("import sys; before = set(sys.modules); import bige; print(*set(sys.modules) - before)")
    assert found == "bige"


@pytest.mark.parametrize("name, module", NAMES)
def test_a_name_is_that_of_its_module(name, module):
    if module == "tuning_server":
        pytest.importorskip("voila", reason="needs 'bige[tune]'")
    found = getattr(bige, name)
    assert found.__module__.startswith("bige.") and (found.__doc__ or "").strip()
    assert getattr(importlib.import_module(f"bige.{module}"), found.__name__) is found


def test_names_are_listed_once_and_hide_no_module():
    names = [name for name, _ in NAMES]
    modules = {p.stem for p in (ROOT / "bige").glob("*.py")}
    assert len(set(names)) == len(names) and not modules & set(names)
    assert {*names, "motion", "cli"} <= set(dir(bige))


def test_modules_come_as_attributes_too():
    code = "import bige; print(bige.motion.GRAVITY); from bige import filters, read; print(filters.__name__)"
    assert python(code).split() == ["9.80665", "bige.filters"]


@pytest.mark.parametrize("wrong, meant", [("genrate", "generate"), ("read_motions", "read_motion")])
def test_a_mistyped_name_is_answered(wrong, meant):
    with pytest.raises(AttributeError, match=f"did you mean bige.{meant}"):
        getattr(bige, wrong)
    assert not hasattr(bige, "__wrapped__") and not hasattr(bige, "zzz")


def test_reading_motions_needs_no_torch(tmp_path):
    write_motion(analytic_squat(1), tmp_path / "a.mot")
    code = "import sys, bige; bige.read(sys.argv[1]); print('torch' in sys.modules, 'casadi' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.mot"], capture_output=True, text=True,
                          cwd=ROOT, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_nbdev_keeps_the_version_line():
    config = pytest.importorskip("nbdev.config", reason="needs nbdev")
    before = (ROOT / "bige" / "__init__.py").read_text()
    assert len(config._re_version.findall(before)) == 1
    assert before.startswith(f'__version__ = "{bige.__version__}"\n')


# one reader

def test_read_knows_every_kind(tmp_path):
    from bige.dataset import reference, save_dataset
    from bige.inverse_kinematics import write_osim
    from bige.skeleton import Skeleton
    squat = analytic_squat(1)
    write_motion(squat, tmp_path / "a.mot")
    points = Markers(np.arange(9) / 100, np.random.default_rng(0).random((9, 2, 3)), ("LASI", "RASI"))
    write_trc(points, tmp_path / "a.trc")
    write_osim(Skeleton.default(), tmp_path / "a.osim")
    np.savez(tmp_path / "markers.npz", marker_names=points.names, m01_s01_e01=1000 * points.positions)
    (tmp_path / "c.yaml").write_text("constraints:\n  - {kind: asymmetry}\n")
    save_dataset(reference(), tmp_path / "data.npz")
    shipped = ROOT / "bige" / "assets"
    kinds = {tmp_path / "a.mot": "Motion", tmp_path / "a.trc": "Markers", tmp_path / "a.osim": "Skeleton",
             tmp_path / "markers.npz": "dict", tmp_path / "c.yaml": "ConstraintSet", tmp_path: "dict",
             shipped / "exercises" / "squat.yaml": "Exercise", tmp_path / "data.npz": "Dataset"}
    assert {path: type(bige.read(path)).__name__ for path in kinds} == kinds
    assert set(bige.read(tmp_path)) == {"a"}


def test_read_refuses_what_it_does_not_know(tmp_path):
    (tmp_path / "a.docx").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.npz").write_text("x")
    for name, part in (("a.docx", ".docx"), ("gone.mot", "no such file"), ("empty", "neither an answer"),
                       ("broken.npz", "no readable .npz")):
        with pytest.raises(InputError, match=part):
            bige.read(tmp_path / name)


# what objects say

def test_a_missing_column_names_what_was_meant():
    squat = example_squat()
    for name, meant in (("vasmed_l", "did you mean vasmed_l/activation"),
                        ("knee_angl_r", "did you mean knee_angle_l or knee_angle_r"),
                        ("head", "case-sensitive")):
        with pytest.raises(InputError, match=meant):
            squat[name]
    with pytest.raises(InputError, match="bige simulate"):
        analytic_squat(1)["vasmed_l"]


@pytest.mark.parametrize("motion, words", [
    (example_squat(), ("157 frames", "2.60 s", "33 coordinates", "80 activations", "squat.mot")),
    (analytic_squat(1), ("33 coordinates;", "60 Hz")),
    (Motion([0, 1], [[1.], [2.]], ("ground_force_vy",), "/far/away/grf.mot"), ("1 other column; grf.mot",))])
def test_a_motion_is_one_line_and_a_picture(motion, words):
    text, page = repr(motion), motion._repr_html_()
    assert all(word in text for word in words) and "\n" not in text and len(text) < 110
    assert page.count("<svg") == 1 and "<polyline" in page and "nan" not in page and len(page) < 20_000


def test_names_in_a_picture_are_escaped():
    page = Motion([0, 1], [[1.], [1.]], ("<script>",), "<b>")._repr_html_()
    assert "<script>" not in page and "<b>" not in page and "&lt;script&gt;" in page


def test_looking_at_a_motion_imports_no_matplotlib():
    code = ("import sys, bige; motion = bige.example_squat(); repr(motion); motion._repr_html_(); "
            "print('matplotlib' in sys.modules)")
    assert python(code) == "False"


def test_objects_are_short():
    from bige.dataset import reference
    from bige.exercises import shipped_exercises
    things = [bige.default_constraints(), reference(), bige.segment(example_squat()),
              bige.Skeleton.default(), *map(bige.load_exercise, shipped_exercises())]
    for thing in things:
        assert repr(thing).startswith(type(thing).__name__) and len(repr(thing)) < 600, thing


# answers

@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "squats"
    return bige.generate(n=2, seed=3, settings=["muscle_range.high=0.5"], out=folder), folder


def test_generate_writes_what_the_command_does(made, tmp_path):
    from bige.cli import main
    found, folder = made
    line = ["generate", "-n", "2", "--seed", "3", "--set", "muscle_range.high=0.5"]
    assert main([*line, "--out", str(tmp_path / "x")]) == 0
    for name in ("sample_00.mot", "sample_01.mot", "metrics.json", "constraints.yaml"):
        assert (folder / name).read_bytes() == (tmp_path / "x" / name).read_bytes()
    assert (folder / "report.html").is_file()
    again = bige.read(folder)
    assert again.request.key == found.request.key
    assert np.allclose(again.motions[1].activations(), found.motions[1].activations(), atol=1e-6)


def test_constraints_come_in_any_form(tmp_path):
    (tmp_path / "c.yaml").write_text("constraints:\n  - {kind: trunk_lean, high: 35 deg}\n")
    of = bige.constraints_of
    sets = [of(tmp_path / "c.yaml"), of([{"kind": "trunk_lean", "high": "35 deg"}]),
            of([{"kind": "trunk_lean", "high": 50}], settings=["trunk_lean.high=35"])]
    assert len({str(s.limited) for s in sets}) == 1 and of(sets[0]) == sets[0]
    assert of() == bige.default_constraints()
    with pytest.raises(InputError, match="trunk_leen"):
        of([{"kind": "trunk_leen", "high": 1}])
    with pytest.raises(TypeError, match="colour"):
        bige.generate(n=1, colour="red")


def test_an_answer_says_and_shows_itself(made, tmp_path):
    found, _ = made
    text = repr(found)
    assert text.startswith("Answer(2 squats, 2 of them satisfy") and 2 < text.count("\n") < 5
    assert "muscle_range" in text and "75.3 kg" in text
    page = found._repr_html_()
    assert page.count("<table") == 1 and "data:image/png;base64," in page and "muscle_range" in page
    for style in ("strip", "preview", "curves"):
        figure = found.plot(style)
        assert figure.axes and figure._repr_png_().startswith(b"\x89PNG")
    assert len(found.plot(samples=[1]).axes) < len(found.plot(samples=[0, 1]).axes)
    assert "sample_01" in found.film(tmp_path / "film.html", samples=[1]).read_text()
    for wrong in (lambda: found.plot("pie"), lambda: found.plot(samples=[7]),
                  lambda: found.film(tmp_path / "film.avi"),
                  lambda: found.film(tmp_path / "a.gif", range(4))):
        with pytest.raises(InputError):
            wrong()


# the README

def test_the_lines_of_the_readme_run(tmp_path):
    """Exactly what is printed there, in a folder of its own."""
    cells = json.loads((ROOT / "nbs" / "index.ipynb").read_text())["cells"]
    lines = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    shown = next(text for text in lines if "import bige" in text)
    code = [line for line in shown.splitlines() if line.strip()]
    assert len(code) <= 10 and shown in (ROOT / "README.md").read_text()
    done = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, cwd=tmp_path,
                          env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "satisfy every limit" in done.stdout and (tmp_path / "squats" / "report.html").is_file()
    assert (tmp_path / "upright.html").is_file()
