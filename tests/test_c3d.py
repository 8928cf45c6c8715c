"""C3D files: markers, gaps, axes and units; force plates, by foot, as OpenSim's external loads."""
import importlib.util
import os
import random
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("ezc3d")

from c3d_files import BODY, METRES, UP, add_plates, set_parameter, swaying, trial

from bige.c3d import contents, read_c3d, upward_axis
from bige.cli import main
from bige.files import InputError, Suspicion
from bige.force_plates import (PlateForces, forces_by_foot, read_external_loads, read_force_table,
                               read_plates, write_external_loads)
from bige.markers import foot_forces, read_markers, usual_names
from bige.motion import read_motion
from bige.opensim_process import run_opensim

HAS_OPENSIM = "BIGE_OPENSIM_PYTHON" in os.environ or importlib.util.find_spec("opensim") is not None
needs_opensim = pytest.mark.skipif(
    not HAS_OPENSIM, reason="no opensim package: pip install opensim, or set BIGE_OPENSIM_PYTHON")


def written(file, folder: Path, name: str = "trial.c3d") -> Path:
    file.write(str(folder / name))
    return folder / name


# markers

@pytest.mark.parametrize("unit, up, rate", [("mm", "z", 100.0), ("m", "y", 120.0), ("cm", "x", 59.94)])
def test_markers_come_in_metres_with_y_up(tmp_path, unit, up, rate):
    markers = read_markers(written(trial(unit=unit, up=up, rate=rate), tmp_path))["trial"]
    assert markers.names == tuple(BODY) and abs(markers.rate_hz - rate) < 1e-3
    assert np.abs(markers.positions - swaying()).max() < 1e-6


def test_upward_axis_is_any_of_six():
    for axis, turn in UP.items():
        stored = swaying() @ np.array(turn, float)
        assert upward_axis(stored, list(BODY)) == axis
        assert upward_axis(-stored, list(BODY)) == "-" + axis


def test_axis_of_unknown_markers_is_a_suspicion():
    with pytest.warns(Suspicion, match="C7 and LTOE"):
        assert upward_axis(swaying(), [f"M{i}" for i in range(len(BODY))]) == "z"


def test_only_named_markers_stay(tmp_path):
    names = ["Anna:" + name for name in BODY]
    names[3:6] = ["*12", "", "Anna:LKneeAngles"]
    file = trial(names=names)
    set_parameter(file, "POINT", "ANGLES", ["Anna:LKneeAngles"])
    found = read_c3d(written(file, tmp_path))
    assert found.names == tuple(n for i, n in enumerate(BODY) if i not in (3, 4, 5))
    assert (found.unnamed, found.computed) == (2, ("Anna:LKneeAngles",))
    assert "not used: 2 unnamed points, 1 computed quantities" in contents(found)


def test_missing_samples_are_gaps(tmp_path):
    file = trial()
    file["data"]["points"][:3, 0, 4:6] = 0
    file["data"]["points"][:3, 1, 7] = np.nan
    file["data"]["meta_points"]["residuals"] = np.zeros((1, len(BODY), 30))
    file["data"]["meta_points"]["residuals"][0, 2, 9:12] = -1
    markers = read_markers(written(file, tmp_path))["trial"]
    assert [tuple(gap) for gap in markers.gaps()] == [("C7", 4, 6), ("CLAV", 7, 8), ("STRN", 9, 12)]
    said = contents(read_c3d(tmp_path / "trial.c3d"))
    assert f"{600 / (30 * len(BODY)):.1f} % of the samples missing" in said


def test_events_are_told_and_not_used(tmp_path):
    file = trial()
    for minute, second, side in ((0, 0.1, "Left"), (1, 2.5, "Right")):
        file.add_event([minute, second], side, "Foot Strike")
    found = read_c3d(written(file, tmp_path))
    assert [label for _, label in found.events] == ["Left Foot Strike", "Right Foot Strike"]
    assert np.allclose([time for time, _ in found.events], [0.1, 62.5]) and "2 events" in contents(found)


