"""What bige reads from a file, as plain data that can be compared with a reference reading."""
import dataclasses
import math
from pathlib import Path

import numpy as np

from . import references
from .references import amount, need


def _terms(joint) -> list:
    names = [f"{sort}{k}" for sort in ("rotation", "translation") for k in (1, 2, 3)]
    return [[name, axis.tolist()] for name, (_, axis, _) in zip(names, joint.rotations + joint.translations)]


def read_motion(path: Path) -> dict:
    """Times and columns."""
    from bige.motion import read_motion
    found = read_motion(path)
    return {"time": found.time.tolist()} | {name: found[name].tolist() for name in found.names}


def _places(positions) -> list:
    return [None if np.isnan(p).any() else p.tolist() for p in positions]


def read_trc(path: Path) -> dict:
    """Times and positions in metres; None where a marker is lost."""
    from bige.markers import read_trc
    found = read_trc(path)
    return {"time": found.time.tolist()} | {name: _places(found[name]) for name in found.names}


def read_prmd(path: Path) -> dict:
    """Rows of mm, z up, as the file has them."""
    from bige.markers import read_ui_prmd
    (found,) = read_ui_prmd(path).values()
    x, y, z = np.moveaxis(found.positions, -1, 0)
    rows = np.stack([x, -z, y], -1) * 1000
    return {"rows": rows.reshape(len(rows), -1).tolist()}


def prmd(path: Path) -> dict:
    """The reference, with NaN where a marker is lost."""
    rows = references.prmd(path)["rows"]
    places = np.array(rows).reshape(len(rows), -1, 3)
    lost = np.isnan(places).any(-1) | (places == 0).all(-1)
    return {"rows": np.where(lost[..., None], np.nan, places).reshape(len(rows), -1).tolist()}


def read_archive(path: Path) -> dict:
    """Trials in m, z up."""
    from bige.markers import read_marker_archive
    found = read_marker_archive(path)
    trials = {key: np.stack([m.positions[..., 0], -m.positions[..., 2], m.positions[..., 1]], -1)
              for key, m in found.items()}
    return {"names": list(next(iter(found.values())).names)} | trials


def archive(path: Path) -> dict:
    """The reference in m, NaN where a marker is lost."""
    found = references.marker_archive(path)
    names = found.pop("names")
    for key, array in found.items():
        places = array.astype(float) * (1e-4 if array.dtype.kind == "i" else 1e-3)
        lost = np.isnan(places).any(-1) | (places == 0).all(-1)
        found[key] = np.where(lost[..., None], np.nan, places)
    return {"names": names} | found


def read_model(path: Path) -> dict:
    """Bodies, ranges and joints."""
    from bige.skeleton import Skeleton
    found = Skeleton.from_osim(path)
    joints = {j.name: [j.parent, j.child, *j.p_PF, *j.p_BM, _terms(j)] for j in found.tree + found.coupled}
    return {"bodies": {n: [b.mass, *b.mass_center, *b.inertia] for n, b in found.bodies.items()},
            "ranges": dict(zip(found.coordinate_names, found.ranges.tolist())), "joints": joints}


def osim(path: Path) -> dict:
    """The reference, with ranges of the 33 coordinates."""
    from bige.motion import COORDINATES
    found = references.osim(path)
    need(set(COORDINATES) <= set(found["ranges"]), "coordinates")
    return found | {"ranges": {c: found["ranges"][c] for c in COORDINATES}}


def _comparable(entry: dict, unit: str, kind_unit: str) -> dict:
    "Fields of a read entry that a reference can be compared with: numbers in the usual unit, and words."
    return {k: v for k, v in entry.items() if k in ("kind", "side", "axis", "phase", "plane", "goal",
                                                    "weight")
            or k in ("low", "high", "target", "within") and unit in ("", kind_unit)}


def read_request(path: Path) -> list:
    """Entries of a file of constraints."""
    from bige.constraint_files import read_constraints
    return _requested(read_constraints(path).entries())


def _requested(entries) -> list:
    return [{k: (float(v) if isinstance(v, (int, float)) else v) for k, v in e.items()} for e in entries]


def same_request(found: list, right: list) -> bool:
    """Whether what was read says what the file says: kinds in order, words, and numbers in the kind's own
    unit."""
    from bige.constraints import KINDS
    if len(found) < len(right):
        return False
    for mine, theirs in zip(found, right):
        usual = KINDS[mine["kind"]].unit
        for key, value in theirs.items():
            if key in ("kind", "side", "axis", "phase", "plane", "goal") and mine.get(key) != value:
                return False
            if isinstance(value, tuple) and key in mine and "unit" not in theirs and usual is not None:
                number, unit = value
                if unit in ("", usual) and not math.isclose(mine[key], number, rel_tol=1e-9, abs_tol=1e-12):
                    return False
    return True


def read_setting(path: Path) -> dict:
    """What --set makes of a text."""
    from bige.constraint_files import default_constraints, override
    text = path.read_bytes().decode("utf-8", "surrogateescape")         # as Python gives arguments
    who, _, name = text.partition("=")[0].strip().partition(".")
    entries = override(default_constraints(), text).entries()
    return {name: next(e.get(name) for e in entries if e["kind"] == who)} if name in _NUMBERS else {}


_NUMBERS = ("low", "high", "target", "within", "weight")


