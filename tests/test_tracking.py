"""The tracking problem: its equations, its two transcriptions, what its solutions must obey, and what it
refuses."""

import re
from dataclasses import replace

import numpy as np
import pytest

from bige import tracking
from bige.dynamics import (SEAT_RADIUS, Ground, Seat, Support, body_motions, contact_force,
                           filtered_kinematics, hip_heights, sphere_forces, support_forces)
from bige.exercises import load_exercise
from bige.files import InputError
from bige.motion import COORDINATES, Motion, analytic_squat
from bige.muscles import ACTIVATION_TIME, DEACTIVATION_TIME
from bige.tracking import (CONTROLS, PRESETS, STATES, Layout, Linear, NodeFunctions, Settings, between,
                           condensed, cost, equations, ground_offset, least_heel_forces, radau,
                           settings_for, track)

HEIGHT = COORDINATES.index("pelvis_ty")
COARSE = 8


@pytest.fixture(scope="module")
def squat():
    return analytic_squat(reps=1, depth_deg=80)


@pytest.fixture(scope="module")
def solution(model, squat):
    """A coarse solution with all unknowns: (simulation, mesh times, unknowns by name)."""
    caught = {}

    def keep(model_, motion, mesh, u, *rest):
        caught.update(mesh=mesh, u=u)
        return simulation(model_, motion, mesh, u, *rest)

    simulation, tracking._simulation = tracking._simulation, keep
    try:
        result = track(model, squat, intervals=COARSE)
    finally:
        tracking._simulation = simulation
    return result, caught["mesh"], caught["u"]


def some_unknowns(seed=0):
    rng = np.random.default_rng(seed)
    v = {name: rng.uniform(0.1, 0.3, (1, size)) for name, size in (STATES | CONTROLS).items()}
    v["q"][0, HEIGHT] = 0.85
    return v


ONES = np.ones(tracking._NODE)


def test_the_equations_of_a_model_are_differentiated_once(model):
    settings = Settings()
    functions = tracking._node_functions(model, settings.ground, False)
    assert tracking._node_functions(model, PRESETS["other"].ground, False) is functions
    scaled = np.linspace(1, 2, tracking._NODE)
    z = np.concatenate([some_unknowns()[name][0] for name in CONTROLS | STATES])
    assert np.allclose(functions.value(z, scaled), functions.value(z * scaled, ONES), atol=1e-12)


def test_settings_come_from_the_record_of_the_exercise(tmp_path):
    squat = load_exercise("squat")
    assert settings_for("squat") == settings_for(squat) == PRESETS["squat"]
    changes = {"preset": "other", "heel_force_n": 3.0, "periodic": ["body"]}
    step = replace(squat, name="step", simulation=changes)
    assert settings_for(step) == replace(PRESETS["other"], heel_force_n=3.0, periodic=("body",))
    assert settings_for(step, "gait") == PRESETS["gait"]


@pytest.mark.parametrize("wrong, word", [
    ({"preset": "swim"}, "swim"), ({"heel_farce_n": 3}, "heel_farce_n"),
    ({"coordinates": 5}, "coordinates: 5"), ({"coordinates": {"knee": 5}}, "knee"),
    ({"coordinates": {"knee_angle": "much"}}, "knee_angle: 'much'"),
    ({"coordinates": {"knee_angle": float("nan")}}, "knee_angle: nan"),
    ({"activation": -1}, "activation: -1"), ({"activation": True}, "activation: True"),
    ({"periodic": "body"}, "periodic: 'body'"),
    ({"periodic": ["legs", [1]]}, "periodic"), ({"transcription": ["radau"]}, "transcription"),
    ({"passive_fibre_force": "yes"}, "passive_fibre_force"), ({"ground": {}}, "ground")])
def test_a_record_with_settings_that_do_not_suit_is_refused(wrong, word):
    with pytest.raises(InputError, match=re.escape(word)):
        settings_for(replace(load_exercise("squat"), simulation=wrong))


def test_symbols_and_numbers_are_the_same_equations(model):
    v = some_unknowns()
    numbers = np.concatenate(equations(model, v, Settings()), 1)[0] * tracking._row_scale()
    nodes = NodeFunctions(model, Settings())
    z = np.concatenate([v[name][0] for name in CONTROLS | STATES])
    assert np.allclose(np.asarray(nodes.value(z, ONES)).ravel(), numbers, rtol=1e-9, atol=1e-9)


