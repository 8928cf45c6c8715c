"""Guidance on the shipped models: the promises of the default request, determinism, methods, folders; plant_feet on its own."""
import filecmp
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from bige import guidance, metrics
from bige.constraint_files import default_constraints, override, parse_constraints, read_constraints
from bige.guidance import generate, planted, save
from bige.files import InputError
from bige.motion import ACTIVATIONS, COORDINATES, analytic_squat, read_motion
from bige.skeleton import Skeleton

VASTI = [ACTIVATIONS.index(f"vasmed_{s}/activation") for s in "lr"]


@pytest.fixture(scope="module")
def models():
    return guidance.Models.load()


@pytest.fixture(scope="module")
def twenty(models):
    return generate(models=models)


def test_default_squats_look_like_squats(twenty):
    assert len(twenty) == 20
    for m in twenty.motions:
        assert m.values.shape == (196, 113) and np.isfinite(m.values).all() and m.rate_hz == pytest.approx(60)
        for knee in ("knee_angle_l", "knee_angle_r"):
            assert 70 <= np.rad2deg(m[knee].max()) <= 140
        place = m.coordinates(("pelvis_tx", "pelvis_ty", "pelvis_tz"))
        assert np.linalg.norm(np.diff(place, axis=0), axis=1).max() * 60 < 2
        assert 0 <= m.activations().min() and m.activations().max() <= 1
        lowest = Skeleton.default().contact_points(m.coordinates())[..., 1].min(-1)
        assert np.abs(lowest).max() < 0.02


def test_default_squats_meet_the_request_and_score_like_real_ones(twenty):
    assert twenty.satisfied.sum() >= 19
    reference = metrics.evaluate(metrics.load_reference(), skeleton=Skeleton.default())["mean"]
    mean = metrics.evaluate(twenty.motions, skeleton=Skeleton.default())["mean"]
    assert mean["mac"] <= 0.01 and mean["sliding_m_s"] <= 0.1 and mean["penetration_cm"] <= 0.5 and mean["floating_cm"] <= 0.5
    assert mean["com_acceleration_m_s2"] < 2 * reference["com_acceleration_m_s2"]
    assert abs(mean["pelvis_tilt_deg"] - reference["pelvis_tilt_deg"]) < 10
    assert 0.6 < mean["angular_velocity_deg_s"] / reference["angular_velocity_deg_s"] < 1.4


def test_twenty_are_twenty_and_sorted(twenty):
    distance = metrics.pairwise_deg(metrics.normalised(twenty.motions))[np.triu_indices(20, 1)]
    assert distance.min() > 1.0 and distance.mean() > 5
    peaks = twenty.activations[..., VASTI].max((1, 2))
    assert np.all(np.diff(peaks) >= 0)


def test_same_seed_same_motions_other_seed_others(models):
    a, b, c = (generate(n=3, seed=s, models=models) for s in (5, 5, 6))
    assert all(np.array_equal(x.values, y.values) for x, y in zip(a.motions, b.motions))
    assert metrics.pairwise_deg(metrics.normalised([*a.motions, *c.motions]))[:3, 3:].min() > 0.5


def test_threads_outside_are_left_as_they_were(models):
    before = torch.get_num_threads()
    generate(n=1, models=models, method="vqvae")
    assert torch.get_num_threads() == before


def test_activation_dial_deepens_the_squat(models):
    depth, peak = [], []
    for low in (0.15, 0.35, 0.55):
        g = generate(override(default_constraints(), f"vasmed.low={low}", f"vasmed.high={low + .1}"), n=6, models=models)
        peak.append(g.activations[..., VASTI].max(1).mean())
        depth.append(np.mean([m["knee_angle_r"].max() for m in g.motions]))
    assert np.all(np.diff(peak) > 0.05) and np.all(np.diff(depth) > 0)


def test_a_coordinate_can_be_asked_for(models):
    c = parse_constraints("constraints:\n  - {kind: coordinate_range, coordinate: knee_angle_r, low: 80, high: 90, unit: deg, at: bottom}\n")
    g = generate(c, n=4, models=models)
    assert g.satisfied.sum() >= 3
    assert np.median([np.rad2deg(m["knee_angle_r"].max()) for m in g.motions]) == pytest.approx(85, abs=10)


