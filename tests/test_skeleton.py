"""The skeleton against OpenSim, nimblephysics and closed forms; its files, errors, feet and gradients."""

import gzip
import importlib.util
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bige.files import InputError
from bige.motion import COORDINATES, analytic_squat, example_squat
from bige.opensim_process import run_opensim
from bige.geometry import Curve
from bige.ground_contact import (contact_weights, ground_height, plant_feet, plant_with_contacts,
                                 sliding_speed, soft_lowest)
from bige.skeleton import Chain, Skeleton, standard_spheres

torch = pytest.importorskip("torch")
REPO = Path(__file__).resolve().parents[1]


def upgrade(path, out):
    """(runs inside OpenSim) The model as OpenSim writes it."""
    import opensim

    opensim.Logger.setLevelString("off")
    opensim.Model(path).printToXML(out)


def kinematics_in_opensim(path, asked_path, answer_path):
    """(runs inside OpenSim) Bodies, joint centres, markers and centre of mass at poses; `_beta` follows its
    coordinate."""
    import numpy as np
    import opensim

    opensim.Logger.setLevelString("off")
    asked, model = np.load(asked_path), opensim.Model(path)
    state, coordinates = model.initSystem(), model.getCoordinateSet()
    bodies, joints, markers = (list(map(str, asked[k])) for k in ("bodies", "joints", "markers"))
    for i in range(coordinates.getSize()):
        coordinates.get(i).setLocked(state, False)

    def vector(v):
        return [v.get(i) for i in range(3)]

    out = {k: [] for k in ("R", "p", "c", "m", "com")}
    for q in asked["q"]:
        for name, value in zip(map(str, asked["names"]), q):
            for moved in (name, name + "_beta"):
                if coordinates.contains(moved):
                    coordinates.get(moved).setValue(state, float(value), False)
        model.realizePosition(state)
        frames = [model.getBodySet().get(b).getTransformInGround(state) for b in bodies]
        centres = [model.getJointSet().get(j).getChildFrame() for j in joints]
        out["R"].append([[[X.R().get(i, j) for j in range(3)] for i in range(3)] for X in frames])
        out["p"].append([vector(X.p()) for X in frames])
        out["c"].append([vector(c.getPositionInGround(state)) for c in centres])
        out["m"].append([vector(model.getMarkerSet().get(m).getLocationInGround(state)) for m in markers])
        out["com"].append(vector(model.calcMassCenterPosition(state)))
    np.savez(answer_path, **{k: np.array(v, float) for k, v in out.items()})


def in_opensim(function, *arguments):
    python = os.environ.get("BIGE_OPENSIM_PYTHON", sys.executable)
    if python == sys.executable and importlib.util.find_spec("opensim") is None:
        pytest.skip("opensim is not installed: pip install opensim")
    run_opensim(function, *map(str, arguments))


def opensim(path, folder, **asked):
    """What OpenSim says, in a process of its own."""
    np.savez(folder / "asked.npz", **asked)
    in_opensim(kinematics_in_opensim, Path(path).resolve(), folder / "asked.npz", folder / "answer.npz")
    return np.load(folder / "answer.npz")


def random_poses(skeleton, n=200, beyond=0.2):
    low, high = np.clip(skeleton.ranges, -5, 5).T
    return np.random.default_rng(0).uniform(low - beyond, high + beyond, (n, len(COORDINATES)))


def assert_like_opensim(path, folder):
    skeleton = Skeleton.from_osim(path)
    q, bodies = random_poses(skeleton), skeleton.body_names + tuple(j.child for j in skeleton.coupled)
    truth = opensim(path, folder, names=COORDINATES, q=q, bodies=bodies, joints=skeleton.joint_names,
                    markers=skeleton.marker_names)
    X = skeleton.body_transforms(q, bodies)
    assert abs(X[..., :3, :3] - truth["R"]).max() < 1e-9
    assert abs(X[..., :3, 3] - truth["p"]).max() < 1e-9
    assert abs(skeleton.joint_centres(q) - truth["c"]).max() < 1e-9
    assert abs(skeleton.centre_of_mass(q) - truth["com"]).max() < 1e-9
    if skeleton.markers:
        assert abs(skeleton.marker_positions(q) - truth["m"]).max() < 1e-9


