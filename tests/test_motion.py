"""Motion and marker files: strict reading, exact writing, and errors that say where and what to do."""
import os
import pickle
import random
import re
import shutil
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from bige.files import InputError, Suspicion, atomic_write
from bige.markers import (UI_PRMD_MARKERS, Markers, read_marker_archive, read_markers, read_session, read_trc,
                          read_ui_prmd, session_mass, write_trc)
from bige.motion import (ACTIVATIONS, ANGLES, COORDINATES, TRANSLATIONS, Motion, analytic_squat,
                         example_squat, rate_suspicions, read_motion, write_motion)

SQUAT = analytic_squat(reps=1, rate_hz=30.0)
FIRST = 13  # line of the first frame in a file of ours: ten header lines, a line of names


def text_of(write, thing, tmp_path, **options) -> str:
    path = tmp_path / "text"
    write(thing, path, **options)
    return path.read_text()


@pytest.fixture(scope="module")
def mot(tmp_path_factory) -> str:
    return text_of(write_motion, SQUAT, tmp_path_factory.mktemp("mot"))


@pytest.fixture(scope="module")
def markers() -> Markers:
    generator = np.random.default_rng(1)
    body = generator.uniform([-0.3, 0, -0.3], [0.3, 1.7, 0.3], (39, 3)) + 1
    sway = 0.1 * np.sin(np.arange(50) / 8)[:, None, None]
    return Markers(np.arange(50) / 100, body + sway, UI_PRMD_MARKERS)


@pytest.fixture(scope="module")
def trc(tmp_path_factory, markers) -> str:
    return text_of(write_trc, markers, tmp_path_factory.mktemp("trc"))


@contextmanager
def within_a_second(what: str = ""):
    """A second of this process, however busy its neighbours are."""
    start = time.process_time()
    yield
    assert time.process_time() - start < 1, f"{what} took too long"


def refuse(read, path, *parts, **options):
    """`read(path)` raises InputError within a second; its one-line message holds the path and every part."""
    with within_a_second(), pytest.raises(InputError) as caught:
        read(path, **options)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message and "expected" in message and "Cure: " in message
    for part in parts:
        assert part in message, message
    return message


def line_edit(number, old, new, count=1):
    """Replace `old` by `new` in line `number` (1-based) of a text."""
    def edit(text):
        lines = text.split("\n")
        assert old in lines[number - 1], lines[number - 1][:80]
        lines[number - 1] = lines[number - 1].replace(old, new, count)
        return "\n".join(lines)
    return edit


def cell_edit(number, column, new):
    """Put `new` into a tab-separated cell (both 1-based)."""
    def edit(text):
        lines = text.split("\n")
        cells = lines[number - 1].split("\t")
        cells[column - 1] = new
        lines[number - 1] = "\t".join(cells)
        return "\n".join(lines)
    return edit


def drop_lines(first, last):
    return lambda text: "\n".join(text.split("\n")[:first - 1] + text.split("\n")[last:])


def swap_lines(a, b):
    def edit(text):
        lines = text.split("\n")
        lines[a - 1], lines[b - 1] = lines[b - 1], lines[a - 1]
        return "\n".join(lines)
    return edit


def scale_angles(factor):
    """Multiply the angle cells of every frame, as a wrong conversion does."""
    def edit(text):
        lines = text.rstrip("\n").split("\n")
        start = FIRST - 1 if lines[FIRST - 2].startswith("time") else FIRST - 2
        names = lines[start - 1].split("\t")
        def scale(name, cell):
            return f"{float(cell) * factor:.8f}" if name in ANGLES else cell
        rows = [[scale(n, c) for n, c in zip(names, line.split("\t"))] for line in lines[start:]]
        return "\n".join(lines[:start] + ["\t".join(r) for r in rows]) + "\n"
    return edit


def test_layout_of_a_written_file(mot):
    lines = mot.split("\n")
    assert lines[0] == "Coordinates" and lines[9] == "endheader" and lines[10].startswith("time\tpelvis_tilt")
    assert len(lines) == 11 + len(SQUAT.time) + 1 and lines[-1] == ""


# Line numbers below: header 1-10, names 11, frames from 12.
MOT_CORRUPTED = {
    "no endheader": (lambda t: t.replace("endheader\n", ""), ["line 1", "endheader"]),
    "empty": (lambda t: "", ["an empty file"]),
    "blank": (lambda t: "\n \n\t\n", ["an empty file"]),
    "header only": (lambda t: t[:t.index("endheader") + 10], ["0 frames"]),
    "names only": (lambda t: "\n".join(t.split("\n")[:11]) + "\n", ["0 frames"]),
    "one frame": (lambda t: "\n".join(t.split("\n")[:12]) + "\n", ["1 frames"]),
    "binary junk": (lambda t: t[:400] + "\x00\x01\x02" + t[400:], ["line 11", "binary data (byte 0x00)"]),
    "cut inside a row": (lambda t: t[:-200], ["values", "34 values, one for each column", "cut off"]),
    "cut between rows": (drop_lines(60, 200), ["line 3", "nRows", "in the header and 48 rows"]),
    "row too short": (lambda t: line_edit(20, t.split("\n")[19].split("\t")[3] + "\t", "")(t),
                      ["line 20", "33 values", "34 values"]),
    "row too long": (line_edit(20, "\t", "\t1.0\t"), ["line 20", "35 values", "34 values"]),
    "blank line inside": (lambda t: line_edit(20, t.split("\n")[19], "")(t), ["line 20", "a blank line"]),
    "wrong nColumns": (line_edit(4, "34", "35"), ["line 4", "nColumns 35", "34 columns"]),
    "wrong nRows": (line_edit(3, "nRows=", "nRows=9"), ["line 3", "nRows 9"]),
    "nRows not a number": (line_edit(3, "nRows=", "nRows=x"), ["line 3", "nRows x"]),
    "NaN": (cell_edit(30, 15, "nan"), ["line 30", "column 15 (knee_angle_r)", "nan", "fill='spline'"]),
    "infinity": (cell_edit(30, 15, "-inf"), ["line 30", "column 15", "inf"]),
    "overflow": (cell_edit(30, 15, "1e999"), ["line 30", "column 15", "inf"]),
    "text": (cell_edit(31, 3, "missing"), ["line 31", "column 3 (pelvis_list)", "'missing'"]),
    "number with underscore": (cell_edit(31, 3, "1_000"), ["line 31", "column 3", "'1_000'"]),
    "hexadecimal": (cell_edit(31, 3, "0x1p3"), ["line 31", "column 3", "'0x1p3'"]),
    "decimal comma": (cell_edit(32, 5, "0,98"),
                      ["line 32", "column 5 (pelvis_tx)", "decimal comma", "decimal point"]),
    "decimal commas everywhere": (lambda t: t[:t.index("\ntime")] + t[t.index("\ntime"):].replace(".", ","),
                                  ["line 12", "column 1", "decimal comma"]),
    "comma-separated": (lambda t: t.replace("\t", ","), ["line 11", "'time' as the first column"]),
    "doubled column": (line_edit(11, "knee_angle_r", "knee_angle_l"),
                       ["line 11", "column 15", "'knee_angle_l' again (first in column 14)"]),
    "unnamed column": (line_edit(11, "knee_angle_r", ""), ["line 11", "column 15", "empty column name"]),
    "no time column": (line_edit(11, "time", "frame"), ["line 11", "column 1", "'frame'"]),
    "no names": (drop_lines(11, 11), ["line 11", "'0.00000000'"]),
    "time stands still": (lambda t: cell_edit(21, 1, t.split("\n")[19].split("\t")[0])(t),
                          ["line 21", "column 1 (time)", "increasing"]),
    "time runs back": (swap_lines(20, 21), ["column 1 (time)", "increasing"]),
    "frame missing": (lambda t: line_edit(3, "nRows=112", "nRows=111")(drop_lines(40, 40)(t)),
                      ["line 40", "column 1 (time)", "a step of 0.0666667", "0.0333333"]),
    "time is nan": (cell_edit(22, 1, "nan"), ["line 22", "column 1 (time)", "finite time"]),
    "degrees called radians": (line_edit(5, "yes", "no"),
                               ["line 5", "inDegrees=no", "knee_angle", "write inDegrees=yes"]),
    "radians called degrees": (scale_angles(np.pi / 180), ["line 5", "inDegrees=yes", "write inDegrees=no"]),
    "converted twice": (scale_angles(180 / np.pi), ["line 5", "converted twice", "57.29578"]),
    "unit not stated, small angles": (lambda t: scale_angles(np.pi / 180)(t).replace("inDegrees=yes\n", "\n"),
                                      ["no inDegrees", "in_degrees=True or False"]),
    "unit flag unknown": (line_edit(5, "yes", "perhaps"), ["line 5", "inDegrees=perhaps"]),
    "translations in mm": (cell_edit(20, 6, "950.0"), ["column 6 (pelvis_ty)", "950", "divide"]),
    "huge header": (lambda t: "junk line\n" * 300_000 + t, ["line 1", "endheader"]),
    "one huge line": (lambda t: "x" * 3_000_000 + "\n" + t, ["line 1", "endheader"]),
    "vectors": (line_edit(2, "version=1", "DataType=Vec3"), ["line 2", "DataType=Vec3"]),
}