def test_out_of_reach_is_said(models):
    c = parse_constraints("constraints:\n  - {kind: coordinate_range, coordinate: knee_angle_r, low: 60, high: 61, unit: deg}\n"
                          "  - {kind: coordinate_range, coordinate: knee_angle_l, low: 110, high: 111, unit: deg}\n  - {kind: asymmetry, high: 1}\n")
    g = generate(c, n=1, models=models, steps=8)
    record = g.satisfaction[0]["asymmetry"]
    assert not g.satisfied.any() and record["met"] is False and record["violation"] > 0
    assert len(g.losses) == 9 and g.losses.shape[1:] == (len(g.terms), 1)


@pytest.mark.parametrize("method", ["published", "vqvae"])
def test_other_methods_share_the_interface(models, method):
    g = generate(n=3, method=method, models=models, iterations=12)
    assert g.method == method and len(g) == 3 and all(np.isfinite(m.values).all() and m.values.shape == (196, 113) for m in g.motions)
    assert np.isfinite(metrics.evaluate(g.motions, skeleton=Skeleton.default())["mean"]["mac"])


def test_published_schedule():
    w = [guidance.published_weight(s, 3000) for s in (0, 499, 750, 1000, 2499, 2500, 2999)]
    assert w == pytest.approx([0, 0, 0.5, 1, 1, 0, 0])


def test_more_motions_than_repetitions(models):
    rows = guidance.choose_starts(models, default_constraints(), 3 * len(models.kinematics), torch.Generator().manual_seed(0))
    assert len(rows) == 3 * len(models.kinematics)


def test_plant_feet_undoes_a_shaking_pelvis_and_is_differentiable():
    squat = torch.tensor(analytic_squat(reps=1, pause=.3).coordinates(), dtype=torch.float64)[None]
    shaken = squat.clone()
    shaken[..., 3:6] += torch.randn(1, squat.shape[1], 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sk = Skeleton.default()
    planted = planted(shaken, sk)
    assert torch.equal(planted, planted(squat, sk))
    points = sk.contact_points(planted)
    assert points[..., 1].amin(-1).abs().max() < 0.012 and sk.sliding_speed(planted, 60.).mean() < 0.03
    assert planted[0, 0, COORDINATES.index("pelvis_tx")] == 0
    q = squat[:, ::8].clone().requires_grad_()
    (grad,) = torch.autograd.grad((planted(q, sk)[..., 3:6] ** 2).sum(), q)
    assert torch.isfinite(grad).all() and grad.abs().max() > 0


def test_another_skeleton_keeps_its_own_feet_on_the_ground(models, shared):
    person = Skeleton.from_osim(next((shared / "labval_s4_62.6kg").rglob("*.osim")))
    g = generate(n=2, models=models, skeleton=person)
    for m in g.motions:
        assert np.abs(person.contact_points(m.coordinates())[..., 1].min(-1)).max() < 0.02
    assert not np.allclose(g.motions[0]["pelvis_ty"], generate(n=2, models=models).motions[0]["pelvis_ty"], atol=1e-3)


@pytest.mark.parametrize("bad", [dict(n=0), dict(n=-1), dict(n=2.5), dict(n=True), dict(seed=-1), dict(seed="x"), dict(method="magic")])
def test_bad_arguments(models, bad):
    with pytest.raises(InputError):
        generate(models=models, **bad)


def test_folder_is_whole_repeatable_and_readable(twenty, models, tmp_path):
    reference = metrics.load_reference()
    out = tmp_path / "deep" / "out"
    summary = save(twenty, out, reference)
    assert sorted(p.name for p in out.iterdir()) == ["constraints.yaml", "metrics.json"] + [f"sample_{i:02d}.mot" for i in range(20)]
    written = json.loads((out / "metrics.json").read_text(), parse_constant=lambda c: pytest.fail(c))
    assert written["mean"] == summary["mean"] and set(metrics.METRIC_KEYS) <= set(written["samples"][3])
    assert all(written["mean"][k] is not None for k in metrics.METRIC_KEYS)
    assert read_constraints(out / "constraints.yaml").constraints == default_constraints().constraints
    m = read_motion(out / "sample_07.mot")
    assert np.allclose(m.coordinates(), twenty.motions[7].coordinates(), atol=1e-5) and m.has(ACTIVATIONS)
    save(generate(models=models), tmp_path / "again", reference)
    assert filecmp.cmpfiles(out, tmp_path / "again", [p.name for p in out.iterdir()], shallow=False)[1:] == ([], [])


def test_folder_replaces_a_former_run_and_nothing_else(models, tmp_path):
    g = generate(n=1, models=models, method="vqvae")
    out = tmp_path / "out"
    save(generate(n=2, models=models, method="vqvae"), out)
    save(g, out)
    assert sorted(p.name for p in out.iterdir()) == ["constraints.yaml", "metrics.json", "sample_00.mot"]
    (out / "thesis.tex").write_text("mine")
    (out / "verification.json").write_text("of the samples before")
    save(g, out)
    assert sorted(p.name for p in out.iterdir()) == ["constraints.yaml", "metrics.json", "sample_00.mot", "thesis.tex"]
    (tmp_path / "file").write_text("x")
    for bad in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError):
            save(g, bad)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_interrupted_save_leaves_nothing(models, tmp_path, error, monkeypatch):
    g = generate(n=1, models=models, method="vqvae")

    def fail(constraints, path):
        assert (path.parent / "sample_00.mot").exists()
        raise error
    monkeypatch.setattr("bige.guidance.write_constraints", fail)
    with pytest.raises(error):
        save(g, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_former_run_survives_a_save_that_cannot_be_finished(models, tmp_path, monkeypatch):
    save(generate(n=2, models=models, method="vqvae"), tmp_path / "out")
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    move = os.replace

    def full(source, place):
        if place.name == "sample_00.mot" and ".former" not in str(source): raise OSError(28, "No space left on device")
        move(source, place)
    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError):
        save(generate(n=1, seed=1, models=models, method="vqvae"), tmp_path / "out")
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before


