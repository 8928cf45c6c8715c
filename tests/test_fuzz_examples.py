"""Inputs of one kind each that once hung, crashed, or were read as something else."""
import re
import subprocess
import sys

import numpy as np
import pytest

from bige.constraint_files import (ConstraintSet, default_constraints, override, parse_constraints,
                                   read_constraints)
from bige.files import InputError
from bige.markers import Markers, model_of_trial, read_trc, session_mass, write_trc
from bige.motion import COORDINATES, analytic_squat, example_squat, read_motion, write_motion
from bige.parsing import parse_yaml, read_json, read_yaml, yaml_value
from bige.skeleton import Skeleton
from conftest import with_activations


def reading(text):
    return yaml_value(parse_yaml(text, "a.yaml", "a file"), "a.yaml")


@pytest.mark.parametrize("text, value", [
    ("1:30", "1:30"), ("1:30:00", "1:30:00"), ("yes", "yes"), ("on", "on"), ("No", "No"), ("1_000", "1_000"),
    ("2026-01-31", "2026-01-31"), ("089", "089"), ("'0100'", "0100"), ("0", 0), ("-7", -7), ("1e3", 1000.0),
    (".5", 0.5), ("1.", 1.0), ("0.10", 0.1), ("true", True), ("~", None), ("null", None), (".inf", ".inf"),
    ("=", "="), ("١٢", "١٢"), ("99999999999999999999", 1e20)])
def test_unquoted_yaml_is_read_by_version_1_2_or_as_text(text, value):
    assert reading(text) == value and type(reading(text)) is type(value)


@pytest.mark.parametrize("text", ["0100", "070", "-010", "0x1F", "0o17", "0b11", "0_7"])
def test_numbers_that_versions_of_yaml_read_differently_are_refused_by_place(text):
    with pytest.raises(InputError, match=rf"a.yaml, line 2, column 7: found {re.escape(text)}"):
        reading(f"a: 1\nmass: {text}\n")


@pytest.mark.parametrize("text, words", [
    ("[" * 30 + "]" * 30, "20 levels"), ("[" * 100_000, "20 levels"), ("{" * 5000, "20 levels"),
    ("[" + "1," * 40_000 + "]", "10000 entries"), ("x" * 100_001, "100001 characters"),
                                         ("a: 1\na: 2", "a twice"),
    ("? [a, b]\n: 1", "as key"), ("a: &x 1\nb: *x", "alias"), ("a: !!python/object:os.system ls", "tag"),
    ("a: 1\n---\nb: 2", "line 2"), ("a: 1e999", "1e999"), ("a: \x01", "special characters"), ("", "empty")])
def test_bounds_of_yaml(text, words):
    with pytest.raises(InputError, match=words) as error:
        reading(text)
    assert len(str(error.value)) < 1500


def test_an_alias_bomb_and_two_thousand_constraints_are_refused(tmp_path):
    levels = "\n".join(f"{b}: &{b} [*{a}, *{a}, *{a}]" for a,
                       b in zip("abcdefghijklmnop", "bcdefghijklmnopq"))
    (tmp_path / "a.yaml").write_text(f"a: &a [1, 1]\n{levels}\nconstraints: *q\n")
    for read in (read_constraints, lambda path: read_yaml(path, "a file")):
        with pytest.raises(InputError, match="a.yaml, line 1, column 4: found an alias"):
            read(tmp_path / "a.yaml")
    line = "  - {kind: asymmetry}\n"
    with pytest.raises(InputError, match="2000 constraints; expected at most 200"):
        parse_constraints("constraints:\n" + line * 2000)
    with pytest.raises(InputError, match="at most 200"):
        ConstraintSet.from_entries([{"kind": "asymmetry"}] * 201)


@pytest.mark.parametrize("value", ["0100", "1:30", "1_000", "yes", "[[1]]", "{a: 1}", "!!int 7", "&a 1",
                                   "*a", "1e999"])
def test_settings_that_are_no_number_are_refused(value):
    with pytest.raises(InputError):
        override(default_constraints(), f"muscle_range.high={value}")


def test_lists_of_anything_between_two_settings_are_refused_by_name():
    for value in ("[1, 2]", "[[x], {a: b}]", "{a: 1}"):
        with pytest.raises(InputError, match="muscles"):
            override(default_constraints(), f"muscle_range.muscles={value}", "asymmetry.weight=2")