@pytest.mark.parametrize("how", MOT_CORRUPTED)
def test_corrupted_mot(how, mot, tmp_path):
    edit, parts = MOT_CORRUPTED[how]
    corrupted = edit(mot)
    assert corrupted != mot
    (tmp_path / "corrupted.mot").write_text(corrupted)
    refuse(read_motion, tmp_path / "corrupted.mot", *parts)


BYTES_CORRUPTED = {"UTF-16": lambda t: t.encode("utf-16"),
                   "noise": lambda t: random.Random(2).randbytes(20_000),
                   "zip": lambda t: b"PK\x03\x04" + t.encode(),
               "zeros": lambda t: bytes(5000)}


@pytest.mark.parametrize("how", BYTES_CORRUPTED)
@pytest.mark.parametrize("read", [read_motion, read_trc, read_ui_prmd])
def test_binary_files(how, read, mot, tmp_path):
    (tmp_path / "file.txt").write_bytes(BYTES_CORRUPTED[how](mot))
    refuse(read, tmp_path / "file.txt", "line 1", "binary data", "plain text")


@pytest.mark.parametrize("read", [read_motion, read_trc, read_markers, read_ui_prmd, read_marker_archive])
def test_paths_that_are_no_files(read, tmp_path):
    refuse(read, tmp_path / "absent.trc")
    os.mkfifo(tmp_path / "pipe.trc")
    refuse(read, tmp_path / "pipe.trc", "not a plain file")
    refuse(read, tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_unreadable_file(mot, tmp_path):
    path = tmp_path / "closed.mot"
    path.write_text(mot)
    path.chmod(0)
    refuse(read_motion, path, "Permission denied")


def test_unreadable_file_by_fault(mot, tmp_path, monkeypatch):
    path = tmp_path / "closed.mot"
    path.write_text(mot)
    def deny(self): raise PermissionError(13, "Permission denied")
    monkeypatch.setattr(type(path), "read_bytes", deny)
    refuse(read_motion, path, "Permission denied", "allow reading it")


SIMM = f"name C:/dir/file.mot\ndatacolumns 34\ndatarows {len(SQUAT.time)}\nrange 0 3.7\nendheader \n\n"
VERSION_3 = "DataType=double\nversion=3\nOpenSimVersion=4.6\ninDegrees=yes\nendheader\n"
VARIANTS = {
    "Windows line ends": lambda t: t.replace("\n", "\r\n").encode(),
    "old Macintosh line ends": lambda t: t.replace("\n", "\r").encode(),
    "byte-order mark": lambda t: t.encode("utf-8-sig"),
    "blanks for tabs": lambda t: t.replace("\t", "   ").encode(),
    "padded names": lambda t: t.replace("knee_angle_r", "  knee_angle_r ").encode(),
    "trailing blank lines": lambda t: (t + "\n \n\n").encode(),
    "no final line end": lambda t: t.rstrip("\n").encode(),
    "Western European header": lambda t: t.replace("Coordinates", "Coordinates de José", 1).encode("latin-1"),
    "SIMM header, no unit": lambda t: (SIMM + t[t.index("time\t"):]).encode(),
    "storage version 3": lambda t: (VERSION_3 + t[t.index("time\t"):]).encode(),
    "blanks around the equals sign": lambda t: t.replace("inDegrees=yes", "inDegrees = Yes").encode(),
    "full coordinate paths": lambda t: t.replace("\thip_flexion_r\t",
                                                 "\t/jointset/hip_r/hip_flexion_r/value\t").encode(),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_harmless_variants_give_the_same_motion(variant, mot, tmp_path):
    data = VARIANTS[variant](mot)
    assert data != mot.encode()
    (tmp_path / "v.mot").write_bytes(data)
    motion = read_motion(tmp_path / "v.mot")
    assert motion.names == SQUAT.names
    np.testing.assert_allclose(motion.values, SQUAT.values, atol=1e-8)
    np.testing.assert_allclose(motion.time, SQUAT.time, atol=1e-8)


def test_units_and_column_order_do_not_matter(tmp_path):
    order = np.random.default_rng(3).permutation(33)
    other = Motion(SQUAT.time, SQUAT.values[:, order], [COORDINATES[i] for i in order])
    for motion, degrees in ((SQUAT, True), (SQUAT, False), (other, True), (other, False)):
        write_motion(motion, tmp_path / "a.mot", in_degrees=degrees)
        np.testing.assert_allclose(read_motion(tmp_path / "a.mot").coordinates(), SQUAT.coordinates(),
                                   atol=1e-8)


def test_in_degrees_overrides_header(mot, tmp_path):
    (tmp_path / "a.mot").write_text(mot.replace("inDegrees=yes", "inDegrees=no"))
    np.testing.assert_allclose(read_motion(tmp_path / "a.mot", in_degrees=True).values, SQUAT.values,
                               atol=1e-8)
    write_motion(SQUAT, tmp_path / "b.mot", in_degrees=False)
    (tmp_path / "b.mot").write_text((tmp_path / "b.mot").read_text().replace("inDegrees=no\n", "\n"))
    np.testing.assert_allclose(read_motion(tmp_path / "b.mot", in_degrees=False).values, SQUAT.values,
                               atol=1e-8)


def test_only_angles_are_converted(tmp_path):
    names = ("pelvis_tx", "knee_angle_r", "knee_angle_r_beta", "soleus_r/activation", "ground_force_r_vy",
             "hip_flexion_r_moment", "knee_angle_r/speed")
    motion = Motion(np.arange(3) / 10, np.tile([1, 2, 0.5, 0.25, 800, 50, 3], (3, 1)), names)
    write_motion(motion, tmp_path / "a.mot")
    last = [float(c) for c in (tmp_path / "a.mot").read_text().split("\n")[-2].split("\t")[1:]]
    np.testing.assert_allclose(last, [1, np.rad2deg(2), np.rad2deg(0.5), 0.25, 800, 50, np.rad2deg(3)],
                               atol=1e-8)
    np.testing.assert_allclose(read_motion(tmp_path / "a.mot").values, motion.values, atol=1e-8)


def test_column_of_unknown_unit_warns_and_stays(tmp_path):
    motion = SQUAT.with_columns(["third_eye"], 7 * np.ones(len(SQUAT.time)))
    write_motion(motion, tmp_path / "a.mot")
    with pytest.warns(UserWarning, match="unit of third_eye unknown"):
        assert (read_motion(tmp_path / "a.mot")["third_eye"] == 7).all()


def test_time_printed_with_few_decimals(mot, tmp_path):
    """1/30 s printed as 0.033, 0.067, 0.100 is even; a frame missing in it is still found."""
    lines = mot.split("\n")
    rounded = lines[:11] + ["\t".join([f"{float(r.split(chr(9))[0]):.3f}",
                                       *r.split("\t")[1:]]) for r in lines[11:-1]]
    (tmp_path / "a.mot").write_text("\n".join(rounded))
    assert read_motion(tmp_path / "a.mot").rate_hz == pytest.approx(30, rel=1e-3)
    (tmp_path / "a.mot").write_text("\n".join(rounded[:50] + rounded[51:]).replace("nRows=112", "nRows=111"))
    refuse(read_motion, tmp_path / "a.mot", "line 51", "a step of")


def test_gaps_are_filled_only_on_request(mot, tmp_path):
    path, corrupted = tmp_path / "a.mot", mot
    for line in (60, 61, 62):
        corrupted = cell_edit(line, 15, "nan")(corrupted)
    path.write_text(corrupted)
    refuse(read_motion, path, "line 60", "column 15")
    refuse(read_motion, path, "line 60", "column 15", fill="spline", max_gap_s=0.05)
    filled = read_motion(path, fill="spline", max_gap_s=0.1)
    assert np.abs(filled["knee_angle_r"] - SQUAT["knee_angle_r"]).max() < 1e-3
    path.write_text(cell_edit(12, 15, "nan")(mot))
    refuse(read_motion, path, "line 12", fill="spline")


def test_filling_neither_hides_nor_stumbles_over_infinity(mot, tmp_path):
    (tmp_path / "a.mot").write_text(cell_edit(70, 15, "inf")(cell_edit(60, 15, "nan")(mot)))
    refuse(read_motion, tmp_path / "a.mot", "line 70, column 15", "inf", fill="spline")
    refuse(read_motion, tmp_path / "a.mot", "fill='linear'", fill="linear")


def test_filled_file_is_still_checked_for_its_unit(mot, tmp_path):
    (tmp_path / "a.mot").write_text(cell_edit(60, 15, "nan")(mot).replace("inDegrees=yes", "inDegrees=no"))
    refuse(read_motion, tmp_path / "a.mot", "write inDegrees=yes", fill="spline")


def test_missing_coordinates_are_named():
    legs = Motion(SQUAT.time, SQUAT.columns(COORDINATES[:10]), COORDINATES[:10], "legs.mot")
    with pytest.raises(InputError, match="legs.mot: found 23 of 33 coordinates missing: hip_adduction_r"):
        legs.coordinates()
    with pytest.raises(InputError, match="80 of 80 activations missing"):
        SQUAT.activations()
    with pytest.raises(InputError, match="knee_angle"):
        SQUAT["knee_angle"]


def test_motion_cannot_be_changed():
    values = SQUAT.values.copy()
    motion = Motion(SQUAT.time, values, COORDINATES)
    values[:] = 0
    assert np.array_equal(motion.values, SQUAT.values)
    with pytest.raises(ValueError):
        motion.values[0, 0] = 1
    with pytest.raises(AttributeError):
        motion.time = None
    for broken in ((SQUAT.time[:-1], SQUAT.values, COORDINATES), (SQUAT.time, SQUAT.values, COORDINATES[:-1]),
                   (SQUAT.time, SQUAT.values, ("a",) * 33)):
        with pytest.raises(InputError):
            Motion(*broken)
    assert np.array_equal(pickle.loads(pickle.dumps(motion))["knee_angle_r"], motion["knee_angle_r"])


def test_error_survives_a_process_boundary():
    error = pickle.loads(pickle.dumps(InputError("f.mot, line 3", "a\nb", "c", "d")))
    assert str(error) == "f.mot, line 3: found a b; expected c. Cure: d." and error.cure == "d"


# --------------------------------------------------------------------------------------------------- writing

finite = st.floats(-170, 170, allow_nan=False, width=64)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), frames=st.integers(2, 12), degrees=st.booleans(), start=st.floats(0, 500),
       rate=st.sampled_from([25.0, 30.0, 60.0, 100.0, 119.88, 1000.0]),
       names=st.lists(st.sampled_from(COORDINATES + ACTIVATIONS[:5] + ("knee_angle_r_beta", "force_x")),
                      min_size=1, max_size=8, unique=True))