def assert_like_nimble(path):
    """Joint centres and their Jacobian, within range: beyond a spline's end nimblephysics does not follow
    OpenSim."""
    nimble = pytest.importorskip("nimblephysics")
    skeleton = Skeleton.from_osim(path)
    peer = nimble.biomechanics.OpenSimParser.parseOsim(str(path)).skeleton
    names = [peer.getDofByIndex(i).getName() for i in range(peer.getNumDofs())]
    columns, joints = [names.index(c) for c in COORDINATES], [peer.getJoint(j) for j in skeleton.joint_names]
    q = random_poses(skeleton, beyond=0)
    centres = skeleton.joint_centres(q)
    for k, pose in enumerate(q):
        full = np.zeros(len(names))
        full[columns] = pose
        peer.setPositions(full)
        assert abs(peer.getJointWorldPositions(joints) - centres[k].ravel()).max() < 1e-9
    jacobian = torch.autograd.functional.jacobian(skeleton.joint_centres, torch.tensor(q[-1])).reshape(
        -1, len(COORDINATES))
    assert (
        abs(peer.getJointWorldPositionsJacobianWrtJointPositions(joints)[:, columns] - jacobian.numpy()).max()
        < 1e-9
    )


@pytest.fixture(scope="session")
def wheel() -> Path:
    """Rajagopal2015, in the old layout, from the nimblephysics wheel."""
    found = importlib.util.find_spec("nimblephysics")
    if found is None:
        pytest.skip("nimblephysics is not installed: pip install nimblephysics")
    return Path(found.submodule_search_locations[0]) / "models" / "rajagopal_data" / "Rajagopal2015.osim"


@pytest.fixture(scope="session")
def rajagopal(wheel):
    return Skeleton.from_osim(wheel)


@pytest.fixture(scope="session")
def default():
    return Skeleton.default()


SHARED_MODELS = (
    "models/LaiUhlrich2022.osim", "models/LaiUhlrich2022_Vicon_39.osim",
    "models/LaiArnoldModified2017_poly_withArms_weldHand_generic.osim", "kirsten_75.3kg/squat/final.osim",
    "labval_s2_78.2kg/squat/LaiArnoldModified2017_contacts.osim",
    "labval_s4_62.6kg/squat/unscaled_generic.osim", "labval_s4_62.6kg/squat/manually_scaled.osim",
    "fieldstudy_s0_72kg/squat/LaiArnoldModified2017_poly_withArms_weldHand_scaled.osim",
    "fieldstudy_s0_72kg/squat/LaiArnoldModified2017_poly_withArms_weldHand_scaled_adjustedMA_contacts.osim")


def test_every_shared_model_is_tested(shared):
    assert {str(p.relative_to(shared)) for p in shared.rglob("*.osim")} == set(SHARED_MODELS)


@pytest.mark.parametrize("model", SHARED_MODELS)
def test_shared_model_agrees_with_opensim(model, shared, tmp_path):
    assert_like_opensim(shared / model, tmp_path)


@pytest.mark.parametrize("model", SHARED_MODELS)
def test_shared_model_agrees_with_nimblephysics(model, shared):
    assert_like_nimble(shared / model)


def test_old_layout_agrees_with_nimblephysics(wheel):
    assert_like_nimble(wheel)


def test_old_layout_agrees_with_opensim_after_upgrade(wheel, tmp_path):
    """OpenSim's converter rounds joint orientations to six digits: compare on the model as it writes it."""
    in_opensim(upgrade, wheel, tmp_path / "upgraded.osim")
    assert_like_opensim(tmp_path / "upgraded.osim", tmp_path)
    q = random_poses(Skeleton.from_osim(wheel))
    rounding = abs(
        Skeleton.from_osim(wheel).joint_centres(q)
        - Skeleton.from_osim(tmp_path / "upgraded.osim").joint_centres(q)
    ).max()
    assert 1e-9 < rounding < 2e-5


def test_torch_equals_numpy(default):
    q = random_poses(default, 20).reshape(4, 5, -1)
    t = torch.tensor(q)
    for name in ("joint_centres", "body_transforms", "marker_positions", "contact_points", "centre_of_mass",
                 "lowest_point", "ground_height"):
        ours, theirs = getattr(default, name)(q), getattr(default, name)(t)
        assert ours.shape == tuple(theirs.shape) and ours.shape[0] == 4, name
        assert np.allclose(ours, theirs.numpy(), atol=1e-12), name


