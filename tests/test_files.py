"""Files and records: a folder holds the former run or the new one; equal content gives equal bytes."""
import json
import os
import pickle
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bige.files import (InputError, Suspicion, atomic_write, output_folder, plain,
                        refuse_overwriting, round_digits, similar, sweep, to_json, whole_folder, write_npz,
                        write_trials)
from bige.opensim_process import run_opensim
from bige.parsing import read_npz, read_trial_records


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
    reader = ["q"], "poses", "write it again"
    arrays = read_npz(tmp_path / "a.npz", *reader)
    assert arrays["q"].shape == (2, 3) and list(arrays["names"]) == ["x", "y"]
    assert list(read_npz(tmp_path / "a.npz", *reader, only=True)) == ["q"]
    cut = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(cut[:len(cut) // 2])
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "objects.npz", q=np.array([{}], dtype=object))
    for name, found in (("cut", "no readable"), ("text", "no readable"), ("absent", "no file"),
                        ("objects", "no readable")):
        with pytest.raises(InputError, match=f"{found}.*expected poses.*write it again"):
            read_npz(tmp_path / f"{name}.npz", *reader)
    with pytest.raises(InputError, match="a file without time"):
        read_npz(tmp_path / "a.npz", ["q", "time"], *reader[1:])


# who may write, and what is said when nobody can

def test_an_empty_name_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="an empty name.*a folder.*give a name"), output_folder(""):
        pass


def test_a_disk_that_is_full_is_named_by_the_file(run):
    resource = pytest.importorskip("resource")
    limits, before = resource.getrlimit(resource.RLIMIT_FSIZE), content(run)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(InputError, match="a.mot: found a write that failed .File too large"):
            with atomic_write(run / "a.mot") as file:
                file.write("x" * 100_000)
        for how in ("within the block", "as the buffer is written"):
            with pytest.raises(InputError, match=f"{run.name}.*a write that failed") as failed:
                with whole_folder(run, former) as part, open(part / "c.mot", "w") as file:
                    file.write("x" * (100_000 if how == "within the block" else 20_000))
            assert ".partial" not in str(failed.value)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert content(run) == before


def test_an_exchange_that_was_killed_is_taken_back_by_the_next_one(run):
    """Not only by a later command: the next exchange finds the mixture that a dead process left."""
    before = content(run)
    pid = os.fork()
    if not pid:
        replace = os.replace

        def die_at_c(source, target):
            if os.path.basename(target) == "c.mot":
                os._exit(9)
            replace(source, target)
        with whole_folder(run, former) as part:
            for name in ("a.mot", "c.mot"):
                (part / name).write_text("killed")
            os.replace = die_at_c
    os.waitpid(pid, 0)
    assert content(run)["a.mot"] == "killed"
    with whole_folder(run) as part:
        (part / "d.mot").write_text("new")
    assert content(run) == before | {"d.mot": "new"}


def test_taking_back_can_be_repeated(run):
    "A kill while an exchange is taken back: what is back already is left alone."
    before = content(run)
    for moves in (1, 2, 3, 4, 5, 6):
        for die_in in ("exchange", "taking back"):
            pid = os.fork()
            if not pid:
                replace, done = os.replace, []

                def count(source, target):
                    back = ".former" in str(source)
                    done.append(back)
                    if sum(done) == moves and back or not back and len(done) == moves:
                        os._exit(9)
                    replace(source, target)
                if die_in == "exchange":
                    with whole_folder(run, former) as part:
                        for name in ("a.mot", "b.mot", "c.mot", "d.mot"):
                            (part / name).write_text("killed")
                        os.replace = count
                else:
                    os.replace = count
                    sweep(run)
                os._exit(0)
            os.waitpid(pid, 0)
        sweep(run)
        found = content(run)
        new = dict.fromkeys(("a.mot", "b.mot", "c.mot", "d.mot"), "killed")
        assert found in (before, new | {"mine.md": "old"})
        for name in set(found) - set(before):
            (run / name).unlink()
        for name in before:
            (run / name).write_text("old")