def setting(path: Path) -> dict:
    """The number in WHO.FIELD=VALUE."""
    text = references.utf8(path)
    key, equals, value = text.partition("=")
    who, dot, name = key.strip().partition(".")
    need(equals and dot, "form")
    plain = references.yaml_document(value)
    return {name: amount(plain)[0]} if name in _NUMBERS and plain is not None else {}


def same_setting(found: dict, right: dict) -> bool:
    """Whether the number is the one of the text; per cent may have become a share."""
    return all(found.get(k) is None or any(math.isclose(found[k], v * f, rel_tol=1e-9)
                                           for f in (1, 0.01, 100))
               for k, v in right.items())


def read_exercise(path: Path) -> dict:
    """The record of an exercise."""
    from bige.exercises import read_exercise
    found = read_exercise(path)
    fields = dataclasses.asdict(found)
    return {k: v for k, v in fields.items() if k in _PLAIN_FIELDS}


_PLAIN_FIELDS = ("name", "title", "plural", "repetition", "progress", "together", "phases", "contacts",
                 "effort")


def exercise(path: Path) -> dict:
    """The same by the reference."""
    top = references.yaml_document(references.utf8(path))
    need(isinstance(top, dict) and set(_PLAIN_FIELDS) <= set(top), "fields")
    return {k: top[k] for k in _PLAIN_FIELDS}


def read_metadata(path: Path) -> dict:
    """Mass in a session's metadata."""
    from bige.markers import session_mass
    found = session_mass(path.with_name("trial.trc"))
    return {"mass_kg": found} if found is not None else {}


def metadata(path: Path) -> dict:
    """The same by the reference."""
    return {k: v for k, v in references.metadata(path).items() if k == "mass_kg"}


def read_dataset(path: Path) -> dict:
    """The arrays of a data set."""
    from bige.dataset import load_dataset
    found = load_dataset(path)
    keys = "kinematics activations duration subjects trials split mass exercises side".split()
    return {k: getattr(found, k) for k in keys}


def dataset(path: Path) -> dict:
    """The same by the reference."""
    found = references.dataset(path)
    return {k: v for k, v in found.items() if k != "names"}


def read_old_dataset(path: Path) -> dict:
    """What a data set of version 0.1 says of its repetitions, and the poses in which they begin and end."""
    from bige.dataset import load_dataset
    found = load_dataset(path)
    told = {k: getattr(found, k) for k in "duration subjects trials split mass exercises".split()}
    return told | {"first": found.kinematics[:, 0], "last": found.kinematics[:, -1]}


def _network(model) -> dict:
    config = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(model.config).items()}
    return {"config": config, "tensors": {k: v.numpy() for k, v in model.state_dict().items()}}


def read_surrogate(path: Path) -> dict:
    """Configuration and tensors."""
    from bige.surrogate import load_surrogate
    return {"kind": "surrogate"} | _network(load_surrogate(path))


def read_published(path: Path) -> dict:
    """The published network's tensors."""
    from bige.surrogate import load_published
    return {k: v.numpy() for k, v in load_published(path).state_dict().items()}


def same_bytes(found: dict, right: dict) -> bool:
    """Whether the tensors hold the bytes of the archive, whatever their order."""
    return sorted(v.tobytes() for v in found.values()) == sorted(right.values())


def read_vqvae(path: Path) -> dict:
    """Configuration and tensors."""
    from bige.vqvae import load_vqvae
    return {"kind": "vqvae"} | _network(load_vqvae(path))


def read_simulation(path: Path) -> dict:
    """Status and mass of a trial, as `dataset` takes them from simulation.json."""
    from bige.dataset import mass_of, record_of
    trial = path.with_name("t_muscle_driven.mot")
    record = record_of(trial)
    mass_of(trial, record)
    return {}


def read_ik(path: Path) -> dict:
    """The model of a trial, as ik.json tells, and its entries, as a later `bige ik` reads them."""
    from bige.inverse_kinematics import read_record
    from bige.markers import model_of_trial
    read_record(path.parent)
    model_of_trial(path.with_name("walk.mot"))
    return {}


def read_metrics(path: Path) -> dict:
    """An answer with its record."""
    from bige.answers import Answer
    Answer.load(path.parent)
    return {}


def record(path: Path) -> dict:
    """That it is JSON at all."""
    references.strict_json(path)
    return {}


def read_array(path: Path) -> np.ndarray:
    """A plain .npy array."""
    from bige.baselines import load_npy
    return load_npy(path)


def array(path: Path) -> np.ndarray:
    """The same by the reference."""
    return references.npy(path.read_bytes())


def same(found, right) -> bool:
    """Equal to the last printed digit, type aside."""
    if isinstance(right, dict):
        return isinstance(found, dict) and set(found) == set(right) and all(same(found[k], right[k])
                                                                            for k in right)
    if isinstance(right, (list, tuple)) and not all(isinstance(v, (int, float)) for v in right):
        return len(found) == len(right) and all(map(same, found, right))
    if right is None or isinstance(right, str):
        return found is right or found == right
    if isinstance(right, (list, tuple)) and len(found) != len(right):
        return False
    a, b = np.asarray(found), np.asarray(right)
    if a.shape != b.shape or (a.dtype.kind == "U") != (b.dtype.kind == "U"):
        return False
    if a.dtype.kind in "Ub":
        return bool((a == b).all())
    return bool(np.allclose(a.astype(float), b.astype(float), rtol=1e-6, atol=1e-9, equal_nan=True))