@pytest.mark.parametrize("shape", [(), (1,), (0,), (2, 3)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_batch_and_precision(default, shape, dtype):
    q = np.zeros((*shape, 33), dtype)
    for array in (q, torch.tensor(q)):
        for found, tail in ((default.joint_centres(array), (20, 3)), (default.contact_points(array), (12, 3)),
                            (default.body_transforms(array), (20, 4, 4))):
            assert tuple(found.shape) == shape + tail and found.dtype == array.dtype


def test_gradients(default, rajagopal):
    for skeleton in (default, rajagopal):
        q = torch.tensor(random_poses(skeleton, 1, beyond=-0.05), requires_grad=True)
        for f in (skeleton.joint_centres, skeleton.body_transforms, skeleton.contact_points,
                  skeleton.centre_of_mass, skeleton.lowest_point):
            assert torch.autograd.gradcheck(f, (q,))
    q = torch.tensor(analytic_squat(reps=1).coordinates()[40:46], requires_grad=True)
    assert torch.autograd.gradcheck(lambda q: default.sliding_speed(q, 60.0), (q,))
    location = torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: default.points(q.detach()[:2], ["hand_r"], x), (location,))


def test_legs_alone_give_the_same_points(default):
    q = random_poses(default, 5)
    whole = default.body_transforms(q)
    for body in ("pelvis", "toes_l", "hand_r"):
        assert np.array_equal(default.body_transforms(q, (body,))[:, 0],
                              whole[:, default.body_names.index(body)])
    unmoved = q.copy()
    unmoved[:, [c.startswith(("arm", "elbow", "pro", "lumbar")) for c in COORDINATES]] = 0
    assert np.array_equal(default.contact_points(q), default.contact_points(unmoved))


def test_rigid_motion_of_the_pelvis_moves_everything(default):
    q = random_poses(default, 5)
    moved = q.copy()
    moved[:, [COORDINATES.index(c) for c in ("pelvis_tx", "pelvis_ty", "pelvis_tz")]] += [1, 2, 3]
    for f in (default.joint_centres, default.contact_points, default.marker_positions):
        assert np.allclose(f(moved) - f(q), [1, 2, 3], atol=1e-12)


def test_spline_ends_follow_forsythe_malcolm_moler():
    x = np.array([0.0, 0.2, 0.5, 1.0, 1.4, 2.0])
    cubic = np.polynomial.Polynomial([1, -2, 0.5, 3])
    curve, fine = Curve.spline(x, cubic(x)), np.linspace(0, 2, 50)
    assert np.allclose(curve(fine), cubic(fine), atol=1e-12)
    assert np.isclose(curve(np.array(-1.0)), cubic(0) - cubic.deriv()(0)) and np.isclose(
        curve(np.array(3.0)), cubic(2) + cubic.deriv()(2))
    line = Curve.spline(np.array([0.0, 1.0]), np.array([2.0, 5.0]))
    assert np.allclose(line(np.array([-1.0, 0.5, 2.0])), [-1, 3.5, 8])


def test_a_changed_skeleton_moves_differently(default):
    """Nothing computed for the original may leak into a copy made from it."""
    q = np.zeros(33)
    before = default.joint_centres(q)
    longer = tuple(replace(j, p_PF=1.1 * j.p_PF) if j.name == "walker_knee_r" else j for j in default.tree)
    taller = replace(default, tree=longer)
    assert abs(taller.joint_centres(q) - before).max() > 0.03 and taller.digest != default.digest
    assert np.array_equal(default.joint_centres(q), before)


# --- files ---


def test_round_trip_and_bytes(default, tmp_path):
    for name in ("a.json", "a.json.gz"):
        default.save(tmp_path / name)
        again = Skeleton.load(tmp_path / name)
        again.save(tmp_path / f"b{name}")
        assert (tmp_path / name).read_bytes() == (tmp_path / f"b{name}").read_bytes()
        assert again.digest == default.digest and again.contacts[11].name == "s6_l"
        q = random_poses(default, 3)
        assert np.array_equal(again.contact_points(q), default.contact_points(q))


def test_default_equals_its_source(default, shared):
    source, markers = (
        Skeleton.from_osim(shared / "models" / f"{m}.osim")
        for m in ("LaiUhlrich2022", "LaiUhlrich2022_Vicon_39")
    )
    q = random_poses(default)
    assert default.digest == source.digest and default.muscles == source.muscles
    for name in ("joint_centres", "body_transforms", "contact_points", "centre_of_mass"):
        assert abs(getattr(default, name)(q) - getattr(source, name)(q)).max() <= 1e-12
    assert abs(default.marker_positions(q) - markers.marker_positions(q)).max() <= 1e-12
    assert np.array_equal(default.ranges, source.ranges)


def test_compile_script_gives_the_committed_asset(shared, tmp_path):
    models = shared / "models"
    subprocess.run(
        [
            sys.executable,
            REPO / "data_scripts" / "compile_skeleton.py",
            models / "LaiUhlrich2022.osim",
            "--markers",
            models / "LaiUhlrich2022_Vicon_39.osim",
            "--out",
            tmp_path / "skeleton.json.gz",
        ],
        check=True,
        env={**os.environ, "PYTHONPATH": str(REPO)},
        capture_output=True,
    )
    made, committed = (gzip.decompress(path.read_bytes()) for path in (
        tmp_path / "skeleton.json.gz", REPO / "bige" / "assets" / "skeleton.json.gz"))
    assert made == committed        # one byte of the header differs between versions of Python


def test_default_facts(default):
    assert abs(default.mass - 75.337) < 0.01 and len(default.muscles) == 80 and len(default.markers) == 39
    assert [s.name for s in default.contacts] == [f"s{i}_{side}" for side in "rl" for i in range(1, 7)]
    assert np.allclose(np.rad2deg(default.ranges[COORDINATES.index("knee_angle_r")]), [0, 140])
    standing = default.joint_centres(np.zeros(33))
    left, right = (standing[default.joint_names.index(f"ankle_{side}")] for side in "lr")
    assert np.allclose(left, right * [1, 1, -1], atol=1e-9) and -1 < right[1] < -0.7


@pytest.mark.parametrize("junk", [b"", b"{}", b"\x1f\x8b broken", b'{"format": "other"}', b"[1]"])
@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
def test_load_refuses_junk(junk, name, tmp_path):
    (tmp_path / name).write_bytes(junk)
    with pytest.raises(InputError):
        Skeleton.load(tmp_path / name)


@pytest.mark.parametrize(
    "old, new, words",
    [
        ('"knee_angle_r"', '"knee_flexion_r"', "knee_flexion_r"),
        ("CustomJoint", "BallJoint", "BallJoint"),
        ("SimmSpline", "StepFunction", "StepFunction"),
        ("<parent_body>ground</parent_body>", "<parent_body>moon</parent_body>", "pelvis"),
        ("<reverse>false", "<reverse>true", "revers"),
        ("OpenSimDocument", "Document", "Document"),
        ("<coefficients> 1 0</coefficients>", "<coefficients> one 0</coefficients>", "one"),
    ],
)
def test_from_osim_refuses(wheel, tmp_path, old, new, words):
    text = wheel.read_text()
    assert old in text
    (tmp_path / "bad.osim").write_text(text.replace(old, new))
    with pytest.raises(InputError, match=words) as error:
        Skeleton.from_osim(tmp_path / "bad.osim")
    assert "bad.osim" in str(error.value) and "\n" not in str(error.value)


def test_from_osim_refuses_what_is_no_model(wheel, tmp_path):
    bad = tmp_path / "bad.osim"
    for content in (b"", b"\x00\x01\x02", b"not xml", wheel.read_bytes()[:20000], b"<OpenSimDocument/>"):
        bad.write_bytes(content)
        with pytest.raises(InputError, match="bad.osim"):
            Skeleton.from_osim(bad)
    with pytest.raises(InputError, match="no such file"):
        Skeleton.from_osim(tmp_path / "absent.osim")
    with pytest.raises(InputError):
        Skeleton.from_osim(tmp_path)


@pytest.fixture(scope="session")
def model_text(default, tmp_path_factory) -> str:
    """The embedded skeleton as an .osim file."""
    from bige.inverse_kinematics import write_osim
    path = tmp_path_factory.mktemp("model") / "m.osim"
    write_osim(default, path)
    Skeleton.from_osim(path)
    return path.read_text(encoding="utf-8")


def in_body(name, tag, new):
    """A change of a body's child."""
    start = f'<Body name="{name}">'
    return lambda text: re.sub(f"({start}.*?)<{tag}>[^<]*", rf"\g<1><{tag}>{new}", text, count=1, flags=re.S)


def everywhere(tag, change):
    """A change of all numbers in a tag."""
    def changed(found):
        return f"<{tag}>" + " ".join(repr(change(float(cell))) for cell in found[1].split())
    return lambda text: re.sub(rf"<{tag}>([^<]*)", changed, text)


def bomb(text):
    """Entities that refer to the one before ten times each."""
    levels = "".join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 10}">' for i in range(9))
    head, body = text.split("?>", 1)
    return f'{head}?><!DOCTYPE m [<!ENTITY e0 "ha">{levels}]>{body}'.replace("<mass>", "<mass>&e9;", 1)


