"""Requests and answers: equal keys, equal files; folders that read back; models, digests and verification
that stay with them."""

import filecmp
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bige import answers, dataset, guidance, metrics, verification
from bige.answers import (Answer, Request, answer, check_answer_folder, former_files, model_beside, recorded,
                          sessions, verify)
from bige.constraint_files import default_constraints, override, parse_constraints, read_constraints, to_yaml
from bige.files import InputError
from bige.motion import ACTIVATIONS, COORDINATES, Motion, read_motion, write_motion
from bige.skeleton import Skeleton


@pytest.fixture(scope="module")
def models():
    return guidance.Models.load()


@pytest.fixture(scope="module")
def random(models):
    "Two motions without guidance: quick to have."
    return answer(Request(n=2, method="vqvae"), models)


@pytest.fixture(scope="module")
def person(shared):
    return next((shared / "labval_s4_62.6kg").rglob("*.osim"))


# requests


def test_keys_are_equal_where_motions_are():
    request = Request(n=3)
    assert request.key == Request(override(default_constraints()), n=3).key
    others = [
        replace(request, seed=1),
        replace(request, n=4),
        replace(request, method="vqvae"),
        replace(request, apart_deg=1.0),
        replace(request, start="recorded"),
        replace(request, model=Path("a.osim")),
        replace(request, constraints=override(default_constraints(), "vasmed.low=0.3")),
    ]
    assert len({r.key for r in [request, *others]}) == 8


def test_the_command_makes_the_same_request(tmp_path):
    own = Request(default_constraints(), 3, 7, model=Path("/far/anna.osim"), like=Path("/far/rep.mot"),
                  apart_deg=6.0, data=tmp_path / "data.npz")
    assert own.command("out") == [
        "bige",
        "generate",
        "--constraints",
        "constraints.yaml",
        "-n",
        "3",
        "--seed",
        "7",
        "--method",
        "guided",
        "--apart",
        "6",
        "--like",
        "/far/rep.mot",
        "--model",
        "/far/anna.osim",
        "--data",
        str(tmp_path / "data.npz"),
        "--out",
        "out",
    ]
    proved, advised = (replace(own, like=x, verified="qp").command() for x in (None, own.like))
    assert proved[:2] == ["bige", "generate"] and proved[proved.index("--verified") + 1] == "qp"
    assert advised[:3] == ["bige", "advise", "/far/rep.mot"] and advised[advised.index("--mode") + 1] == "qp"
    assert not {"-n", "--like", "--verified", "--apart"} & set(advised)
    assert "--start" not in own.command()
    assert "--start recorded" in " ".join(replace(own, start="recorded").command())
    inside = own.command(folder=tmp_path / "squats")
    assert "start/rep.mot" in inside and "anna.osim" in inside and "../data.npz" in inside
    text = own.yaml()
    assert (
        text.startswith("# bige generate ")
        and parse_constraints(text).constraints == own.constraints.constraints
    )


@pytest.mark.parametrize(
    "bad",
    [
        dict(n=0),
        dict(seed=-1),
        dict(method="magic"),
        dict(verified="guess"),
        dict(exercise="dance"),
        dict(start="somewhere"),
        dict(like=Path("x.mot"), verified="qp"),
        dict(model=Path("no.osim")),
        dict(like=Path("no.mot")),
    ],
)
def test_bad_requests(models, bad):
    with pytest.raises(InputError):
        answer(Request(**{"n": 1} | bad), models)


# folders


def test_a_folder_is_whole_repeatable_and_readable(models, tmp_path):
    out, request = tmp_path / "deep" / "out", Request(n=4)
    found = answer(request, models)
    found.save(out)
    assert sorted(p.name for p in out.iterdir()) == ["constraints.yaml", "metrics.json"] + [
        f"sample_{i:02d}.mot" for i in range(4)
    ]
    written = json.loads((out / "metrics.json").read_text(), parse_constant=lambda c: pytest.fail(c))
    assert written == json.loads(json.dumps(found.scores)) and set(metrics.METRIC_KEYS) <= set(
        written["samples"][3]
    )
    assert all(written["mean"][k] is not None for k in metrics.METRIC_KEYS) and written["satisfied"] == 4
    assert [s["file"] for s in written["samples"]] == [f"sample_{i:02d}.mot" for i in range(4)]
    assert (
        all(s["satisfied"] for s in written["samples"]) and '"met"' not in (out / "metrics.json").read_text()
    )
    assert read_constraints(out / "constraints.yaml").constraints == default_constraints().constraints
    m = read_motion(out / "sample_03.mot")
    assert np.allclose(m.coordinates(), found.motions[3].coordinates(), atol=1e-5) and m.has(ACTIVATIONS)
    answer(request, models).save(tmp_path / "again")
    assert filecmp.cmpfiles(out, tmp_path / "again", [p.name for p in out.iterdir()], shallow=False)[1:] == (
        [], [])