def test_other_templates_get_the_usual_names():
    assert usual_names(["LFWT", "RHEL", "FWT", "C7"]) == {"LFWT": "LASI", "RHEL": "RHEE"}
    assert usual_names(["LFWT", "LASI"]) == {}


def test_a_folder_of_both_formats(tmp_path):
    from bige.markers import write_trc
    written(trial(), tmp_path, "one.c3d")
    write_trc(read_markers(tmp_path / "one.c3d")["one"], tmp_path / "two.trc")
    found = read_markers(tmp_path)
    assert sorted(found) == ["one", "two"]
    assert np.abs(found["one"].positions - found["two"].positions).max() < 1e-6


def changed(group, name, values):
    def change(file):
        set_parameter(file, group, name, values)
    return change


NO_NAMES = [""] * len(BODY)
TWICE = ["Anna:C7", "Ben:C7", *list(BODY)[2:]]


@pytest.mark.parametrize("change, message", [
    (changed("POINT", "LABELS", NO_NAMES), "0 named markers among 11 points"),
    (changed("POINT", "LABELS", TWICE), r"marker C7 twice \(Anna:C7, Ben:C7\)"),
    (changed("POINT", "UNITS", ["furlong"]), "POINT:UNITS: found 'furlong'"),
    (changed("POINT", "UNITS", ["m"]), "unit of 1 m with markers that span 1.45e"),
])
def test_bad_markers_are_one_named_error(tmp_path, change, message, capsys):
    file = trial()
    change(file)
    path = written(file, tmp_path)
    with pytest.raises(InputError, match=message):
        read_markers(path)
    assert main(["ik", str(path), "--out", str(tmp_path / "out")]) == 2
    assert re.search(message, capsys.readouterr().err) and not list((tmp_path / "out").glob("*"))


def test_a_file_without_a_rate_is_refused(tmp_path):
    path = written(trial(), tmp_path)
    data = bytearray(path.read_bytes())
    parameter = data.index(b"RATE") + 4 + 4     # behind its name: two bytes of offset, type, no dimensions
    for place in (20, parameter):                   # the header's and POINT:RATE
        assert np.frombuffer(data, "<f4", 1, place) == 100
        data[place:place + 4] = bytes(4)
    path.write_bytes(data)
    with pytest.raises(InputError, match="POINT:RATE: found 0"):
        read_c3d(path)


def test_files_that_are_no_whole_c3d(tmp_path):
    whole = written(trial(), tmp_path).read_bytes()
    wrong = {"cut": whole[:-3000], "parameters cut": whole[:900], "empty": b"", "text": b"PathFileType" * 200,
             "zeros": bytes(5000), "processor": whole[:515] + b"\0" + whole[516:]}
    for what, data in wrong.items():
        path = tmp_path / f"{what}.c3d"
        path.write_bytes(data)
        with pytest.raises(InputError, match="cut off" if what == "cut" else "header of a C3D file"):
            read_c3d(path)
    with pytest.raises(InputError, match="no such file"):
        read_c3d(tmp_path / "absent.c3d")
    with (tmp_path / "large.c3d").open("wb") as file:
        file.truncate(300_000_000)
    with pytest.raises(InputError, match="300.0 MB"):
        read_c3d(tmp_path / "large.c3d")


def test_without_ezc3d_the_message_names_it(tmp_path, monkeypatch):
    path = written(trial(), tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install ezc3d"):
        read_c3d(path)


def damaged(whole: bytes, seed: int) -> bytes:
    """The file with one to five other bytes among its parameters."""
    draw, data = random.Random(seed), bytearray(whole)
    for _ in range(draw.randint(1, 5)):
        data[draw.randrange(512, 0x500)] = draw.randrange(256)
    return bytes(data)


def outcomes(whole: bytes, folder: Path, seeds) -> list[str]:
    found = []
    for seed in seeds:
        (folder / "damaged.c3d").write_bytes(damaged(whole, seed))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Suspicion)
                read_plates(folder / "damaged.c3d")
            found.append("read")
        except InputError as error:
            found.append("crashed" if "it crashed" in str(error) else "refused")
    return found