WRONG_MODELS = {
    "negative mass": (in_body("torso", "mass", "-20"), "Body torso.*mass of -20 kg"),
    "no mass": (in_body("torso", "mass", "0"), "Body torso.*0 kg"),
    "NaN mass": (in_body("torso", "mass", "nan"), "line .*Body torso, <mass>.*'nan'"),
    "underscore": (in_body("torso", "mass", "2_0"), "Body torso, <mass>.*'2_0'"),
    "grams": (everywhere("mass", lambda kg: 1000 * kg), r"75\d{3}\.\d kg.*15 to 250 kg.*grams"),
    "centimetres": (everywhere("translation", lambda m: 100 * m), "height of 168.9 m.*centimetres"),
    "impossible inertia": (in_body("torso", "inertia", "0.1 0.1 1.5 0 0 0"), "Body torso.*principal moments"),
    "scalar mass centre": (in_body("torso", "mass_center", "0.3"), "torso.*1 numbers in <mass_center>.*3"),
    "two bodies of one name": (lambda t: t.replace('<Body name="torso">', '<Body name="pelvis">'),
                               "line .*Body pelvis.*same name again"),
    "two joints of one name": (lambda t: t.replace('CustomJoint name="hip_l"', 'CustomJoint name="hip_r"'),
                               "hip_r.*same name again"),
    "reversed range": (lambda t: re.sub("<range>(\\S+) (\\S+)<", r"<range>\2 \1<", t, count=1),
                       "line .*a range from"),
    "zero axis": (lambda t: re.sub("<axis>[^<]*", "<axis>0 0 0", t, count=1), "line .*axis of length 0"),
    "an axis of two": (lambda t: re.sub("<axis>[^<]*", "<axis>0 1", t, count=1), "2 numbers in <axis>"),
    "circle": (lambda t: t.replace("socket_parent>/ground<", "socket_parent>/bodyset/toes_r<", 1), "circle"),
    "an arm at the ground": (
        lambda t: re.sub('(<CustomJoint name="elbow_l">.*?<socket_parent_frame>)parent', r"\g<1>/ground", t,
                         count=1, flags=re.S), "joint elbow_l.*another joint at the ground"),
    "axes of another name": (lambda t: t.replace("TransformAxis", "CustomAxis"), "axes missing"),
    "unknown encoding": (lambda t: t.replace("UTF-8", "klingon", 1), "line 1, .*(encoding|XML)"),
    "entities": (bomb, r"document type declaration \(DTD\)"),
    "depth": (lambda t: t.replace("<Model", "<a>" * 200 + "<Model", 1), "100 levels"),
    "elements": (lambda t: t.replace("<BodySet>", "<a/>" * 100_001 + "<BodySet>", 1), "100000 elements"),
}


