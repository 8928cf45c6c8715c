"""Muscles: curves, fitted geometry against OpenSim, the cache, and what is refused."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from bige import muscles
from bige.files import InputError
from bige.motion import COORDINATES, MUSCLES
from bige.muscles import (LEG_COLUMNS, MUSCLE_NAMES, SIDES, TENDON_STIFFNESS, WORKING_STRETCH, MuscleGeometry,
                          activation_rate, all_exponents, compliant_tendon, default_geometry,
                          equilibrium_residual, fit_geometry, fit_muscle, force_length, force_velocity,
                          monomial_slopes, monomials, passive_force, rigid_tendon, tendon_length,
                          usual_poses)
from bige.opensim_process import run_opensim
from conftest import living, until

needs_opensim = pytest.mark.skipif(importlib.util.find_spec("opensim") is None,
                                   reason="OpenSim is not installed (pip install --no-deps opensim==4.6)")


@given(st.floats(0, 1), st.floats(0, 1))
def test_activation_moves_towards_excitation_within_raasch_limits(e, a):
    rate = activation_rate(np.array(e), np.array(a))
    assert np.sign(rate) == np.sign(e - a) or abs(e - a) < 1e-12
    assert -a / 0.060 - 1e-9 <= rate <= (1 - a) / 0.015 + 1e-9


def test_curves_have_their_anchors():
    assert force_length(np.array([1.0]))[0] == pytest.approx(1, abs=0.02)
    assert force_velocity(np.array([0.0, -1.0])) == pytest.approx([1, 0], abs=0.02)
    assert passive_force(np.array([0.2, 1.6])) == pytest.approx([0, 1], abs=1e-9)
    v = np.linspace(-1, 1, 201)
    assert (np.diff(force_velocity(v)) > 0).all()


def test_the_tendon_works_at_a_fifth_of_its_load():
    f = np.linspace(0, 1, 1001)
    assert (np.diff(tendon_length(f)) > 0).all() and tendon_length(f[0]) == pytest.approx(1, abs=0.003)
    assert np.interp(WORKING_STRETCH, tendon_length(f), f) == pytest.approx(0.2, abs=0.05)


def test_rigid_tendon_pennation_and_speed():
    parameters = np.array([[100.0, 0.1, 0.2, np.pi / 6, 10.0]])
    along = 0.1 * np.cos(np.pi / 6)  # fibre at optimal length, at its optimal pennation
    force, l, v = rigid_tendon(np.array([[0.2 * 1.02 + along]]), np.array([[-1.0]]), parameters)
    assert l[0, 0] == pytest.approx(1) and v[0, 0] == pytest.approx(-np.cos(np.pi / 6))
    assert force[0, 0] == pytest.approx(100 * force_length(1.0) * force_velocity(v[0, 0]) * np.cos(np.pi / 6))


def some_muscles(seed=0, frames=3):
    """Lengths, speeds, forces, force rates and activations (frames, 80) of the default model's muscles in
    working states."""
    rng, (_, optimal, slack, pennation, _) = np.random.default_rng(seed), default_geometry().parameters.T
    force, fibre = (rng.uniform(0, 1.5, (frames, 80)),
                    rng.uniform(0.6, 1.4, (frames, 80)) * optimal * np.cos(pennation))
    return (slack * tendon_length(force) + fibre, rng.uniform(-0.5, 0.5, (frames, 80)), force,
            rng.uniform(-5, 5, (frames, 80)), rng.uniform(0.01, 1, (frames, 80)))


def test_compliant_tendon_closes_the_triangle_and_its_speed_is_the_derivative():
    length, velocity, force, rate, _ = some_muscles()
    parameters = default_geometry().parameters
    _, optimal, slack, pennation, top = parameters.T
    l, v, cos = compliant_tendon(length, velocity, force, rate, parameters)
    assert np.allclose(l * optimal * cos + slack * tendon_length(force), length, atol=1e-14)
    assert np.allclose(l * np.sqrt(1 - cos**2), np.sin(pennation), atol=1e-12)
    h = 1e-6
    ahead, behind = (
        compliant_tendon(length + s * h * velocity, velocity, force + s * h * rate, rate, parameters)[0]
        for s in (1, -1)
    )
    assert np.allclose((ahead - behind) / (2 * h) / top, v, atol=1e-7)


def test_tendon_slope_is_that_of_the_published_formula():
    f = np.linspace(0, 2, 50)
    published = 1 / (0.2 * TENDON_STIFFNESS * np.exp(TENDON_STIFFNESS * (tendon_length(f) - 0.995)))
    assert np.allclose(published, 1 / (TENDON_STIFFNESS * (f + 0.25)), rtol=1e-12)
    assert np.allclose((tendon_length(f + 1e-6) - tendon_length(f - 1e-6)) / 2e-6, published, rtol=1e-6)


def test_a_stiffly_held_muscle_agrees_with_the_rigid_tendon():
    parameters = default_geometry().parameters
    strength, fibre, _ = rigid_tendon(length := some_muscles()[0], 0 * length, parameters,
                                      stretch=tendon_length(0.3))
    force, still = np.full_like(length, 0.3), 0 * length
    a = 0.3 / (strength / parameters[:, 0])  # the activation that carries 0.3
    assert np.allclose(compliant_tendon(length, still, force, still, parameters)[0], fibre, atol=1e-12)
    working = strength > 2e-3
    assert working.mean() > 0.5 and np.allclose(
        equilibrium_residual(a, force, still, length, still, parameters)[working], 0, atol=1e-12)
    with_passive = equilibrium_residual(a, force, still, length, still, parameters, passive=True)
    assert (with_passive > equilibrium_residual(a, force, still, length, still, parameters))[
        working & (fibre > 0.5)
    ].all()


def test_symbols_give_the_numbers():
    import casadi as ca

    geometry, rng = default_geometry(), np.random.default_rng(3)

    def rows(matrix):
        return np.array([ca.vertsplit(row.T) for row in ca.vertsplit(matrix)], dtype=object)

    def columns(values):
        return ca.vertcat(*values.ravel())

    q = ca.SX.sym("q", 2, 33)
    lengths, arms = geometry(rows(q))
    assert lengths.shape == (2, 80) and arms.shape == (2, 80, 33) and lengths.dtype == arms.dtype == object
    pose = rng.uniform(-0.4, 0.9, (2, 33))
    for symbolic, numbers in zip(ca.Function("g", [q], [columns(lengths), columns(arms)])(pose),
                                 geometry(pose)):
        assert np.abs(np.array(symbolic).ravel() - numbers.ravel()).max() < 1e-12
    states = some_muscles(frames=1)
    symbols = [ca.SX.sym(name, 1, 80) for name in ("length", "velocity", "force", "rate", "activation")]
    L, V, F, dF, a = map(rows, symbols)
    for passive in (False, True):
        residual = ca.Function(
            "h", symbols,
            [columns(equilibrium_residual(a, F, dF, L, V, geometry.parameters, passive=passive))])(*states)
        rest = (*states[2:4], *states[:2], geometry.parameters)
        numbers = equilibrium_residual(states[4], *rest, passive=passive)
        assert np.abs(np.array(residual).ravel() - numbers.ravel()).max() < 1e-12
    assert np.abs(numbers).max() > 0.1


def test_symbolic_graph_stays_small():
    import casadi as ca

    q = ca.SX.sym("q", 33)
    lengths, arms = default_geometry()(np.array([ca.vertsplit(q)], dtype=object))
    assert ca.Function("g", [q], [ca.vertcat(*lengths[0]), ca.vertcat(*arms[0].ravel())]).n_nodes() < 20_000


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(2, 5), st.integers(0, 10_000))
def test_slopes_are_derivatives(variables, degree, seed):
    exponents, x = (all_exponents(variables, degree),
                    np.random.default_rng(seed).uniform(-1, 1, (3, variables)))
    for d in range(variables):
        step = np.zeros(variables)
        step[d] = 1e-6
        finite = (monomials(x + step, exponents) - monomials(x - step, exponents)) / 2e-6
        assert np.allclose(finite, monomial_slopes(x, exponents, d), atol=1e-7)


def test_fit_recovers_a_polynomial_despite_slips():
    rng = np.random.default_rng(0)
    x, e = rng.uniform(-1, 1, (600, 7)), all_exponents(2, 3)
    c = rng.normal(size=len(e)) * 0.02
    length, arms = monomials(x[:, :2], e) @ c, np.zeros((600, 7))
    for d in range(2):
        arms[:, d] = -monomial_slopes(x[:, :2], e, d) @ c / muscles._HALF[d]
    slipped = rng.uniform(size=600) < 0.1
    length, arms[:, 0] = length + 0.1 * slipped, arms[:, 0] - 0.05 * slipped
    assert (usual_poses(x, length, arms, [0, 1]) == ~slipped).all()
    exponents, solution, record = fit_muscle(x, length, arms)
    assert (
        record["left_out"] == pytest.approx(slipped.mean())
        and record["length_rms"] < 1e-9
        and record["arm_rms"] < 1e-9
    )
    assert np.allclose(monomials(x, exponents.astype(int)) @ solution, length - 0.1 * slipped, atol=1e-9)


def test_shipped_fit_is_complete_accurate_and_consistent():
    geometry = default_geometry()
    assert (
        geometry.parameters.shape == (80, 5)
        and (geometry.parameters[:, :3] > 0).all()
        and set(geometry.muscle) == set(range(80))
    )
    assert geometry.record[:, 2].max() < 0.7e-3 and geometry.record[:, 3].max() < 2e-3
    q = np.zeros((48, 33))
    for side in SIDES:
        q[:, LEG_COLUMNS[side]] = geometry.check_angles
    lengths, arms = geometry(q)
    assert np.median(np.abs(lengths - geometry.check_lengths)) < 0.3e-3
    for s, side in enumerate(SIDES):
        error = np.abs(
            arms[:, 40 * s : 40 * s + 40][:, :, LEG_COLUMNS[side]]
            - geometry.check_arms[:, 40 * s : 40 * s + 40]
        )
        assert np.median(error.max(-1)) < 1e-3
        other = [i for i in range(33) if i not in LEG_COLUMNS[side]]
        assert not arms[:, 40 * s : 40 * s + 40][:, :, other].any()
    step = np.random.default_rng(0).normal(size=33) * 1e-6
    assert np.allclose(geometry(q + step)[0] - geometry(q - step)[0], -2 * arms @ step, atol=1e-12)


def test_anatomy():
    lengths, arms = default_geometry()(np.full((1, 33), 0.3))

    def arm(muscle, coordinate):
        return arms[0, MUSCLE_NAMES.index(muscle), COORDINATES.index(coordinate)]

    assert arm("vaslat_r", "knee_angle_r") < -0.02 and arm("semimem_l", "knee_angle_l") > 0.01
    assert arm("soleus_r", "ankle_angle_r") < -0.02 and arm("tibant_r", "ankle_angle_r") > 0.02
    assert (
        arm("glmax2_l", "hip_flexion_l") < -0.02
        and arm("psoas_l", "hip_flexion_l") > 0.01
        and arm("glmed1_r", "hip_adduction_r") < -0.02
    )


def test_saved_and_loaded_whole(tmp_path):
    geometry = default_geometry()
    geometry.save(tmp_path / "a.npz")
    back = MuscleGeometry.load(tmp_path / "a.npz")
    assert back.digest == geometry.digest and all(
        np.array_equal(getattr(back, k), v) for k, v in vars(geometry).items()
    )
    geometry.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def muscles_only(names) -> str:
    """An .osim document of muscles, without bodies or joints."""
    muscles = "".join(f'<Millard2012EquilibriumMuscle name="{name}"/>' for name in names)
    return (f"<OpenSimDocument><Model name='bare'><BodySet/><ForceSet><objects>{muscles}</objects></ForceSet>"
            "</Model></OpenSimDocument>")


@pytest.fixture
def measured_by_polynomials(tmp_path, monkeypatch):
    """A model file, and OpenSim replaced by the shipped polynomials; `spoil(lengths)` may change what it
    measures."""
    model, shipped = tmp_path / "person.osim", default_geometry()
    model.write_text(muscles_only(MUSCLE_NAMES))
    monkeypatch.setenv("BIGE_CACHE", str(tmp_path / "cache"))
    calls = []

    def install(spoil):
        def measure(function, model_path, out, legs, names, sides, poses, progress):
            calls.append(model_path)
            q = np.zeros((len(poses), 33))
            for side in SIDES:
                q[:, LEG_COLUMNS[side]] = poses
            lengths, arms = shipped(q)
            arms = np.stack(
                [arms[:, 40 * s : 40 * s + 40][:, :, LEG_COLUMNS[side]] for s, side in enumerate(SIDES)],
                axis=1)
            progress(len(poses))
            np.savez(out, L=spoil(lengths).reshape(-1, 2, 40), R=arms,
                     parameters=shipped.parameters.reshape(2, 40, 5))

        monkeypatch.setattr(muscles, "run_opensim", measure)
        return model, calls

    return install


def test_a_fit_is_cached_by_content_and_quiet(measured_by_polynomials, tmp_path, capfd):
    model, calls = measured_by_polynomials(lambda lengths: lengths)
    geometry = fit_geometry(model, poses=260)
    assert (
        geometry.record[:, 2].max() < 0.7e-3
        and geometry.record[:, 3].max() < 2e-3
        and geometry.digest == muscles.file_digest(model)
    )
    twin = tmp_path / "twin.osim"
    twin.write_bytes(model.read_bytes())
    assert (
        np.array_equal(fit_geometry(twin, poses=260).coefficients, geometry.coefficients) and len(calls) == 1
    )
    model.write_text(model.read_text() + "<!-- changed -->")
    fit_geometry(model, poses=260)
    assert len(calls) == 2 and capfd.readouterr() == ("", "")


def test_a_fit_beyond_three_millimetres_is_refused(measured_by_polynomials, tmp_path):
    jitter = np.zeros(80)
    jitter[MUSCLE_NAMES.index("soleus_l")] = 8e-3
    model, _ = measured_by_polynomials(
        lambda lengths: lengths + np.random.default_rng(0).normal(size=lengths.shape).clip(-1, 1) * jitter
    )
    with pytest.raises(
        InputError,
        match=r"person.osim.*muscle soleus_l, whose length or moment arms the fit misses by \d\.\d mm"
        ".*at most 3 mm",
    ):
        fit_geometry(model, poses=260)
    assert not (tmp_path / "cache").exists()


def test_a_damaged_fit_in_the_cache_is_fitted_again_and_a_read_only_cache_costs_time_only(
        measured_by_polynomials, tmp_path, monkeypatch):
    model, calls = measured_by_polynomials(lambda lengths: lengths)
    first = fit_geometry(model, poses=260)
    kept, = (tmp_path / "cache").iterdir()
    for damaged in (kept.read_bytes()[:1000], b"", b"PK"):
        kept.write_bytes(damaged)
        assert np.array_equal(fit_geometry(model, poses=260).coefficients, first.coefficients)
    assert len(calls) == 4 and MuscleGeometry.load(kept).digest == first.digest
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("BIGE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match="cannot be written"):
        assert np.array_equal(fit_geometry(model, poses=260).coefficients, first.coefficients)


@pytest.mark.parametrize("tag, value", [("max_isometric_force", "-1"), ("tendon_slack_length", "0"),
                                        ("optimal_fiber_length", "nan"), ("pennation_angle_at_optimal", "30"),
                                        ("max_contraction_velocity", "ten")])
def test_parameters_that_no_muscle_has_are_named_with_their_line(tmp_path, tag, value):
    whole = '<Millard2012EquilibriumMuscle name="soleus_l"/>'
    wrong = f"{whole[:-2]}><{tag}>{value}</{tag}></Millard2012EquilibriumMuscle>"
    (tmp_path / "a.osim").write_text(muscles_only(MUSCLE_NAMES).replace(whole, wrong))
    with pytest.raises(InputError, match=f"a.osim, line 1, .*soleus_l.*{tag}"):
        muscles.check_muscles(tmp_path / "a.osim")


def counts_aloud(last):
    for n in range(last):
        print("done", n + 1, flush=True)
    print("finished")


def fails_loudly():
    import sys

    sys.stderr.write("x" * 200_000 + "\n")
    raise ValueError("no such muscle")


def test_progress_is_read_from_what_the_other_python_prints(monkeypatch):
    monkeypatch.setenv("BIGE_OPENSIM_PYTHON", sys.executable)
    seen = []
    assert run_opensim(counts_aloud, 4, progress=seen.append) == "finished\n" and seen == [1, 2, 3, 4]
    assert run_opensim(counts_aloud, 2) == "done 1\ndone 2\nfinished\n"
    with pytest.raises(InputError, match="OpenSim stopped: ValueError: no such muscle"):
        run_opensim(fails_loudly)
    monkeypatch.setenv("BIGE_OPENSIM_PYTHON", "/nowhere/python")
    with pytest.raises(InputError, match="no program to run"):
        run_opensim(counts_aloud, 1)


def test_an_interrupt_ends_the_other_python(tmp_path, monkeypatch):
    monkeypatch.setenv("BIGE_OPENSIM_PYTHON", sys.executable)

    def interrupt(count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_opensim(counts_and_stays, str(tmp_path / "process"), progress=interrupt)
    until(lambda: int((tmp_path / "process").read_text()) not in living(), within=60)


def counts_and_stays(path):
    import os, time

    with open(path, "w") as file:
        file.write(str(os.getpid()))
    print("done 1", flush=True)
    time.sleep(600)


def test_a_model_without_the_muscles_is_refused(tmp_path):
    model = tmp_path / "bare.osim"
    model.write_text(muscles_only(["soleus_l"]))
    with pytest.raises(InputError, match="1 of the 80 leg muscles; missing addbrev_l"):
        fit_geometry(model)
    with pytest.raises(InputError, match="no such file"):
        fit_geometry(tmp_path / "nowhere.osim")


def test_missing_opensim_is_explained(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'opensim'\" >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setenv("BIGE_OPENSIM_PYTHON", str(python))
    with pytest.raises(InputError, match="pip install --no-deps opensim==4.6"):
        run_opensim(muscles.sample_muscles)


def test_import_is_light():
    heavy = ("torch", "opensim", "casadi", "nimblephysics", "pandas", "matplotlib")
    code = f"import sys, bige.muscles; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.slow
@needs_opensim
@pytest.mark.parametrize(
    "pattern",
    [
        "models/LaiUhlrich2022.osim",
        "fieldstudy_s0_72kg/squat/*_adjustedMA_contacts.osim",
        "labval_s2*/squat/*.osim",
    ],
)
def test_any_model_is_fitted_and_cached(shared, tmp_path, monkeypatch, pattern):
    monkeypatch.setenv("BIGE_CACHE", str(tmp_path))
    model = next(shared.glob(pattern))
    geometry = fit_geometry(model)
    assert geometry.record[:, 2].max() < 0.7e-3 and geometry.record[:, 3].max() < 2e-3
    monkeypatch.setenv("BIGE_OPENSIM_PYTHON", "/nowhere")  # the second time OpenSim is not asked
    again = fit_geometry(model)
    assert np.array_equal(again.coefficients, geometry.coefficients) and len(list(tmp_path.iterdir())) == 1


@pytest.mark.slow
@needs_opensim
def test_garbage_that_names_the_muscles_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("BIGE_CACHE", str(tmp_path / "cache"))
    model = tmp_path / "bad.osim"
    model.write_text(muscles_only(MUSCLE_NAMES))
    with pytest.raises(InputError, match="OpenSim stopped"):
        fit_geometry(model)
    assert not (tmp_path / "cache").exists() and len(MUSCLES) == 40
