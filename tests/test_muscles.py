"""Muscles: curves, fitted geometry against OpenSim, the cache, and what is refused."""
import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from bige import muscles
from bige.motion import COORDINATES, MUSCLES, InputError
from bige.muscles import (WORKING_STRETCH, LEG_COLUMNS, MUSCLE_NAMES, SIDES, MuscleGeometry, activation_rate, all_exponents, default_geometry, fit_geometry,
                          fit_muscle, force_length, force_velocity, monomial_slopes, monomials, passive_force, rigid_tendon, run_opensim, tendon_length, usual_poses)

needs_opensim = pytest.mark.skipif(importlib.util.find_spec("opensim") is None, reason="OpenSim is not installed (pip install --no-deps opensim==4.6)")


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


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(2, 5), st.integers(0, 10_000))
def test_slopes_are_derivatives(variables, degree, seed):
    exponents, x = all_exponents(variables, degree), np.random.default_rng(seed).uniform(-1, 1, (3, variables))
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
    assert record["left_out"] == pytest.approx(slipped.mean()) and record["length_rms"] < 1e-9 and record["arm_rms"] < 1e-9
    assert np.allclose(monomials(x, exponents.astype(int)) @ solution, length - 0.1 * slipped, atol=1e-9)


def test_shipped_fit_is_complete_accurate_and_consistent():
    geometry = default_geometry()
    assert geometry.parameters.shape == (80, 5) and (geometry.parameters[:, :3] > 0).all() and set(geometry.muscle) == set(range(80))
    assert geometry.record[:, 2].max() < 0.7e-3 and geometry.record[:, 3].max() < 2e-3
    q = np.zeros((48, 33))
    for side in SIDES:
        q[:, LEG_COLUMNS[side]] = geometry.check_angles
    lengths, arms = geometry(q)
    assert np.median(np.abs(lengths - geometry.check_lengths)) < 0.3e-3
    for s, side in enumerate(SIDES):
        error = np.abs(arms[:, 40 * s:40 * s + 40][:, :, LEG_COLUMNS[side]] - geometry.check_arms[:, 40 * s:40 * s + 40])
        assert np.median(error.max(-1)) < 1e-3
        other = [i for i in range(33) if i not in LEG_COLUMNS[side]]
        assert not arms[:, 40 * s:40 * s + 40][:, :, other].any()
    step = np.random.default_rng(0).normal(size=33) * 1e-6
    assert np.allclose(geometry(q + step)[0] - geometry(q - step)[0], -2 * arms @ step, atol=1e-12)


def test_anatomy():
    lengths, arms = default_geometry()(np.full((1, 33), 0.3))
    def arm(muscle, coordinate): return arms[0, MUSCLE_NAMES.index(muscle), COORDINATES.index(coordinate)]
    assert arm("vaslat_r", "knee_angle_r") < -0.02 and arm("semimem_l", "knee_angle_l") > 0.01
    assert arm("soleus_r", "ankle_angle_r") < -0.02 and arm("tibant_r", "ankle_angle_r") > 0.02
    assert arm("glmax2_l", "hip_flexion_l") < -0.02 and arm("psoas_l", "hip_flexion_l") > 0.01 and arm("glmed1_r", "hip_adduction_r") < -0.02


def test_saved_and_loaded_whole(tmp_path):
    geometry = default_geometry()
    geometry.save(tmp_path / "a.npz")
    back = MuscleGeometry.load(tmp_path / "a.npz")
    assert back.digest == geometry.digest and all(np.array_equal(getattr(back, k), v) for k, v in vars(geometry).items())
    geometry.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_a_model_without_the_muscles_is_refused(tmp_path):
    model = tmp_path / "bare.osim"
    model.write_text('<OpenSimDocument><Model name="bare"><Millard2012EquilibriumMuscle name="soleus_l"/></Model></OpenSimDocument>')
    with pytest.raises(InputError, match="1 of the 80 leg muscles; missing addbrev_l"):
        fit_geometry(model)
    with pytest.raises(InputError, match="no readable file"):
        fit_geometry(tmp_path / "nowhere.osim")


def test_missing_opensim_is_explained(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'opensim'\" >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setenv("BIGE_OPENSIM_PYTHON", str(python))
    with pytest.raises(InputError, match="pip install --no-deps opensim==4.6"):
        run_opensim(muscles.sample_muscles)


def test_import_is_light():
    code = "import sys, bige.muscles, bige.simulation; print([m for m in ('torch', 'opensim', 'casadi', 'nimblephysics', 'pandas', 'matplotlib') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.slow
@needs_opensim
def test_any_scaled_model_is_fitted_and_cached(shared, tmp_path, monkeypatch):
    monkeypatch.setenv("BIGE_CACHE", str(tmp_path))
    model = next(shared.glob("labval_s2*/squat/*.osim"))
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
    model.write_text("".join(f'<Millard2012EquilibriumMuscle name="{name}">' for name in MUSCLE_NAMES))
    with pytest.raises(InputError, match="OpenSim stopped"):
        fit_geometry(model)
    assert not (tmp_path / "cache").exists() and len(MUSCLES) == 40