def test_what_crashes_ezc3d_is_refused(tmp_path):
    """Without its scale factors of the analog channels ezc3d 1.7.2 ends with a segmentation fault."""
    path = written(add_plates(trial(), [pressed(2)]), tmp_path)
    path.write_bytes(path.read_bytes().replace(b"SCALE", b"SCALF"))
    with pytest.raises(InputError, match="parameters that ezc3d cannot read"):
        read_c3d(path)
    path = written(add_plates(trial(), [pressed(2)]), tmp_path)
    assert len(outcomes(path.read_bytes(), tmp_path, range(5))) == 5


@pytest.mark.slow
def test_damaged_parameters_never_end_the_process(tmp_path):
    path = written(add_plates(trial(), [pressed(2)]), tmp_path)
    found = outcomes(path.read_bytes(), tmp_path, range(100))
    assert {"read", "refused", "crashed"} >= set(found) and len(found) == 100


# force plates

PLATE = np.array([[0.25, 0, 0.3], [-0.25, 0, 0.3], [-0.25, 0, -0.3], [0.25, 0, -0.3]])


def pressed(kind: int, place=(0, 0, 0), samples: int = 30, seed: int = 0) -> dict:
    """A plate of a type, and a known force, point and free moment on it."""
    rng = np.random.default_rng(seed)
    middle = np.array(place, float)
    forces = np.column_stack([rng.normal(0, 40, samples), rng.uniform(100, 900, samples),
                              rng.normal(0, 40, samples)])
    points = middle + np.column_stack([rng.uniform(-0.2, 0.2, samples), np.zeros(samples),
                                       rng.uniform(-0.25, 0.25, samples)])
    couples = np.column_stack([np.zeros(samples), rng.normal(0, 5, samples), np.zeros(samples)])
    return {"kind": kind, "corners": PLATE + middle, "forces": forces, "points": points, "couples": couples}


def assert_read(found: PlateForces, plates: list[dict], factor: float = 1.0) -> None:
    """Forces within 0.1 N, points within 0.1 mm, free moments within 0.01 N·m of what was pressed."""
    for key, tolerance in (("forces", 0.1), ("points", 1e-4), ("couples", 0.01)):
        truth = np.stack([plate[key] for plate in plates], 1)
        assert np.abs(getattr(found, key) - truth).max() < tolerance * factor, key


def check_four_types(folder, unit, up, moment_unit, sign, place) -> None:
    plates = [pressed(kind, np.add(place, (0.6 * kind, 0, 0)), seed=kind) for kind in (1, 2, 3, 4)]
    plates += [plate | {"corners": plate["corners"][[1, 0, 3, 2]]} for plate in plates]   # z down
    file = add_plates(trial(unit=unit, up=up), plates, unit, up, moment_unit, sign=sign)
    assert_read(read_plates(written(file, folder)), plates)


places = st.tuples(st.floats(-3, 3), st.floats(-0.3, 0.3), st.floats(-3, 3))
plate_files = given(unit=st.sampled_from(list(METRES)), up=st.sampled_from(list(UP)), place=places,
                    moment_unit=st.sampled_from(["Nmm", "Nm", None]), sign=st.sampled_from([1.0, -1.0]))


@settings(max_examples=4)
@plate_files
@example(unit="mm", up="z", place=(0, 0, 0), moment_unit="Nm", sign=-1.0)
def test_plates_of_four_types(tmp_path_factory, unit, up, place, moment_unit, sign):
    check_four_types(tmp_path_factory.mktemp("plates"), unit, up, moment_unit, sign, place)


