"""Verification: what a generated folder must hold, the numbers on cases known beforehand, resuming, errors,
and the loop that proposes, simulates and corrects."""

import json
import re
import shutil
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from bige import verification
from bige.answers import Answer, verify
from bige.cli import main
from bige.constraint_files import parse_constraints, write_constraints
from bige.files import InputError
from bige.motion import ACTIVATIONS, COORDINATES, TRANSLATIONS, Motion, example_squat, write_motion
from bige.skeleton import Skeleton
from bige.guidance import LOAD_COLUMNS, Models
from bige.verification import (ALLOWED, COMPARED_WORDS, VASTI, VERIFICATION_MODES, Simulated, Simulator,
                               aimed, all_satisfied, compare, corrected_activations, draw_seed,
                               dynamically_consistent, evaluate_request, generate_verified,
                               joint_displacement, muscle_agreement, muscle_table, residual_forces,
                               sample_table, simulated_by, validity, verdict, with_joint_loads)

KNEE = (
    "constraints:\n"
    "- {kind: coordinate_range, coordinate: knee_angle_r, low: 90, high: 140, unit: deg, at: bottom}\n"
    "- {kind: asymmetry}\n"
)


def generated(folder, motions, text=KNEE, **notes):
    "A folder as bige generate leaves it."
    folder.mkdir(parents=True)
    for i, m in enumerate(motions):
        write_motion(m, folder / f"sample_{i:02d}.mot")
    write_constraints(parse_constraints(text), folder / "constraints.yaml")
    samples = [{"file": f"sample_{i:02d}.mot"} for i in range(len(motions))]
    (folder / "metrics.json").write_text(json.dumps({"model": None, "samples": samples, **notes}))
    return folder


def with_activations(motion: Motion, values) -> Motion:
    return motion.with_columns(ACTIVATIONS, np.broadcast_to(values, (len(motion.time), 80)))


@pytest.fixture(scope="module")
def squat():
    """A real squat with a truth for the surrogate to miss: its own activations by static optimisation, a
    tenth too low."""
    from bige.simulation import simulate

    motion = simulate(example_squat(), mode="qp").motion
    return with_activations(motion, motion.activations() * 0.9)


@pytest.fixture(scope="module")
def airborne(squat):
    "A squat whose feet never stand: they swing up and down by 30 cm."
    return squat.with_columns(["pelvis_ty"],
                              squat["pelvis_ty"][:, None] + 0.3 * np.sin(3 * squat.time)[:, None])


@pytest.fixture(scope="module")
def folder(squat, tmp_path_factory):
    folder = generated(tmp_path_factory.mktemp("verify") / "squats", [squat, squat.mirror()])
    verify(folder, "qp")
    return folder


# the numbers


def test_residual_force_on_a_known_case():
    names = tuple(f"{n}_force" if n in TRANSLATIONS else f"{n}_moment" for n in COORDINATES)
    values = np.zeros((4, 33))
    values[:, names.index("pelvis_tx_force")], values[:, names.index("pelvis_ty_force")] = (
        30, [40, -40, 40, -40])
    values[2, names.index("pelvis_tilt_moment")] = 10
    found = residual_forces(Motion(np.arange(4) / 4, values, names), 1000.0)
    assert found == {
        "rms_force_percent": 5,
        "largest_force_percent": 5,
        "rms_moment_percent": 0.5,
        "largest_moment_percent": 1,
    }


def test_joint_displacement_names_the_joint(squat):
    bent = squat.with_columns(["hip_flexion_l"], squat["hip_flexion_l"][:, None] + np.deg2rad(3))
    assert joint_displacement(squat, bent) == {"mean_deg": 0.1, "worst_deg": 3, "worst": "hip_flexion_l"}
    place = squat.with_columns(["pelvis_ty"], squat["pelvis_ty"][:, None] + 1)
    assert joint_displacement(squat, place)["worst_deg"] == 0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_agreement_is_numpys_correlation_over_all_samples(seed, n):
    g = np.random.default_rng(seed)
    p, s = ([g.random((5 + i, 80)) for i in range(n)] for _ in range(2))
    found, k = muscle_agreement(p, s), int(g.integers(80))
    one = found[ACTIVATIONS[k].partition("/")[0]]
    a, b = np.concatenate(p)[:, k], np.concatenate(s)[:, k]
    assert one["r"] == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-4) and one["rmse"] == pytest.approx(
        np.sqrt(((a - b) ** 2).mean()), abs=1e-4)
    assert one["peak_simulation"] == pytest.approx(np.mean([x[:, k].max() for x in s]), abs=1e-4)
    assert len(found) == 82 and set(VASTI) <= set(found)