def test_derivatives_against_finite_differences(model):
    nodes = NodeFunctions(model, Settings())
    z = np.concatenate([some_unknowns(1)[name][0] for name in CONTROLS | STATES])
    rng = np.random.default_rng(2)
    step, h = rng.normal(size=z.size), 1e-6
    weight = rng.normal(size=tracking._ROWS)

    def jacobian(at):
        J = np.zeros((tracking._ROWS, z.size))
        J[nodes.jacobian_at] = np.asarray(nodes.jacobian(at, ONES)).ravel()
        return J

    values = (np.asarray(nodes.value(z + s * h * step, ONES)).ravel() for s in (1, -1))
    change = np.subtract(*values) / (2 * h)
    assert np.allclose(jacobian(z) @ step, change, rtol=1e-5, atol=1e-4 * np.abs(change).max())
    H = np.zeros((z.size, z.size))
    H[nodes.hessian_at] = np.asarray(nodes.hessian(z, ONES, weight)).ravel()
    H = H + np.triu(H, 1).T
    bend = (jacobian(z + h * step) - jacobian(z - h * step)).T @ weight / (2 * h)
    assert np.allclose(H @ step, bend, rtol=1e-4, atol=1e-4 * np.abs(bend).max())


def test_a_solution_obeys_its_equations_at_every_mesh_point(model, solution):
    result, mesh, u = solution
    assert result.status == "Solve_Succeeded"
    at_mesh = {name: values[-COARSE:] for name, values in u.items()}
    dynamics, muscles, heels = equations(model, at_mesh, PRESETS["squat"])
    assert np.abs(dynamics).max() < 0.05  # N·m or N
    assert np.abs(muscles).max() < 1e-3  # of maximal isometric force
    assert heels.min() > PRESETS["squat"].heel_force_n - 0.01


def test_a_solution_obeys_its_differential_equations(solution):
    _, mesh, u = solution
    h = mesh[1] - mesh[0]
    assert np.allclose(u["q"][1:], u["q"][:-1] + h * u["qd"][:-1] + h * h / 2 * u["qdd"], atol=1e-5)
    assert np.allclose(u["a"][1:], u["a"][:-1] + h * u["da"], atol=1e-5)
    slack = 1e-4
    assert (u["da"] + u["a"][1:] / DEACTIVATION_TIME >= -slack / DEACTIVATION_TIME).all()
    assert (u["da"] + u["a"][1:] / ACTIVATION_TIME <= (1 + slack) / ACTIVATION_TIME).all()
    assert u["a"].min() > 0.01 - 1e-6 and u["a"].max() < 1 + 1e-6
    assert np.isclose(u["q"][-1, HEIGHT], u["q"][0, HEIGHT], atol=1e-5)


def test_between_mesh_points_the_solution_continues(solution):
    _, mesh, u = solution
    for times in (mesh, mesh + 1e-9):  # reached from the left and from the right
        v = between(mesh, u, times)
        assert all(np.allclose(v[name], u[name], atol=1e-5) for name in ("q", "qd", "a", "F", "actuator"))


def test_what_no_equation_binds_takes_the_value_of_the_first_mesh_point_that_is_bound(solution):
    """Effort alone decides about the first mesh point: activations there would be the least there is."""
    result, mesh, u = solution
    first = result.motion.time <= mesh[1]
    assert first.sum() > 3 and u["a"][0].mean() < 0.8 * u["a"][1].mean()
    assert np.allclose(result.motion.activations()[first], np.clip(u["a"][1], 0.01, 1), atol=1e-5)
    for values in (result.tendon_forces, result.ground_forces, result.moments):
        assert np.allclose(values[first], values[first][-1])


def test_the_feet_carry_the_body_and_the_vasti_work(model, squat, solution):
    result = solution[0]
    assert abs(result.vertical_force.mean() - 1) < 0.03
    vasti = np.mean(
        [result.motion[f"{m}_{s}/activation"] for m in ("vaslat", "vasmed", "vasint") for s in "lr"], axis=0)
    bottom, end = squat["knee_angle_r"].argmax(), len(vasti)
    assert vasti[bottom] > 3 * vasti[0] and abs(vasti.argmax() - bottom) < 0.15 * end
    assert result.motion.time.shape == squat.time.shape and result.record["deviation_deg"]["mean"] < 4


def test_same_input_same_answer(model, squat, solution):
    again = track(model, squat, intervals=COARSE)
    assert np.array_equal(again.motion.values, solution[0].motion.values)
    assert np.array_equal(again.ground_forces, solution[0].ground_forces)


