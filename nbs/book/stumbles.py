"""The mistakes of the troubleshooting page, made for real: each breaks the shipped squat in one way."""
from __future__ import annotations

import os
import re
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bige.constraint_files import parse_constraints
from bige.reachability import check_model
from bige.files import InputError
from bige.markers import Markers, read_session, read_trc, write_trc
from bige.motion import Motion, example_squat, read_motion, write_motion
from bige.segmentation import segment
from bige.skeleton import Skeleton


@contextmanager
def inside(folder: str):
    """Work in a folder for a while."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def squat(change=lambda text: text) -> Path:
    """squat.mot in this folder, its text changed."""
    path = Path("squat.mot")
    write_motion(example_squat(), path)
    path.write_text(change(path.read_text()))
    return path


def cell(text: str, new) -> str:
    """The text of a .mot with its third value in row 20 after the header replaced."""
    lines = text.split("\n")
    row = next(i for i, l in enumerate(lines) if l.startswith("time")) + 20
    values = lines[row].split("\t")
    values[2] = new(values[2])
    lines[row] = "\t".join(values)
    return "\n".join(lines)


def named(text: str, old: str, new: str) -> str:
    """The text of a .mot with a column renamed."""
    return re.sub(rf"(?m)^(time\t.*?)\b{old}\b", rf"\1{new}", text, count=1)


def markers() -> None:
    """A participant's joint centres as markers in metres, under a header that says millimetres."""
    path, skeleton, motion = Path("squat.trc"), Skeleton.default(), example_squat()
    centres = skeleton.joint_centres(motion.coordinates())
    write_trc(Markers(motion.time, centres, tuple(skeleton.joint_names)), path)
    path.write_text(re.sub("\tm\t", "\tmm\t", path.read_text(), count=1))
    read_trc(path)


def standing() -> None:
    """Two seconds without a movement."""
    still = example_squat().coordinates()[:1].repeat(120, axis=0)
    segment(Motion.from_arrays(np.arange(120) / 60, still))


def request(line: str):
    """Reads a request with one constraint."""
    return lambda: parse_constraints(f"constraints:\n  - {{{line}}}\n", "request.yaml")


MISTAKES = {
    "radians": lambda: read_motion(squat(lambda t: t.replace("inDegrees=yes", "inDegrees=no"))),
    "comma": lambda: read_motion(squat(lambda t: cell(t, lambda v: v.replace(".", ",")))),
    "gap": lambda: read_motion(squat(lambda t: cell(t, lambda v: "NaN"))),
    "header": lambda: read_motion(squat(lambda t: t.replace("endheader\n", ""))),
    "cut off": lambda: read_motion(squat(lambda t: t[:len(t) * 2 // 3])),
    "twice": lambda: read_motion(squat(lambda t: named(t, "hip_flexion_l", "hip_flexion_r"))),
    "name": lambda: read_motion(squat(lambda t: named(t, "knee_angle_r", "knee_flexion_r"))).coordinates(),
    "millimetres": markers,
    "session": lambda: read_session("."),
    "standing": standing,
    "muscle": request("kind: muscle_range, muscles: [vastusmed_r], low: 0.3, high: 0.4"),
    "upside down": request("kind: muscle_range, muscles: [vasmed_r], low: 0.5, high: 0.4"),
    "out of reach": lambda: check_model(request("kind: knee_depth, low: 150, high: 160")(),
                                        Skeleton.default()),
    "unit": request("kind: coordinate_range, coordinate: pelvis_ty, low: 60, high: 70, unit: deg"),
}


def messages() -> dict[str, str]:
    """What the command line prints for each mistake."""
    said = {}
    for name, make in MISTAKES.items():
        with tempfile.TemporaryDirectory() as folder, inside(folder), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                make()
            except InputError as error:
                said[name] = f"bige: {error}"
                continue
        raise AssertionError(f"{name}: no error")
    return said


if __name__ == "__main__":
    for name, message in messages().items():
        print(f"{name}: {message}\n")
