"""Compile the bones and muscle paths that pictures are drawn with.

    python data_scripts/compile_bones.py LaiUhlrich2022.osim \
        --meshes .venv-nimble/lib/python3.11/site-packages/nimblephysics/models/rajagopal_data/Geometry

writes bige/assets/bones.npz (meshes with fewer triangles, body by body; the patella's pose over the knee
angle) and bige/assets/muscle_paths.npz (attachment points, wrap cylinders, muscle volumes), and records both
in provenance.json. Meshes come from the nimblephysics wheel, which `make test-nimble` puts into an
environment of its own; everything else comes from the model. Needs opensim and vtk. The same inputs give the
same meshes; builds of OpenSim differ by up to 1e-22 in the patella's pose.
"""
import argparse
import hashlib
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonDataModel import vtkPolyData
from vtkmodules.vtkFiltersCore import (vtkCleanPolyData, vtkPolyDataNormals, vtkQuadricDecimation,
                                       vtkTriangleFilter)
from vtkmodules.vtkIOPLY import vtkPLYReader

from bige.cli import explain
from bige.files import InputError, atomic_write
from bige.geometry import euler_xyz
from bige.motion import MUSCLES
from bige.skeleton import Skeleton
from bige.files import write_json

ASSETS = Path(__file__).resolve().parents[1] / "bige" / "assets"
NIMBLE = "nimblephysics 0.10.52.1"
GEOMETRY = "models/rajagopal_data/Geometry"
SPECIFIC_TENSION = 6e5  # Pa
UNIT = 1e-4             # m, the grid that vertices are rounded to
LICENCES = {
    "bones.npz": "Meshes: bone geometry of OpenSim's Rajagopal2015 model (Rajagopal et al., IEEE TBME 63, "
                 "2016; the model is under the MIT licence), as distributed in nimblephysics (MIT). "
                 "Patella: LaiUhlrich2022, OpenCap (Apache-2.0).",
    "muscle_paths.npz": "LaiUhlrich2022, OpenCap (Apache-2.0).",
}


def numbers(element: ET.Element, tag: str) -> np.ndarray:
    return np.array(element.findtext(tag).split(), float)


def meshes(model: ET.Element) -> list[tuple[str, str, np.ndarray]]:
    "(body, file stem, scale) of every mesh that the model shows."
    found = []
    for body in model.iter("Body"):
        for mesh in body.iter("Mesh"):
            stem = mesh.findtext("mesh_file").removesuffix(".vtp")
            found.append((body.get("name"), stem, numbers(mesh, "scale_factors")))
    return found


def run_filter(step, mesh: vtkPolyData) -> vtkPolyData:
    "What a step of VTK makes of a mesh."
    step.SetInputData(mesh)
    step.Update()
    return step.GetOutput()


def read_mesh(path: Path) -> vtkPolyData:
    "The triangles of a .ply file, each vertex once."
    reader = vtkPLYReader()
    reader.SetFileName(str(path))
    reader.Update()
    return run_filter(vtkCleanPolyData(), run_filter(vtkTriangleFilter(), reader.GetOutput()))