@pytest.mark.slow
@settings(max_examples=60)
@plate_files
def test_plates_of_four_types_in_many_laboratories(tmp_path_factory, unit, up, place, moment_unit, sign):
    check_four_types(tmp_path_factory.mktemp("plates"), unit, up, moment_unit, sign, place)


def test_forces_at_frames_are_centred_averages(tmp_path):
    """A force that grows evenly: its average around a frame is its value at the frame."""
    for each in (5, 10):
        plate = pressed(2, samples=30 * each)
        grows = np.linspace(200, 800, 30 * each)
        plate["forces"] = np.stack([0 * grows, grows, 0 * grows], 1)
        plate["points"][:], plate["couples"][:] = plate["points"][0], plate["couples"][0]
        path = written(add_plates(trial(), [plate], each=each), tmp_path)
        assert read_plates(path).rate_hz == pytest.approx(100 * each)
        found = read_plates(path, at_frames=True)
        assert len(found.time) == 30 and found.rate_hz == pytest.approx(100)
        assert np.abs(found.forces[1:-1, 0, 1] - grows[::each][1:-1]).max() < 0.1
        assert np.abs(found.points[:, 0] - plate["points"][0]).max() < 1e-4


def test_unloaded_plates_have_no_point_of_their_own(tmp_path):
    plate = pressed(2)
    plate["forces"][10:20], plate["couples"][10:20] = 0, 0
    found = read_plates(written(add_plates(trial(), [plate]), tmp_path))
    assert np.allclose(found.points[10:20, 0], 0, atol=1e-6) and not found.couples[10:20].any()
    assert np.isfinite(found.points).all()


@pytest.mark.parametrize("change, message", [
    (changed("FORCE_PLATFORM", "USED", [0]), "no force plates"),
    (changed("FORCE_PLATFORM", "TYPE", [6, 6]), "TYPE, plate 1: found type 6"),
    (changed("FORCE_PLATFORM", "TYPE", [2]), r"TYPE: found numbers of shape \(1,\)"),
    (changed("FORCE_PLATFORM", "CORNERS", np.zeros((3, 4, 2))), "CORNERS, plate 1: found corners around 0"),
    (changed("FORCE_PLATFORM", "CORNERS", np.ones(3)), "CORNERS: found numbers of shape"),
    (changed("FORCE_PLATFORM", "ORIGIN", [0.0]), "ORIGIN: found"),
    (changed("FORCE_PLATFORM", "CHANNEL", np.zeros((6, 2), int)), "CHANNEL, plate 1: found channels"),
    (changed("FORCE_PLATFORM", "CHANNEL", np.full((6, 2), 900)), "FORCE_PLATFORM|ANALOG:UNITS"),
    (changed("FORCE_PLATFORM", "CAL_MATRIX", np.zeros((6, 6, 2))), "CAL_MATRIX, plate 2: found a matrix"),
    (changed("FORCE_PLATFORM", "CAL_MATRIX", [0.0]), "CAL_MATRIX: found numbers of shape"),
    (changed("ANALOG", "UNITS", ["V"] * 12), "ANALOG:UNITS, plate 1: found 'V' for a force"),
])
def test_plates_without_calibration_are_one_named_error(tmp_path, change, message):
    file = add_plates(trial(), [pressed(2), pressed(4, (0, 0, 1))])
    change(file)
    with pytest.raises(InputError, match=message):
        read_plates(written(file, tmp_path))


def test_a_plate_that_lies_elsewhere_is_a_suspicion(tmp_path):
    plate = pressed(2)
    plate["points"] = plate["points"] + [1, 0, 0]
    with pytest.warns(Suspicion, match="beside the plate in 100% of the loaded samples"):
        read_plates(written(add_plates(trial(), [plate]), tmp_path))


# feet

