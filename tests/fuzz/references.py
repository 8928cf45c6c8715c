"""What a file says by the rules of its format, read without bige: strict, short and slow. `Wrong` is raised
where
the format allows no reading."""
import ast
import json
import math
import re
import struct
import zipfile
from xml.etree import ElementTree

import numpy as np
import yaml


class Wrong(Exception):
    """There is no right reading."""


def need(good, why: str) -> None:
    """Wrong unless `good`."""
    if not good:
        raise Wrong(why)


NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.A)


def number(text: str) -> float:
    """A finite decimal number."""
    need(NUMBER.fullmatch(text), f"{text!r} is no number")
    need(math.isfinite(float(text)), f"{text!r} is not finite")
    return float(text)


def text_of(path) -> str:
    """The text of a file, with line feeds."""
    data = path.read_bytes()
    need(not re.search(rb"[\x00-\x08\x0e-\x1f\x7f]", data), "control characters")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def even(times: list[float], tokens: list[str]) -> None:
    """Wrong unless times rise in equal steps, as far as their decimals say."""
    def decimals(token):
        mantissa, _, exponent = token.lower().partition("e")
        return max(len(mantissa.partition(".")[2]) - int(exponent or 0), 0)
    steps = [b - a for a, b in zip(times, times[1:])]
    need(min(steps) > 0, "times do not rise")
    usual = sorted(steps)[len(steps) // 2]
    unit = 10.0 ** -min(max(map(decimals, part)) for part in (tokens[:30], tokens[-30:]))
    need(max(abs(s - usual) for s in steps) <= max(2.1 * unit + 2e-3 * usual, 1e-9), "uneven steps")


def whole_lines(text: str) -> list[str]:
    """The lines of a table; Wrong where the last number may have been cut: it has no line end, and fewer
    decimals
    than the one above."""
    lines = text.split("\n")
    if lines[-1].strip() and len(lines) > 1:
        last, above = (re.split(r"[\s,]+", line.strip())[-1].partition(".")[2]
                       for line in (lines[-1], lines[-2]))
        need(len(last) >= len(above), "the last number is cut")
    while lines and not lines[-1].strip():
        lines.pop()
    need(lines, "empty")
    return lines


# --- .mot, .sto ---

LENGTHS = ("pelvis_tx", "pelvis_ty", "pelvis_tz")


def motion(path) -> dict:
    """Names, times and columns, angles in radians."""
    text = text_of(path)
    lines = whole_lines(text)
    ends = [i for i, line in enumerate(lines) if line.strip().lower() == "endheader"]
    need(ends, "no endheader")
    header = {}
    for line in lines[:ends[0]]:
        key, equals, value = line.partition("=")
        if equals:
            header[key.strip().lower()] = value.strip()
    body = lines[ends[0] + 1:]
    while body and not body[0].strip():
        body.pop(0)
    need(len(body) > 2, "no frames")
    labels = [c.strip() for c in body[0].strip().split("\t")] if "\t" in body[0].strip() else body[0].split()
    need(labels[0].lower() == "time" and len(set(labels)) == len(labels) and all(labels), "column names")
    cells = [line.split() for line in body[1:]]
    need(all(len(row) == len(labels) for row in cells), "a row of another length")
    table = [[number(c) for c in row] for row in cells]
    for key, count in (("nrows", len(table)), ("datarows", len(table)), ("ncolumns", len(labels)),
                       ("datacolumns", len(labels))):
        need(header.get(key, str(count)) == str(count), f"{key} is another")
    need(header.get("indegrees", "yes").lower() in ("yes", "no"), "inDegrees")
    even([row[0] for row in table], [row[0] for row in cells])
    turned = math.pi / 180 if header.get("indegrees", "").lower() != "no" else 1.0
    columns = {}
    for j, name in enumerate(labels[1:], 1):
        angle = name in ANGLES or name.removesuffix("/speed") in ANGLES
        columns[name] = [row[j] * (turned if angle else 1.0) for row in table]
    return {"time": [row[0] for row in table], **columns}


ANGLES = {f"pelvis_{n}" for n in ("tilt", "list", "rotation")}
ANGLES |= {f"lumbar_{n}" for n in ("extension", "bending", "rotation")}
for _side in "lr":
    ANGLES |= {f"{n}_{_side}" for n in """hip_flexion hip_adduction hip_rotation knee_angle ankle_angle
               subtalar_angle mtp_angle arm_flex arm_add arm_rot elbow_flex pro_sup""".split()}


# --- markers ---

def trc(path) -> dict:
    """Times and positions in metres; None where a marker is lost."""
    text = text_of(path)
    lines = whole_lines(text)
    need(lines[0].strip().lower().startswith("pathfiletype") and len(lines) > 6, "no .trc header")
    header = dict(zip((k.lower() for k in lines[1].split()), lines[2].split()))
    need(len(lines[1].split()) == len(lines[2].split()), "header of another length")
    scale = {"m": 1.0, "mm": 1e-3, "cm": 1e-2}.get(header.get("units", "").lower())
    need(scale, "units")
    names = [c.strip() for c in lines[3].split("\t")[2:] if c.strip()]
    need(lines[3].split("\t")[0].strip().lower() in ("frame#", "frame"), "line 4")
    need(names and len(set(names)) == len(names), "marker names")
    need(header.get("nummarkers") == str(len(names)), "NumMarkers")
    first = 5 if not lines[4].split() or lines[4].split()[0].lower() == "x1" else 4
    rows = [line for line in lines[first:]]
    while rows and not rows[0].strip():
        rows.pop(0)
    need(header.get("numframes") == str(len(rows)), "NumFrames")
    found = {"time": []} | {name: [] for name in names}
    tokens = []
    for line in rows:
        cells = line.split("\t")
        width = 2 + 3 * len(names)
        need(len(cells) >= width and not "".join(cells[width:]).strip(), "cells")
        cells = [c.strip() for c in cells[:width]]
        number(cells[0])
        found["time"].append(number(cells[1]))
        tokens.append(cells[1])
        for k, name in enumerate(names):
            three = cells[2 + 3 * k:5 + 3 * k]
            need(three.count("") in (0, 3), "a marker lost in part: a shifted row")
            known = [math.nan if c.lower() in ("", "nan") else number(c) * scale for c in three]
            place = None if math.isnan(sum(known)) else known
            found[name].append(None if place == [0, 0, 0] else place)
    even(found["time"], tokens)
    rate = (len(rows) - 1) / (found["time"][-1] - found["time"][0])
    need(abs(number(header.get("datarate", "")) / rate - 1) < 0.02, "DataRate")
    return found


def prmd(path) -> dict:
    """Positions (mm, z up) of one file of UI-PRMD, as rows."""
    text = text_of(path)
    lines = whole_lines(text)
    rows = [[c for c in line.replace(",", " ").split()] for line in lines]
    need(all(len(row) == 117 for row in rows) and len(rows) > 1, "117 numbers a row")
    return {"rows": [[math.nan if c.lower() == "nan" else number(c) for c in row] for row in rows]}


# --- .osim ---

def _vector(element, tag: str, count: int, default: str = "") -> list[float]:
    found = (element.findtext(tag) or "").split() or default.split()
    need(len(found) == count, f"{tag} of {len(found)}")
    return [number(c) for c in found]


def osim(path) -> dict:
    """Bodies, coordinate ranges, joints and markers of a model without couplers."""
    data = path.read_bytes()
    need(b"<!DOCTYPE" not in data, "DTD")
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise Wrong(str(error)) from None
    model = root.find("Model")
    need(root.tag == "OpenSimDocument" and model is not None, "no model")
    bodies, joints = {}, {}
    for body in model.iterfind("BodySet/objects/Body"):
        name = body.get("name")
        need(name and name not in bodies, "body names")
        bodies[name] = (_vector(body, "mass", 1, "0") + _vector(body, "mass_center", 3, "0 0 0")
                        + _vector(body, "inertia", 6, "0 0 0 0 0 0"))
        mass, (xx, yy, zz, xy, xz, yz) = bodies[name][0], bodies[name][4:]
        moments = np.linalg.eigvalsh([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        need(mass >= 0 and (mass > 0) == (moments[2] > 0), "mass")
        need(moments[0] > -1e-9 and moments[2] <= moments[:2].sum() + 0.005001, "inertia")
    need(15 <= sum(b[0] for b in bodies.values()) <= 250, "mass of the body")
    ranges = {}
    for joint in model.iterfind("JointSet/objects/*"):
        name = joint.get("name")
        frames = {f.get("name"): f for f in joint.iterfind("frames/PhysicalOffsetFrame")}
        need(name and name not in joints, "joint names")
        sockets = [(joint.findtext(s) or "").strip() for s in ("socket_parent_frame", "socket_child_frame")]
        for path in sockets:        # a body itself in place of one of the joint's own frames
            if path == "/ground" or path.startswith("/bodyset/"):
                frames[path] = ElementTree.fromstring(f"<F><socket_parent>{path}</socket_parent></F>")
        ends = [frames.get(path) for path in sockets]
        need(None not in ends, "sockets")
        places = [_vector(f, "translation", 3, "0 0 0") + _vector(f, "orientation", 3, "0 0 0") for f in ends]
        parent, child = ((f.findtext("socket_parent") or "").strip().split("/")[-1] for f in ends)
        need(parent in (*bodies, "ground") and child in bodies, "bodies of a joint")
        for coordinate in joint.iter("Coordinate"):
            low, high = _vector(coordinate, "range", 2)
            need(low < high and coordinate.get("name") not in ranges, "coordinate")
            ranges[coordinate.get("name")] = [low, high]
        axes = []
        for axis in joint.iterfind("SpatialTransform/TransformAxis"):
            direction = np.array(_vector(axis, "axis", 3))
            need(np.linalg.norm(direction) > 1e-6, "an axis of no length")
            axes.append([axis.get("name"), (direction / np.linalg.norm(direction)).tolist()])
        need(len(axes) in (0, 6), "axes")
        joints[name] = [parent, child, *places[0][:3], *places[1][:3], sorted(axes)]
    children = [j[1] for j in joints.values()]
    need(len(set(children)) == len(children) and set(children) == set(bodies), "a tree")
    need(sum(j[0] == "ground" for j in joints.values()) == 1, "a joint at the ground")
    return {"bodies": bodies, "ranges": ranges, "joints": joints}


# --- YAML ---

def yaml_plain(node):
    """What a node says by the core schema of YAML 1.2, without what versions read differently."""
    if isinstance(node, yaml.SequenceNode):
        return [yaml_plain(n) for n in node.value]
    if isinstance(node, yaml.MappingNode):
        keys = [k.value for k, _ in node.value if isinstance(k, yaml.ScalarNode)]
        need(len(set(keys)) == len(node.value), "keys")
        return {k.value: yaml_plain(v) for k, v in node.value}
    text = node.value
    if node.style:
        return text
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text.lower() == "true"
    need(not re.fullmatch(r"[-+]?0[0-7_]+|[-+]?0[xob][0-9a-fA-F_]+", text), "versions differ")
    if re.fullmatch(r"[-+]?(0|[1-9]\d*)|[-+]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?", text, re.A):
        need(math.isfinite(float(text)), "too large")
        return float(text)
    return text


def yaml_document(text: str):
    """The plain data of a document without tags, anchors and deep nesting."""
    need(len(text) <= 100_000, "size")
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.BaseLoader):
            need(not isinstance(event, yaml.AliasEvent) and not getattr(event, "anchor", None), "alias")
            need(not getattr(event, "tag", None), "tag")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            need(depth < 25, "depth")
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise Wrong(str(error)) from None
    need(node is not None, "empty")
    return yaml_plain(node)


def utf8(path) -> str:
    """The text of a file in UTF-8."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Wrong(str(error)) from None


def amount(value):
    """Number and unit of a value such as 30 or '30 deg'."""
    if isinstance(value, float):
        return value, ""
    found = re.fullmatch(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\s\d].*)?", str(value), re.A)
    need(found and not isinstance(value, bool), f"{value!r} is no amount")
    return float(found[1]), (found[2] or "").strip()


def request(path) -> list[dict]:
    """The entries of a file of constraints, numbers in the unit that they carry."""
    top = yaml_document(utf8(path))
    need(isinstance(top, dict) and list(top) == ["constraints"] and isinstance(top["constraints"], list),
         "list")
    need(0 < len(top["constraints"]) <= 200, "entries")
    entries = []
    for entry in top["constraints"]:
        need(isinstance(entry, dict) and isinstance(entry.get("kind"), str), "kind")
        entries.append({k: amount(v) if k in ("low", "high", "target", "within", "weight") else v
                        for k, v in entry.items() if v is not None})
    return entries


def metadata(path) -> dict:
    """Mass and height of a session's metadata."""
    top = yaml_document(utf8(path))
    need(isinstance(top, dict), "no mapping")
    found = {}
    for key, (low, high) in (("mass_kg", (15, 250)), ("height_m", (1, 2.3))):
        if top.get(key) is not None:
            need(isinstance(top[key], float) and low <= top[key] <= high, key)
            found[key] = top[key]
    return found


# --- JSON ---

def strict_json(path) -> dict:
    """A JSON object."""
    def once(pairs):
        need(len(dict(pairs)) == len(pairs), "keys")
        return dict(pairs)

    def none(name):
        raise Wrong(name)
    try:
        record = json.loads(utf8(path), parse_constant=none, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise Wrong(str(error)) from None
    need(isinstance(record, dict), "no object")
    return record


# --- arrays ---

def npy(data: bytes) -> np.ndarray:
    """An array from the bytes of a .npy file."""
    need(data[:6] == b"\x93NUMPY" and data[6:7] in (b"\1", b"\2"), "magic")
    size, start = (2, 10) if data[6] == 1 else (4, 12)
    length = struct.unpack("<H" if size == 2 else "<I", data[8:8 + size])[0]
    try:
        header = ast.literal_eval(data[start:start + length].decode("latin-1").strip())
        kind, shape = np.dtype(header["descr"]), header["shape"]
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise Wrong(str(error)) from None
    need(not kind.hasobject and all(isinstance(n, int) and n >= 0 for n in shape), "header")
    body = data[start + length:]
    need(math.prod(shape) * kind.itemsize <= len(body), "cut")
    array = np.frombuffer(body, kind, math.prod(shape))
    return array.reshape(shape, order="F" if header["fortran_order"] else "C")


def npz(path) -> dict:
    """Arrays of an archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            need(sum(e.file_size for e in archive.infolist()) < 5e7, "size")
            return {name.removesuffix(".npy"): npy(archive.read(name)) for name in archive.namelist()}
    except Wrong:
        raise
    except Exception as error:  # a damaged archive fails in many ways
        raise Wrong(str(error)) from None


def dataset(path) -> dict:
    """The arrays of a data set, with all that its chapter's table says."""
    a = npz(path)
    keys = "kinematics activations duration subjects trials split mass exercises side names".split()
    need(set(keys) <= set(a), "arrays")
    n = len(a["subjects"]) if a["subjects"].ndim == 1 else 0
    need(n > 0, "repetitions")
    texts = "subjects trials split exercises side".split()
    for key, tail, kinds in (("kinematics", (196, 33), "fiu"), ("activations", (196, 80), "fiu"),
                             ("duration", (), "fiu"), ("mass", (), "fiu"), *((k, (), "U") for k in texts)):
        need(a[key].shape == (n, *tail) and a[key].dtype.kind in kinds, key)
        if kinds == "fiu":
            with np.errstate(over="ignore"):
                need(np.isfinite(a[key].astype(np.float32)).all(), key)
    need(a["activations"].min() >= -0.0011 and a["activations"].max() <= 1.0011, "activations")
    need(10 <= a["mass"].min() and a["mass"].max() <= 400, "mass")
    need(0.495 <= a["duration"].min() and a["duration"].max() <= 60.6, "duration")
    need(np.abs(a["kinematics"]).max() <= 50 and np.abs(a["kinematics"][..., :3]).max() <= 10, "units")
    need(set(a["split"].tolist()) <= {"train", "val"}, "split")
    sides = {(s, p) for s, p in zip(a["subjects"].tolist(), a["split"].tolist())}
    need(len({s for s, _ in sides}) == len(sides), "sides")
    need(len(set(zip(a["subjects"].tolist(), a["trials"].tolist()))) == n, "twice")
    need(all(re.fullmatch("[a-z][A-Za-z0-9_]*", e) for e in a["exercises"].tolist()), "exercises")
    legs = {e: {s for s, of in zip(a["side"].tolist(), a["exercises"].tolist()) if of == e}
            for e in a["exercises"].tolist()}
    need(all(led == {""} or led <= {"l", "r"} for led in legs.values()), "side")
    return {k: a[k] for k in keys}


def old_dataset(path) -> dict:
    """What a data set of version 0.1 says of its repetitions: at most 196 frames at 60 Hz, the last one held,
    a mask of those that were recorded, and how many times slower than 60 Hz they are."""
    a = npz(path)
    keys = "kinematics activations mask stretch subjects trials split mass names".split()
    need(set(keys) <= set(a), "arrays")
    n = len(a["subjects"]) if a["subjects"].ndim == 1 else 0
    need(n > 0 and a.get("rate_hz", np.array(60)).shape == () and a.get("rate_hz", 60) == 60, "repetitions")
    need(a["mask"].shape == (n, 196) and a["mask"].dtype == bool and a["stretch"].shape == (n,), "mask")
    need(a["kinematics"].shape == (n, 196, 33) and a["activations"].shape == (n, 196, 80), "frames")
    need(all(m[0] and m[1] and list(m) == sorted(m, reverse=True) for m in a["mask"].tolist()), "holes")
    need(np.isfinite(a["kinematics"]).all() and np.isfinite(a["activations"]).all(), "numbers")
    need(set(a["split"].tolist()) <= {"train", "val"} and len(a["split"]) == n, "split")
    need(a["mass"].shape == (n,) and 10 <= a["mass"].min() and a["mass"].max() <= 400, "mass")
    count = a["mask"].sum(1)
    duration = (count - 1) * a["stretch"].astype(float) / 60
    need(0.495 <= duration.min() and duration.max() <= 60.6, "duration")
    exercise = a.get("exercise", np.array("squat"))
    need(exercise.shape == () and exercise.dtype.kind == "U", "exercise")
    told = {k: a[k] for k in "subjects trials split mass".split()}
    return told | {"duration": duration.astype(np.float32), "exercises": np.full(n, str(exercise)),
                   "first": a["kinematics"][:, 0], "last": a["kinematics"][np.arange(n), count - 1]}


def marker_archive(path) -> dict:
    """Trials (T, M, 3) of a marker archive."""
    a = npz(path)
    need("marker_names" in a and len(a) > 1, "arrays")
    names = a.pop("marker_names")
    need(names.ndim == 1 and names.dtype.kind == "U" and len(set(names.tolist())) == len(names), "names")
    for key, array in a.items():
        need(array.dtype.kind in "fi" and array.ndim == 3 and array.shape[1:] == (len(names), 3), key)
        need(len(array) > 1 and not np.isinf(array.astype(float)).any(), key)
    return {"names": names.tolist()} | a


# --- weights ---

def weights(path) -> dict:
    """Configuration and tensors (float32 and bool) of a .safetensors file."""
    data = path.read_bytes()
    need(len(data) > 8, "size")
    length = int.from_bytes(data[:8], "little")
    need(length < len(data), "header")
    try:
        header = json.loads(data[8:8 + length])
        said = json.loads(header.pop("__metadata__")["bige"])
        config = said["config"]
        body, tensors = data[8 + length:], {}
        for name, entry in header.items():
            kind = {"F32": "<f4", "BOOL": "?"}.get(entry["dtype"])
            need(kind, "type")
            start, end = entry["data_offsets"]
            array = np.frombuffer(body[start:end], kind).reshape(entry["shape"])
            need(end <= len(body) and np.isfinite(array).all(), "numbers")
            tensors[name] = array
    except Wrong:
        raise
    except Exception as error:  # a damaged header fails in many ways
        raise Wrong(str(error)) from None
    return {"kind": said.get("kind"), "config": config, "tensors": tensors}


def published(path) -> dict:
    """Tensors of a .pth archive whose checksums hold, in the order of its own list of names."""
    try:
        with zipfile.ZipFile(path) as archive:
            need(archive.testzip() is None, "checksum")
            names = [n for n in archive.namelist() if "/data/" in n and not n.endswith("/")]
            return {str(i): archive.read(n) for i, n in enumerate(sorted(names))}
    except Wrong:
        raise
    except Exception as error:  # a damaged archive fails in many ways
        raise Wrong(str(error)) from None
