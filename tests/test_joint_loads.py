"""Muscle paths against OpenSim's lengths, and joint contact forces against its JointReaction."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from bige.dataset import reference
from bige.dynamics import MusculoskeletalModel, body_motions
from bige.external_load import loaded_skeleton, read_load
from bige.files import InputError
from bige.joint_loads import (CUTS, NO_WRAP, Cylinder, Route, contact_forces, coordinate_rates, joint_forces,
                              joint_loads, load_columns, load_figures, loaded_joints, muscle_forces,
                              read_paths, shipped_paths, wrap_line)
from bige.motion import COORDINATES, GRAVITY, TRANSLATIONS, Motion, example_squat, read_motion
from bige.muscles import LEG_COLUMNS, MUSCLE_NAMES, default_geometry
from bige.opensim_process import run_opensim
from bige.segmentation import segment
from bige.static_optimisation import solve_qp

needs_opensim = pytest.mark.skipif(importlib.util.find_spec("opensim") is None,
                                   reason="OpenSim is not installed (pip install --no-deps opensim==4.6)")
AT_THE_BOTTOM = 1.0, 1.6  # s of the example squat


@pytest.fixture(scope="module")
def model():
    return MusculoskeletalModel()


@pytest.fixture(scope="module")
def result(model):
    return solve_qp(model, example_squat(), *AT_THE_BOTTOM)


def random_poses(model, count):
    """Poses within the model's ranges, at rest."""
    q = np.random.default_rng(3).uniform(*np.clip(model.skeleton.ranges, -2, 2).T, (count, 33))
    return body_motions(model.skeleton, q, 0 * q, 0 * q)[0]


# ---- paths

def test_paths_have_the_lengths_that_opensim_gave(model):
    geometry = default_geometry()
    q = np.zeros((len(geometry.check_angles), 33))
    for side in "lr":
        q[:, LEG_COLUMNS[side]] = geometry.check_angles
    poses, paths = body_motions(model.skeleton, q, 0 * q, 0 * q)[0], shipped_paths()
    lengths = np.stack([Route(paths[name], poses).length for name in MUSCLE_NAMES], 1)
    off = np.abs(lengths - geometry.check_lengths)
    single = [len(paths[name].wraps) < 2 for name in MUSCLE_NAMES]
    assert off[:, single].max() < 1e-9
    # beyond 60 degrees a gastrocnemius touches one of its two cylinders
    assert off[geometry.check_angles[:, 3] > np.deg2rad(60)].max() < 1e-6


def test_a_models_own_paths_are_those_that_ship(shared, model):
    own, mine = read_paths(shared / "models" / "LaiUhlrich2022.osim"), shipped_paths()
    assert list(own) == list(MUSCLE_NAMES) and set(mine) == set(own)
    for name, path in own.items():
        assert path.bodies == mine[name].bodies
        np.testing.assert_allclose(path.points, mine[name].points, atol=1e-12)
        assert [w[1:] for w in path.wraps] == [w[1:] for w in mine[name].wraps]
    poses = random_poses(model, 30)
    for name in MUSCLE_NAMES:
        np.testing.assert_allclose(Route(own[name], poses).length, Route(mine[name], poses).length, atol=1e-9)


@pytest.mark.parametrize("old, new, said", [
    ("<PathPoint name=\"soleus_r-P1\">", "<MovingPathPoint name=\"soleus_r-P1\">", "MovingPathPoint"),
    ("WrapCylinder name=\"GasMed_at_condyles_r\"", "WrapSphere name=\"GasMed_at_condyles_r\"",
     "GasMed_at_condyles_r"),
    ("<socket_parent_frame>/bodyset/calcn_r<", "<socket_parent_frame>/jointset/ankle_r/talus_r_offset<",
     "talus_r_offset")])
