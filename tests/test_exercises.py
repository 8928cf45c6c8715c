"""Exercises: records are checked when they are read; bottom and cycle are one thing on arrays and tensors."""
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import yaml

from bige.exercises import exercise_rows, load_exercise, read_exercise, shipped_exercises
from bige.files import InputError
from bige.motion import COORDINATES, analytic_squat, example_squat

SQUAT = load_exercise("squat")


@pytest.fixture
def record(tmp_path):
    """The squat's record as a dictionary, and a function that writes a changed one and reads it."""
    values = yaml.safe_load(shipped_exercises()["squat"].read_text(encoding="utf-8"))

    def read(changes: dict, drop=()):
        kept = {k: v for k, v in (values | changes).items() if k not in drop}
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(kept), encoding="utf-8")
        return read_exercise(tmp_path / "mine.yaml")
    return read


def test_a_file_of_a_user_is_an_exercise(record, tmp_path):
    contacts = {"l": "heel_free", "r": "swing", "seat": {"height": 0.45, "friction": 0.6}}
    mine = record({"name": "lunge", "progress": ["knee_angle_r"], "contacts": contacts, "leading": "r",
                   "together": 0})
    assert mine.progress == ("knee_angle_r",) and mine.planted == ("l",) and mine.seat["height"] == 0.45
    assert mine.source == str(tmp_path / "mine.yaml")
    assert load_exercise(tmp_path / "mine.yaml") == load_exercise(str(tmp_path / "mine.yaml")) == mine
    assert load_exercise(mine) is mine and pickle.loads(pickle.dumps(mine)) == mine


def seat(**entries) -> dict:
    "Contacts with a seat."
    return {"contacts": {"l": "planted", "r": "planted",
                         "seat": {"height": "recorded", "friction": 0.5} | entries}}


