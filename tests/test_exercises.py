"""Exercises: records are checked when they are read; bottom and cycle are one thing on arrays and tensors."""
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
    mine = record({"name": "lunge", "progress": ["knee_angle_r"], "planted": []})
    assert mine.progress == ("knee_angle_r",) and mine.planted == ()
    assert mine.source == str(tmp_path / "mine.yaml")
    assert load_exercise(tmp_path / "mine.yaml") == load_exercise(str(tmp_path / "mine.yaml")) == mine
    assert load_exercise(mine) is mine and pickle.loads(pickle.dumps(mine)) == mine


CORRUPTED = {
    "muscle": ({"effort": ["vasmed_l", "vasmd_r"]}, ["`effort`", "'vasmd_r'", "did you mean 'vasmed_r'?"]),
    "muscle without side": ({"effort": ["vasmed"]}, ["`effort`", "'vasmed'", "with their side"]),
    "coordinate": ({"progress": ["knee_angel_l"]}, ["`progress`", "did you mean 'knee_angle_l'?"]),
    "translation": ({"progress": ["pelvis_ty"]}, ["`progress`", "'pelvis_ty'", "joint angles"]),
    "no progress": ({"progress": []}, ["`progress`", "no entry"]),
    "curve": ({"curves": {"vasmed_l": "vastus"}}, ["`curves`", "'vasmed_l'", "without their side"]),
    "foot": ({"planted": ["left"]}, ["`planted`", "'left'", "l and r"]),
    "text for a list": ({"progress": "knee_angle_l"}, ["`progress`", "a list"]),
    "text for a number": ({"together": "yes"}, ["`together`", "a number"]),
    "truth for a number": ({"together": True}, ["`together`", "a number"]),
    "correlation": ({"together": 1.5}, ["`together`", "from 0 to 1"]),
    "rise": ({"least_progress_deg": 0}, ["`least_progress_deg`", "above 0"]),
    "phases": ({"phases": ["down", "up"]}, ["`phases`", "three names"]),
    "request": ({"request": [{"low": 1}]}, ["`request`", "`kind`"]),
    "slider": ({"sliders": [{"key": "depth"}]}, ["`sliders`", "`entry`"]),
    "peak": ({"usual_peak_deg": [120, 60]}, ["`usual_peak_deg`", "the lower first"]),
    "name": ({"name": "My squat"}, ["`name`", "lower-case"]),
    "unknown field": ({"plantd": ["l"]}, ["`plantd`", "an unknown field", "did you mean 'planted'?"]),
}


@pytest.mark.parametrize("how", CORRUPTED)
def test_corrupted_records(record, how):
    changes, parts = CORRUPTED[how]
    with pytest.raises(InputError) as caught:
        record(changes)
    message = str(caught.value)
    assert "mine.yaml" in message and all(part in message for part in parts), message


@pytest.mark.parametrize("field", ["name", "progress", "phases", "effort", "request", "curves"])
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