def test_what_the_paths_cannot_hold_is_one_named_error(old, new, said, shared, tmp_path):
    text = (shared / "models" / "LaiUhlrich2022.osim").read_text()
    at = text.index(old) if "socket" not in old else text.index(old, text.index('name="soleus_r"'))
    text = text[:at] + new + text[at + len(old):]
    for tag in ("PathPoint", "WrapCylinder"):
        if old.strip("<").startswith(tag):
            end = text.index(f"</{tag}>", at)
            other = new.strip("<").split()[0]
            text = text[:end] + f"</{other}>" + text[end + len(tag) + 3:]
    (tmp_path / "model.osim").write_text(text)
    with pytest.raises(InputError, match=said):
        read_paths(tmp_path / "model.osim")


@pytest.mark.parametrize("quadrant", ["all", "x", "-x", "+y", "-y"])
@pytest.mark.parametrize("shortest", [False, True])
def test_wrapped_lines_are_tangents(quadrant, shortest):
    a, b = np.random.default_rng(5).uniform(-0.1, 0.1, (2, 2000, 3))
    cylinder = Cylinder("femur_r", np.eye(3), np.zeros(3), 0.03, 1.0, quadrant)
    wrap = wrap_line(cylinder, a, b, shortest)
    some = wrap.kind != NO_WRAP
    assert 200 < some.sum() < 1800
    for end, touch in ((a, wrap.first), (b, wrap.last)):
        assert np.abs(np.hypot(*touch.T[:2]) - 0.03)[some].max() < 1e-9
        assert np.abs((touch * (end - touch))[:, :2].sum(1))[some].max() < 1e-9
    way = np.linalg.norm(wrap.first - a, axis=1) + wrap.arc + np.linalg.norm(wrap.last - b, axis=1)
    straight = np.linalg.norm(b - a, axis=1)
    assert (way - straight)[some].min() > -1e-9
    if quadrant == "all":  # nothing tells the two ends apart
        back = wrap_line(cylinder, b, a, shortest)
        np.testing.assert_array_equal(wrap.kind, back.kind)
        np.testing.assert_allclose(wrap.first[some], back.last[some], atol=1e-9)
        assert set(wrap.kind[some]) == {CUTS}


def test_a_line_beyond_the_ends_of_a_cylinder_or_from_inside_is_straight():
    short = Cylinder("femur_r", np.eye(3), np.zeros(3), 0.03, 0.1, "all")
    a, b = np.array([[-0.1, 0.01, 0.2]]), np.array([[0.1, 0.01, 0.2]])
    assert wrap_line(short, a, b).kind[0] == NO_WRAP
    assert wrap_line(short, a * [1, 1, 0], b * [1, 1, 0]).kind[0] == CUTS
    assert wrap_line(short, a * [0.1, 1, 0], b * [1, 1, 0]).kind[0] == NO_WRAP


def test_muscles_pull_the_body_nowhere_as_a_whole(model):
    poses = random_poses(model, 20)
    forces = muscle_forces(shipped_paths(), poses, np.random.default_rng(4).uniform(0, 1e3, (20, 80)))
    assert np.abs(sum(forces.values())).max() < 1e-8
    assert min(np.abs(forces[name]).max() for name in ("pelvis", "patella_l", "calcn_r", "toes_l")) > 100


# ---- forces

def test_without_muscles_a_still_joint_carries_what_lies_beyond_it(model):
    skeleton, poses = model.skeleton, random_poses(model, 5)
    forces = joint_forces(skeleton, poses, {})
    beyond = {"torso": [b for b in skeleton.bodies if not b.startswith(
        ("pelvis", "femur", "patella", "tibia", "talus", "calcn", "toes"))],
        "tibia_r": ["tibia_r", "talus_r", "calcn_r", "toes_r"], "patella_l": ["patella_l"]}
    for body, bodies in beyond.items():
        weight = sum(skeleton.bodies[b].mass for b in bodies) * GRAVITY
        np.testing.assert_allclose(forces[body], np.tile([0, weight, 0], (5, 1)), atol=1e-9)


def test_the_pelvis_is_left_with_the_residual_force(model, result):
    poses, _ = body_motions(model.skeleton, result.motion.coordinates(), *coordinate_rates(result))
    outside = muscle_forces(shipped_paths(), poses, result.tendon_forces)
    for body, force in contact_forces(model.skeleton, result).items():
        outside[body] = outside[body] + force
    at_pelvis = joint_forces(model.skeleton, poses, outside)["pelvis"]
    residual = np.stack([result.moments[:, COORDINATES.index(name)] for name in TRANSLATIONS], 1)
    inner = slice(6, -6)  # the whole trial was filtered before the part was cut out
    assert np.abs(at_pelvis - residual)[inner].max() < 0.02 * model.weight