def test_write_read_write_is_exact(data, frames, rate, degrees, start, names, tmp_path):
    values = data.draw(arrays(float, (frames, len(names)), elements=finite))
    angle = np.isin(names, list(ANGLES))
    values = np.where(angle, np.deg2rad(values), values)
    values[:, np.isin(names, TRANSLATIONS)] /= 2
    values[:, np.isin(names, ACTIVATIONS)] = np.abs(values[:, np.isin(names, ACTIVATIONS)]) % 1
    motion = Motion(start + np.arange(frames) / rate, values, names)
    write_motion(motion, tmp_path / "a.mot", in_degrees=degrees)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        back = read_motion(tmp_path / "a.mot", in_degrees=degrees)
    write_motion(back, tmp_path / "b.mot", in_degrees=degrees)
    assert (tmp_path / "a.mot").read_bytes() == (tmp_path / "b.mot").read_bytes()
    assert back.names == motion.names
    np.testing.assert_allclose(back.values, motion.values, rtol=0, atol=0.51e-8)


def test_nothing_half_written(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    for error in (RuntimeError, KeyboardInterrupt, SystemExit):
        with pytest.raises(error):
            with atomic_write(path) as file:
                file.write("new")
                file.flush()
                raise error
        assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]
    with atomic_write(path, "wb") as file:
        file.write(b"new")
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["a.txt"]