CORRUPTED = {
    "muscle": ({"effort": ["vasmed_l", "vasmd_r"]}, ["`effort`", "'vasmd_r'", "did you mean 'vasmed_r'?"]),
    "muscle without side": ({"effort": ["vasmed"]}, ["`effort`", "'vasmed'", "with their side"]),
    "coordinate": ({"progress": ["knee_angel_l"]}, ["`progress`", "did you mean 'knee_angle_l'?"]),
    "translation": ({"progress": ["pelvis_tx"]}, ["`progress`", "'pelvis_tx'", "joint angles", "pelvis_ty"]),
    "angle and height": ({"progress": ["pelvis_ty", "knee_angle_l"]}, ["`progress`", "pelvis_ty alone"]),
    "height in degrees": ({"progress": ["pelvis_ty"]}, ["`least_progress_deg`", "least_progress_cm alone"]),
    "angle in centimetres": ({"least_progress_cm": 10}, ["`least_progress_cm`", "least_progress_deg alone"]),
    "neither": ({"least_progress_deg": None}, ["`least_progress_deg`", "None", "above 0"]),
    "leading": ({"leading": "right"}, ["`leading`", "'right'", "null"]),
    "progress of both legs": ({"leading": "r"}, ["`progress`", "knee_angle_l", "end in _r"]),
    "no progress": ({"progress": []}, ["`progress`", "no entry"]),
    "curve": ({"curves": {"vasmed_l": "vastus"}}, ["`curves`", "'vasmed_l'", "without their side"]),
    "foot": ({"contacts": {"l": "plantd", "r": "planted"}}, ["`contacts`, l", "did you mean 'planted'?"]),
    "one foot": ({"contacts": {"l": "planted"}}, ["`contacts`, r", "None", "heel_free"]),
    "third foot": ({"contacts": {"l": "planted", "r": "planted", "hand": "planted"}},
                   ["'hand'", "l, r, and seat"]),
    "in the air": ({"contacts": {"l": "swing", "r": "swing"}}, ["`contacts`", "no seat", "carries the body"]),
    "seat": ({"contacts": {"l": "planted", "r": "planted", "seat": {"height": "recorded"}}},
             ["seat", "height, friction", "each of them"]),
    "seat as text": ({"contacts": {"l": "planted", "r": "planted", "seat": "chair"}}, ["seat", "'chair'"]),
    "high seat": (seat(height=3), ["seat, height", "3", "up to 2 m"]),
    "seat without friction": (seat(friction=0), ["seat, friction", "above 0"]),
    "seat until": (seat(until="ascent"), ["seat", "friction, height, until", "the entries height, friction"]),
    "text for a list": ({"progress": "knee_angle_l"}, ["`progress`", "a list"]),
    "text for a number": ({"together": "yes"}, ["`together`", "a number"]),
    "truth for a number": ({"together": True}, ["`together`", "a number"]),
    "correlation": ({"together": 1.5}, ["`together`", "from 0 to 1"]),
    "rise": ({"least_progress_deg": 0}, ["`least_progress_deg`", "above 0"]),
    "phases": ({"phases": ["down"]}, ["`phases`", "three names"]),
    "request": ({"request": [{"low": 1}]}, ["`request`", "`kind`"]),
    "slider": ({"sliders": [{"key": "depth"}]}, ["`sliders`", "`entry`"]),
    "peak": ({"usual_peak_deg": [120, 60]}, ["`usual_peak_deg`", "the lower first"]),
    "name": ({"name": "My squat"}, ["`name`", "lower-case"]),
    "share": ({"fair_share": 1.5}, ["`fair_share`", "up to 1"]),
    "lead-in of one that returns": ({"lead_in": "pelvis_tilt"}, ["`lead_in`", "ends at the turning point"]),
    "lead-in": ({"phases": ["rise", "standing"], "lead_in": "pelvis"},
                ["`lead_in`", "'pelvis'", "a coordinate"]),
    "correlation of one leg": ({"progress": ["knee_angle_r"], "leading": "r"},
                               ["`together`", "0.7", "mean alone"]),
    "repeated phase": ({"phases": ["down", "up", "down", "up"]}, ["`phases`", "or two"]),
    "unknown field": ({"contact": {"l": "planted"}},
                      ["`contact`", "an unknown field", "did you mean 'contacts'?"]),
}


@pytest.mark.parametrize("how", CORRUPTED)
def test_corrupted_records(record, how):
    changes, parts = CORRUPTED[how]
    with pytest.raises(InputError) as caught:
        record(changes)
    message = str(caught.value)
    assert "mine.yaml" in message and all(part in message for part in parts), message


@pytest.mark.parametrize("field", ["name", "repetition", "progress", "phases", "contacts", "effort",
                                   "request", "curves"])
def test_missing_fields(record, field):
    with pytest.raises(InputError, match=f"found no {field}; expected every field"):
        record({}, drop=[field])


@pytest.mark.parametrize("text, part", [("a: [1", "YAML"), ("- squat\n", "found list"), ("", "an empty file"),
                                        ("name: squat\n\x00", "binary data")])
def test_files_that_are_no_record(tmp_path, text, part):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(InputError, match=part):
        load_exercise(tmp_path / "mine.yaml")


def test_unknown_exercise(tmp_path):
    with pytest.raises(InputError, match="'squt'; expected .*squat.* did you mean 'squat'"):
        load_exercise("squt")
    with pytest.raises(InputError, match="no such file"):
        load_exercise(tmp_path / "absent.yaml")


def test_rows():
    rows = exercise_rows()
    assert [row["name"] for row in rows] == list(shipped_exercises())
    assert all(isinstance(text, str) and text for row in rows for text in row.values())


@pytest.mark.parametrize("name", shipped_exercises())
def test_shipped_exercises_carry_their_file_name(name):
    exercise = load_exercise(name)
    assert exercise.name == name and set(exercise.progress) <= set(COORDINATES)