def test_a_seat_pushes_on_the_pelvis_and_on_no_joint_of_the_leg(model, result):
    force = np.tile([[0.0, 150.0, 5.0], [0.0, 200.0, -5.0]], (len(result.motion.time), 1, 1))
    seated = replace(result, seat_forces=force, seat_points=0 * force)
    np.testing.assert_allclose(contact_forces(model.skeleton, seated)["pelvis"][3], [0, 350, 0])
    for joint, load in joint_loads(model, seated).items():
        np.testing.assert_array_equal(load, joint_loads(model, result)[joint])


def test_columns_name_joint_and_body_and_figures_are_of_the_size(model, result):
    loads = joint_loads(model, result)
    names, values = load_columns(loads)
    assert len(loads) == len(loaded_joints(model.skeleton)) == 9
    k = names.index("patellofemoral_l_on_patella_l_fx")
    np.testing.assert_array_equal(values[:, k : k + 3], loads["patellofemoral_l_on_patella_l"])
    time = np.linspace(0, 2, 101)
    force = np.stack([3 * np.sin(np.pi * time / 2), 4 * np.sin(np.pi * time / 2), 0 * time], 1)
    figures = load_figures({"hip_r_on_femur_r": force}, time, 10.0)["hip_r"]
    assert figures["peak_n"] == 5 and figures["peak_bw"] == 0.5 and figures["peak_at_s"] == 1
    assert abs(figures["impulse_n_s"] - 20 / np.pi) < 0.06
    assert abs(figures["impulse_bw_s"] - 2 / np.pi) < 0.006


def test_forces_of_the_first_interval_are_those_of_its_end(model, result):
    free = result.tendon_forces.copy()
    free[:4] *= 10  # no equation of the tracking problem binds them there
    record = result.record | {"intervals": round(np.ptp(result.motion.time) / (4 / 60))}
    tracked = joint_loads(model, replace(result, tendon_forces=free, record=record))
    bound = joint_loads(model, result)
    for joint, force in tracked.items():
        np.testing.assert_array_equal(force[4:], bound[joint][4:])
        np.testing.assert_array_equal(force[:4], np.tile(bound[joint][4], (4, 1)))


def test_a_still_barbell_presses_on_the_joints_below_it(model):
    poses, heavier = random_poses(model, 5), loaded_skeleton(model.skeleton, read_load("barbell:40"))
    alone, with_bar = (joint_forces(skeleton, poses, {}) for skeleton in (model.skeleton, heavier))
    np.testing.assert_allclose((with_bar["torso"] - alone["torso"])[:, 1], 40 * GRAVITY)
    np.testing.assert_allclose(with_bar["tibia_r"], alone["tibia_r"])


# ---- OpenSim