def test_a_guard_refuses_what_no_former_run_wrote(run):
    cases = ({"a.mot": "new"}, False), ({"mine.md": "new"}, True), ({"mine.md": "old"}, False)
    for files, refused in cases:
        before = content(run)
        try:
            with whole_folder(run, former, guard=True) as part:
                for name, text in files.items():
                    (part / name).write_text(text)
        except InputError as error:
            assert refused and "mine.md" in error.where and "--force" in error.cure
            assert content(run) == before
        else:
            assert not refused


def test_inputs_are_not_outputs(tmp_path):
    (tmp_path / "a.mot").write_text("a")
    os.symlink(tmp_path / "a.mot", tmp_path / "b.mot")
    refuse_overwriting([tmp_path / "a.mot", tmp_path / "c.mot"], [None, tmp_path / "c.mot", tmp_path])
    with pytest.raises(InputError, match="reads.*--force"):
        refuse_overwriting([tmp_path / "b.mot"], [str(tmp_path / "a.mot")])


def test_a_record_of_trials(tmp_path):
    path = tmp_path / "segments.json"
    assert read_trial_records(path) == {}
    write_trials(path, {"one": {"trial": "one", "n": 5}})
    assert json.loads(path.read_text()) == {"trial": "one", "n": 5}
    write_trials(path, read_trial_records(path) | {"two": {"trial": "two", "n": 3}})
    assert list(read_trial_records(path)) == ["one", "two"]


def test_trials_are_read_with_their_types(tmp_path):
    path = tmp_path / "simulation.json"
    assert read_trial_records(path) == {}
    for text, found in (('{"trial": "one", "n": 5}', {"one": {"trial": "one", "n": 5}}),
                        ('{"one": {"n": 5}, "two": null}', {"one": {"n": 5}, "two": {}})):
        path.write_text(text)
        assert read_trial_records(path, {"n": int}) == found
    for bad, found in (("[1]", "a list"), ("no JSON", "JSON"), ('{"one": 3}', "an object"),
                       ('{"one": {"n": "5"}}', "a whole number"), ('{"one": {}, "one": {}}', "'one' twice")):
        path.write_text(bad)
        with pytest.raises(InputError, match=found):
            read_trial_records(path, {"n": int})


def test_a_suspicion_travels_as_text_and_between_processes():
    doubt = Suspicion("walk.trc", "markers that are highest along z", "y up", "export with y up")
    for again in (Suspicion.from_text(str(doubt)), pickle.loads(pickle.dumps(doubt))):
        assert type(again) is Suspicion and str(again) == str(doubt)


def test_temporary_folders_of_killed_processes_are_swept(tmp_path):
    code = ("import os\nfrom bige.files import temporary_folder\n"
            "with temporary_folder('bige-job') as folder:\n"
            "    (folder / 'half.txt').write_text('ha')\n    os.kill(os.getpid(), 9)")
    where = os.environ | {"TMPDIR": str(tmp_path)}
    assert subprocess.run([sys.executable, "-c", code], env=where).returncode == -9
    assert [p.name for p in tmp_path.rglob("*.txt")] == ["half.txt"]
    code = ("from bige.files import temporary_folder\n"
            "with temporary_folder('bige-job') as one, temporary_folder('bige-job') as two:\n"
            "    assert one != two and one.is_dir() and two.is_dir()")
    subprocess.run([sys.executable, "-c", code], env=where, check=True)
    assert list(tmp_path.iterdir()) == []


def do_nothing():
    pass


def kill_the_caller():
    import os
    os.kill(os.getppid(), 9)


def test_scratch_files_of_a_killed_run_of_opensim_are_swept(tmp_path, monkeypatch):
    code = ("import sys; sys.path.insert(0, 'tests')\nfrom test_files import kill_the_caller\n"
            "from bige.opensim_process import run_opensim\nrun_opensim(kill_the_caller)")
    where = os.environ | {"TMPDIR": str(tmp_path), "BIGE_OPENSIM_PYTHON": sys.executable}
    root = Path(__file__).resolve().parents[1]
    assert subprocess.run([sys.executable, "-c", code], env=where, cwd=root).returncode == -9
    assert [p.name for p in tmp_path.rglob("*.py")] == ["program.py"]
    monkeypatch.setenv("BIGE_OPENSIM_PYTHON", sys.executable)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run_opensim(do_nothing)
    assert not list(tmp_path.rglob("*.py"))