@pytest.mark.parametrize("name", shipped_exercises())
def test_requests_sliders_and_settings_of_shipped_exercises(name):
    """Every entry of a record is known to the chapter that reads it."""
    from bige.constraint_files import default_constraints
    from bige.tracking import settings_for
    from bige.tuning import sliders_of
    exercise = load_exercise(name)
    named = {entry["kind"] for entry in exercise.request}
    assert named <= {c.kind.name for c in default_constraints(exercise)}
    assert len({slider.plain.name for slider in sliders_of(exercise)}) == len(exercise.sliders) > 5
    assert settings_for(exercise).max_iterations > 0 and exercise.repetition and exercise.validation


def test_a_request_names_phases_of_its_own_exercise():
    """A phase of another exercise was accepted, and the search for squats ended in a ValueError."""
    from bige.constraint_files import parse_constraints
    for name, others in (("hurdle_step", (None, "squat", "sit_to_stand")), ("sit_to_stand", (None, "squat"))):
        text = f"constraints:\n  - {{kind: tempo, phase: {load_exercise(name).phases[0]}, low: 1, high: 2}}\n"
        assert parse_constraints(text, exercise=name).of("tempo")
        for other in others:
            with pytest.raises(InputError, match=load_exercise(name).phases[0]):
                parse_constraints(text, exercise=other)


def test_contacts_of_shipped_exercises():
    feet = {name: load_exercise(name).contacts for name in shipped_exercises()}
    assert feet["squat"] == {"l": "planted", "r": "planted"} == feet["side_lunge"]
    assert feet["inline_lunge"] == {"l": "heel_free", "r": "planted"}
    assert load_exercise("hurdle_step").planted == ("l",)
    assert load_exercise("sit_to_stand").seat == {"height": "recorded", "friction": 0.5}


@pytest.mark.parametrize("right, wrong, part", [
    ("vasmed_l, vasmed_r]\nrequest", "vasmedd_l]\nrequest", "did you mean 'vasmed_l'"),
    ("{l: planted, r: planted}", "{l: swing, r: swing}", "something that carries the body"),
    ("least_progress_deg: 17.2", "least_progress_cm: 17.2", "least_progress_deg alone"),
    ("least_progress_deg: 17.2", "fair_share: 0.75", "above 0 and below 180")])