def test_natural_numbers_stay_where_real_motion_had_them(twenty):
    of = lambda motions: metrics.evaluate(motions, skeleton=Skeleton.default())["mean"]
    before, after = of(twenty.starts), of(twenty.motions)
    for key in ("asymmetry_deg", "angular_velocity_deg_s", "com_velocity_m_s", "com_acceleration_m_s2", "body_com_acceleration_m_s2", "sliding_m_s"):
        assert after[key] == pytest.approx(before[key], rel=.1), key
    assert before["mac"] > 5 * after["mac"]


def test_what_simulation_says_of_a_start_is_kept(models):
    rows = torch.arange(0, 120, 12)
    known = guidance.variations(models, rows, torch.Generator().manual_seed(0), most=0.)
    begin = guidance.prepare(models, known, Skeleton.default())
    with torch.no_grad(): guess = models.activate(planted(guidance.smoother() @ known.motions, Skeleton.default()), known.mass)
    assert (guess + begin.offset - models.activations[rows]).abs().max() < 1e-5
    assert (guess - models.activations[rows])[..., VASTI].abs().max() > .05            # worth keeping


def test_starts_take_turns_and_differ(models):
    people = [models.people[i] for i in guidance.choose_starts(models, default_constraints(), 6, torch.Generator().manual_seed(0), apart_deg=0.)]
    some = guidance.choose_starts(models, default_constraints(), 12, torch.Generator().manual_seed(0))
    assert len(set(people)) >= 4 and len(set(people[:len(set(people))])) == len(set(people))
    near = metrics.pairwise_deg(models.kinematics[some].numpy())[np.triu_indices(12, 1)]
    assert near.min() >= guidance.APART_DEG
    wide = guidance.choose_starts(models, default_constraints(), 12, torch.Generator().manual_seed(0), apart_deg=9.)
    assert metrics.pairwise_deg(models.kinematics[wide].numpy())[np.triu_indices(12, 1)].mean() > near.mean()


def test_newton_step_solves_a_straight_line_and_is_never_long():
    g = torch.randn(3, 5, 49, generator=torch.Generator().manual_seed(0))
    step = guidance.newton_step(torch.tensor([1e-3, 2e-3, 1e6]), g, torch.eye(49))
    assert (step * g).sum((1, 2))[:2] == pytest.approx(-guidance.OVERSTEP * np.array([1e-3, 2e-3]), rel=1e-4)
    assert step[2].square().mean().sqrt() == pytest.approx(guidance.MAX_STEP)


def test_a_deflected_step_does_not_undo_the_one_before():
    before, grad = torch.randn(2, 1, 4, 49, generator=torch.Generator().manual_seed(0))
    assert torch.equal(guidance.deflected(grad, torch.zeros_like(grad), torch.eye(49)), grad)
    against = grad - 2 * (grad * before).sum() / (before * before).sum() * before if (grad * before).sum() > 0 else grad
    assert (against * before).sum() < 0 < (guidance.deflected(against, before, torch.eye(49)) * before).sum()


@pytest.mark.parametrize("goal, better", [("minimise", -1), ("maximise", 1)])
def test_goals_go_as_far_as_real_people(models, goal, better):
    g = generate(parse_constraints(f"constraints:\n  - {{kind: trunk_lean, goal: {goal}}}\n"), n=3, models=models)
    lean = [s[f"trunk_lean {goal}"]["metric"] for s in g.satisfaction]
    bank = np.rad2deg(guidance.judged(g.constraints.constraints[0], models.bank()).flatten().numpy())
    assert all(better * (x - np.quantile(bank, .5 + better * .47)) > -1 for x in lean)