def test_an_answer_reads_back(models, person, tmp_path):
    "With the model for which it was made: it was lost, and the default body taken in silence."
    found = answer(Request(n=2, seed=3, model=person), models)
    found.save(tmp_path / "a")
    again = Answer.load(tmp_path / "a")
    assert again.request.model == tmp_path / "a" / person.name and again.person.digest == found.person.digest
    assert again.skeleton.digest == Skeleton.from_osim(person).digest != Skeleton.default().digest
    assert (
        again.scores == json.loads(json.dumps(found.scores))
        and again.satisfied.tolist() == found.satisfied.tolist()
    )
    assert replace(again.request, model=None).key == replace(found.request, model=None).key
    (tmp_path / "a" / person.name).unlink()
    with pytest.raises(InputError, match="no file"):
        Answer.load(tmp_path / "a")


def test_what_was_saved_can_be_saved_again(models, person, tmp_path):
    answer(Request(n=1, model=person), models).save(tmp_path / "a")
    again = Answer.load(tmp_path / "a")
    again.save(tmp_path / "b")
    names = [p.name for p in (tmp_path / "a").iterdir()]
    assert filecmp.cmpfiles(tmp_path / "a", tmp_path / "b", [n for n in names if not n.startswith("sample")],
                            shallow=False)[1:] == ([], [])


def test_folders_of_version_0_1_are_read(random, tmp_path):
    random.save(tmp_path / "a")
    path = tmp_path / "a" / "metrics.json"
    path.write_text(
        path.read_text()
        .replace('"satisfied"', '"met"')
        .replace('"requested"', '"asked"')
        .replace('"violated_by"', '"missed_by"')
        .replace('"start": "prior",', "")
    )
    again = Answer.load(tmp_path / "a")
    assert again.request.start == "recorded"  # as every search began then
    assert (
        again.satisfied.tolist() == random.satisfied.tolist()
        and again.scores["satisfied"] == random.scores["satisfied"]
    )
    assert list(again.shortfalls) == json.loads(json.dumps(random.scores["shortfalls"]))


def test_a_folder_replaces_a_former_answer_and_nothing_else(models, random, tmp_path):
    out, one = tmp_path / "out", answer(Request(n=1, method="vqvae"), models)
    random.save(out)
    one.save(out)
    assert sorted(p.name for p in out.iterdir()) == ["constraints.yaml", "metrics.json", "sample_00.mot"]
    (out / "thesis.tex").write_text("mine")
    (out / "verification.json").write_text("of the samples before")
    one.save(out)
    assert sorted(p.name for p in out.iterdir()) == [
        "constraints.yaml",
        "metrics.json",
        "sample_00.mot",
        "thesis.tex",
    ]
    assert {p.name for p in former_files(out)} == {"constraints.yaml", "metrics.json", "sample_00.mot"}
    (tmp_path / "file").write_text("x")
    for bad in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError):
            one.save(bad)


def test_only_files_that_the_record_names_go(models, random, tmp_path):
    "A person's own sample_99.mot was deleted, and the notes in a constraint file were lost."
    out, one = tmp_path / "out", answer(Request(n=1, method="vqvae"), models)
    random.save(out)
    (out / "sample_99.mot").write_text("mine")
    assert len(Answer.load(out)) == 2
    one.save(out)
    assert (out / "sample_99.mot").read_text() == "mine" and not (out / "sample_01.mot").exists()
    assert len(Answer.load(out)) == 1
    noted = "# for Anna\n" + (out / "constraints.yaml").read_text()
    (out / "constraints.yaml").write_text(noted)
    for refuse in (lambda: check_answer_folder(one.request, out), lambda: one.save(out)):
        with pytest.raises(InputError, match="constraints.yaml.*--force"):
            refuse()
    assert (out / "constraints.yaml").read_text() == noted
    one.save(out, force=True)
    assert (out / "constraints.yaml").read_text() in noted and (out / "sample_99.mot").exists()
    (out / "metrics.json").unlink()                  # without a record nothing is known to be ours
    with pytest.raises(InputError, match="sample_00.mot"):
        random.save(out)
    assert former_files(out) == []