@pytest.mark.parametrize("text", ["mass_kg: 070", "mass_kg: -70", "mass_kg: .nan", "mass_kg: true",
                                  "mass_kg: 1:10",
                                  "mass_kg: [70]", "mass_kg: 70\nmass_kg: 80", "mass_kg: 70000"])
def test_masses_in_a_session_that_are_none_are_refused(tmp_path, text):
    (tmp_path / "sessionMetadata.yaml").write_text(f"{text}\n")
    with pytest.raises(InputError, match="sessionMetadata.yaml"):
        session_mass(tmp_path / "walk.trc")


def test_a_hundred_thousand_columns_are_refused(tmp_path):
    count = 100_000
    wide = "\t".join(f"c{i}" for i in range(count))
    (tmp_path / "a.mot").write_text(f"endheader\ntime\t{wide}\n" + ("0\t" * count + "0\n") * 3)
    (tmp_path / "a.trc").write_text("PathFileType\t4\t(X/Y/Z)\ta\nDataRate\tNumFrames\tNumMarkers\tUnits\n"
                                    f"100\t3\t{count}\tm\nFrame#\tTime\t{wide}\n\n\n" + "1\t0\n" * 3)
    for read, file in ((read_motion, "a.mot"), (read_trc, "a.trc")):
        with pytest.raises(InputError, match=r"10000\d columns; expected at most 5000"):
            read(tmp_path / file)


def test_files_beyond_the_size_of_their_kind_are_refused_unread(tmp_path, monkeypatch):
    from bige import parsing
    (tmp_path / "a.json").write_bytes(b" " * 2000)
    monkeypatch.setattr(parsing, "JSON_BYTES", 1000)
    with pytest.raises(InputError, match=r"0.0 MB; expected a record of at most 0.001 MB"):
        read_json(tmp_path / "a.json", "a record")


@pytest.mark.parametrize("text", ["[]", "3", "{", '{"a": NaN}', '{"a": 1, "a": 2}', "[" * 100_000,
                                  '{"a": ' * 3000, "",
                                  '{"trials": [1]}', '{"trials": {"a": 3}}', '{"trials": {"a": [1]}}',
                                  "\xff"])
