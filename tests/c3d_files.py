"""C3D files for tests, written by ezc3d: markers, and plates of types 1 to 4 that measured known forces."""
import ezc3d
import numpy as np

UP = {"x": [[0, -1, 0], [1, 0, 0], [0, 0, 1]], "y": np.eye(3), "z": [[1, 0, 0], [0, 0, 1], [0, -1, 0]]}
METRES = {"m": 1.0, "cm": 1e-2, "mm": 1e-3}
BODY = {"C7": (0, 1.5, 0), "CLAV": (0.1, 1.4, 0), "STRN": (0.1, 1.3, 0), "LSHO": (0, 1.4, -0.2),
        "RSHO": (0, 1.4, 0.2), "LASI": (0.1, 1, -0.1), "RASI": (0.1, 1, 0.1), "LHEE": (-0.05, 0.05, -0.15),
        "RHEE": (-0.05, 0.05, 0.15), "LTOE": (0.15, 0.05, -0.15), "RTOE": (0.15, 0.05, 0.15)}


def set_parameter(file, group: str, name: str, values) -> None:
    """A parameter of the type of its values: text, whole or floating-point numbers."""
    values = np.array(values)
    file["parameters"].create_group_if_needed(group)
    kind = {"i": 2, "f": 4, "U": -1}[values.dtype.kind]
    file["parameters"][group][name] = {"type": kind, "description": "", "is_locked": False,
                                       "value": values.tolist() if kind < 0 else values}


def swaying(frames: int = 30) -> np.ndarray:
    """Positions (T, M, 3) m of the markers in BODY, y up, of somebody who sways."""
    sway = 0.02 * np.sin(np.arange(frames) / 5)[:, None, None]
    return np.array(list(BODY.values())) + sway * [1, 0, 0.5]


def trial(positions=None, names=None, unit="mm", up="z", rate=100.0):
    """A file without plates, to be changed and written."""
    positions = swaying() if positions is None else positions
    names = list(BODY) if names is None else list(names)
    file = ezc3d.c3d()
    point = file["parameters"]["POINT"]
    point["RATE"]["value"], point["UNITS"]["value"], point["LABELS"]["value"] = [rate], [unit], names
    stored = positions @ np.array(UP[up], float) / METRES[unit]          # the inverse of a rotation
    file["data"]["points"] = np.concatenate([stored.transpose(2, 1, 0), np.ones((1, *stored.shape[1::-1]))])
    return file


def _channels(kind, force, moment, origin, calibration):
    """What a plate gives, (C, N), for force (N, 3) and moment (N, 3) about its middle in its own axes."""
    if kind == 1:
        point = np.stack([-moment[:, 1], moment[:, 0]], 1) / force[:, 2:]
        twist = moment[:, 2] - point[:, 0] * force[:, 1] + point[:, 1] * force[:, 0]
        return np.column_stack([force, point, twist]).T
    inside = np.column_stack([force, moment - np.cross(force, origin)])
    if kind == 2:
        return inside.T
    if kind == 4:
        return np.linalg.inv(calibration) @ inside.T
    a, b, _ = origin        # four sensors: sums and differences of their parts are the six numbers
    fx, fy, fz = force.T
    mx, my, mz = (moment - np.cross(force, [0, 0, origin[2]])).T
    x12, y14 = np.array([fx, mz / b]) / 2, np.array([fy, 0 * mz]) / 2
    parts = np.array([fz, mx / b, my / a]) / 4
    return np.array([x12[0] - x12[1], x12[0] + x12[1], y14[0] + y14[1], y14[0] - y14[1],
                     parts[0] + parts[1] - parts[2], parts[0] + parts[1] + parts[2],
                     parts[0] - parts[1] + parts[2], parts[0] - parts[1] - parts[2]])


def add_plates(file, plates, unit="mm", up="z", moment_unit=None, each=1, sign=1.0):
    """Plates into a file: each a dict of kind, corners (4, 3) m, forces, points, couples (N, 3) in OpenSim's
    axes; `each` samples a frame. `sign`: -1 for systems that store what the person does."""
    metres, turn = METRES[unit], np.array(UP[up], float)
    moment_unit = moment_unit or f"N{unit}"
    per_moment = {"Nm": 1.0, "Nmm": 1e-3, "Ncm": 1e-2}[moment_unit]
    rows, units, channel, corners, origins, matrices = [], [], [], [], [], []
    rng = np.random.default_rng(1)
    for k, plate in enumerate(plates):
        stored = plate["corners"] @ turn
        x, y = stored[0] - stored[1], stored[0] - stored[3]
        z = np.cross(x, y)
        axes = np.stack([v / np.linalg.norm(v) for v in (x, np.cross(z, x), z)], 1)
        middle = plate["corners"].mean(0)
        moment = np.cross(plate["points"] - middle, plate["forces"]) + plate["couples"]
        force, moment = sign * plate["forces"] @ turn @ axes, sign * moment @ turn @ axes
        half = np.linalg.norm(x) / 2, np.linalg.norm(y) / 2
        sensors = [0.7 * half[0], 0.7 * half[1], -0.04]         # m, where the four of type 3 sit
        origin = np.array(sensors if plate["kind"] == 3 else [0.002, -0.003, -0.04])
        calibration = np.diag([500.0] * 3 + [250 / metres] * 3) + rng.normal(size=(6, 6))
        scaled = np.diag([1.0] * 3 + [metres] * 3) @ calibration
        found = _channels(plate["kind"], force, moment, origin, scaled)
        if plate["kind"] == 1:
            found[3:5] /= metres
            found[5] /= per_moment
        if plate["kind"] == 2:
            found[3:] /= per_moment
        force_unit = "V" if plate["kind"] == 4 else "N"
        units += [force_unit] * 3 + (["V"] * 3 if plate["kind"] == 4 else ["N"] * 5 if plate["kind"] == 3
                                     else [moment_unit] * 3)
        channel.append([len(units) - len(found) + 1 + c for c in range(len(found))] + [0] * (8 - len(found)))
        rows.append(found)
        corners.append(stored / metres)
        origins.append(origin / metres)
        matrices.append(calibration)
    analog = file["parameters"]["ANALOG"]
    rate = file["parameters"]["POINT"]["RATE"]["value"][0]
    analog["RATE"]["value"], analog["UNITS"]["value"] = [rate * each], units
    analog["LABELS"]["value"] = [f"channel{i}" for i in range(len(units))]
    file["data"]["analogs"] = np.concatenate(rows)[None]
    set_parameter(file, "FORCE_PLATFORM", "USED", [len(plates)])
    set_parameter(file, "FORCE_PLATFORM", "TYPE", [plate["kind"] for plate in plates])
    set_parameter(file, "FORCE_PLATFORM", "CORNERS", np.transpose(corners, (2, 1, 0)))
    set_parameter(file, "FORCE_PLATFORM", "ORIGIN", np.transpose(origins))
    set_parameter(file, "FORCE_PLATFORM", "CHANNEL", np.transpose(channel))
    set_parameter(file, "FORCE_PLATFORM", "CAL_MATRIX", np.transpose(matrices, (1, 2, 0)))
    return file