def test_write_refuses_bad_places_and_values(tmp_path):
    for place in (tmp_path / "absent" / "a.mot", tmp_path):
        with pytest.raises(InputError, match="Cure: "):
            write_motion(SQUAT, place)
    with pytest.raises(InputError, match="not finite"):
        write_motion(SQUAT.with_columns(["pelvis_ty"], np.nan * SQUAT.time), tmp_path / "a.mot")
    assert os.listdir(tmp_path) == []


OPENSIM = """
import sys, opensim
opensim.Logger.setLevelString("off")
table = opensim.TimeSeriesTable(sys.argv[1])
storage = opensim.Storage(sys.argv[1])
markers = opensim.TimeSeriesTableVec3(sys.argv[2])
column = list(table.getColumnLabels()).index("knee_angle_r")
print(table.getNumRows(), table.getNumColumns(), storage.getSize(), storage.isInDegrees(),
      repr(float(table.getRowAtIndex(40).to_numpy()[column])))
last = markers.getRowAtIndex(3)
print(markers.getNumRows(), markers.getNumColumns(), repr(markers.getRowAtIndex(0)[1][2]), last[0][0])
"""


def test_opensim_opens_what_we_write(tmp_path, markers):
    if subprocess.run([sys.executable, "-c", "import opensim"], capture_output=True).returncode:
        pytest.skip("opensim is not installed for this Python")
    motion = Motion.from_arrays(SQUAT.time, SQUAT.values, np.full((len(SQUAT.time), 80), 0.25))
    write_motion(motion, tmp_path / "a.mot")
    positions = markers.positions.copy()
    positions[3, 0] = np.nan
    write_trc(Markers(markers.time, positions, markers.names), tmp_path / "a.trc")
    done = subprocess.run([sys.executable, "-c", OPENSIM, tmp_path / "a.mot", tmp_path / "a.trc"],
                          capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-500:]
    mot_line, trc_line = [line.split() for line in done.stdout.strip().split("\n")[-2:]]
    assert mot_line[:4] == ["112", "113", "112", "True"]
    assert float(mot_line[4]) == pytest.approx(np.rad2deg(SQUAT["knee_angle_r"][40]), abs=1e-7)
    assert trc_line[:2] == ["50", "39"] and trc_line[3] == "nan"
    assert float(trc_line[2]) == pytest.approx(markers.positions[0, 1, 2], abs=1e-6)


# ------------------------------------------------------------------------------------- operations on motions


def test_analytic_squat_is_its_formula():
    squat = analytic_squat(reps=3, rate_hz=100, period=2.0, depth_deg=90, pause=1.0)
    t = squat.time
    inside = (t >= 4) & (t <= 6)
    expected = np.pi / 4 * (1 - np.cos(np.pi * (t[inside] - 4)))
    np.testing.assert_allclose(squat["knee_angle_l"][inside], expected, atol=1e-12)
    assert squat.duration == pytest.approx(10) and (squat["knee_angle_l"][(t >= 3) & (t <= 4)] == 0).all()
    np.testing.assert_allclose(np.gradient(squat["knee_angle_r"], t)[inside][1:-1],
                               np.pi**2 / 4 * np.sin(np.pi * (t[inside][1:-1] - 4)), atol=1e-3)
    flat = squat["pelvis_tilt"] + squat["hip_flexion_r"] - squat["knee_angle_r"] + squat["ankle_angle_r"]
    np.testing.assert_allclose(flat, 0, atol=1e-12)  # the sole stays flat
    assert squat["pelvis_tilt"].min() < -0.3 and np.ptp(squat["pelvis_ty"]) > 0.2


def test_example_squat_is_a_deep_squat():
    squat = example_squat()
    assert squat.has(COORDINATES) and np.isfinite(squat.values).all()
    assert 60 < np.rad2deg(squat["knee_angle_r"].max()) < 140
    assert squat["pelvis_tilt"].min() < 0 and squat.duration > 1


def test_mirror():
    generator = np.random.default_rng(5)
    motion = Motion.from_arrays(SQUAT.time, generator.normal(size=SQUAT.values.shape),
                                generator.uniform(size=(len(SQUAT.time), 80)))
    mirrored = motion.mirror()
    assert np.array_equal(mirrored["knee_angle_r"], motion["knee_angle_l"])
    assert np.array_equal(mirrored["arm_rot_l"], motion["arm_rot_r"])
    assert np.array_equal(mirrored["vasmed_l/activation"], motion["vasmed_r/activation"])
    for name in ("pelvis_list", "pelvis_rotation", "pelvis_tz", "lumbar_bending", "lumbar_rotation"):
        assert np.array_equal(mirrored[name], -motion[name])
    for name in ("pelvis_tilt", "pelvis_tx", "pelvis_ty", "lumbar_extension"):
        assert np.array_equal(mirrored[name], motion[name])
    assert np.array_equal(mirrored.mirror().values, motion.values) and mirrored.names == motion.names
    with pytest.raises(InputError, match="ground_force_r_vx"):
        Motion([0, 1], [[1.0], [2.0]], ["ground_force_r_vx"]).mirror()


@pytest.mark.parametrize("old,new", [(200, 60), (100, 60), (60, 30), (50, 60), (60, 200), (100, 59.94)])
def test_resample_keeps_slow_motion(old, new):
    result = analytic_squat(reps=2, rate_hz=old, pause=0.7).resample(new)
    truth = analytic_squat(reps=2, rate_hz=new, pause=0.7)
    assert result.rate_hz == pytest.approx(new)
    expected = np.interp(result.time, truth.time, truth["knee_angle_r"])
    # acceleration jumps where a repetition starts
    assert np.rad2deg(np.abs(result["knee_angle_r"] - expected)).max() < 0.6