def test_records_beside_trials_that_are_none_are_refused(tmp_path, text):
    for name in ("walk", "run"):
        (tmp_path / f"{name}.osim").write_text("a model")
    (tmp_path / "ik.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match="ik.json"):
        model_of_trial(tmp_path / "other.mot")


def test_an_archive_whose_names_are_none_is_refused(tmp_path):
    from bige.markers import read_marker_archive
    for names in (np.array("LASI"), np.array([1, 2]), np.array([["a", "b"]]), np.array([b"a", b"b"])):
        np.savez(tmp_path / "a.npz", marker_names=names, trial=np.zeros((5, 2, 3)))
        with pytest.raises(InputError, match="marker_names"):
            read_marker_archive(tmp_path / "a.npz")


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["segment", "ik", "simulate", "predict", "dataset", "generate"])
def test_the_command_line_says_what_the_readers_say(verb, tmp_path):
    """A bad file of each verb ends with exit status 2 and one line, in a process of its own."""
    squat = example_squat()
    write_motion(squat, tmp_path / "a.mot")
    text = (tmp_path / "a.mot").read_text()
    (tmp_path / "a.mot").write_text(text[:-4])
    write_trc(Markers(squat.time[:9], np.full((9, 1, 3), np.nan), ("LASI",)), tmp_path / "a.trc")
    (tmp_path / "a.trc").write_text((tmp_path / "a.trc").read_text()[:-30])
    (tmp_path / "a.yaml").write_text("constraints: [{kind: knee_depth, low: 0100}]")
    given = {"ik": "a.trc", "generate": "--constraints"}.get(verb, "a.mot")
    argv = [verb, str(tmp_path / given) if "." in given else given,
            *([str(tmp_path / "a.yaml")] * (verb == "generate")),
            "--out", str(tmp_path / ("out.npz" if verb == "dataset" else "out"))]
    done = subprocess.run([sys.executable, "-m", "bige.cli", *argv], capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr and "Cure" in done.stderr, done.stderr


def test_a_record_of_people_is_checked_and_deletes_in_its_own_folder_only(tmp_path):
    from bige import inverse_kinematics as ik
    out = tmp_path / "out"
    out.mkdir()
    for text in ("[]", "{", '{"trials": [1]}', '{"trials": {"a": 3}}', '{"trials": {"a": {"file": 3}}}',
                 '{"persons": {"a": {"fingerprint": [1]}}}'):
        (out / "ik.json").write_text(text)
        with pytest.raises(InputError, match="ik.json"):
            ik.read_record(out)
    (tmp_path / "kept.mot").write_text("of somebody else")
    (out / "ik.json").write_text('{"trials": {"walk": {"person": "eve", "file": "../kept.mot"}, "x": null}}')
    job = ik.PersonJob("eve", {"eve_walk": None}, {"eve_walk": "eve_walk"}, out, None, True)
    (tmp_path / "drafts").mkdir()
    ik._publish(job, {"person": {}, "trials": {}}, tmp_path / "drafts", force=True)
    assert (tmp_path / "kept.mot").is_file()


# What was read, written or passed in silence.

@pytest.mark.parametrize("name", ["/tmp/outside", "../outside", "a/b", "", ".."])
def test_a_trial_of_a_marker_archive_is_a_name_of_a_file(tmp_path, name):
    "`bige ik` writes <name>.mot: with an absolute name outside of --out, and not at all with a folder in it."
    from bige.markers import read_marker_archive
    squat, person = example_squat(), Skeleton.default()
    seen = 1000 * person.marker_positions(squat.coordinates()[:3])[..., [2, 0, 1]]
    np.savez(tmp_path / "a.npz", marker_names=np.array(person.marker_names), **{name: seen})
    with pytest.raises(InputError, match="a.npz"):
        read_marker_archive(tmp_path / "a.npz")


def with_one_frame(motion, names, values, frame=101):
    "The motion with other `values` in one frame, which lies between those that `judge_recording` looks at."
    changed = motion.columns(names).copy()
    changed[frame] = values
    return motion.with_columns(names, changed)


@pytest.mark.parametrize("names, values", [
    (["knee_angle_l"], np.deg2rad(130)), (["pelvis_tilt"], np.deg2rad(40)), (["arm_flex_r"], np.deg2rad(170)),
    (["pelvis_ty"], 1.3), (list(COORDINATES), 0.0)], ids=["knee", "pelvis tilt", "arm", "height", "all zero"])
def test_a_jump_of_one_frame_is_suspected(names, values):
    from bige.segmentation import judge_recording
    trial = analytic_squat(reps=2)
    assert judge_recording(trial) == []
    assert judge_recording(with_one_frame(trial, names, values)) != []


def test_a_participant_who_faces_backwards_turns_by_no_whole_turn(tmp_path):
    "Static optimisation fails for 62 of 157 frames: the filter smooths a turn of 360 degrees in one frame."
    squat = example_squat()
    heading = np.pi + 0.02 * np.sin(squat.time)
    write_motion(squat.with_columns(["pelvis_rotation"], np.angle(np.exp(1j * heading))), tmp_path / "a.mot")
    assert np.abs(np.diff(read_motion(tmp_path / "a.mot")["pelvis_rotation"])).max() < 0.1


def simulated(folder, *motions):
    folder.mkdir()
    for i, motion in enumerate(motions):
        write_motion(with_activations(motion, 0.4), folder / f"kinematics_activations_{i}_muscle_driven.mot")
    return folder


def test_a_participant_without_repetitions_is_named(tmp_path, capsys):
    from bige.cli import main
    people = [simulated(tmp_path / name, *motions) for name, motions in
              (("anna", [example_squat()]), ("ben", [example_squat().mirror()]), ("eva", []))]
    main(["dataset", *map(str, people), "--out", str(tmp_path / "data.npz")])
    said = capsys.readouterr()
    assert "eva" in said.out + said.err


def test_the_same_recording_of_two_participants_is_suspected(tmp_path, capsys):
    from bige.cli import main
    people = [simulated(tmp_path / name, example_squat()) for name in ("anna", "ben")]
    status = main(["dataset", *map(str, people), "--strict", "--out", str(tmp_path / "data.npz")])
    assert status == 2 and "anna" in capsys.readouterr().err


@pytest.mark.parametrize("end", [0.034, 0.4], ids=["two frames", "standing"])
def test_what_is_no_repetition_is_no_start(end):
    "`bige generate --like`: it reports that the activation of a motionless person is not reached."
    from bige.guidance import one_repetition
    with pytest.raises(InputError, match="repetition"):
        one_repetition(analytic_squat(reps=1).slice(0, end))