@pytest.mark.slow
def test_both_transcriptions_solve_the_squat_alike(model, squat):
    """The same optimum, but for the actuators' lag, which collocation approximates; the gap closes with the
    mesh (2 % of the cost at 20 intervals)."""
    one, other = (
        track(model, squat, intervals=30, settings=replace(PRESETS["squat"], transcription=t))
        for t in ("condensed", "radau")
    )
    assert one.status == other.status == "Solve_Succeeded"
    assert other.record["unknowns"] > 2 * one.record["unknowns"]
    assert np.isclose(one.record["objective"], other.record["objective"], rtol=0.005)
    assert np.sqrt(((one.motion.activations() - other.motion.activations()) ** 2).mean()) < 0.003


def inside(layout, u, h, scale):
    """The long vector of a Radau layout that holds a condensed solution u (SI units), its inner points
    included."""
    x = np.zeros(layout.size)
    mesh = h * np.arange(layout.intervals + 1)
    for name, index in layout.at.items():
        x[index] = u[name] / scale[name]
    for r, c in enumerate((0.15505102572168, 0.64494897427832, 1.0)):
        v = between(mesh, u, mesh[:-1] + c * h)
        for name, index in layout.inner.items():
            x[index[:, r]] = v[name] / scale[name]
    return x


def test_a_condensed_solution_solves_the_radau_problem_at_the_same_cost(squat, solution):
    """The actuators' lag apart, an exponential that a cubic only approximates."""
    _, mesh, u = solution
    h, scale = (mesh[1] - mesh[0],
                tracking.scales(*tracking.limits(u["q"], u["qd"], np.r_[u["qdd"], u["qdd"][-1:]])))
    wanted = {name: np.zeros((COARSE + 1, 33)) for name in ("q", "qd", "qdd")}
    layout, short = Layout(COARSE, "radau"), Layout(COARSE)
    x, y = inside(layout, u, h, scale), np.zeros(short.size)
    for name, index in short.at.items():
        y[index] = u[name] / scale[name]
    costs = [
        0.5 * z @ (j.matrix @ z) + j.linear @ z + j.constant
        for z, j in ((x, cost(layout, h, scale, wanted, Settings())),
                     (y, cost(short, h, scale, wanted, Settings())))
    ]
    assert np.isclose(*costs, rtol=1e-6)
    rows = Linear()
    radau(rows, layout, h, scale)
    matrix = rows.finish(layout.size).matrix
    of_actuators = (
        np.asarray(
            abs(matrix[:, np.r_[layout.at["actuator"].ravel(), layout.inner["actuator"].ravel()]]).sum(1)
        ).ravel()
        > 0
    )
    assert np.abs(matrix @ x)[~of_actuators].max() < 1e-5  # what the solver left


@pytest.mark.parametrize("intervals", [1, 4])
def test_condensed_solutions_satisfy_radau_rows(intervals):
    rng, h = np.random.default_rng(0), 0.07
    scale = {name: rng.uniform(0.5, 2, 33) for name in ("q", "qd", "qdd")}
    layout = Layout(intervals, "radau")
    x = rng.normal(size=layout.size)
    at, inner = layout.at, layout.inner
    for k in range(intervals):  # roll the condensed rows forward
        x[at["q"][k + 1]] = (
            x[at["q"][k]]
            + (h * x[at["qd"][k]] * scale["qd"] + h * h / 2 * x[at["qdd"][k]] * scale["qdd"]) / scale["q"]
        )
        x[at["qd"][k + 1]] = x[at["qd"][k]] + h * x[at["qdd"][k]] * scale["qdd"] / scale["qd"]
        x[at["a"][k + 1]] = x[at["a"][k]] + h * tracking.ACTIVATION_RATE * x[at["da"][k]]
        x[at["F"][k + 1]] = x[at["F"][k]] + h * tracking.FORCE_RATE / tracking.MAX_FORCE * x[at["dF"][k]]
        x[at["actuator"][k + 1]] = (
            np.exp(-h / tracking.ACTUATOR_TIME) * x[at["actuator"][k]]
            + (1 - np.exp(-h / tracking.ACTUATOR_TIME)) * x[at["command"][k]]
        )
    rows = Linear()
    condensed(rows, at, h, scale)
    assert np.abs(rows.finish(layout.size).matrix @ x).max() < 1e-12
    for r, c in enumerate((0.15505102572168, 0.64494897427832, 1.0)):
        s = c * h
        x[inner["q"][:, r]] = (
            x[at["q"][:-1]]
            + (s * x[at["qd"][:-1]] * scale["qd"] + s * s / 2 * x[at["qdd"]] * scale["qdd"]) / scale["q"]
        )
        x[inner["qd"][:, r]] = x[at["qd"][:-1]] + s * x[at["qdd"]] * scale["qdd"] / scale["qd"]
        x[inner["a"][:, r]] = x[at["a"][:-1]] + s * tracking.ACTIVATION_RATE * x[at["da"]]
        x[inner["F"][:, r]] = x[at["F"][:-1]] + s * tracking.FORCE_RATE / tracking.MAX_FORCE * x[at["dF"]]
    rows = Linear()
    radau(rows, layout, h, scale)
    matrix = rows.finish(layout.size).matrix
    columns = np.r_[at["actuator"].ravel(), inner["actuator"].ravel()]
    of_actuators = np.asarray(abs(matrix[:, columns]).sum(1)).ravel() > 0
    assert np.abs(matrix @ x)[~of_actuators].max() < 1e-11