def test_resample_removes_what_would_alias_and_bounds_activations():
    t = np.arange(400) / 200
    values = np.stack([np.sin(2 * np.pi * 45 * t), np.sin(2 * np.pi * 5 * t), (t > 1).astype(float)], 1)
    fast = Motion(t, values, ("a", "b", "soleus_l/activation"))
    slow = fast.resample(60)
    assert np.abs(slow["a"][10:-10]).max() < 0.02
    np.testing.assert_allclose(slow["b"][10:-10], np.sin(2 * np.pi * 5 * slow.time[10:-10]), atol=0.02)
    assert slow["soleus_l/activation"].min() >= 0 and slow["soleus_l/activation"].max() <= 1
    for rate in (0, -5, np.nan, 1e9):
        with pytest.raises(InputError, match="rate"):
            fast.resample(rate)


def test_a_time_that_a_file_has_rounded_finds_its_frame():
    for k in (1, 31, 59):
        t = SQUAT.time[k]
        for asked in (t, round(t, 6), round(t, 3), t - 1e-6, t + 1e-6):
            assert SQUAT.frames(asked, SQUAT.time[100]) == slice(k, 101)
            assert SQUAT.frames(end=asked) == slice(0, k + 1)
            assert np.array_equal(SQUAT.slice(asked).time, SQUAT.time[k:])
    assert SQUAT.frames() == slice(0, len(SQUAT.time))


def test_slice_and_columns():
    part = SQUAT.slice(1.0, 2.0)
    assert part.time[0] == pytest.approx(1) and part.time[-1] == pytest.approx(2) and len(part.time) == 31
    for start, end, words in ((50, 60, "0 frames from 50 s to 60 s"), (None, -1, "0 frames to -1 s"),
                              (2, 1, "0 frames from 2 s to 1 s"), (1, 1.001, "1 frames")):
        with pytest.raises(InputError, match=f"{words}.*--start, --end"):
            SQUAT.slice(start, end)
    more = SQUAT.with_columns(["x", "pelvis_tx"], np.ones((len(SQUAT.time), 2)))
    assert more.names == COORDINATES + ("x",) and (more["pelvis_tx"] == 1).all()
    assert np.array_equal(more["pelvis_ty"], SQUAT["pelvis_ty"])
    assert list(SQUAT.to_pandas().columns) == list(COORDINATES)


# --------------------------------------------------------------------------------------------------- markers

TRC_CORRUPTED = {
    "empty": (lambda t: "", ["an empty file"]),
    "not a trc": (line_edit(1, "PathFileType", "Coordinates"), ["line 1", "PathFileType"]),
    "header only": (lambda t: "\n".join(t.split("\n")[:5]), ["line 1"]),
    "no units": (line_edit(2, "Units", "Unit"), ["line 3", "no units"]),
    "values missing": (line_edit(3, "\tm\t", "\t"), ["line 3", "7 values for 8 keys"]),
    "unknown unit": (line_edit(3, "\tm\t", "\tinch\t"), ["line 3", "Units inch"]),
    "metres called millimetres": (line_edit(3, "\tm\t", "\tmm\t"),
                                  ["line 3", "Units mm", "correct the unit"]),
    "wrong NumMarkers": (line_edit(3, "\t39\t", "\t40\t"), ["line 3", "NumMarkers 40", "39 marker names"]),
    "wrong NumFrames": (line_edit(3, "\t50\t", "\t51\t"), ["line 3", "NumFrames 51", "50 frames"]),
    "wrong rate": (line_edit(3, "100.000000", "60.000000"), ["line 3", "DataRate 60", "100"]),
    "rate not a number": (line_edit(3, "100.000000", "fast"), ["line 3", "DataRate fast"]),
    "doubled marker": (line_edit(4, "RASI", "LASI"), ["line 4", "marker LASI twice"]),
    "no time column": (line_edit(4, "Time\t", ""), ["line 4", "Frame#, Time"]),
    "row cut off": (lambda t: t[:-100], ["line 56", "cells", "119"]),
    "row too long": (lambda t: line_edit(20, "\t", "\t9.9\t")(t), ["line 20", "120 cells", "119"]),
    "text": (cell_edit(20, 5, "lost"), ["line 20", "column 5 (LFHD z)", "'lost'"]),
    "decimal comma": (cell_edit(20, 5, "1,5"), ["line 20", "column 5", "decimal comma"]),
    "infinity": (cell_edit(20, 5, "inf"), ["line 20", "column 5", "inf"]),
    "time stands still": (lambda t: cell_edit(20, 2, t.split("\n")[18].split("\t")[1])(t),
                          ["line 20", "column 2 (time)", "increasing"]),
    "time missing": (cell_edit(20, 2, ""), ["line 20", "column 2 (time)", "finite"]),
    "frame missing": (lambda t: line_edit(3, "\t50\t", "\t49\t")(drop_lines(30, 30)(t)),
                      ["line 30", "column 2 (time)", "a step of 0.02"]),
    "blank line inside": (lambda t: line_edit(20, t.split("\n")[19], "")(t), ["line 20", "0 cells"]),
    "row shifted by a lost cell": (lambda t: shifted(t, 20, 5), ["line 20", "part of a marker", "moved"]),
    "ends inside a number": (lambda t: t[:-3], ["line 56", "ends inside the number", "line end"]),
    "ends after the decimal point": (lambda t: t[:-7], ["line 56", "ends inside the number"]),
}


def shifted(text, number, column):
    "One cell of a line is lost, and a tab at its end keeps the count of cells."
    lines = text.split("\n")
    cells = lines[number - 1].split("\t")
    lines[number - 1] = "\t".join(cells[:column - 1] + cells[column:] + [""])
    return "\n".join(lines)


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_file_cut_inside_its_last_number_is_refused(cut, mot, tmp_path):
    path = tmp_path / "cut.mot"
    path.write_text(mot[:-1])                   # whole, without the end of its last line
    assert np.array_equal(read_motion(path).values, read_motion_text(mot, tmp_path).values)
    path.write_text(mot[:-1 - cut])
    refuse(read_motion, path, "ends inside the number", "line end")


def read_motion_text(text, folder):
    (folder / "whole.mot").write_text(text)
    return read_motion(folder / "whole.mot")


@pytest.mark.parametrize("cells,line_end,good", [
    (["1.5e-05", "1.7e-05", "1.2e-0"], "", False), (["1.5e-05", "1.7e-05", "1.2e-04"], "", True),
    (["0.25", "0.5", "0.125"], "", True), (["0.25", "0.51", "0."], "", False), (["3", "12", "1"], "", True),
    (["0.4112", "0.4113", "0.41"], "\n", True), (["0.4112", "0.4113", "0.41"], "\t", True)])