def test_a_repetition_that_a_former_answer_began_with_goes(models, tmp_path):
    "The starts of two answers lay beside each other, and the first by name was taken for the answer's."
    squat = metrics.load_reference(split="val")[0]
    for name in ("b", "a"):
        write_motion(squat, tmp_path / f"{name}.mot")
        answer(Request(n=1, method="guided", like=tmp_path / f"{name}.mot"), models).save(tmp_path / "out")
        assert [p.name for p in (tmp_path / "out" / "start").iterdir()] == [f"{name}.mot"]
    assert Answer.load(tmp_path / "out").request.like.name == "a.mot"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_save_leaves_nothing(models, tmp_path, error):
    found = answer(Request(n=1, method="vqvae"), models)

    def fail(found, part):
        assert (part / "sample_00.mot").exists() and found.folder == tmp_path / "out"
        raise error

    with pytest.raises(error):
        found.save(tmp_path / "out", [fail])
    assert list(tmp_path.iterdir()) == [] and found.folder is None


def test_a_former_answer_survives_a_save_that_cannot_be_finished(models, random, tmp_path, monkeypatch):
    random.save(tmp_path / "out")
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    move = os.replace

    def full(source, place):
        if place.name == "sample_00.mot" and ".former" not in str(source):
            raise OSError(28, "No space left on device")
        move(source, place)

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(InputError, match="out/sample_00.mot: found a write that failed .No space left"):
        answer(Request(n=1, seed=1, method="vqvae"), models).save(tmp_path / "out")
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before


# each file once


def test_no_file_is_read_or_hashed_twice(person, tmp_path, monkeypatch):
    read, loaded, parsed = [], [], []
    content, data = Path.read_bytes, dataset.unpack_dataset
    dataset._read_reference.cache_clear()
    monkeypatch.setattr(answers, "read_motion", lambda path: parsed.append(path) or read_motion(path))
    monkeypatch.setattr(Path, "read_bytes", lambda self: read.append(self.name) or content(self))
    monkeypatch.setattr(dataset, "unpack_dataset", lambda path: loaded.append(path) or data(path))
    start = tmp_path / "rep.mot"
    write_motion(metrics.load_reference(split="val")[0], start)
    found = answer(
        Request(override(default_constraints(), "muscle_range.weight=0"), 1, like=start, model=person)
    )
    found.save(tmp_path / "out")
    assert len(loaded) == 1 and len(found.reference) == 40
    assert all(
        read.count(name) == 1
        for name in (person.name, "reference_squat.npz", "vqvae.safetensors", "surrogate.safetensors")
    )
    assert parsed == [start]
    assert found.changes and (tmp_path / "out" / "start" / "rep.mot").read_bytes() == start.read_bytes()
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert None not in record["inputs"].values() and record["changes"] == json.loads(
        json.dumps(found.changes)
    )


def test_a_model_is_parsed_once(models, person, tmp_path, monkeypatch):
    parsed, own = [], Skeleton.from_osim.__func__
    monkeypatch.setattr(Skeleton, "from_osim",
                        classmethod(lambda cls, path, **how: parsed.append(path) or own(cls, path, **how)))
    answers._remembered.cache_clear()  # not one that is remembered
    found = answer(Request(n=1, model=person), models)
    found.save(tmp_path / "out")
    assert len(parsed) == 1


def test_a_cold_answer_needs_little_memory(tmp_path):
    # VmHWM, since ru_maxrss of a child begins with what its parent held when it was forked.
    code = (
        "from bige.answers import Request, answer\nanswer(Request()).save(r'%s')\n"
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])" % (tmp_path / "out")
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1.5e6  # kB


# verified


def test_verified_draws_keep_apart_what_the_request_does(models, monkeypatch):
    "`apart_deg` was recorded, but the draws did not see it."
    seen, own = [], verification.starts_for
    monkeypatch.setattr(verification, "starts_for",
                        lambda *a, **o: seen.append(o["apart_deg"]) or own(*a, **o))
    monkeypatch.setattr(verification.Simulator, "run", lambda *a, **o: {})
    for apart in (9.0, 0.0):
        with pytest.raises(KeyError):
            answer(Request(n=1, apart_deg=apart, verified="qp"), models)
    assert seen == [9.0, 0.0]


def test_an_answer_is_verified_where_it_was_saved(models, person, tmp_path):
    "And scored and simulated on its own model."
    found = answer(Request(n=1, model=person), models)
    with pytest.raises(InputError, match="not saved"):
        verify(found, "qp")
    found.save(tmp_path / "a")
    record = verify(found, "qp")
    assert record == verify(tmp_path / "a", "qp") and record["model"] == person.name
    assert record["mass_kg"] == pytest.approx(Skeleton.from_osim(person).mass, abs=1e-3)
    assert (tmp_path / "a" / "verification.json").is_file()


# models of other folders