def test_a_long_request_gets_more_time_for_each_frame(models):
    g = generate(parse_constraints("constraints:\n  - {kind: duration, low: 4.5 s, high: 6 s}\n"), n=2, models=models)
    assert g.satisfied.all() and all(m.duration > 4.5 and m.rate_hz < 60 for m in g.motions)


def test_like_stays_near_and_says_what_changes(models):
    athlete = max(metrics.load_reference(split="val"), key=metrics.asymmetry)
    wish = parse_constraints("constraints:\n  - {kind: asymmetry, high: 1.5}\n")
    g = generate(wish, n=2, models=models, like=athlete)
    near = metrics.pairwise_deg(metrics.normalised([athlete, *g.motions, *generate(wish, n=6, models=models).motions]))[0]
    assert g.satisfied.all() and near[1:3].max() < 5 and near[1:3].max() < near[3:].min()
    rows = guidance.changes(g.starts[0], g.motions[0])
    assert rows and all("°" in r["words"] and abs(r["degrees"]) >= 1 for r in rows)
    assert np.all(np.diff([abs(r["degrees"]) for r in rows]) <= 0)
    unmoved = generate(parse_constraints("constraints:\n  - {kind: asymmetry, high: 40}\n"), n=1, models=models, like=athlete)
    assert not guidance.changes(athlete, unmoved.motions[0])


@pytest.mark.parametrize("coordinate, by, words", [("knee_angle_l", 10, "bend the left knee more by 10°"), ("knee_angle_r", -5, "bend the right knee less by 5°"),
                                                   ("pelvis_tilt", -7, "tilt the pelvis forward by 7°"), ("lumbar_bending", 4, "bend the trunk to the right by 4°")])
def test_changes_in_words(coordinate, by, words):
    before = metrics.load_reference()[0]
    after = before.with_columns([coordinate], (before[coordinate] + np.deg2rad(by))[:, None])
    assert [r["words"] for r in guidance.changes(before, after)] == [words]


@pytest.mark.parametrize("coordinate, moves", [("pelvis_list", "right"), ("lumbar_bending", "right"), ("pelvis_tilt", "back"), ("lumbar_extension", "back"),
                                               ("pelvis_rotation", "left"), ("lumbar_rotation", "left"), ("hip_adduction_r", "inward"), ("ankle_angle_r", "forward")])
def test_words_mean_what_the_model_does(coordinate, moves):
    sk, q = Skeleton.default(), np.zeros((2, 33))
    q[1, COORDINATES.index(coordinate)] = .2
    body, at = ("femur_r", [0, -.4, 0]) if "hip" in coordinate else ("tibia_r", [0, 0, 0]) if "ankle" in coordinate else ("torso", [.5, .3, 0])
    if "ankle" in coordinate:                                       # the foot is turned about the shank: against it, the shank goes forward when the toes rise
        body, at = "calcn_r", [.2, 0, 0]
    at = [0, .3, 0] if moves == "right" else at
    d = np.diff(sk.points(q, (body,), np.array([at], float))[:, 0], axis=0)[0]
    sign = {"right": d[2], "left": -d[2], "back": -d[0], "inward": -d[2], "forward": d[1]}[moves]
    assert sign > 0


def test_session_follows_a_slider(models):
    session, base = guidance.Session(models, n=4), default_constraints()
    first = session.tune(base)
    same = session.tune(base)
    assert first.satisfied.all() and all(np.allclose(a.values, b.values, atol=1e-6) for a, b in zip(first.motions, same.motions))
    moved = session.tune(override(base, "vasmed.low=0.4", "vasmed.high=0.45"))
    assert moved.satisfied.all()
    near = metrics.pairwise_deg(metrics.normalised([*first.motions, *moved.motions]))[:4, 4:]
    assert np.diag(near).max() < 5 and (near.argmin(1) == np.arange(4)).all()      # motion i stays motion i
    far = session.tune(override(base, "vasmed.low=0.1", "vasmed.high=0.2"))
    assert far.satisfied.sum() >= 3
    session.fresh(9)
    other = session.tune(base)
    assert metrics.pairwise_deg(metrics.normalised([*first.motions, *other.motions]))[:4, 4:].min() > 1