def test_flat_curves_have_no_correlation():
    found = muscle_agreement([np.zeros((5, 80))], [np.ones((5, 80))])["vasti_l"]
    assert found["r"] is None and found["rmse"] == 1


def test_a_limit_violated_by_a_hair_is_within_the_allowance(squat):
    from bige.skeleton import Skeleton

    deepest, skeleton = np.rad2deg(squat["knee_angle_r"].max()), Skeleton.default()
    peak = max(squat[f"vasmed_{s}/activation"].max() for s in "lr")
    frame = int((squat["knee_angle_l"] + squat["knee_angle_r"]).argmax())
    bottom = np.rad2deg(squat["knee_angle_r"][frame - 3 : frame + 4].min())  # over a tenth of a second

    def satisfied(by_deg, by_activation, allowed):
        request = parse_constraints(
            "constraints:\n"
            f"- {{kind: coordinate_range, coordinate: knee_angle_r, low: {bottom + by_deg}, high: 170, "
            "unit: deg, at: bottom}\n"
            f"- {{kind: muscle_range, muscles: [vasmed], low: 0, high: {peak - by_activation}}}\n"
            "- {kind: asymmetry}\n"
        )
        found = evaluate_request(request, squat, skeleton, allowed)
        assert found["asymmetry"]["satisfied"] is None
        return all_satisfied(found)

    assert (
        deepest < 170
        and satisfied(-1, -0.01, {})
        and not satisfied(0.9, -0.01, {})
        and not satisfied(-1, 0.04, {})
    )
    assert (
        satisfied(0.9, 0.04, ALLOWED)
        and not satisfied(1.1, 0.04, ALLOWED)
        and not satisfied(0.9, 0.06, ALLOWED)
    )


def test_validity():
    assert [
        validity(m, "qp") for m in ("vasmed_l", "vasti_r", "glmax3_r", "soleus_l", "psoas_r", "tibant_l")
    ] == ["valid"] * 3 + ["with care"] * 2 + ["not valid"]
    assert validity("tibant_l", "tracking") == "valid"
    assert set(verification.VALID) | set(verification.WITH_CARE) <= {a.partition("_")[0] for a in ACTIVATIONS}


def test_static_optimisation_is_corrected_and_tracking_is_not(squat):
    quick = corrected_activations(squat, "qp")
    assert corrected_activations(squat, "tracking") is squat and quick.names == squat.names
    np.testing.assert_allclose(quick["vasmed_l/activation"], 0.75 * squat["vasmed_l/activation"])
    np.testing.assert_array_equal(quick["tibant_r/activation"], squat["tibant_r/activation"])
    np.testing.assert_array_equal(quick.coordinates(), squat.coordinates())
    assert corrected_activations(with_activations(squat, 1.0), "qp").activations().max() == 1


def test_what_ground_and_gravity_do_not_explain_is_not_consistent(squat, model):
    assert dynamically_consistent({"rms_force_percent": 5.0}) and not dynamically_consistent(
        {"rms_force_percent": 5.1}
    )
    from bige.simulation import simulate

    request = parse_constraints("constraints:\n- {kind: asymmetry}\n")
    shaken = squat.with_columns(["pelvis_tx"],
                                (squat["pelvis_tx"] + 0.05 * np.sin(4 * np.pi * squat.time))[:, None])
    said = [verdict(compare(m, simulated_by(simulate(m, model, mode="qp")), request, model.skeleton, "qp"))
            for m in (squat, shaken)]
    assert said == ["proved", "not dynamically consistent"]


# a folder


def test_the_record_of_a_folder(folder, squat):
    record = json.loads((folder / "verification.json").read_text())
    checked = record["modes"]["qp"]
    assert (
        record["n"] == checked["simulated"] == 2
        and list(record["modes"]) == ["qp"]
        and record["model"] is None
    )
    first = checked["samples"][0]
    assert (
        98 < first["physics"]["vertical_force_percent"] < 102
        and first["physics"]["largest_force_percent"] < 5
    )
    assert first["moved"]["worst_deg"] < 2 and set(first["surrogate"]) == set(first["simulation"])
    vasti = checked["muscles"]["vasti_l"]  # the surrogate was made a tenth too low
    assert vasti["r"] > 0.99 and vasti["peak_surrogate"] / vasti["peak_simulation"] == pytest.approx(
        0.9, abs=0.03)
    assert len(checked["muscles"]) == 82
    # left and right exchanged, what was found of the one leg is found of the other
    a, b = (s["simulation"]["coordinate_range knee_angle_r bottom"]["metric"] for s in checked["samples"])
    assert a != b and first["satisfied_by_surrogate"] == (
        90
        <= np.rad2deg(
            squat["knee_angle_r"][np.maximum(squat["knee_angle_l"], squat["knee_angle_r"]).argmax()]
        )
        <= 140
    )