def standing(points, newtons) -> PlateForces:
    """Plates loaded by `newtons` (T, P) at `points` (P, 3)."""
    forces = np.asarray(newtons, float)[..., None] * [0.05, 1, -0.02]
    where = np.broadcast_to(np.asarray(points, float), forces.shape)
    names = tuple(str(k + 1) for k in range(len(points)))
    return PlateForces(np.arange(len(forces)) / 100, forces, where, 0 * forces, names)


FEET = {"r": np.tile([0.0, 0, 0.15], (50, 1)), "l": np.tile([0.0, 0, -0.15], (50, 1))}


def test_plates_are_given_to_feet_by_place():
    plates = standing([[0.1, 0, -0.15], [0.05, 0, 0.16]], np.full((50, 2), 400.0))
    found = forces_by_foot(plates, plates.time, FEET)
    assert found.names == ("r", "l") and np.array_equal(found.forces, plates.forces[:, ::-1])
    assert np.allclose(found.points, plates.points[:, ::-1], atol=1e-12)


def test_a_foot_on_two_plates_has_one_centre_of_pressure():
    plates = standing([[0.12, 0, 0.15], [-0.08, 0, 0.15], [0, 0, -0.15]], np.tile([300.0, 100, 400], (50, 1)))
    found = forces_by_foot(plates, plates.time, FEET)
    assert np.allclose(found.points[:, 0], [0.07, 0, 0.15]) and np.allclose(found.forces[:, 0, 1], 400)
    about_origin = np.cross(found.points, found.forces) + found.couples
    assert np.allclose(about_origin.sum(1), np.cross(plates.points, plates.forces).sum(1))


def test_feet_change_plates_while_they_are_in_the_air():
    newtons = np.full((50, 1), 500.0)
    newtons[20:30] = 0
    feet = {"r": np.where(np.arange(50)[:, None] < 25, [0, 0, 0.05], [0, 0, 1.0]),
            "l": np.where(np.arange(50)[:, None] < 25, [0, 0, -1.0], [0, 0, -0.05])}
    found = forces_by_foot(standing([[0, 0, 0]], newtons), np.arange(50) / 100, feet)
    assert (found.forces[:20, 0, 1] == 500).all() and not found.forces[20:, 0].any()
    assert (found.forces[30:, 1, 1] == 500).all() and not found.forces[:30, 1].any()


@pytest.mark.parametrize("place, what", [((0, 0, 0), "15 cm from foot r and 15 cm from foot l"),
                                         ((-0.5, 0, 0.1), "50 cm from foot r")])
def test_both_feet_or_a_chair_on_a_plate_belong_to_no_foot(place, what):
    with pytest.warns(Suspicion, match=what):
        found = forces_by_foot(standing([place], np.full((50, 1), 600.0)), np.arange(50) / 100, FEET)
    assert not found.forces.any()


# external loads

def test_external_loads_come_back(tmp_path):
    newtons = np.random.default_rng(0).uniform(300, 500, (50, 2))
    plates = standing([[0.1, 0, 0.15], [0.05, 0, -0.16]], newtons)
    feet = forces_by_foot(plates, plates.time, FEET)
    write_external_loads(feet, tmp_path / "loads.xml")
    found, bodies = read_external_loads(tmp_path / "loads.xml")
    assert bodies == {"r": "calcn_r", "l": "calcn_l"} and found.names == ("r", "l")
    for key in ("time", "forces", "points", "couples"):
        assert np.abs(getattr(found, key) - getattr(feet, key)).max() < 1e-8
    columns = ["ground_force_r_vx", "ground_force_l_pz", "ground_force_l_my"]
    assert read_motion(tmp_path / "loads.mot").has(columns)
    with pytest.raises(InputError, match="a force 1 on no body"):
        write_external_loads(plates, tmp_path / "plates.xml")


