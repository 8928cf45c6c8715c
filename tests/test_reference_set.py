"""The reference set of simulated squats: packed and read back, equal bytes, clear errors, and what is
shipped."""

import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from bige.dynamics import Simulation
from bige.exercises import load_exercise
from bige.files import InputError
from bige.motion import ACTIVATIONS, COORDINATES, Motion, analytic_squat
from bige.files import write_npz
from bige.reference_set import (from_differences, load_simulations, pack_simulations, parse_trial_name,
                                rounding, to_differences)
from bige.simulation import add_record, foot_force_columns, moment_columns

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "data_scripts" / "pack_simulations.py"
SHIPPED = ROOT / "bige" / "assets" / "simulations_squat.npz"
SOLVED, OTHER, FAILED = "m01_s00_e01_cor", "m01_s00_e02_inc", "m01_s99_e01_inc"


def made_up(seed: int) -> Simulation:
    """A simulation of noise: nothing in it is smooth, equal by accident, or easy to guess."""
    g = np.random.default_rng(seed)
    squat = analytic_squat(reps=1, rate_hz=20.0)
    n = len(squat.time)
    motion = Motion.from_arrays(squat.time, squat.coordinates() + g.normal(0, 0.01, (n, 33)),
                                g.uniform(0.01, 1, (n, 80)))
    record = {
        "status": "Solve_Succeeded",
        "mode": "tracking",
        "body_weight_n": 700.0,
        "cpu_s": 1.0,
        "settings": {"cutoff_hz": 4.0},
        "versions": {"bige": "0"},
        "seed": seed,
    }
    return Simulation(motion, g.uniform(1, 100, (n, 12, 3)), g.normal(0, 0.3, (n, 12, 3)),
                      g.normal(0, 80, (n, 33)), {}, g.normal(0, 5, (n, 13)), g.normal(0, 9, (n, 80)),
                      "Solve_Succeeded", record)


@pytest.fixture
def folder(tmp_path):
    """Two simulated trials and a failed one, as bige simulate leaves them."""
    for seed, trial in enumerate((SOLVED, OTHER)):
        made_up(seed).save(tmp_path / "out", trial)
    add_record(
        tmp_path / "out",
        FAILED,
        {
            "status": "Maximum_Iterations_Exceeded",
            "reason": "the solver stopped with Maximum_Iterations_Exceeded",
        },
    )
    return tmp_path / "out"


@pytest.fixture
def packed(folder, tmp_path):
    write_npz(tmp_path / "set.npz", pack_simulations(folder))
    return tmp_path / "set.npz"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(-(10**8), 10**8), min_size=3, max_size=3), min_size=1, max_size=30))
def test_differences_are_exact(rows):
    steps = np.array([1.0, 0.5, 0.125])
    values = np.array(rows, float) * steps
    assert np.array_equal(from_differences(to_differences(values, steps), steps), values)


def test_every_column_has_a_rounding():
    simulation = made_up(0)
    names = ("time", *COORDINATES, *ACTIVATIONS, *foot_force_columns(simulation)[0],
             *moment_columns(simulation)[0])
    kinds = {name: rounding(name) for name in names}
    assert (
        kinds["pelvis_ty"] == kinds["knee_angle_l"] == 1e-5
        and kinds["pelvis_ty_force"] == kinds["ground_force_r_vx"] == 0.1
    )
    assert (
        kinds["hip_flexion_r_moment"] == kinds["ground_torque_l_y"] == 0.01
        and kinds["ground_force_l_pz"] == kinds["soleus_r/activation"] == 1e-4
    )


def test_round_trip_by_name(packed):
    squats = load_simulations(packed)
    assert (
        list(squats) == [SOLVED, OTHER, FAILED]
        and len(squats) == 3
        and OTHER in squats
        and "m01_s00_e03_cor" not in squats
    )
    assert [(s.participant, s.correct, s.status) for s in squats.values()] == [
        ("s00", True, "Solve_Succeeded"),
        ("s00", False, "Solve_Succeeded"),
        ("s99", False, "Maximum_Iterations_Exceeded"),
    ]
    for seed, trial in enumerate((SOLVED, OTHER)):
        simulation, squat = made_up(seed), squats[trial]
        assert squat.record["seed"] == seed and squat.record["trial"] == trial
        assert squat.motion.names == COORDINATES + ACTIVATIONS and np.allclose(
            squat.motion.time, simulation.motion.time, atol=0.6e-5)
        assert np.abs(squat.motion.coordinates() - simulation.motion.coordinates()).max() < 0.51e-5
        assert np.abs(squat.motion.activations() - simulation.motion.activations()).max() < 0.51e-4
        for motion, (names, values) in ((squat.forces, foot_force_columns(simulation)),
                                        (squat.moments, moment_columns(simulation))):
            assert motion.names == names
            assert (np.abs(motion.values - values) <= 0.501 * np.array([rounding(n) for n in names])).all()