def test_the_model_beside_motions(models, person, tmp_path):
    """Penetration of a tall model's squats: 0.03 cm with it, 1 cm on the default body, as `bige evaluate` had
    it."""
    tall = tmp_path / "tall.osim"
    tall.write_bytes(person.read_bytes())
    found = answer(Request(n=1, model=tall), models)
    found.save(tmp_path / "a")
    assert model_beside(tmp_path / "a") == tmp_path / "a" / "tall.osim"
    skeleton = Skeleton.from_osim(model_beside(tmp_path / "a"))
    motions = [read_motion(tmp_path / "a" / "sample_00.mot")]
    with_it = metrics.evaluate(motions, skeleton=skeleton)["mean"]
    assert with_it["penetration_cm"] == pytest.approx(found.scores["mean"]["penetration_cm"], abs=1e-3)
    (tmp_path / "trials").mkdir()
    assert model_beside(tmp_path / "trials") is None
    shutil.copy(person, tmp_path / "trials" / "anna.osim")
    assert model_beside(tmp_path / "trials").name == "anna.osim"
    shutil.copy(person, tmp_path / "trials" / "berta.osim")
    assert model_beside(tmp_path / "trials") is None


# several participants


def test_sessions_resume_and_tell(shared, person, tmp_path):
    people, request = tmp_path / "people", Request(n=2)
    (people / "anna").mkdir(parents=True)
    shutil.copy(person, people / "anna" / "own.osim")
    (people / "broken.osim").write_text("<OpenSimDocument/>")
    told = []
    done = sessions(request, people, tmp_path / "out", progress=lambda *a: told.append(a))
    assert list(done.scores) == ["anna_own"] and list(done.failed) == ["broken"] and told == [(0, 2), (1, 2)]
    sample = tmp_path / "out" / "anna_own" / "sample_00.mot"
    made = sample.stat().st_mtime_ns
    assert (tmp_path / "out" / "sessions.md").read_text().count("anna_own") == 4
    again = sessions(request, people, tmp_path / "out")
    assert (
        json.loads(json.dumps(again.scores)) == json.loads(json.dumps(done.scores))
        and sample.stat().st_mtime_ns == made
    )
    sessions(replace(request, seed=3), people, tmp_path / "out")
    assert sample.stat().st_mtime_ns != made
    with pytest.raises(InputError, match="no such folder"):
        sessions(request, tmp_path / "nobody", tmp_path / "x")
    with pytest.raises(InputError, match="beside --model"):
        sessions(replace(request, model=person), people, tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "change",
    [dict(seed=1), dict(n=3), dict(apart_deg=4.0), dict(verified="qp"), dict(exercise="other.yaml")])
def test_only_the_very_same_request_is_recorded(random, models, tmp_path, change):
    random.save(tmp_path / "a")
    assert recorded(random.request, tmp_path / "a", models) is not None
    assert recorded(replace(random.request, **change), tmp_path / "a", models) is None


# the words


def test_records_speak_of_constraints_that_are_satisfied(models, tmp_path):
    request = Request(
        parse_constraints(
            "constraints:\n  - {kind: muscle, muscle: vasti, high: 0.12}\n"
            "  - {kind: thigh_angle, low: 100 deg}\n"
        ),
        n=1,
    )
    found = answer(request, models)
    text = json.dumps(found.scores)
    assert not found.satisfied.any() and {"requested", "violated_by", "nearest"} <= set(found.shortfalls[0])
    assert not any(word in text for word in ('"met"', '"asked"', "missed", "wish", "measured"))
    assert (
        to_yaml(request.constraints) == to_yaml(found.constraints)
        and len(found) == 1
        and found.exercise.name == "squat"
    )
    assert {"method", "seed", "skeleton", "vqvae.safetensors", "commit"} <= set(found.provenance)


def test_bare_motions_are_no_answer(random, tmp_path):
    random.save(tmp_path / "a")
    sample = random.motions[0]
    write_motion(Motion(sample.time, sample.coordinates(), COORDINATES), tmp_path / "a" / "sample_00.mot")
    with pytest.raises(InputError, match="activations"):
        Answer.load(tmp_path / "a")
    assert answers.read_person(None) is None


def test_a_verification_takes_no_place_of_other_files(models, tmp_path):
    answer(Request(n=1, method="vqvae"), models).save(tmp_path)
    note = tmp_path / "verification.json"
    note.write_text("what the therapist said")
    with pytest.raises(InputError, match="verification.json.*no bige verify wrote.*--force"):
        verify(tmp_path, "qp")
    assert note.read_text() == "what the therapist said" and not (tmp_path / "verification").exists()
    record = verify(tmp_path, "qp", force=True)
    assert verify(tmp_path, "qp") == record == json.loads(note.read_text())
    (tmp_path / "verification" / "tracking").mkdir()
    other = tmp_path / "verification" / "tracking" / "kinematics_activations_sample_00_muscle_driven.mot"
    other.write_text("by hand")
    with pytest.raises(InputError, match="sample_00_muscle_driven.mot.*no bige verify wrote"):
        verify(tmp_path, "tracking")
    assert other.read_text() == "by hand"