def test_what_an_unfinished_last_cell_is(cells, line_end, good, tmp_path):
    rows = "\n".join(f"{i / 10:.1f}\t{cell}" for i, cell in enumerate(cells))
    (tmp_path / "a.sto").write_text(f"endheader\ntime\tforce_y\n{rows}{line_end}")
    if good:
        assert read_motion(tmp_path / "a.sto")["force_y"][-1] == float(cells[-1])
    else:
        refuse(read_motion, tmp_path / "a.sto", "ends inside the number")


@pytest.mark.parametrize("values,words", [
    ([3., 42.], "divide by 100"), ([-0.3, 0.4], "check what"), ([0.1, 1.2], "check what"),
    ([0., 0.42], None), ([0.01, 1.0005], None)])
def test_activations_are_shares_before_anything_clips_them(values, words, tmp_path):
    motion = Motion(np.arange(2) / 100, np.array(values)[:, None], ("soleus_l/activation",))
    write_motion(motion, tmp_path / "a.mot")
    whole = Motion(np.arange(60) / 100, np.full((60, 80), values[1]), ACTIVATIONS)
    if words is None:
        assert np.array_equal(read_motion(tmp_path / "a.mot").values, motion.values)
        assert whole.activations().shape == (60, 80) and whole.resample(60).values.max() <= 1
        return
    refuse(read_motion, tmp_path / "a.mot", "soleus_l/activation", words)
    if values[1] > 1.1:
        for used in (whole.activations, lambda: whole.resample(60)):
            with pytest.raises(InputError, match="activations from 0 to 1"):
                used()


def test_the_time_of_a_recording_is_seconds():
    seconds = np.arange(270) / 100
    assert rate_suspicions(seconds, "a.mot") == rate_suspicions(seconds / 10, "a.mot") == []
    for factor, words in ((1000, "milliseconds"), (100 / 30 * 33, "milliseconds, or numbers of frames"),
                          (1e-3, "a wrong unit")):
        with pytest.raises(InputError, match=words):
            rate_suspicions(factor * seconds, "a.mot")
    (said,) = rate_suspicions(20 * seconds, "a.mot")
    assert "5 frames a second" in str(said) and isinstance(said, Suspicion)


@pytest.mark.parametrize("text,mass", [
    ("mass_kg: 72.0\n", 72.), ("mass_kg: 72.0\nheight_m: 1.7\n", 72.), ("height_m: 1.7\n", None),
    ("mass_kg: -70\n", "-70"), ("mass_kg: .nan\n", "nan"), ("mass_kg: true\n", "True"),
    ("mass_kg: heavy\n", "heavy"), ("mass_kg: 72000\n", "72000"), ("height_m: 170\n", "170"),
    ("height_m: 1.7\nmass_kg: 7", "no line end")])
def test_mass_and_height_of_a_session_are_a_persons(text, mass, tmp_path):
    (tmp_path / "sessionMetadata.yaml").write_text(text)
    if isinstance(mass, str):
        refuse(lambda path: session_mass(path / "a.trc"), tmp_path, mass, "sessionMetadata.yaml")
    else:
        assert session_mass(tmp_path / "a.trc") == mass


@pytest.mark.parametrize("how", TRC_CORRUPTED)
def test_corrupted_trc(how, trc, tmp_path):
    edit, parts = TRC_CORRUPTED[how]
    corrupted = edit(trc)
    assert corrupted != trc
    (tmp_path / "corrupted.trc").write_text(corrupted)
    refuse(read_trc, tmp_path / "corrupted.trc", *parts)


def test_trc_missing_markers_stay_missing(trc, tmp_path, markers):
    corrupted = trc
    for line, column, cell in ((20, 3, ""), (20, 4, ""), (20, 5, ""), (21, 3, "nan"), (22, 6, "0"),
                               (22, 7, "0.0"), (22, 8, "0")):
        corrupted = cell_edit(line, column, cell)(corrupted)
    for column in (117, 118, 119):
        corrupted = cell_edit(30, column, "")(corrupted)
    (tmp_path / "a.trc").write_text(corrupted)
    back = read_trc(tmp_path / "a.trc")
    assert [tuple(g) for g in back.gaps()] == [("LFHD", 13, 15), ("RFHD", 15, 16), ("RTOE", 23, 24)]
    assert back.fill(0.1).gaps() == [] and len(back.gaps()) == 3
    np.testing.assert_allclose(back.fill().positions, markers.positions, atol=1e-4)


@pytest.mark.parametrize("variant", ["windows", "bom", "blanks", "millimetres", "extra tabs",
                                     "no blank line"])
def test_trc_variants(variant, trc, tmp_path, markers):
    lines = trc.split("\n")
    def rows(change):
        return "\n".join(lines[:6] + ["\t".join(change(row.split("\t"))) for row in lines[6:-1]])
    millimetres = rows(lambda cells: cells[:2] + [f"{1000 * float(c):.3f}" for c in cells[2:]])
    data = {
        "windows": trc.replace("\n", "\r\n").encode(),
        "bom": trc.encode("utf-8-sig"),
        "blanks": "\n".join(lines[:6] + [line.replace("\t", "  ") for line in lines[6:]]).encode(),
        "millimetres": millimetres.replace("\tm\t", "\tmm\t").encode(),
        "extra tabs": "\n".join(line + "\t\t" for line in lines[:-1]).encode(),
        "no blank line": "\n".join(lines[:5] + lines[6:]).encode(),
    }[variant]
    (tmp_path / "a.trc").write_bytes(data)
    back = read_trc(tmp_path / "a.trc")
    assert back.names == markers.names and back.rate_hz == pytest.approx(100)
    np.testing.assert_allclose(back.positions, markers.positions, atol=1e-6)


def test_trc_write_read_write_is_exact(markers, tmp_path):
    positions = markers.positions + np.random.default_rng(7).normal(size=markers.positions.shape) * 0.1
    positions[5:9, 3] = np.nan
    (tmp_path / "x").mkdir()
    write_trc(Markers(markers.time, positions, markers.names), tmp_path / "a.trc")
    write_trc(read_trc(tmp_path / "a.trc"), tmp_path / "x" / "a.trc")
    assert (tmp_path / "a.trc").read_bytes() == (tmp_path / "x" / "a.trc").read_bytes()