def test_cost_is_what_the_definition_says():
    """Against a direct sum over intervals, for random unknowns."""
    rng, n, h = np.random.default_rng(3), 3, 0.1
    layout, settings = Layout(n), Settings()
    scale = {name: rng.uniform(0.5, 2, 33) for name in ("q", "qd", "qdd")}
    wanted = {name: rng.normal(size=(n + 1, 33)) for name in scale}
    x = rng.normal(size=layout.size)
    j = cost(layout, h, scale, wanted, settings)
    found = 0.5 * x @ (j.matrix @ x) + j.linear @ x + j.constant
    u, total = layout.gather(x), 0.0
    weight = np.array([settings.coordinates[c[:-2] if c[-2:] in ("_l", "_r") else c] for c in COORDINATES])
    for name, factor in (("q", settings.position), ("qd", settings.velocity), ("qdd", settings.acceleration)):
        target = wanted[name][1:] / scale[name]
        if name == "q":
            target = target + x[layout.offset] * (np.arange(33) == HEIGHT) / scale["q"][HEIGHT]
        total += factor * h * (weight * (u[name][-n:] - target) ** 2).mean(1).sum()
    a0, a1 = u["a"][:-1], u["a"][1:]
    total += settings.activation * h * ((a0**2 + a0 * a1 + a1**2) / 3).mean(1).sum()
    for part in (u["qdd"], u["da"], u["dF"], u["command"][:, :3], u["command"][:, 3:], u["reserve"]):
        total += settings.regularisation * h * (part**2).mean(1).sum()
    assert np.isclose(found, total, rtol=1e-10)


def test_settle_finds_the_height_at_which_the_floor_carries_the_weight(model, squat):
    q = filtered_kinematics(squat)[0]
    lift = ground_offset(model, q)
    moved = q.copy()
    moved[:, HEIGHT] += lift
    carried = (
        sphere_forces(model.skeleton, body_motions(model.skeleton, moved, 0 * q, 0 * q)[0], Ground())[0][
            ..., 1]
        .sum(1)
        .mean()
    )
    assert np.isclose(carried, model.weight, rtol=1e-4)
    shifted = q.copy()
    shifted[:, HEIGHT] += 0.3
    assert np.isclose(ground_offset(model, shifted), lift - 0.3, atol=1e-6)


def test_floor_force_vanishes_in_the_air_and_opposes_sliding():
    zero = np.zeros((1, 3))
    air = contact_force(np.array([[0, 0.2, 0]]), zero, zero, 0.032)[0]
    assert np.abs(air).max() < 1e-4
    for slip in ([0.5, 0, 0], [0, 0, -0.3], [0.01, 0, 0.01]):
        force = contact_force(np.array([[0, 0.028, 0]]), np.array([slip]), zero, 0.032)[0][0]
        assert force[1] > 0 and force @ slip < 0
    rounded, corner = (
        contact_force(np.array([[0, 0.028, 0]]), np.array([[0.1, 0, 0]]), zero, 0.032,
                      Ground(friction_smoothing=s))[0]
        for s in (1e-3, 0.0)
    )
    assert np.allclose(rounded, corner, rtol=1e-2)


def test_a_part_that_is_no_whole_repetition_need_not_end_as_it_began(model, squat):
    half = track(model, squat, end=squat.time[squat["knee_angle_r"].argmax()], intervals=COARSE)
    assert half.status == "Solve_Succeeded"
    assert half.motion["pelvis_ty"][0] - half.motion["pelvis_ty"][-1] > 0.15