@pytest.mark.parametrize("change, words", WRONG_MODELS.values(), ids=WRONG_MODELS)
def test_impossible_models_are_refused_by_name_and_line(model_text, tmp_path, change, words):
    text = change(model_text)
    assert text != model_text
    (tmp_path / "bad.osim").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words) as error:
        Skeleton.from_osim(tmp_path / "bad.osim")
    assert "bad.osim" in str(error.value)


def test_the_size_of_a_body_can_be_said_otherwise(model_text, tmp_path):
    """A model of a child, whose parts weigh a tenth."""
    light = everywhere("inertia", lambda x: x / 10)(everywhere("mass", lambda kg: kg / 10)(model_text))
    (tmp_path / "child.osim").write_text(light, encoding="utf-8")
    with pytest.raises(InputError, match="a body mass of 7.5 kg"):
        Skeleton.from_osim(tmp_path / "child.osim")
    assert abs(Skeleton.from_osim(tmp_path / "child.osim", mass_kg=(5, 250)).mass - 7.53) < 0.02


def test_wrong_poses_and_names(default):
    with pytest.raises(InputError, match="36"):
        default.joint_centres(np.zeros((5, 36)))
    with pytest.raises(InputError, match="tail"):
        default.points(np.zeros(33), ["tail"], [[0, 0, 0]])
    with pytest.raises(InputError, match="RASI"):
        default.marker_positions(np.zeros(33), ["RAS"])
    assert np.array_equal(default.marker_positions(np.zeros(33), ["rasi"]),
                          default.marker_positions(np.zeros(33), ["RASI"]))