def test_progress_stops_or_abandons(models):
    session, seen = guidance.Session(models, n=3), []
    narrow = override(default_constraints(), "vasmed.low=0.3", "vasmed.high=0.31")
    stopped = session.tune(narrow, progress=lambda step, met, n: seen.append((step, met, n)) or step == 1)
    assert [s for s, _, _ in seen] == [0, 1] and seen[0][2] == 3 and len(stopped) == 3

    def cancel(step, met, n): raise KeyboardInterrupt
    before = session.residual.clone()
    with pytest.raises(KeyboardInterrupt):
        session.tune(override(default_constraints(), "vasmed.low=0.5", "vasmed.high=0.55"), progress=cancel)
    assert torch.equal(session.residual, before)


def test_shortfalls_name_the_nearest_value(models):
    g = generate(parse_constraints("constraints:\n  - {kind: muscle, muscle: vasti, high: 0.1}\n  - {kind: thigh_angle, low: 100 deg}\n"), n=2, models=models, steps=6)
    assert not g.satisfied.any() and any("nearest reachable" in s["sentence"] for s in g.shortfalls)
    assert not generate(n=2, models=models).shortfalls


def test_cli_sessions_resume_and_tell(shared, tmp_path, monkeypatch, capsys):
    import shutil

    from bige import cli
    monkeypatch.setattr(cli, "pictures", lambda *a: None)
    people = tmp_path / "people"
    (people / "anna").mkdir(parents=True)
    shutil.copy(next((shared / "labval_s4_62.6kg").rglob("*.osim")), people / "anna" / "own.osim")
    (people / "broken.osim").write_text("<OpenSimDocument/>")
    line = ["generate", "-n", "2", "--sessions", str(people), "--out", str(tmp_path / "out")]
    assert cli.main(line) == 2                                            # one model is broken, the other is answered
    said = capsys.readouterr()
    assert "broken" in said.err and "anna_own: 2 of 2" in said.out and "all people" in said.out
    made = (tmp_path / "out" / "anna_own" / "sample_00.mot").stat().st_mtime_ns
    assert (tmp_path / "out" / "sessions.md").read_text().count("anna_own") == 4
    assert cli.main(line) == 2 and (tmp_path / "out" / "anna_own" / "sample_00.mot").stat().st_mtime_ns == made
    assert cli.main([*line, "--seed", "3"]) == 2 and (tmp_path / "out" / "anna_own" / "sample_00.mot").stat().st_mtime_ns != made
    assert cli.main(["generate", "--sessions", str(tmp_path / "nobody"), "--out", str(tmp_path / "x")]) == 2
    assert cli.main([*line, "--model", "x.osim"]) == 2


def test_cli_like_and_what_it_says(tmp_path, monkeypatch, capsys):
    from bige import cli
    from bige.motion import write_motion
    monkeypatch.setattr(cli, "pictures", lambda *a: None)
    write_motion(max(metrics.load_reference(split="val"), key=metrics.asymmetry), tmp_path / "athlete.mot")
    line = ["generate", "-n", "1", "--set", "asymmetry.high=1.5", "muscle_range.weight=0", "--out", str(tmp_path / "out")]
    assert cli.main([*line, "--like", str(tmp_path / "athlete.mot")]) == 0
    assert "against athlete.mot, at the bottom: " in capsys.readouterr().out
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert record["changes"][0] and record["met"] == 1 and (tmp_path / "out" / "start" / "athlete.mot").exists()
    assert cli.main([*line, "--method", "vqvae"]) == 0
    said = capsys.readouterr().out
    assert "1 sample of a former run" in said and "were replaced" not in said
    assert cli.main(["generate", "-n", "1", "--method", "vqvae", "--set", "muscle_range.low=0.41", "muscle_range.high=0.42", "--out", str(tmp_path / "random")]) == 0
    said = capsys.readouterr().out
    assert "none of them meet" in said and "missed: " in said and "method guided meets requests" in said
    for bad in (["--like", str(tmp_path / "athlete.mot"), "--method", "published"], ["--like", str(tmp_path / "athlete.mot"), "--verified"], ["--apart", "-1"]):
        assert cli.main([*line, *bad]) == 2


def test_cold_generation_is_fast_and_small(tmp_path):
    code = "import resource\nfrom bige.guidance import generate, save\nfrom bige.metrics import load_reference\nsave(generate(), r'%s', load_reference())\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)" % (tmp_path / "out")
    began = time.process_time(), os.times().children_user + os.times().children_system
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    cpu = os.times().children_user + os.times().children_system - began[1]
    assert done.returncode == 0, done.stderr
    assert cpu < 7 and int(done.stdout) < 1.5e6            # processor seconds, with writing and scoring, on a busy machine; kB