def opensim_joint_reactions(model_path, given, out, names):
    """(runs inside OpenSim) JointReaction on each child in its frame; prints how far udot is off."""
    import numpy as np, opensim as osim, os

    osim.Logger.setLevelString("error")
    data = np.load(given)
    time, q, qd, qdd, tensions = (data[k] for k in ("time", "q", "qd", "qdd", "tensions"))
    coordinates, muscles, spheres, joints = names
    model = osim.Model(model_path)
    for i in range(model.getForceSet().getSize()):
        if model.getForceSet().get(i).getName() not in muscles:
            model.updForceSet().get(i).set_appliesForce(False)
    for i in range(model.getCoordinateSet().getSize()):
        coordinate = model.getCoordinateSet().get(i)
        if coordinate.getName().removesuffix("_beta") not in coordinates:
            coordinate.set_locked(True)  # held still, as in our skeleton
    for name in coordinates:
        actuator = osim.CoordinateActuator(name)
        actuator.setName("residual_" + name)
        actuator.setOptimalForce(1.0)
        model.addForce(actuator)

    def functions(columns):
        made = [osim.PiecewiseLinearFunction() for _ in range(3)]
        for function, column in zip(made, columns):
            for t, v in zip(time, column):
                function.addPoint(float(t), float(v))
        return made

    for k, body in enumerate(spheres):
        push = osim.PrescribedForce("ground_" + str(k), model.getBodySet().get(body))
        push.setForceFunctions(*functions(data["forces"][:, k].T))
        push.setPointFunctions(*functions(data["points"][:, k].T))
        push.setForceIsInGlobalFrame(True)
        push.setPointIsInGlobalFrame(True)
        model.addForce(push)
    state, found = model.initSystem(), model.getCoordinateSet()
    handles = [[found.get(n) for n in (c, c + "_beta") if found.contains(n)] for c in coordinates]
    place = {}
    for h in (h for coupled in handles for h in coupled):
        state.setU(osim.Vector(state.getNU(), 0.0))
        h.setSpeedValue(state, 1.0)
        place[h.getName()] = int(np.argmax(np.abs(state.getU().to_numpy())))
    columns = [*muscles, *("residual_" + c for c in coordinates)]
    actuators = [osim.ScalarActuator.safeDownCast(model.getForceSet().get(n)) for n in columns]
    for a in actuators:
        a.overrideActuation(state, True)
    solver, table, off = osim.InverseDynamicsSolver(model), np.zeros((len(time), len(columns))), 0.0

    def pose(n):
        state.setTime(float(time[n]))
        wanted = osim.Vector(state.getNU(), 0.0)
        for i, coupled in enumerate(handles):
            for h in coupled:
                h.setValue(state, float(q[n, i]), False)
                h.setSpeedValue(state, float(qd[n, i]))
                wanted.set(place[h.getName()], float(qdd[n, i]))
        return wanted

    def act(forces):
        for a, force in zip(actuators, forces):
            a.setOverrideActuation(state, float(force))

    for n in range(len(time)):
        wanted = pose(n)
        act([*tensions[n], *np.zeros(len(coordinates))])
        need = solver.solve(state, wanted).to_numpy()
        table[n] = [*tensions[n], *(sum(need[place[h.getName()]] for h in coupled) for coupled in handles)]
        act(table[n])
        model.realizeAcceleration(state)
        off = max(off, float(np.abs(state.getUDot().to_numpy() - wanted.to_numpy()).max()))
    others = [a.getName() for a in model.getActuators() if a.getName() not in columns]
    table = np.column_stack([time, table, np.zeros((len(time), len(others)))])
    with open(out + ".sto", "w") as file:
        head = "forces\nversion=1\nnRows=%d\nnColumns=%d\ninDegrees=no\nendheader\n" % table.shape
        file.write(head + "\t".join(["time", *columns, *others]) + "\n")
        np.savetxt(file, table, "%.17g", "\t")

    def strings(values):
        array = osim.ArrayStr()
        for v in values:
            array.append(v)
        return array

    reaction = osim.JointReaction()
    reaction.setName("JointReaction")
    reaction.setForcesFileName(out + ".sto")
    reaction.setJointNames(strings(joints))
    reaction.setOnBody(strings(["child"]))
    reaction.setInFrame(strings(["child"]))
    reaction.setModel(model)
    for n in range(len(time)):
        pose(n)
        model.realizePosition(state)
        reaction.begin(state) if n == 0 else reaction.step(state, n)
    reaction.printResults(os.path.basename(out), os.path.dirname(out))
    print("off", off)