def test_tables_of_others_are_read(tmp_path):
    rows = "\n".join(f"{i / 10}\t1\t2\t3\t0\t0\t0" for i in range(4))
    for prefix, name in (("1_ground_force_", "1"), ("ground_force_", "1"), ("plate_", "plate")):
        labels = "\t".join(["time", *(f"{prefix}{k}{c}" for k in "vp" for c in "xyz")])
        path = tmp_path / "grf.mot"
        path.write_text(f"forces\nnRows=4\nnColumns=7\ninDegrees=yes\nendheader\n{labels}\n{rows}\n")
        found = read_force_table(path)
        assert found.names == (name,) and np.array_equal(found.forces[0, 0], [1, 2, 3])
        assert not found.couples.any()


@pytest.mark.parametrize("old, new, message", [
    ("endheader", "end", "without 'endheader'"), ("nRows=4", "nRows=5", "nRows 5 in the header and 4 rows"),
    ("0.2\t1", "0.2\tnan", "no finite number"), ("0.2\t", "0.05\t", "increasing times"),
    ("_vx", "_ax", "no column that ends in _vx"), ("_py", "_qy", "no column ground_force_r_py"),
])
def test_wrong_tables_are_one_named_error(tmp_path, old, new, message):
    labels = "\t".join(["time", *(f"ground_force_r_{k}{c}" for k in "vp" for c in "xyz")])
    rows = "\n".join(f"{i / 10}\t1\t2\t3\t0\t0\t0" for i in range(4))
    text = f"forces\nnRows=4\nnColumns=7\nendheader\n{labels}\n{rows}\n"
    (tmp_path / "grf.mot").write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        read_force_table(tmp_path / "grf.mot")