def test_again_is_the_same_and_simulates_nothing(folder, monkeypatch):
    before = (folder / "verification.json").read_bytes()
    stamp = {p: p.stat().st_mtime_ns for p in (folder / "verification").rglob("*.mot")}
    calls = []
    verify(folder, "qp", progress=lambda *a: calls.append(a))
    assert (folder / "verification.json").read_bytes() == before and not calls
    assert stamp == {p: p.stat().st_mtime_ns for p in (folder / "verification").rglob("*.mot")}


def test_only_an_exchanged_sample_is_simulated_again(folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    shutil.copy(other / "sample_00.mot", other / "sample_01.mot")
    calls = []
    samples = verify(other, "qp", progress=lambda *a: calls.append(a))["modes"]["qp"]["samples"]
    assert calls == [("qp", 2, 2)]
    assert (
        samples[0]["simulation"] == samples[1]["simulation"] and samples[0]["sha256"] == samples[1]["sha256"]
    )


def test_a_sample_that_cannot_be_simulated_says_why_and_the_rest_go_on(squat, airborne, tmp_path):
    record = verify(generated(tmp_path / "g", [squat, airborne]), "qp")["modes"]["qp"]
    good, bad = record["samples"]
    assert record["simulated"] == 1 and good["status"] == "Solve_Succeeded"
    assert bad["status"] == "Refused" and bad["reason"] and bad["satisfied_by_simulation"] is None
    assert [row["status"] for row in sample_table(record)] == ["Solve_Succeeded", "Refused"]


def test_violating_the_request_in_simulation_is_a_finding_and_no_error(squat, tmp_path):
    text = "constraints:\n- {kind: muscle_range, muscles: [soleus], low: 0.97, high: 1}\n"
    checked = verify(generated(tmp_path / "g", [with_activations(squat, 0.99)], text), "qp")["modes"]["qp"]
    assert (checked["satisfied_by_surrogate"], checked["satisfied_by_simulation"]) == (1, 0)
    (row,) = sample_table(checked)
    assert (
        row["satisfied by surrogate"] is True
        and row["by simulation"] is False
        and re.match(r"muscle_range soleus_l soleus_r by 0\.\d", row["violated in simulation"])
    )


def test_the_tables_hold_the_published_muscles(folder):
    checked = json.loads((folder / "verification.json").read_text())["modes"]["qp"]
    rows = muscle_table(checked, "qp")
    assert [r["muscle"] for r in rows] == [
        f"{m}_{s}" for m in ("soleus", "vasint", "vaslat", "vasmed", "vasti") for s in "lr"
    ]
    assert [r["sample"] for r in sample_table(checked)] == ["sample_00", "sample_01"]
    assert rows[6]["static optimisation"] == "valid" and "0.75" in COMPARED_WORDS["qp"]
    assert "static optimisation" not in muscle_table(checked, "tracking")[0]


@pytest.mark.slow
def test_tracking_and_workers(squat, tmp_path):
    place = generated(tmp_path / "g", [squat])
    modes = verify(place, "both", jobs=1)["modes"]
    assert list(modes) == list(VERIFICATION_MODES["both"]) and all(
        m["simulated"] == 1 for m in modes.values()
    )
    (tracked,) = modes["tracking"]["samples"]
    assert tracked["physics"]["largest_force_percent"] < 0.5 < tracked["moved"]["mean_deg"]
    assert modes["tracking"]["muscles"]["vasti_r"]["r"] > 0.9


def test_the_persons_model_is_taken_from_the_folder(shared, squat, tmp_path):
    model = shared / "labval_s4_62.6kg/squat/manually_scaled.osim"
    place = generated(tmp_path / "g", [squat], model=model.name)
    with pytest.raises(InputError, match="no file"):
        Answer.load(place)
    shutil.copy(model, place)
    found = Answer.load(place)
    assert found.request.model == place / model.name
    assert found.skeleton.digest != Answer.load(generated(tmp_path / "h", [squat])).skeleton.digest


# bad input


@pytest.mark.parametrize(
    "harm, word",
    [
        (lambda f: shutil.rmtree(f), "no such folder"),
        (lambda f: [p.unlink() for p in f.glob("*.mot")], "bige simulate"),
        (lambda f: (f / "constraints.yaml").unlink(), "constraints.yaml"),
        (lambda f: (f / "constraints.yaml").write_text("a: 1"), "constraints"),
        (lambda f: (f / "metrics.json").unlink(), "metrics.json"),
        (lambda f: (f / "metrics.json").write_text("{"), "metrics.json"),
        (lambda f: (f / "metrics.json").write_text("[]"), "metrics.json"),
        (lambda f: (f / "metrics.json").write_text('{"model": "../anna.osim", "samples": [{}]}'),
         "anna.osim"),
        (lambda f: (f / "sample_00.mot").write_text("x"), "sample_00.mot"),
        (
            lambda f: write_motion(example_squat().with_columns([], np.zeros((len(example_squat().time), 0))),
                                   f / "sample_00.mot"),
            "",
        ),
    ],
)
def test_bad_folders(harm, word, squat, tmp_path):
    place = generated(tmp_path / "g", [squat])
    harm(place)
    if not word:  # 33 coordinates without activations
        write_motion(Motion(squat.time, squat.coordinates(), COORDINATES), place / "sample_00.mot")
        word = "activations missing"
    with pytest.raises(InputError) as error:
        verify(place, "qp")
    assert word in str(error.value) and "expected" in str(error.value) and "Cure" in str(error.value)
    assert not (place / "verification").exists() and not (place / "verification.json").exists()


def test_bad_mode(folder, capsys):
    with pytest.raises(InputError, match="qp or tracking or both"):
        verify(folder, "guess")
    assert (
        main(["verify", str(folder), "--mode", "guess"]) == 2
        and main(["verify"]) == 2
        and main(["verify", str(folder), "--jobs", "0"]) == 2
    )


def test_help(capsys):
    assert main(["verify", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("FOLDER", "--mode", "--jobs", "--json"))
    assert main(["generate", "--help"]) == 0 and "--verified" in capsys.readouterr().out


# the loop


@pytest.fixture(scope="module")
def models():
    return Models.load()


WIDE = "constraints:\n- {kind: muscle_range, muscles: [vasmed], low: 0.3, high: 0.36}\n"


def simulator(monkeypatch, of):
    """In place of simulations `of(motion, trial)`: activations (T, 80), None for a failure; the trials are
    returned as they come."""
    trials = []

    def run(self, motions, done=None):
        found = {}
        for m in motions:
            trials.append(m.source)
            activations = of(m, m.source)
            names = [f"{n}_{'force' if n in TRANSLATIONS else 'moment'}" for n in COORDINATES]
            record = {"status": "Solve_Succeeded", "body_weight_n": 700.0, "mean_vertical_force_bw": 1.0}
            if activations is None:
                found[m.source] = Simulated({"status": "Failed", "reason": "an invented failure"})
            else:
                still = Motion(m.time, np.zeros((len(m.time), 33)), names)
                found[m.source] = Simulated(record, with_activations(m, activations), still)
            if done:
                done(m.source, record)
        return found

    monkeypatch.setattr(Simulator, "run", run)
    return trials


@pytest.fixture(scope="module")
def biased(models):
    "A simulation with another slope and another height than the surrogate says."
    import torch

    def activations(motion, trial):
        q = torch.tensor(motion.coordinates(), dtype=torch.float32)[None]
        with torch.no_grad():
            said = models.predict(q, Skeleton.default(), torch.tensor([motion.rate_hz]).float())[0][0]
        return (said.double().numpy() * 1.2 + 0.03).clip(0, 1)

    return activations


def test_what_simulation_says_is_corrected_for(models, biased, monkeypatch):
    trials = simulator(monkeypatch, biased)
    counts = []
    done = generate_verified(parse_constraints(WIDE), 3, seed=4, models=models, mode="tracking",
                             progress=lambda *a: counts.append(a))
    assert done.guided.satisfied.all() and len(done.guided) == 3 and done.note["drawn"] == 3
    assert done.note["simulations"] == len(trials) == len(counts) <= 9 and counts[-1][2] == 3
    for motion, proof in zip(done.guided.motions, done.certificates):
        row = proof["request"][0]
        assert proof["verdict"] == "proved" and proof["attempts"][0]["verdict"] == "request not satisfied"
        assert proof["simulations"] == len(proof["attempts"]) > 1 and proof["sample"] == motion.source
        found = [motion[f"{part}/activation"].max() for part in row["simulated"]]
        np.testing.assert_allclose(found, list(row["simulated"].values()), atol=1e-4)
        assert 0.3 <= min(found) and max(found) <= 0.36  # what is delivered is what was simulated
    peaks = [max(m[f"{n}/activation"].max() for n in ("vasmed_l", "vasmed_r")) for m in done.guided.motions]
    assert peaks == sorted(peaks) and [m.source for m in done.proposed] != []


def test_a_failed_simulation_costs_its_candidate_only(models, monkeypatch):
    trials = simulator(monkeypatch, lambda m, trial: None if trial.startswith("000") else m.activations())
    done = generate_verified(parse_constraints(WIDE), 2, seed=4, models=models, mode="tracking")
    assert len(done.guided) == 2 and done.note["drawn"] == 3 and "000_2" not in trials


def test_the_same_call_gives_the_same_motions(models, biased, monkeypatch):
    simulator(monkeypatch, lambda m, trial: None if trial == "001_1" else biased(m, trial))
    both = [generate_verified(parse_constraints(WIDE), 2, seed=4, models=models, mode="tracking").guided
            for _ in range(2)]
    assert [m.values.tobytes() for m in both[0].motions] == [m.values.tobytes() for m in both[1].motions]


def test_what_no_simulation_satisfies_is_said(models, monkeypatch):
    simulator(monkeypatch, lambda m, trial: np.full((len(m.time), 80), 0.6))
    with pytest.raises(InputError, match="none of 6 candidates.*muscle_range.*violated by 0.24"):
        generate_verified(parse_constraints(WIDE), 2, seed=4, models=models, mode="tracking")
    simulator(monkeypatch, lambda m, trial: None)
    with pytest.raises(InputError, match="none of 6 candidates proved in 6 simulations"):
        generate_verified(parse_constraints(WIDE), 2, seed=4, models=models)


def test_stopped_by_progress_it_gives_what_it_has(models, biased, monkeypatch):
    simulator(monkeypatch, lambda m, trial: m.activations() if trial < "001" else biased(m, trial))
    done = generate_verified(parse_constraints(WIDE), 3, seed=4, models=models, mode="tracking",
                             progress=lambda *a: True)
    assert len(done.guided) == 1 and done.note["simulations"] == 3


def test_limits_move_inside():
    text = ("constraints:\n- {kind: knee_depth, low: 90, high: 100}\n- {kind: thigh_angle, high: 80}\n"
            "- {kind: duration, target: 3, within: 0.5}\n- {kind: asymmetry}\n")
    found = [aimed(c) for c in parse_constraints(text)]
    inside = [c.limits for c in found]
    np.testing.assert_allclose(np.rad2deg(inside[0]), (94, 96))
    assert np.isclose(np.rad2deg(inside[1][1]), 79.5) and inside[1][0] is None
    np.testing.assert_allclose(inside[2], (2.9, 3.1))
    assert inside[3] == (None, None)


@given(st.integers(0, 100_000))
def test_seeds_of_draws_are_valid_and_differ(seed):
    seeds = [draw_seed(seed, k) for k in range(5)]
    assert seeds[0] == seed and all(0 <= s <= 100_000 for s in seeds)
    assert seeds == [draw_seed(seed, k) for k in range(5)]


def test_joint_loads_become_columns(squat):
    forces = {f"{joint}_on_x": np.tile([3.0, 4.0, 0.0], (len(squat.time), 1))
              for joint in (c.removesuffix("/load") for c in LOAD_COLUMNS)}
    loaded = with_joint_loads(squat, forces, weight=2.5)
    np.testing.assert_allclose(loaded.columns(LOAD_COLUMNS), 2.0)
    assert with_joint_loads(squat, {}, 700.0) is squat


# the loop in files, by static optimisation

EASY = ["muscle_range.low=0.1", "muscle_range.high=0.7"]


def counted(monkeypatch, stop_at=None):
    "Count the simulations that are run; at `stop_at` the process is interrupted."
    from bige import simulation

    own, ran = simulation.simulate, []

    def simulate(motion, *a, **o):
        if len(ran) == stop_at:
            raise KeyboardInterrupt
        ran.append(motion.source)
        return own(motion, *a, **o)

    monkeypatch.setattr(simulation, "simulate", simulate)
    return ran


def test_an_interrupted_proof_goes_on(models, tmp_path, monkeypatch):
    request = parse_constraints(WIDE.replace("0.36", "0.7").replace("0.3,", "0.1,"))
    options = dict(n=3, seed=1, models=models, folder=tmp_path / "kept")
    with monkeypatch.context() as patch:
        ran = counted(patch, stop_at=2)
        with pytest.raises(KeyboardInterrupt):
            generate_verified(request, **options)
        assert len(ran) == 2
    finished = {p: p.read_bytes() for p in (tmp_path / "kept").glob("kinematics_*.mot")}
    assert len(finished) == 2
    with monkeypatch.context() as patch:
        ran = counted(patch)
        done = generate_verified(request, **options)
        assert len(ran) == done.note["simulations"] - 2
    assert all(p.read_bytes() == content for p, content in finished.items())  # nothing done twice
    with monkeypatch.context() as patch:
        ran = counted(patch)
        again = generate_verified(request, **options)
        assert not ran
    both = [[m.values.tobytes() for m in x.guided.motions] for x in (again, done)]
    assert both[0] == both[1]
    damaged = sorted(finished)[0]
    damaged.write_bytes(damaged.read_bytes()[:3000])
    with pytest.raises(InputError, match=damaged.name):
        generate_verified(request, **options)


def test_generate_verified_from_the_shell(tmp_path, capsys):
    out = tmp_path / "a"
    line = ["generate", "-n", "2", "--seed", "1", "--verified", "--set", *EASY, "--out", str(out)]
    assert main(line) == 0
    assert "proved by static optimisation" in capsys.readouterr().out
    note = json.loads((out / "metrics.json").read_text())
    assert note["verified"]["passed"] == note["n"] == 2 and note["model"] is None
    proof = json.loads((out / "certificates/sample_01.json").read_text())
    assert proof["verdict"] == "proved" and proof["inputs"]["surrogate"] == note["inputs"]["surrogate"]
    assert proof["sha256"] == sha256((out / "sample_01.mot").read_bytes()).hexdigest()
    assert proof["simulation"]["mode"] == "qp" and proof["dynamics"]["dynamically_consistent"]
    page = (out / "report.html").read_text()
    assert "--verified" in page and "not yet confirmed" not in page and "Certificates" in page
    assert main(["verify", str(out), "--mode", "qp"]) == 0
    checked = json.loads((out / "verification.json").read_text())["modes"]["qp"]
    assert checked["satisfied_by_simulation"] == 2  # the proposals, once more
    assert json.loads((out / "certificates/sample_01.json").read_text()) == proof
    other = ["generate", "-n", "1", "--verified", "--set", *EASY, "--out", str(out)]
    assert main(other) == 2 and "simulations of another request" in capsys.readouterr().err
    assert main(["generate", "-n", "1", "--out", str(out)]) == 0
    assert not (out / "verification.json").exists() and not list((out / "certificates").glob("*.json"))


def test_verification_afterwards_writes_certificates(tmp_path, capsys):
    out = tmp_path / "a"
    assert main(["generate", "-n", "1", "--set", *EASY, "--load", "vest:10", "--out", str(out)]) == 0
    assert json.loads((out / "metrics.json").read_text())["load"] == "vest:10"
    assert main(["verify", str(out), "--mode", "qp"]) == 0
    proof = json.loads((out / "certificates/sample_00.json").read_text())
    assert proof["simulation"]["load"] == "vest:10" and proof["simulations"] == 1
    assert proof["sha256"] == sha256((out / "sample_00.mot").read_bytes()).hexdigest()
    assert "vasmed_l" in proof["request"][0]["predicted"]
    assert "Certificates" in (out / "report.html").read_text()


def test_fewer_than_asked_is_status_2_and_written(monkeypatch, tmp_path, capsys):
    simulator(monkeypatch, lambda m, trial: m.activations() if trial == "000_1" else None)
    assert main(["generate", "-n", "2", "--out", str(tmp_path / "a"), "--verified", "tracking"]) == 2
    assert "1 of 2 squats" in capsys.readouterr().err
    assert len(list((tmp_path / "a").glob("sample_*.mot"))) == 1


def test_verified_needs_guidance(tmp_path, capsys):
    line = ["generate", "-n", "1", "--verified", "--method", "vqvae", "--out", str(tmp_path / "a")]
    assert main(line) == 2 and "--verified" in capsys.readouterr().err