@pytest.mark.parametrize("separator", [",", " ", "\t", ", "])
def test_ui_prmd_layout(separator, markers, tmp_path):
    folder = tmp_path / "Segmented Movements" / "Vicon" / "Positions"
    folder.mkdir(parents=True)
    (tmp_path / "Segmented Movements" / "Kinect").mkdir()
    (tmp_path / "Segmented Movements" / "Kinect" / "m01_s01_e01_positions.txt").write_text("1,2,3\n")
    z_up = markers.positions[..., [0, 2, 1]] * [1000, -1000, 1000]
    z_up[4, 2] = 0
    rows = [separator.join(f"{v:.4f}" for v in frame.ravel()) for frame in z_up]
    (folder / "m01_s01_e01_positions.txt").write_text("\n".join(rows) + "\n")
    for place in (tmp_path, folder, folder / "m01_s01_e01_positions.txt"):
        for read in (read_ui_prmd, read_markers):
            trials = read(place)
            assert list(trials) == ["m01_s01_e01"]
            trial = trials["m01_s01_e01"]
            assert trial.names == UI_PRMD_MARKERS and trial.gaps() == [("LBHD", 4, 5)]
            assert trial.rate_hz == pytest.approx(100)
            np.testing.assert_allclose(trial.fill().positions, markers.positions, atol=1e-4)
    (folder / "again").mkdir()
    shutil.copy(folder / "m01_s01_e01_positions.txt", folder / "again")
    with pytest.raises(InputError, match="2 files for 1 trials"):
        read_markers(tmp_path)
    shutil.rmtree(folder / "again")
    short = [*rows[:9], separator.join(rows[9].split(separator)[:-1]), *rows[10:]]
    (folder / "m01_s01_e01_positions.txt").write_text("\n".join(short))
    with pytest.raises(InputError,
                       match="m01_s01_e01_positions.txt, line 10: found 116 values; expected 117"):
        read_ui_prmd(tmp_path)


def test_marker_archives(markers, tmp_path):
    z_up = markers.positions[..., [0, 2, 1]] * [1000, -1000, 1000]
    np.savez(tmp_path / "mm.npz", marker_names=np.array(UI_PRMD_MARKERS),
             m01_s01_e01_cor=z_up.astype(np.float32))
    np.savez(tmp_path / "tenths.npz", marker_names=np.array(UI_PRMD_MARKERS),
             m03_s01_e01_cor=np.round(z_up * 10).astype(np.int16))
    for name, tolerance in (("mm", 1e-6), ("tenths", 1e-4)):
        (trial,) = read_markers(tmp_path / f"{name}.npz").values()
        np.testing.assert_allclose(trial.positions, markers.positions, atol=tolerance)
    np.savez(tmp_path / "m.npz", marker_names=np.array(UI_PRMD_MARKERS), a=markers.positions)
    np.savez(tmp_path / "shape.npz", marker_names=np.array(UI_PRMD_MARKERS), a=z_up[:, :5])
    np.savez(tmp_path / "objects.npz", marker_names=np.array([{}], dtype=object))
    np.savez(tmp_path / "none.npz", marker_names=np.array(UI_PRMD_MARKERS))
    (tmp_path / "text.npz").write_text("no archive")
    for name, part in (("m", "span"), ("shape", "array a"), ("objects", "no readable .npz"),
                       ("none", "0 trials"), ("text", "no readable .npz")):
        refuse(read_markers, tmp_path / f"{name}.npz", part)


def test_session(markers, tmp_path):
    folder = tmp_path / "OpenCapData_1"
    for part in ("OpenSimData/Kinematics", "OpenSimData/Model", "MarkerData"):
        (folder / part).mkdir(parents=True)
    write_motion(SQUAT, folder / "OpenSimData/Kinematics/squats1.mot")
    write_trc(markers, folder / "MarkerData/squats1.trc")
    (folder / "OpenSimData/Model/LaiUhlrich2022.osim").write_text("<x/>")
    (folder / "OpenSimData/Model/LaiUhlrich2022_scaled.osim").write_text("<x/>")
    (folder / "sessionMetadata.yaml").write_text("subjectID: s\nmass_kg: 61.5\nheight_m: 1.7\n")
    session = read_session(folder)
    assert (session.mass_kg, session.height_m) == (61.5, 1.7)
    assert session.model.name == "LaiUhlrich2022_scaled.osim"
    assert session.motion("squats1").has(COORDINATES) and list(session.markers) == ["squats1"]
    assert list(read_markers(folder)) == ["squats1"]
    with pytest.raises(InputError, match="no trial jump"):
        session.motion("jump")
    (folder / "sessionMetadata.yaml").write_text("mass_kg: [1\n")
    with pytest.raises(InputError, match="sessionMetadata.yaml"):
        read_session(folder)
    with pytest.raises(InputError, match="OpenCap session folder"):
        read_session(tmp_path)


# ------------------------------------------------------------------------------------------------------ fuzz

TOKENS = [b"nan", b"inf", b"-", b"1,5", b"\t", b"\n", b"\r\n", b"\x00", b"\xff", b"endheader", b"=", b"1e400",
          b"time", b"nRows=1", b"  ", b"\xef\xbb\xbf", b"-0", b"9" * 40]


MUTATIONS = {
    "byte": lambda d, at, other, g: d[:at] + bytes([g.randrange(256)]) + d[at + 1:],
    "token": lambda d, at, other, g: d[:at] + g.choice(TOKENS) + d[at:],
    "cut": lambda d, at, other, g: d[:at],
    "hole": lambda d, at, other, g: d[:at] + d[at + g.randrange(1, 50):],
    "junk": lambda d, at, other, g: d[:at] + g.randbytes(g.randrange(1, 200)) + d[at:],
    "twice": lambda d, at, other, g: d[:at] + d[at:other] * 2 + d[other:],
}
LINE_MUTATIONS = {
    "drop": lambda lines, i, j: lines[:i] + lines[i + 1:],
    "copy": lambda lines, i, j: lines[:i] + [lines[j]] + lines[i:],
    "swap": lambda lines, i, j: [lines[{i: j, j: i}.get(k, k)] for k in range(len(lines))],
}


def mutate(data: bytes, generator: random.Random) -> bytes:
    for _ in range(generator.choice([1, 1, 1, 2, 4])):
        at, other = sorted((generator.randrange(len(data) + 1), generator.randrange(len(data) + 1)))
        if generator.random() < 0.4:  # half of the interesting places are in the header
            at = generator.randrange(min(len(data), 600) + 1)
        lines, kind = data.split(b"\n"), generator.choice([*MUTATIONS, *LINE_MUTATIONS])
        i, j = generator.randrange(len(lines)), generator.randrange(len(lines))
        if kind in MUTATIONS:
            data = MUTATIONS[kind](data, at, other, generator)
        else:
            data = b"\n".join(LINE_MUTATIONS[kind](lines, i, j))
    return data


