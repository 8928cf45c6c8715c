"""Compile the bones and muscle paths that pictures are drawn with.

    python data_scripts/compile_bones.py LaiUhlrich2022.osim --meshes .../nimblephysics/models/rajagopal_data/Geometry

writes bige/assets/bones.npz (meshes with fewer triangles, body by body; the patella's place over the knee angle) and
bige/assets/muscle_paths.npz (attachment points, wrap cylinders, muscle volumes), and records both in provenance.json.
Meshes come from the nimblephysics wheel, which `make test-nimble` puts into an environment of its own; everything else
comes from the model. Needs opensim and pyvista; drawing needs neither. The same inputs give the same bytes.
"""
import argparse
import hashlib
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pyvista as pv

from bige.cli import explain
from bige.files import InputError, atomic_write
from bige.motion import MUSCLES
from bige.geometry import euler_xyz
from bige.skeleton import Skeleton
from bige.files import write_json

ASSETS = Path(__file__).resolve().parents[1] / "bige" / "assets"
NIMBLE = "nimblephysics 0.10.52.1"
GEOMETRY = "models/rajagopal_data/Geometry"
SPECIFIC_TENSION = 6e5  # Pa
UNIT = 1e-4             # m, the grid that vertices are rounded to
LICENCES = {
    "bones.npz": "Meshes: bone geometry of OpenSim's Rajagopal2015 model (Rajagopal et al., IEEE TBME 63, 2016; the model is under the "
                 "MIT licence), as distributed in nimblephysics (MIT). Patella: LaiUhlrich2022, OpenCap (Apache-2.0).",
    "muscle_paths.npz": "LaiUhlrich2022, OpenCap (Apache-2.0).",
}


def numbers(element: ET.Element, tag: str) -> np.ndarray:
    return np.array(element.findtext(tag).split(), float)


def meshes(model: ET.Element) -> list[tuple[str, str, np.ndarray]]:
    "(body, file stem, scale) of every mesh that the model shows."
    return [(body.get("name"), mesh.findtext("mesh_file").removesuffix(".vtp"), numbers(mesh, "scale_factors"))
            for body in model.iter("Body") for mesh in body.iter("Mesh")]


def simplified(path: Path, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    "Vertices (V, 3) m and triangles (F, 3), outward, of a mesh with about a third of its triangles (small ones: all of 120)."
    mesh = pv.read(path).triangulate().clean()
    keep = max(120, 0.36 * mesh.n_cells)
    if keep < mesh.n_cells:
        mesh = mesh.decimate(1 - keep / mesh.n_cells)
    mesh = mesh.compute_normals(auto_orient_normals=True, split_vertices=False, consistent_normals=True)
    return np.asarray(mesh.points) * scale, mesh.faces.reshape(-1, 4)[:, 1:]


def patella_places(model_path: Path) -> dict[str, np.ndarray]:
    "Pose (K, 3, 4) of each patella in its femur at knee angles (K,) rad."
    import opensim
    opensim.Logger.setLevelString("off")
    model = opensim.Model(str(model_path))
    state, angles, out = model.initSystem(), np.radians(np.arange(-10, 151, 10.)), {}
    for side in "rl":
        rows = []
        for angle in angles:
            model.updCoordinateSet().get(f"knee_angle_{side}").setValue(state, angle)
            model.assemble(state)
            model.realizePosition(state)
            place = model.getBodySet().get(f"patella_{side}").findTransformBetween(state, model.getBodySet().get(f"femur_{side}"))
            rows.append([[place.R().get(i, j) for j in range(3)] + [place.p().get(i)] for i in range(3)])
        out[f"patella_{side}"] = np.array(rows)
    return {"knee_angle": angles, **out}


def compile_bones(model: ET.Element, folder: Path, places: dict) -> dict[str, np.ndarray]:
    vertices, faces, names, bodies, counts, start = [], [], [], [], [], 0
    for body, stem, scale in meshes(model):
        path = folder / f"{stem}.vtp.ply"
        if not path.exists():
            raise InputError(folder, f"no {path.name}", f"{GEOMETRY} of the wheel of {NIMBLE}", "make test-nimble")
        v, f = simplified(path, scale)
        vertices.append(v), faces.append(f + start), names.append(stem), bodies.append(body), counts.append(len(v))
        start += len(v)
    return {"vertices": np.round(np.concatenate(vertices) / UNIT).astype(np.int16), "unit": np.array(UNIT),
            "faces": np.concatenate(faces).astype(np.uint16), "names": np.array(names), "bodies": np.array(bodies),
            "counts": np.array(counts, np.int32), **places}


def compile_paths(model: ET.Element) -> dict[str, np.ndarray]:
    wraps = {w.get("name"): (body.get("name"), w) for body in model.iter("Body") for w in body.iter("WrapCylinder")}
    muscles = {m.get("name"): m for m in model.iter() if m.findtext("max_isometric_force")}
    names = [f"{m}_{side}" for side in "lr" for m in MUSCLES]
    points, strings = [], []
    for i, name in enumerate(names):
        path = muscles[name].find(".//GeometryPath")
        found = list(path.iter("PathPoint"))
        points += [(i, p.findtext("socket_parent_frame").split("/")[-1], *numbers(p, "location")) for p in found]
        for wrap in path.iter("PathWrap"):
            low, high = numbers(wrap, "range")
            strings.append((i, wrap.findtext("wrap_object"), max(low, 1) - 1, (len(found) if high < 1 else high) - 1))
    used = sorted({s[1] for s in strings})
    force = np.array([float(muscles[n].findtext("max_isometric_force")) for n in names])
    length = np.array([float(muscles[n].findtext("optimal_fiber_length")) for n in names])
    return {"names": np.array(names), "point_muscle": np.array([p[0] for p in points], np.int16), "point_body": np.array([p[1] for p in points]),
            "point_location": np.array([p[2:] for p in points]), "volume": force * length / SPECIFIC_TENSION, "fibre_length": length,
            "wrap_body": np.array([wraps[n][0] for n in used]), "wrap_rotation": np.array([euler_xyz(numbers(wraps[n][1], "xyz_body_rotation")) for n in used]),
            "wrap_centre": np.array([numbers(wraps[n][1], "translation") for n in used]), "wrap_radius": np.array([numbers(wraps[n][1], "radius")[0] for n in used]),
            "wrapped": np.array([(i, used.index(n), a, b) for i, n, a, b in strings], np.int16)}


def record(model_path: Path, files: dict[str, dict]) -> None:
    "Write the files and what they come from into provenance.json, beside what else it says."
    path = ASSETS / "provenance.json"
    provenance = json.loads(path.read_text())
    for name, arrays in files.items():
        with atomic_write(ASSETS / name, "wb") as file:
            np.savez_compressed(file, **arrays)
        provenance["files"][name] = hashlib.sha256((ASSETS / name).read_bytes()).hexdigest()
    provenance["drawing"] = {"command": f"python data_scripts/compile_bones.py {model_path.name}", "licences": LICENCES,
                             "meshes": f"{NIMBLE}, {GEOMETRY}",
                             "model_sha256": hashlib.sha256(model_path.read_bytes()).hexdigest()}
    write_json(path, provenance)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    print(f"{len(bones['vertices'])} vertices, {len(bones['faces'])} triangles, {(ASSETS / 'bones.npz').stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