def test_a_failed_trial_is_kept_and_says_why(packed):
    failed = load_simulations(packed)[FAILED]
    for part in ("motion", "forces", "moments"):
        with pytest.raises(InputError, match=f"{FAILED}.*Maximum_Iterations_Exceeded: the solver stopped"):
            getattr(failed, part)


def test_only_the_trial_asked_for_is_unpacked(packed, tmp_path):
    """A set whose other trial is damaged still gives this one."""
    with zipfile.ZipFile(packed) as old, zipfile.ZipFile(tmp_path / "half.npz", "w") as new:
        for item in old.namelist():
            new.writestr(item, old.read(item)[:300] if item.startswith(OTHER) else old.read(item))
    squats = load_simulations(tmp_path / "half.npz")
    assert squats[SOLVED].motion.duration > 1
    with pytest.raises(InputError, match="half.npz.*a set of simulated repetitions.*Cure"):
        squats[OTHER].motion


def test_a_set_that_would_fill_the_memory_is_refused(packed, tmp_path):
    """120 MB of zeros in some kB."""
    with np.load(packed) as archive:
        write_npz(tmp_path / "bomb.npz", dict(archive) | {"names": np.zeros(15_000_000)})
    assert (tmp_path / "bomb.npz").stat().st_size < 1e6
    with pytest.raises(InputError, match="arrays of 12. MB.*packed by a factor of at most"):
        load_simulations(tmp_path / "bomb.npz")


def test_equal_simulations_give_equal_bytes(folder, packed, tmp_path, monkeypatch):
    import time

    monkeypatch.setattr(time, "time", lambda: 2e9)
    write_npz(tmp_path / "later.npz", pack_simulations(folder))
    assert (tmp_path / "later.npz").read_bytes() == packed.read_bytes()
    changed = pack_simulations(folder)
    changed[SOLVED][5, 7] += 1
    write_npz(tmp_path / "later.npz", changed)
    assert (tmp_path / "later.npz").read_bytes() != packed.read_bytes()


def test_a_file_appears_whole_or_not_at_all(packed, tmp_path):
    before, files = packed.read_bytes(), sorted(tmp_path.iterdir())
    with pytest.raises(ValueError):
        write_npz(packed, {"numbers": np.arange(3), "objects": np.array([{}, None])})
    assert packed.read_bytes() == before and sorted(tmp_path.iterdir()) == files


def test_numpy_alone_reads_it(packed):
    """What the notebook says about the format is all one needs."""
    with np.load(packed, allow_pickle=False) as archive:
        values = dict(
            zip(archive["names"].tolist(), (archive[SOLVED].cumsum(1).cumsum(1) * archive["steps"][:, None]))
        )
    assert np.allclose(values["knee_angle_r"], load_simulations(packed)[SOLVED].motion["knee_angle_r"],
                       atol=1e-12)


def test_clear_errors(packed, folder, tmp_path):
    squats = load_simulations(packed)
    with pytest.raises(InputError, match="no trial 'm01_s00_e09_cor'.*one of 3"):
        squats["m01_s00_e09_cor"]
    for bad, words in ((tmp_path / "nowhere.npz", "no file"), (tmp_path, "a folder"),
                       (folder / "simulation.json", "no readable .npz file")):
        with pytest.raises(InputError, match=f"{words}.*reference_set.sh"):
            load_simulations(bad)
    np.savez(tmp_path / "other.npz", trials=np.arange(3))
    with pytest.raises(InputError, match="without exercise, people, correct"):
        load_simulations(tmp_path / "other.npz")
    with pytest.raises(InputError, match="no simulation.json.*bige simulate"):
        pack_simulations(tmp_path)
    assert parse_trial_name("m03_s01_e01_inc") == ("s01", False)  # other movements of the collection
    for name in ("squat1", "m01_s00_e01", "x01_s01_e01_cor"):
        with pytest.raises(InputError, match=f"{name}.*names of UI-PRMD"):
            parse_trial_name(name)


