"""Verification: what a generated folder must hold, the numbers on cases known beforehand, resuming, errors,
and drawing until enough are satisfied."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from bige import verification
from bige.answers import Answer, verify
from bige.cli import main
from bige.constraint_files import default_constraints, parse_constraints, write_constraints
from bige.files import InputError
from bige.motion import ACTIVATIONS, COORDINATES, TRANSLATIONS, Motion, example_squat, write_motion
from bige.verification import (ALLOWED, MAX_ROUNDS, VASTI, VERIFICATION_MODES, all_satisfied,
                               corrected_activations, dynamically_consistent, evaluate_request,
                               generate_verified, joint_displacement, muscle_agreement, muscle_table,
                               residual_forces, round_seed, sample_table, satisfied_in_simulation, validity)

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
    request = parse_constraints("constraints:\n- {kind: asymmetry}\n")
    shaken = squat.with_columns(["pelvis_tx"],
                                (squat["pelvis_tx"] + 0.05 * np.sin(4 * np.pi * squat.time))[:, None])
    assert satisfied_in_simulation(squat, request, model) and not satisfied_in_simulation(
        shaken, request, model)


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
        and float(row["violated by"]) > 0.05
    )


def test_the_tables_hold_the_published_muscles(folder):
    checked = json.loads((folder / "verification.json").read_text())["modes"]["qp"]
    rows = muscle_table(checked, "qp")
    assert [r["muscle"] for r in rows] == [
        f"{m}_{s}" for m in ("soleus", "vasint", "vaslat", "vasmed", "vasti") for s in "lr"
    ]
    assert [r["sample"] for r in sample_table(checked)] == ["sample_00", "sample_01"]


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


# drawing until enough are satisfied


def draws_of(squat, monkeypatch, good):
    """Replace the networks by draws whose samples have known peaks, and the simulation by `good(peak)`;
    returns the seeds used."""
    from bige.guidance import Guided

    seeds = []

    def fake(constraints, n, seed, **options):
        g = np.random.default_rng(seed)
        seeds.append(seed)
        peaks = np.sort(g.random(n))
        motions = tuple(with_activations(squat, p) for p in peaks)
        steps = 2 + seed % 3
        return Guided(motions, constraints, "guided", seed, peaks[:, None, None] * np.ones((1, 2, 3)), ("a",),
                      peaks * np.ones((steps, 1, n)), np.arange(n), tuple({} for _ in peaks),
                      SimpleNamespace(name="s"), 1.0, implausible=tuple([] for _ in peaks))

    monkeypatch.setattr(verification, "generate", fake)
    monkeypatch.setattr(verification, "satisfied_in_simulation", lambda motion,
                        *a: good(motion.activations()[0, 0]))
    return seeds


def test_draws_until_enough_hold(squat, monkeypatch):
    seeds = draws_of(squat, monkeypatch, lambda peak: peak > 0.5)
    counts = []
    found, note = generate_verified(default_constraints(), 6, seed=4, progress=lambda *a: counts.append(a))
    peaks = [m.activations()[0, 0] for m in found.motions]
    assert (
        len(found) == note["passed"] == note["requested"] == 6 and peaks == sorted(peaks) and min(peaks) > 0.5
    )
    assert note["drawn"] == 6 * note["rounds"] == len(counts) and 1 < note["rounds"] <= MAX_ROUNDS
    assert seeds == [round_seed(4, k) for k in range(note["rounds"])] and seeds[0] == 4
    np.testing.assert_allclose(found.latents[:, 0, 0], peaks)  # every row follows its motion
    np.testing.assert_allclose(found.losses[-1, 0], peaks)
    assert [m.source for m in found.motions] == [f"sample_{i:02d}" for i in range(6)] and found.seed == 4
    again, _ = generate_verified(default_constraints(), 6, seed=4)
    assert [m.values.tobytes() for m in again.motions] == [m.values.tobytes() for m in found.motions]


def test_too_many_that_hold_are_taken_evenly(squat, monkeypatch):
    draws_of(squat, monkeypatch, lambda peak: True)
    found, note = generate_verified(default_constraints(), 4, seed=1)
    assert note == {"mode": "qp", "requested": 4, "passed": 4, "drawn": 4, "rounds": 1}
    seeds = draws_of(
        squat, monkeypatch, lambda peak: len(seeds) > 1 or peak < 0.2
    )  # a few of the first round, all of the second
    found, note = generate_verified(default_constraints(), 10, seed=0)
    second = [m.activations()[0, 0] for m in found.motions if m.activations()[0, 0] > 0.3]
    assert note["rounds"] == 2 and len(found) == 10 and max(second) > 0.8


def test_a_violated_request_ends_after_five_rounds(squat, monkeypatch):
    draws_of(squat, monkeypatch, lambda peak: peak > 0.9)
    found, note = generate_verified(default_constraints(), 4, seed=2)
    assert (
        len(found) == note["passed"] < 4 and note["rounds"] == MAX_ROUNDS and note["drawn"] == 4 * MAX_ROUNDS
    )
    draws_of(squat, monkeypatch, lambda peak: False)
    with pytest.raises(InputError, match="none of 20 motions"):
        generate_verified(default_constraints(), 4, seed=2)


@given(st.integers(0, 100_000))
def test_seeds_of_rounds_are_valid_and_differ(seed):
    seeds = [round_seed(seed, k) for k in range(MAX_ROUNDS)]
    assert (
        seeds[0] == seed
        and all(0 <= s <= 100_000 for s in seeds)
        and seeds == [round_seed(seed, k) for k in range(MAX_ROUNDS)]
    )


def test_what_static_optimisation_refuses_is_not_satisfied(squat, airborne, model):
    request = parse_constraints("constraints:\n- {kind: asymmetry}\n")
    assert satisfied_in_simulation(squat, request, model) and not satisfied_in_simulation(
        airborne, request, model)


def test_generate_verified_from_the_shell(tmp_path, capsys):
    line = [
        "generate",
        "-n",
        "2",
        "--seed",
        "1",
        "--verified",
        "--set",
        "muscle_range.low=0.1",
        "muscle_range.high=0.9",
        "--out",
        str(tmp_path / "a"),
    ]
    assert main(line) == 0
    assert "static optimisation" in capsys.readouterr().out
    note = json.loads((tmp_path / "a/metrics.json").read_text())
    assert note["verified"]["passed"] == note["n"] == 2 and note["model"] is None
    assert main(["verify", str(tmp_path / "a"), "--mode", "qp"]) == 0
    assert (
        json.loads((tmp_path / "a/verification.json").read_text())["modes"]["qp"]["satisfied_by_simulation"]
        == 2
    )
    page = (tmp_path / "a/report.html").read_text()
    assert "--verified" in page and "not yet confirmed" not in page
    assert (
        main(["generate", "-n", "1", "--out", str(tmp_path / "a")]) == 0
        and not (tmp_path / "a/verification.json").exists()
    )


def test_fewer_than_asked_is_status_2_and_written(squat, monkeypatch, tmp_path, capsys):
    from bige.guidance import generate as draw

    draw = draw(n=2, seed=0)
    monkeypatch.setattr(verification, "generate", lambda *a, **o: draw)
    first = draw.motions[0].values.tobytes()
    monkeypatch.setattr(verification, "satisfied_in_simulation", lambda motion,
                        *a: motion.values.tobytes() == first)
    monkeypatch.setattr(verification, "MAX_ROUNDS", 1)
    assert main(["generate", "-n", "2", "--verified", "--out", str(tmp_path / "a")]) == 2
    assert (
        "1 of 2 squats" in capsys.readouterr().err and len(list((tmp_path / "a").glob("sample_*.mot"))) == 1
    )