def fuzz(read, check, original: bytes, path, cases: int, seed: int):
    generator, refused = random.Random(seed), 0
    for case in range(cases):
        path.write_bytes(mutate(original, generator))
        with within_a_second(f"case {case}"):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)
                    check(read(path))
            except InputError as error:
                refused += 1
                assert str(path) in str(error) and "\n" not in str(error)
    assert 0.3 * cases < refused < cases


def sound_motion(motion):
    assert np.isfinite(motion.values).all() and (np.diff(motion.time) > 0).all()
    assert len(set(motion.names)) == motion.values.shape[1]


def sound_markers(markers):
    assert not np.isinf(markers.positions).any() and (np.diff(markers.time) > 0).all()
    assert len(set(markers.names)) == markers.positions.shape[1]


@pytest.mark.parametrize("cases", [150, pytest.param(2500, marks=pytest.mark.slow)])
def test_fuzzed_mot(cases, tmp_path):
    write_motion(analytic_squat(reps=1, rate_hz=10), tmp_path / "a.mot")
    fuzz(read_motion, sound_motion, (tmp_path / "a.mot").read_bytes(), tmp_path / "f.mot", cases, seed=11)


@pytest.mark.parametrize("cases", [100, pytest.param(1500, marks=pytest.mark.slow)])
def test_fuzzed_trc(cases, trc, tmp_path):
    fuzz(read_trc, sound_markers, trc.encode(), tmp_path / "f.trc", cases, seed=12)


@pytest.mark.slow
@settings(max_examples=2000, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=300), st.booleans())
def test_hypothesis_bytes(tmp_path, data, header):
    """Arbitrary bytes, alone or after a valid header, are read or refused."""
    path = tmp_path / "h.mot"
    valid = b"Coordinates\ninDegrees=yes\nendheader\ntime\tknee_angle_r\n0.0\t1.0\n0.1\t2.0\n"
    path.write_bytes((valid if header else b"") + data)
    with within_a_second():
        try:
            sound_motion(read_motion(path))
        except InputError as error:
            assert str(path) in str(error)


CELLS = ["0", "0.1", "0.2", "0.3", "nan", "-inf", "1e5", "1,0", "x", "", "1e999", "--1"]


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(st.sampled_from(CELLS), max_size=4), max_size=5), st.sampled_from(["\t", " "]))
def test_hypothesis_tables(tmp_path, rows, separator):
    path = tmp_path / "h.mot"
    path.write_text("\n".join(["Coordinates", "inDegrees=yes", "endheader",
                               "time\tknee_angle_r\thip_flexion_r", *map(separator.join, rows)]))
    with within_a_second():
        try:
            motion = read_motion(path)
        except InputError as error:
            assert str(path) in str(error)
        else:
            sound_motion(motion)
            assert len(motion.time) == len([row for row in rows if any(row)])


# ------------------------------------------------------------------------------------------------ real files


def test_shared_motions(shared, tmp_path):
    """Coordinates of squats, sit-to-stands and drop jumps (from a box), and files of forces and moments
    beside them."""
    files = sorted(shared.rglob("*.mot"))
    kinematics = [path for path in files if "pelvis_tilt" in read_motion(path).names]
    assert len(kinematics) >= 15 and len(files) - len(kinematics) >= 15
    for path in kinematics:
        motion = read_motion(path)
        sound_motion(motion)
        q = motion.coordinates()
        angles = np.delete(q, [COORDINATES.index(n) for n in TRANSLATIONS], axis=1)
        knee, box = np.rad2deg(motion["knee_angle_r"].max()), 0.1 if "drop_jump" in path.parts else 0
        assert q.shape[1] == 33 and np.abs(angles).max() <= np.pi and 80 < knee < 120, path.name
        assert -0.8 < motion["pelvis_tilt"].min() < -0.3, path.name
        assert 0.4 < motion["pelvis_ty"].min() < 0.9 < motion["pelvis_ty"].max() < 1.3 + box, path.name
        write_motion(motion, tmp_path / "a.mot")
        np.testing.assert_allclose(read_motion(tmp_path / "a.mot").values, motion.values, atol=1e-8)
        if "kinematics_activations" in path.name:
            assert 0 <= motion.activations().min() and 0.2 < motion.activations().max() <= 1
            np.testing.assert_allclose(motion.mirror().activations()[:, 0], motion["addbrev_r/activation"])
    for path in sorted(set(files) - set(kinematics)):
        motion = read_motion(path)
        sound_motion(motion)
        assert all(re.search("force|torque|moment", name) for name in motion.names), path.name


def test_shared_markers(shared):
    files = sorted(shared.rglob("*.trc"))
    assert len(files) >= 13
    for path in files:
        markers = read_trc(path)
        sound_markers(markers)
        assert len(markers.names) >= 39 and np.isnan(markers.positions).mean() < 0.1
        up = markers.positions[..., 1]
        height = np.nanmax(up, axis=1) - np.nanmin(up, axis=1)
        assert 1.2 < height.max() < 2.1, path.name
        assert -0.05 < np.nanmin(up) < 0.1, path.name


ARCHIVES = {"squat_m01": 160, "hurdle_step_m02": 160, "lunges_sts": 460, "leg_raise_m06": 160}


@pytest.mark.parametrize("name", ARCHIVES)
def test_shared_archives(shared, name):
    trials = read_markers(next(shared.glob(f"ui_prmd/{name}*.npz")))
    assert len(trials) == ARCHIVES[name]
    for key, trial in trials.items():
        seated = key.startswith("m05")
        assert trial.names == UI_PRMD_MARKERS
        assert (0.9 if seated else 1.3) < np.nanmax(trial.positions[:20, :, 1]) < 2.6, key
        assert -0.1 < np.nanmin(trial.positions[..., 1]) < 0.2, key


def test_shared_squats(shared):
    squats = read_markers(next(shared.glob("ui_prmd/squat_m01*.npz")))
    for trial in squats.values():
        assert (trial["C7"][:, 1] > trial["LHEE"][:, 1]).all()
    assert {g.name for g in squats["m01_s05_e01_cor"].gaps()} and not squats["m01_s01_e01_cor"].gaps()


def test_shared_session(shared, tmp_path):
    """The files of one shared person, put into OpenCap's folders, come back as a session."""
    source, folder = shared / "fieldstudy_s0_72kg" / "squat", tmp_path / "OpenCapData_x"
    for part, name in (("OpenSimData/Kinematics", "Squats_0.mot"), ("MarkerData", "Squats_0.trc"),
                       ("OpenSimData/Model", "LaiArnoldModified2017_poly_withArms_weldHand_scaled.osim")):
        (folder / part).mkdir(parents=True)
        shutil.copy(source / name, folder / part / name)
    session = read_session(folder)
    assert session.motion("Squats_0").rate_hz == pytest.approx(60, rel=1e-4)
    assert session.model and session.mass_kg is None