def test_a_folder_that_is_not_complete_is_refused(folder):
    kinetics = folder / f"kinetics_{OTHER}_muscle_driven.mot"
    text = kinetics.read_text()
    kinetics.unlink()
    with pytest.raises(InputError, match=kinetics.name):
        pack_simulations(folder)
    kinetics.write_text(text.replace("knee_angle_r_moment", "knee_angle_x_moment"))
    with pytest.raises(InputError, match=OTHER):
        pack_simulations(folder)


@pytest.mark.parametrize("word", ["nan", "1e9"])
def test_numbers_that_no_squat_has_are_refused(folder, word):
    kinetics = folder / f"kinetics_{OTHER}_muscle_driven.mot"
    lines = kinetics.read_text().splitlines()
    kinetics.write_text("\n".join([*lines[:-1], "\t".join([*lines[-1].split("\t")[:-1], word])]) + "\n")
    with pytest.raises(InputError, match=OTHER):
        pack_simulations(folder)


def script(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True)


def test_the_script_packs_and_says_where_it_comes_from(folder, packed, tmp_path):
    import hashlib

    done = script(folder, tmp_path / "made.npz")
    assert done.returncode == 0, done.stderr
    assert (
        "3 repetitions, 2 of them simulated" in done.stdout
        and (tmp_path / "made.npz").read_bytes() == packed.read_bytes()
    )
    note = json.loads((tmp_path / "made.json").read_text())
    assert (
        note["sha256"] == hashlib.sha256(packed.read_bytes()).hexdigest()
        and "public domain" in note["licence"]
    )
    assert (note["repetitions"], note["correct"], note["people"]) == (3, 1, ["s00", "s99"]) and list(
        note["failed"]
    ) == [FAILED]
    assert note["status"] == {"Solve_Succeeded": 2, "Maximum_Iterations_Exceeded": 1} and note[
        "simulated_by"
    ]["settings"] == {"cutoff_hz": 4.0}
    for arguments in ((tmp_path, tmp_path / "no.npz"), (folder, tmp_path / "made.zip"),
                      (folder, tmp_path / "nowhere" / "set.npz")):
        refused = script(*arguments)
        assert refused.returncode == 2 and "Cure" in refused.stderr and "Traceback" not in refused.stderr


def test_bige_info_lists_it_with_its_provenance(packed, tmp_path, monkeypatch):
    from bige import cli

    (tmp_path / "set.json").write_text(json.dumps({"licence": "public domain"}))
    (tmp_path / "provenance.json").write_text(json.dumps({"other": {"note": "from elsewhere"}}))
    (tmp_path / "other.bin").write_bytes(b"1")
    monkeypatch.setattr(cli, "asset_folder", lambda: tmp_path)
    listed = {a.pop("file"): a for a in cli.assets()}
    assert sorted(listed) == ["other.bin", "set.npz"]
    assert listed["set.npz"]["licence"] == "public domain" and listed["other.bin"]["note"] == "from elsewhere"


def test_a_set_tells_its_exercise_and_the_leg_that_led(tmp_path):
    """A lunge with the right knee bent further, and its mirror image; names as `bige segment` gives them."""
    lunge = made_up(0)
    knees = [COORDINATES.index(f"{joint}_r") for joint in ("knee_angle", "hip_flexion")]
    q = lunge.motion.coordinates().copy()
    q[:, knees] += 0.5
    led_right = Motion.from_arrays(lunge.motion.time, q, lunge.motion.activations())
    for trial, motion in (("m03_s00_e01_cor", led_right), ("m03_s00_e02_cor_rep1", led_right.mirror())):
        record = lunge.record | {"exercise": "inline_lunge"}
        replace(lunge, motion=motion, record=record).save(tmp_path, trial)
    write_npz(tmp_path / "lunges.npz", pack_simulations(tmp_path))
    found = load_simulations(tmp_path / "lunges.npz")
    assert found.exercise == "inline_lunge"
    assert [r.side for r in found.values()] == ["r", "l"]
    other = replace(lunge, record=lunge.record | {"exercise": "squat"})
    other.save(tmp_path, "m01_s00_e01_cor")
    with pytest.raises(InputError, match="inline_lunge and squat.*one exercise"):
        pack_simulations(tmp_path)