def simplified(path: Path, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    "Vertices (V, 3) m and triangles (F, 3), outward, of a mesh with a third of its triangles; at least 120."
    mesh = read_mesh(path)
    keep = max(120, 0.36 * mesh.GetNumberOfCells())
    if keep < mesh.GetNumberOfCells():
        fewer = vtkQuadricDecimation()
        fewer.SetTargetReduction(1 - keep / mesh.GetNumberOfCells())
        mesh = run_filter(fewer, mesh)
    outward = vtkPolyDataNormals()
    outward.SplittingOff()
    outward.AutoOrientNormalsOn()
    mesh = run_filter(outward, mesh)
    triangles = vtk_to_numpy(mesh.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    return vtk_to_numpy(mesh.GetPoints().GetData()) * scale, triangles


def patella_places(model_path: Path) -> dict[str, np.ndarray]:
    "Pose (K, 3, 4) of each patella in its femur at knee angles (K,) rad."
    import opensim
    opensim.Logger.setLevelString("off")
    model = opensim.Model(str(model_path))
    state = model.initSystem()
    angles = np.radians(np.arange(-10, 151, 10.))
    out = {}
    for side in "rl":
        patella, femur = (model.getBodySet().get(f"{bone}_{side}") for bone in ("patella", "femur"))
        rows = []
        for angle in angles:
            model.updCoordinateSet().get(f"knee_angle_{side}").setValue(state, angle)
            model.assemble(state)
            model.realizePosition(state)
            place = patella.findTransformBetween(state, femur)
            rows.append([[place.R().get(i, j) for j in range(3)] + [place.p().get(i)] for i in range(3)])
        out[f"patella_{side}"] = np.array(rows)
    return {"knee_angle": angles, **out}


def compile_bones(model: ET.Element, folder: Path, places: dict) -> dict[str, np.ndarray]:
    "The arrays of bones.npz: vertices and triangles of all meshes in one, with names and sizes."
    vertices, faces, start = [], [], 0
    shown = meshes(model)
    for _, stem, scale in shown:
        path = folder / f"{stem}.vtp.ply"
        if not path.exists():
            wanted = f"{GEOMETRY} of the wheel of {NIMBLE}"
            raise InputError(folder, f"no {path.name}", wanted, "make test-nimble")
        points, triangles = simplified(path, scale)
        vertices.append(points)
        faces.append(triangles + start)
        start += len(points)
    return {"vertices": np.round(np.concatenate(vertices) / UNIT).astype(np.int16),
            "unit": np.array(UNIT),
            "faces": np.concatenate(faces).astype(np.uint16),
            "names": np.array([stem for _, stem, _ in shown]),
            "bodies": np.array([body for body, _, _ in shown]),
            "counts": np.array([len(points) for points in vertices], np.int32),
            **places}


def strings_of(i: int, path: ET.Element, points: int) -> list[tuple]:
    "(muscle, wrap object, first and last point between which it may touch) of a muscle's wraps."
    found = []
    for wrap in path.iter("PathWrap"):
        low, high = numbers(wrap, "range")
        last = points if high < 1 else high
        found.append((i, wrap.findtext("wrap_object"), max(low, 1) - 1, last - 1))
    return found


def wrap_arrays(model: ET.Element, used: list[str]) -> dict[str, np.ndarray]:
    "Body, rotation (3, 3), centre, radius, length (m) and active side of wrap cylinders by name."
    wraps = {}
    for body in model.iter("Body"):
        wraps |= {w.get("name"): (body.get("name"), w) for w in body.iter("WrapCylinder")}
    rotations = [euler_xyz(numbers(wraps[name][1], "xyz_body_rotation")) for name in used]
    return {"wrap_name": np.array(used),
            "wrap_body": np.array([wraps[name][0] for name in used]),
            "wrap_length": np.array([numbers(wraps[name][1], "length")[0] for name in used]),
            "wrap_quadrant": np.array([wraps[name][1].findtext("quadrant") for name in used]),
            "wrap_rotation": np.array(rotations),
            "wrap_centre": np.array([numbers(wraps[name][1], "translation") for name in used]),
            "wrap_radius": np.array([numbers(wraps[name][1], "radius")[0] for name in used])}


def compile_paths(model: ET.Element) -> dict[str, np.ndarray]:
    "The arrays of muscle_paths.npz."
    muscles = {m.get("name"): m for m in model.iter() if m.findtext("max_isometric_force")}
    names = [f"{m}_{side}" for side in "lr" for m in MUSCLES]
    points, strings = [], []
    for i, name in enumerate(names):
        path = muscles[name].find(".//GeometryPath")
        found = list(path.iter("PathPoint"))
        frames = [p.findtext("socket_parent_frame").split("/")[-1] for p in found]
        points += [(i, frame, *numbers(p, "location")) for frame, p in zip(frames, found)]
        strings += strings_of(i, path, len(found))
    used = sorted({s[1] for s in strings})
    force = np.array([float(muscles[n].findtext("max_isometric_force")) for n in names])
    length = np.array([float(muscles[n].findtext("optimal_fiber_length")) for n in names])
    return {"names": np.array(names),
            "point_muscle": np.array([p[0] for p in points], np.int16),
            "point_body": np.array([p[1] for p in points]),
            "point_location": np.array([p[2:] for p in points]),
            "volume": force * length / SPECIFIC_TENSION,
            "fibre_length": length,
            **wrap_arrays(model, used),
            "wrapped": np.array([(i, used.index(n), first, last) for i, n, first, last in strings], np.int16)}


def record(model_path: Path, files: dict[str, dict]) -> None:
    "Write the files and what they come from into provenance.json, beside what else it says."
    path = ASSETS / "provenance.json"
    provenance = json.loads(path.read_text())
    for name, arrays in files.items():
        with atomic_write(ASSETS / name, "wb") as file:
            np.savez_compressed(file, **arrays)
        provenance["files"][name] = hashlib.sha256((ASSETS / name).read_bytes()).hexdigest()
    provenance["drawing"] = {"command": f"python data_scripts/compile_bones.py {model_path.name}",
                             "licences": LICENCES,
                             "meshes": f"{NIMBLE}, {GEOMETRY}",
                             "model_sha256": hashlib.sha256(model_path.read_bytes()).hexdigest()}
    write_json(path, provenance)


def main() -> None:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("model", type=Path)
    parser.add_argument("--meshes", type=Path, required=True, help=f"{GEOMETRY} of the nimblephysics wheel")
    options = parser.parse_args()
    try:
        Skeleton.from_osim(options.model)  # refuses what is no model of ours
        model = ET.parse(options.model).getroot()
        bones = compile_bones(model, options.meshes, patella_places(options.model))
        record(options.model, {"bones.npz": bones, "muscle_paths.npz": compile_paths(model)})
    except (InputError, OSError) as error:
        parser.exit(2, f"{explain(error)}\n")
    size = (ASSETS / "bones.npz").stat().st_size
    print(f"{len(bones['vertices'])} vertices, {len(bones['faces'])} triangles, {size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