def test_a_bad_record_is_one_error(tmp_path, capsys, right, wrong, part):
    """The command line says what is wrong in one message, exits with 2 and writes nothing."""
    from bige.cli import main
    from bige.motion import write_motion
    text = shipped_exercises()["squat"].read_text(encoding="utf-8")
    assert right in text
    (tmp_path / "mine.yaml").write_text(text.replace(right, wrong))
    write_motion(example_squat(), tmp_path / "squat.mot")
    squat, mine, out = (tmp_path / name for name in ("squat.mot", "mine.yaml", "out"))
    assert main(["segment", str(squat), "--exercise", str(mine), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "mine.yaml" in said and part in said and said.count("Cure:") == 1 and "Traceback" not in said
    assert not out.exists()


def test_the_command_line_lists_the_record(capsys):
    from bige.cli import main
    assert main(["exercises", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == list(shipped_exercises())
    assert rows["inline_lunge"]["contacts"] == "left heel free, right planted"
    assert rows["sit_to_stand"]["repetition"] == "from seated to standing"
    assert rows["sit_to_stand"]["contacts"] == "left planted, right planted, seat"
    assert {"vqvae.safetensors", "surrogate.safetensors"} <= {*rows["squat"]["assets"].split(", ")}
    for name, row in rows.items():
        assert {f"reference_{name}.npz", f"simulations_{name}.npz"} <= {*row["assets"].split(", ")}
    assert main(["exercises"]) == 0 and "leading leg" in capsys.readouterr().out


# ---------------------------------------------------------------------- progress, bottom and cycle


def test_moments_of_the_formula():
    """A raised cosine exceeds a tenth of its height from arccos(0.8) / 2 pi of its period on."""
    motion = analytic_squat(reps=1, rate_hz=200.0, period=3.0, pause=1.0)
    q = motion.coordinates()
    first, last = (motion.time[frame] for frame in SQUAT.cycle(q))
    start = 1 + 3 * np.arccos(0.8) / (2 * np.pi)
    assert abs(first - start) < 0.006 and abs(last - (5 - start)) < 0.006
    assert abs(motion.time[SQUAT.bottom(q)] - 2.5) < 0.006
    assert SQUAT.progress_share(q).min() == 0 and 0.999 < SQUAT.progress_share(q).max() <= 1
    assert SQUAT.frame_at(q, 0) == SQUAT.cycle(q)[0] and SQUAT.frame_at(q, 100) == SQUAT.cycle(q)[1]
    assert abs(SQUAT.frame_at(q, 50) - SQUAT.bottom(q)) <= 1


def test_progress_is_the_mean_of_its_angles():
    q = example_squat().coordinates()
    knees = example_squat().columns(["knee_angle_l", "knee_angle_r"])
    assert np.allclose(SQUAT.signal(q), knees.mean(axis=1), atol=1e-15)
    one = replace(SQUAT, progress=("knee_angle_r",))
    assert np.array_equal(one.signal(q), knees[:, 1])


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_tensors_and_batches(precision):
    torch = pytest.importorskip("torch")
    one = example_squat().coordinates()
    batch = np.stack([one, one[::-1], np.roll(one, 7, axis=0)]).astype(precision).reshape(3, 1, *one.shape)
    tensor = torch.tensor(batch)
    for values in (batch, tensor):
        assert SQUAT.progress_share(values).shape == (3, 1, len(one))
        for i in range(3):
            alone = batch[i, 0]
            assert int(SQUAT.bottom(values)[i, 0]) == int(SQUAT.bottom(alone))
            assert [int(f[i, 0]) for f in SQUAT.cycle(values)] == [int(f) for f in SQUAT.cycle(alone)]
            assert float(SQUAT.frame_at(values, 30)[i, 0]) == pytest.approx(float(SQUAT.frame_at(alone, 30)))


# ---------------------------------------------------------------------- heights, and the leading leg


def test_a_height_is_a_progress(record):
    """The pelvis rises by 40 cm: signal in m, shown in cm."""
    rise = record({"progress": ["pelvis_ty"], "least_progress_deg": None, "least_progress_cm": 15,
                   "usual_peak_deg": [0, 180], "phases": ["rise", "standing"]})
    assert rise.unit == "cm" and rise.least_progress == 0.15 and rise.in_unit(0.4) == 40 and not rise.returns
    q = example_squat().coordinates()
    assert np.array_equal(rise.signal(q), example_squat()["pelvis_ty"])
    assert SQUAT.unit == "deg" and SQUAT.least_progress == np.deg2rad(17.2) and SQUAT.returns


@pytest.mark.parametrize("leading", "lr")
def test_the_leading_leg(leading):
    """Whichever leg leads, the canonical form has the leg of the record in the lead, and is the same."""
    raised = replace(SQUAT, progress=(f"hip_flexion_{leading}",), leading=leading, together=0)
    motion = example_squat()
    one = motion.with_columns(["hip_flexion_r"], 0.1 * motion.columns(["hip_flexion_r"]))
    assert raised.led_by(one.coordinates()) == "l" and raised.led_by(one.mirror().coordinates()) == "r"
    forms = [raised.to_leading_leg(motion) for motion in (one, one.mirror())]
    assert [side for _, side in forms] == ["l", "r"]
    assert np.array_equal(forms[0][0].values, forms[1][0].values)
    assert raised.led_by(forms[0][0].coordinates()) == leading
    assert SQUAT.led_by(one.coordinates()) is None and SQUAT.to_leading_leg(one) == (one, None)