def test_an_exercise_without_a_set_says_how_to_make_it(monkeypatch):
    import bige.reference_set

    monkeypatch.setattr(bige.reference_set, "shipped_sets", lambda: {"squat": SHIPPED})
    with pytest.raises(InputError, match="side_lunge.*no simulated.*squat.*reference_set.sh side_lunge"):
        load_simulations("side_lunge")


def test_the_script_needs_an_exercise():
    done = subprocess.run(["bash", ROOT / "data_scripts" / "reference_set.sh", "cartwheel"],
                          capture_output=True, text=True)
    assert done.returncode == 2 and "'cartwheel'" in done.stderr and "Cure" in done.stderr


def test_the_scripts_share_their_list_of_squats_and_are_valid_shell():
    for name in ("reference_set.sh", "build_assets.sh", "trials.sh"):
        subprocess.run(["bash", "-n", ROOT / "data_scripts" / name], check=True)
    done = subprocess.run(["bash", ROOT / "data_scripts" / "reference_set.sh", "squat", "/nowhere"],
                          capture_output=True, text=True)
    assert done.returncode == 2 and "/nowhere" in done.stderr and "Cure" in done.stderr


@pytest.fixture(scope="module")
def shipped():
    if not SHIPPED.exists():
        pytest.skip(f"{SHIPPED} is not built yet: data_scripts/reference_set.sh squat makes it")
    return load_simulations()


def test_shipped_set(shipped):
    assert (
        len(shipped) == 160
        and sum(s.correct for s in shipped.values()) == 80
        and len({s.participant for s in shipped.values()}) == 8
    )
    failed = {t: s.record.get("reason") for t, s in shipped.items() if s.status != "Solve_Succeeded"}
    assert len(failed) <= 8 and all(failed.values())
    assert SHIPPED.stat().st_size < 9e6 and sum(f.stat().st_size for f in SHIPPED.parent.iterdir()) < 45e6


@pytest.mark.parametrize("exercise, count", {"squat": 160, "hurdle_step": 160, "inline_lunge": 139,
                                             "side_lunge": 160, "sit_to_stand": 160}.items())
def test_every_shipped_set_is_whole(exercise, count):
    found, leading = load_simulations(exercise), load_exercise(exercise).leading
    assert len(found) == count
    solved = [r for r in found.values() if r.status == "Solve_Succeeded"]
    assert len(solved) >= 0.95 * count
    assert all(r.record.get("reason") for r in found.values() if r not in solved)
    assert {r.side for r in solved} == ({"l", "r"} if leading else {""})
    for r in solved[::40]:
        vertical = sum(r.forces[name] for name in r.forces.names if name.endswith("_vy"))
        assert abs(vertical.mean() / r.record["body_weight_n"] - 1) < 0.1, r.trial
        assert r.motion.activations().min() >= 0, r.trial


def test_shipped_squats_are_possible(shipped):
    for trial, squat in [(t, s) for t, s in shipped.items() if s.status == "Solve_Succeeded"][::8]:
        activations, weight = squat.motion.activations(), squat.record["body_weight_n"]
        vertical = squat.forces["ground_force_l_vy"] + squat.forces["ground_force_r_vy"]
        assert 0 <= activations.min() and activations.max() <= 1, trial
        assert abs(vertical.mean() / weight - 1) < 0.1 and vertical.min() > 0, trial
        assert (
            30 < np.rad2deg(squat.motion["knee_angle_r"].max()) < 160
            and np.isfinite(squat.moments.values).all()
        ), trial
        assert squat.record["mode"] == "tracking", trial


def test_shipped_provenance(shipped):
    import hashlib

    note = json.loads(SHIPPED.with_suffix(".json").read_text())
    assert note["sha256"] == hashlib.sha256(SHIPPED.read_bytes()).hexdigest() and note["repetitions"] == len(
        shipped
    )
    assert "public domain" in note["licence"] and note["simulated_by"]["settings"]["cutoff_hz"] == 4.0