# --- feet and ground ---


def test_spheres_of_prepared_models_are_the_standard_ones(shared):
    """The multiplier foot scale / 0.913924 reproduces the spheres of both models that carry some."""
    for model in SHARED_MODELS:
        skeleton = Skeleton.from_osim(shared / model)
        for own, ours in zip(skeleton.contacts, standard_spheres(skeleton.tree)):
            assert (own.name, own.body, own.radius) == (ours.name, ours.body, ours.radius)
            assert np.allclose(own.location, ours.location, atol=2e-8)


def test_contact_points_are_a_radius_below_the_centres(default):
    q = random_poses(default, 4)
    centres = default.points(q, [s.body for s in default.contacts], [s.location for s in default.contacts])
    assert np.allclose(centres - default.contact_points(q), [0, 0.032, 0])


def test_soft_lowest_between_lowest_and_mean():
    points = np.random.default_rng(0).normal(size=(50, 12, 3))
    soft = soft_lowest(points)[:, 1]
    assert (soft >= points[..., 1].min(1) - 1e-12).all() and (soft <= points[..., 1].mean(1)).all()
    flat = points * [1, 0, 1]
    assert np.allclose(soft_lowest(flat), flat.mean(1))
    assert abs(soft_lowest(points, 1e-5)[:, 1] - points[..., 1].min(1)).max() < 1e-4


def test_ground_is_the_median_and_moves_with_the_floor():
    points = np.random.default_rng(0).normal(size=(3, 7, 12, 3))
    assert np.allclose(ground_height(points), np.median(points[..., 1].min(-1), -1))
    assert np.allclose(ground_height(points[:, :6] + [0, 2.0, 0]),
                       np.median(points[:, :6, :, 1].min(-1), -1) + 2)


def test_sliding(default):
    still = np.repeat(default.contact_points(np.zeros((1, 33))), 20, 0)
    moved = still + np.linspace(0, 0.19, 20)[:, None, None] * [0.6, 0, 0.8]
    assert np.array_equal(sliding_speed(still, 60.0), np.zeros(19))
    assert np.allclose(sliding_speed(moved, 100.0), 1.0, rtol=1e-3)
    assert np.allclose(sliding_speed(moved + [0, 1, 0], 100.0, ground=ground_height(still)), 0, atol=1e-6)
    one_foot_up = moved.copy()
    one_foot_up[:, 6:] = still[:, 6:] + [0, 0.3, 0]
    assert np.allclose(sliding_speed(one_foot_up, 100.0), 1.0, rtol=1e-3)
    assert np.allclose(contact_weights(still + [0, 0.02, 0], 0.0), contact_weights(still, -0.02))