@pytest.mark.parametrize("text, message", [
    ("<a>", "no element found"), ("<a/>", "0 forces"),
    ('<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "0 forces")])
def test_wrong_external_loads_are_one_named_error(tmp_path, text, message):
    (tmp_path / "loads.xml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_external_loads(tmp_path / "loads.xml")


# real trials

def sit_to_stand(shared, folder: Path, kinds=(2, 2)) -> tuple[Path, PlateForces, np.ndarray]:
    """The sit-to-stand of labval_s4 as a .c3d file; its forces as the laboratory gives them; which of them
    are on a plate."""
    lab = shared / "labval_s4_62.6kg" / "sts"
    markers, truth = read_markers(lab / "STS1.trc")["STS1"], read_force_table(lab / "STS1_grf.mot")
    # where a plate begins to be loaded the table's points are interpolated, and not on the plate
    on = (truth.forces[:, :2, 1] > 20) & (truth.points[:, :2, 1] == 0.006)
    middles = np.array([[-0.25, 0.006, -0.5], [-0.25, 0.006, -0.75]])
    plates = []
    for k, kind in enumerate(kinds):
        forces = np.where(on[:, k, None], truth.forces[:, k], 0)
        points = np.where(on[:, k, None], truth.points[:, k], middles[k])
        couples = np.where(on[:, k, None], truth.couples[:, k], 0)
        plates.append({"kind": kind, "corners": PLATE * [1, 1, 0.4] + middles[k], "forces": forces,
                       "points": points, "couples": couples})
    path = written(add_plates(trial(markers.positions, markers.names), plates), folder, "STS1.c3d")
    return path, truth, on


@pytest.mark.parametrize("kinds", [(2, 2), (4, 4)])
def test_sit_to_stand_is_read_back(shared, tmp_path, kinds):
    path, truth, on = sit_to_stand(shared, tmp_path, kinds)
    plates = read_plates(path)
    assert np.abs(plates.forces - truth.forces[:, :2])[on].max() < 0.1
    assert np.abs(plates.points - truth.points[:, :2])[on].max() < 1e-4
    feet = foot_forces(plates, read_markers(path)["STS1"])
    stands = truth.forces[:, :2, 1] > 50
    assert feet.names == ("r", "l") and np.abs(feet.forces - truth.forces[:, :2])[stands & on].max() < 0.1


def inverse_dynamics_of(model: str, motion: str, loads: str, out: str) -> None:
    """For `run_opensim`: OpenSim's inverse dynamics of a motion with external loads."""
    import os
    import opensim
    opensim.Logger.setLevelString("error")
    assert opensim.ExternalLoads(loads, True).getSize() == 2
    tool = opensim.InverseDynamicsTool()
    tool.setModelFileName(model)
    tool.setCoordinatesFileName(motion)
    tool.setExternalLoadsFileName(loads)
    tool.setLowpassCutoffFrequency(6)
    tool.setStartTime(3.0)
    tool.setEndTime(5.0)
    tool.setResultsDir(os.path.dirname(out))
    tool.setOutputGenForceFileName(os.path.basename(out))
    assert tool.run()


@pytest.mark.slow
@needs_opensim
def test_opensim_takes_the_external_loads(shared, tmp_path):
    """Its inverse dynamics with what the .c3d file holds equals that with the laboratory's own table."""
    path, truth, _ = sit_to_stand(shared, tmp_path)
    write_external_loads(foot_forces(read_plates(path), read_markers(path)["STS1"]), tmp_path / "ours.xml")
    own = PlateForces(truth.time, *(getattr(truth, key)[:, :2] for key in ("forces", "points", "couples")),
                      ("r", "l"))
    write_external_loads(own, tmp_path / "theirs.xml")
    lab = shared / "labval_s4_62.6kg"
    found = []
    for name in ("ours", "theirs"):
        run_opensim(inverse_dynamics_of, str(lab / "squat" / "manually_scaled.osim"),
                    str(lab / "sts" / "STS1_manual_scaling_ik.mot"), str(tmp_path / f"{name}.xml"),
                    str(tmp_path / f"{name}.sto"))
        found.append(read_motion(tmp_path / f"{name}.sto"))
    stands = np.interp(found[0].time, truth.time, truth.forces[:, :2, 1].min(1)) > 60
    moments = [f"{c}_moment" for c in ("hip_flexion_r", "knee_angle_r", "ankle_angle_l")]
    ours, theirs = (np.stack([m[name] for name in moments], 1) for m in found)
    assert np.abs(theirs[stands]).max() > 20 and stands.sum() > 50
    assert np.abs(ours - theirs)[stands].max() < 0.1


@pytest.mark.slow
def test_ik_of_a_c3d_file(shared, tmp_path, capsys):
    assert main(["ik", str(shared / "c3d" / "squat.c3d"), "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "53 markers in 2539 frames at 120 Hz, 1.7 % of the samples missing" in said
    assert "25 markers not used, unknown to the model (ARIEL, LFSH" in said
    motion = read_motion(tmp_path / "squat.mot")
    assert len(motion.time) == 2539 and np.rad2deg(motion["knee_angle_r"].max()) > 100


@pytest.mark.slow
def test_ik_writes_the_plates_as_external_loads(shared, tmp_path, capsys):
    path, truth, on = sit_to_stand(shared, tmp_path)
    command = ["ik", str(path), "--mass", "62.6", "--out", str(tmp_path / "out")]
    assert main(command) == 0 and "2 force plates" in capsys.readouterr().out
    found, bodies = read_external_loads(tmp_path / "out" / "plates" / "ground_forces_STS1.xml")
    assert bodies == {"r": "calcn_r", "l": "calcn_l"}
    stands = on & (truth.forces[:, :2, 1] > 50)
    assert np.abs(found.forces - truth.forces[:, :2])[stands].max() < 0.1
    assert main(command) == 0           # the same run again changes nothing
    path.write_bytes(path.read_bytes().replace(b"Nmm", b"V  "))
    capsys.readouterr()
    assert main([*command[:-1], str(tmp_path / "other")]) == 2
    assert "ANALOG:UNITS, plate 1" in capsys.readouterr().err and (tmp_path / "other" / "STS1.mot").exists()