def differences_from_opensim(model, path, results, folder, every=1):
    """For each result, joint -> largest difference of a component from OpenSim's, over the peak of the force
    there; every k-th frame."""
    skeleton, some, bodies = model.skeleton, slice(None, None, every), loaded_joints(model.skeleton)
    parts = [{"q": r.motion.coordinates()[some], "tensions": r.tendon_forces[some],
              "forces": r.ground_forces[some], "points": r.contact_points[some]}
             | {name: rate[some] for name, rate in zip(("qd", "qdd"), coordinate_rates(r))} for r in results]
    given = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    time = 0.01 * np.arange(len(given["q"]))  # rates are given, so frames of all results fit in one row
    np.savez(folder / "given.npz", time=time, **given)
    joints = {j.child: j.name for j in skeleton.tree + skeleton.coupled}
    names = [list(COORDINATES), list(MUSCLE_NAMES), [s.body for s in skeleton.contacts],
             [joints[body] for body in bodies.values()]]
    printed = run_opensim(opensim_joint_reactions, str(path), str(folder / "given.npz"),
                          str(folder / "forces"), names)
    assert float(printed.split("off")[1]) < 1e-6  # rad/s2: its accelerations are ours
    head, _, rows = (folder / "forces_JointReaction_ReactionLoads.sto").read_text().partition("endheader\n")
    head, *rows = rows.strip().split("\n")
    table = dict(zip(head.split("\t"), np.array([row.split() for row in rows], float).T))
    assert np.allclose(table["time"], time)
    found, first = [], 0
    for result, part in zip(results, parts):
        loads, frames = joint_loads(model, result), slice(first, first + len(part["q"]))
        first = frames.stop
        found.append({})
        for joint, body in bodies.items():
            columns = [f"{joints[body]}_on_{body}_in_{body}_f{axis}" for axis in "xyz"]
            expected = np.stack([table[column][frames] for column in columns], 1)
            off = np.abs(loads[f"{joint}_on_{body}"][some] - expected).max()
            found[-1][joint] = off / np.linalg.norm(expected, axis=1).max()
    return found


@needs_opensim
def test_joint_loads_agree_with_joint_reaction(shared, tmp_path):
    path = shared / "models" / "LaiUhlrich2022.osim"
    model = MusculoskeletalModel(path)
    result = solve_qp(model, example_squat(), *AT_THE_BOTTOM)
    off, = differences_from_opensim(model, path, [result], tmp_path, every=3)
    assert max(off.values()) < 0.01, off


@needs_opensim
@pytest.mark.slow
def test_twenty_repetitions_agree_with_joint_reaction(shared, tmp_path):
    path, data = shared / "models" / "LaiUhlrich2022.osim", reference()
    model, results = MusculoskeletalModel(path), []
    for n in np.linspace(0, len(data) - 1, 20).astype(int):
        q = data.kinematics[n][data.mask[n]].astype(float)[::3]
        motion = Motion.from_arrays(3 / data.rate_hz[n] * np.arange(len(q)), q, source=data.trials[n])
        results.append(solve_qp(model, motion))
    found = differences_from_opensim(model, path, results, tmp_path, every=2)
    worst = {joint: f"{max(off[joint] for off in found):.2%}" for joint in found[0]}
    print(len(found), "repetitions", worst, flush=True)
    assert max(max(off.values()) for off in found) < 0.01, worst


SQUATS = {"labval_s4_62.6kg/squat": ("squats1_manual_scaling_ik.mot", "manually_scaled.osim"),
          "kirsten_75.3kg/squat": ("DLS01_ik.mot", "final.osim"),
          "labval_s2_78.2kg/squat": ("squats1_videoAndMocap.mot", "LaiArnoldModified2017_contacts.osim"),
          "fieldstudy_s0_72kg/squat": ("Squats_0.mot",
                                       "LaiArnoldModified2017_poly_withArms_weldHand_scaled.osim")}


@needs_opensim
@pytest.mark.slow
@pytest.mark.parametrize("folder", SQUATS)
@pytest.mark.filterwarnings("ignore")
def test_joint_loads_with_own_models_agree_with_joint_reaction(folder, shared, tmp_path):
    trial, file = SQUATS[folder]
    model, motion = MusculoskeletalModel(shared / folder / file), read_motion(shared / folder / trial)
    start, end = segment(motion).segments[0]
    part, every = motion.frames(start, end), max(1, round(motion.rate_hz / 20))
    coarse = Motion.from_arrays(motion.time[part][::every], motion.coordinates()[part][::every])
    result = solve_qp(model, coarse)
    off, = differences_from_opensim(model, shared / folder / file, [result], tmp_path)
    print(folder, {name: f"{share:.2%}" for name, share in off.items()}, flush=True)
    assert max(off.values()) < 0.01, off