def test_one_planting_of_feet_for_numpy_and_torch(default):
    """The same motion from arrays of both kinds, batched or not; what the pelvis did before does not
    matter."""
    squat = example_squat().coordinates()
    batch = np.stack([squat[:90], squat[40:130]])
    planted = plant_feet(batch)
    assert planted.dtype == float and np.allclose(planted[1], plant_feet(batch[1]), atol=1e-12)
    assert np.allclose(plant_feet(torch.tensor(batch)).numpy(), planted, atol=1e-10)
    single = plant_feet(torch.tensor(batch, dtype=torch.float32))
    assert single.dtype == torch.float32 and np.allclose(single.numpy(), planted, atol=1e-4)
    moved = batch.copy()
    moved[..., 3:6] += np.random.default_rng(0).normal(size=(2, 90, 3))
    assert np.array_equal(plant_feet(moved), planted) and not np.array_equal(moved, planted)
    assert (planted[:, 0, [3, 5]] == 0).all() and np.array_equal(
        np.delete(planted, [3, 4, 5], -1), np.delete(batch, [3, 4, 5], -1))
    assert abs(default.contact_points(planted)[..., 1].min(-1)).max() < 0.012


def test_planting_with_another_filter(default):
    """As a matrix or as a function; without one the lowest points stay on the ground and the steps add up."""
    q = torch.tensor(example_squat().coordinates()[:60])
    nothing = torch.eye(60, dtype=q.dtype)
    raw, points = plant_with_contacts(q, default, smooth=nothing)
    assert torch.equal(raw, plant_feet(q, default, smooth=lambda path: path))
    assert np.allclose(points, default.contact_points(raw), atol=1e-12)
    assert soft_lowest(points, 0.005)[..., 1].abs().max() < 1e-12
    assert not torch.allclose(raw, plant_feet(q, default))
    short, still = q[:20], torch.eye(20, dtype=q.dtype)  # too short for the filter
    assert np.allclose(plant_feet(short, default), plant_feet(short, default, smooth=still))
    assert torch.autograd.gradcheck(lambda x: plant_feet(x, default)[..., 3:6],
                                    (q[:31].clone().requires_grad_(),), fast_mode=True)


def test_derivative_of_curves():
    x = np.array([0.0, 0.2, 0.5, 1.0, 1.4, 2.0])
    at = np.linspace(-0.5, 2.5, 61) + 1e-3
    for curve in (Curve.spline(x, np.sin(3 * x)), Curve.polynomial(1.0, 2.0, 3.0, 4.0), Curve.polynomial(7.0),
                  Curve.spline(x, np.cos(x)).after(2.0, 0.3)):
        numeric = (curve(at + 1e-6) - curve(at - 1e-6)) / 2e-6
        assert np.allclose(curve.derivative()(at), numeric, atol=1e-6)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_twists_are_the_derivatives_of_points(default, rajagopal, kind):
    """ω × x + v of every coordinate, summed over its axes, against differences; same frames as the chain
    gives."""
    for skeleton in (default, rajagopal):
        chain = Chain(skeleton.tree, skeleton.body_names)
        q = random_poses(skeleton, 4, beyond=-0.05).T
        q = torch.tensor(q) if kind == "torch" else q
        R, p, centres, omega, v = (np.asarray(x) for x in chain.twists(q))
        for found, levels in zip((R, p, centres), chain(q)):
            assert np.array_equal(found, np.concatenate([np.asarray(x) for x in levels], -2))
        parent, body = {j.child: j.parent for j in skeleton.tree}, "hand_r"
        x, above = p[:, chain.bodies.index(body)], set()
        while body != "ground":
            above.add(chain.bodies.index(body))
            body = parent[body]
        J = np.zeros((33, *x.shape))
        for k, (c, b) in enumerate(zip(chain.moving, chain.moved)):
            if c >= 0 and b in above:
                J[c] += np.cross(omega[:, k], x, axis=0) + v[:, k]
        for c in range(33):
            step = np.zeros((33, 1))
            step[c] = 1e-6
            there, here = (
                skeleton.body_transforms((np.asarray(q) + s * step).T, ("hand_r",))[:, 0, :3, 3].T
                for s in (1, -1)
            )
            assert np.allclose(J[c], (there - here) / 2e-6, atol=1e-8)


HEAVY = ("torch", "nimblephysics", "opensim", "casadi", "pandas", "matplotlib")


@pytest.mark.parametrize(
    "code, heavy",
    [
        ("import bige.skeleton", HEAVY),
        ("from bige.ground_contact import Skeleton\nSkeleton.default().ground_height([33 * [0]])", ["torch"]),
    ],
)
def test_import_needs_no_torch(code, heavy):
    code += f"\nimport sys\nsys.exit(any(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPO).returncode == 0
