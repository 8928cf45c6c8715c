"""Files and records: a folder holds the former run or the new one; equal content gives equal bytes."""
import json
import os
from dataclasses import dataclass

import numpy as np
import pytest

from bige.files import (InputError, atomic_write, open_npz, output_folder, plain, round_digits, similar,
                        to_json,
                        whole_folder, write_npz)


def content(folder) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def former(folder):
    return folder.glob("*.mot")


@pytest.fixture
def run(tmp_path):
    """A folder with the two files of a former run and one of the user's."""
    for name in ("a.mot", "b.mot", "mine.md"):
        (tmp_path / name).write_text("old")
    return tmp_path


def test_a_second_run_takes_the_place_of_the_first(run):
    with whole_folder(run, former) as part:
        (part / "a.mot").write_text("new")
        (part / "deep").mkdir()
        (part / "deep" / "c.csv").write_text("new")
        assert content(run)["a.mot"] == "old"
    assert content(run) == {"a.mot": "new", "deep/c.csv": "new", "mine.md": "old"}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_run_that_fails_changes_nothing(run, error):
    before = content(run)
    with pytest.raises(error), whole_folder(run, former) as part:
        (part / "a.mot").write_text("new")
        raise error
    assert content(run) == before


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_a_move_that_fails_is_taken_back(run, moves, monkeypatch):
    before, replace, done = content(run), os.replace, []

    def stop(source, target):
        if len(done) == moves and ".former" not in str(source):
            raise OSError("no space left")
        done.append(target)
        replace(source, target)
    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(OSError, match="no space"), whole_folder(run, former) as part:
        for name in ("a.mot", "c.mot", "d.mot"):
            (part / name).write_text("new")
    assert content(run) == before


def test_folders_made_for_nothing_go_again(tmp_path):
    with pytest.raises(RuntimeError), output_folder(tmp_path / "deep" / "out"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a folder that cannot be written"), output_folder(tmp_path / "file"):
        pass


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(InputError, match="a directory"), atomic_write(tmp_path):
        pass


def test_similar():
    known = ["vasmed_l", "vasmed_r", "soleus_l"]
    assert similar("VASMED_R", known) == "did you mean 'vasmed_r'?"
    assert similar("solues_l", known) == "did you mean 'soleus_l'?"
    assert similar("xyz", known) == similar("xyz", []) == ""


@dataclass
class Point:
    x: np.ndarray
    y: float = float("nan")
    _cache: int = 1


def test_plain():
    found = plain({"p": Point(np.arange(2)), 3: (np.float32(0.5), np.inf), "yes": np.bool_(True),
                   "kind": Point})
    assert found == {"p": {"x": [0, 1], "y": None}, "3": [0.5, None], "yes": True, "kind": str(Point)}
    assert json.loads(to_json(found)) == found


def test_round_digits():
    others = {"n": 7, "t": "x", "none": None, "yes": True}
    assert round_digits({"a": [1 / 3, (2e-30 / 3,)]} | others) == {"a": [0.333333333,
                                                                         [6.66666667e-31]]} | others
    assert round_digits(1 / 3, 2) == 0.33


def test_archives(tmp_path):
    for name in ("a.npz", "b.npz"):
        write_npz(tmp_path / name, {"q": np.arange(6.0).reshape(2, 3), "names": np.array(["x", "y"])})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with open_npz(tmp_path / "a.npz", ["q"], "poses", "write it again") as archive:
        assert archive["q"].shape == (2, 3) and list(archive["names"]) == ["x", "y"]
    cut = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(cut[:len(cut) // 2])
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "objects.npz", q=np.array([{}], dtype=object))
    for name, found in (("cut", "no readable"), ("text", "no readable"), ("absent", "no file"),
                        ("objects", "no readable")):
        with pytest.raises(InputError, match=f"{found}.*expected poses.*write it again"):
            with open_npz(tmp_path / f"{name}.npz", ["q"], "poses", "write it again") as archive:
                archive["q"]
    with pytest.raises(InputError, match="a file without time"):
        with open_npz(tmp_path / "a.npz", ["q", "time"], "poses", "write it again"):
            pass