def test_presets_are_whole():
    for preset in PRESETS.values():
        assert {c[:-2] if c[-2:] in ("_l", "_r") else c for c in COORDINATES} == set(preset.coordinates)
    assert (
        PRESETS["gait"].cutoff_hz == 12
        and PRESETS["other"].cutoff_hz == 30
        and PRESETS["squat"] == Settings()
    )


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda m: Motion(np.linspace(0, 20, len(m.time)), m.values, m.names), "at most 15 s"),
        (lambda m: m.slice(0, 0.2), "0.50 s"),
        (lambda m: m.with_columns(("knee_angle_r",), (m["knee_angle_r"] + 2)[:, None]), "knee_angle_r"),
        (lambda m: m.with_columns(("pelvis_ty",), (m["pelvis_ty"] + 5 * m.time)[:, None]), "feet"),
    ],
)
def test_refused(model, squat, change, message):
    with pytest.raises(InputError, match=message):
        track(model, change(squat), intervals=COARSE)


def test_without_a_first_guess_the_same_problem_is_not_solved_twice(model, squat, monkeypatch):
    hurried = replace(PRESETS["squat"], max_iterations=2)
    assert track(model, squat, intervals=COARSE, settings=hurried).record["attempts"] == 3
    monkeypatch.setattr(tracking, "_guess", lambda *_: {})
    assert track(model, squat, intervals=COARSE, settings=hurried).record["attempts"] == 1


def test_an_unsolved_problem_says_so(model, squat):
    result = track(model, squat, intervals=COARSE, settings=replace(PRESETS["squat"], max_iterations=2))
    assert result.status == "Maximum_Iterations_Exceeded"


# feet that swing, and a seat


def seated(model, v):
    "A seat 2 cm above the lowest points of the hips of unknowns v."
    return float(hip_heights(model.skeleton, v["q"]).min() - SEAT_RADIUS + 0.02)


def test_a_seat_is_in_the_symbols_as_in_the_numbers(model):
    v = some_unknowns()
    height = seated(model, v)
    numbers = np.concatenate(equations(model, v, Settings(), Seat(height, 0.4)), 1)[0] * tracking._row_scale()
    without = np.concatenate(equations(model, v, Settings()), 1)[0] * tracking._row_scale()
    nodes = NodeFunctions(model, Settings(), friction=0.4)
    z = np.concatenate([v[name][0] for name in CONTROLS | STATES])
    found = np.asarray(nodes.value(z, np.append(ONES, height))).ravel()
    assert np.allclose(found, numbers, rtol=1e-9, atol=1e-9) and np.abs(numbers - without).max() > 1
    free = np.asarray(nodes.value(z, np.append(ONES, height - 1))).ravel()
    assert np.allclose(free, without, atol=1e-3)


def test_the_seat_takes_from_the_residual_force_what_it_gives(model):
    v = some_unknowns()
    seat = Seat(seated(model, v))
    poses, axes = body_motions(model.skeleton, v["q"], v["qd"], v["qdd"])
    force = support_forces(model.skeleton, poses, Ground(), seat)[0][:, 12:]
    with_seat, without = (equations(model, v, Settings(), s)[0] for s in (seat, None))
    assert force[..., 1].sum() > 50
    assert np.allclose((without - with_seat)[:, 3:6], force.sum(1), atol=1e-6)


@pytest.mark.parametrize("heels, least", [((True, True), [5, 5]), ((False, True), [-np.inf, 5]),
                                          ((False, False), [-np.inf, -np.inf])])
def test_no_heel_force_is_demanded_of_a_foot_that_swings(heels, least):
    support = Support(np.zeros((1, 12), bool), 0.0, heels)
    assert least_heel_forces(PRESETS["squat"], support).tolist() == least
    assert least_heel_forces(replace(PRESETS["squat"], heel_force_n=0), support).tolist() == [-np.inf] * 2


@pytest.mark.slow
def test_a_chair_in_the_coarse(model):
    """Rising from a seat: carried by it, then by the feet; equations kept."""
    made = analytic_squat(reps=1, depth_deg=80)
    q = made.coordinates()[made["knee_angle_r"].argmax():]
    q = np.concatenate([q[:1].repeat(30, 0), q])
    rise = Motion.from_arrays(np.arange(len(q)) / made.rate_hz, q, source="chair")
    chair = {"l": "planted", "r": "planted", "seat": {"height": "recorded", "friction": 0.5}}
    settings = replace(PRESETS["squat"], heel_force_n=0, periodic=())
    result = track(model, rise, intervals=COARSE, settings=settings, contacts=chair)
    seat = result.seat_forces[..., 1].sum(1) / model.weight
    assert result.status == "Solve_Succeeded" and result.record["seat"]["friction"] == 0.5
    assert seat[10:20].min() > 0.1  # a squat in balance, so the feet could carry all of it
    assert seat[-20:].max() < 0.01
    assert result.vertical_force.mean() == pytest.approx(1, abs=0.05)
