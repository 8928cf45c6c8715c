"""Bones and muscles stand where the skeleton says, pictures and films are true, bad input is named."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import with_activations

from bige.anatomy import (anatomy, asset, body_frames, body_scales, muscle_paths, muscle_radii, normals,
                          to_world, tube_faces, tubes)
from bige.dynamics import find_support
from bige.exercises import load_exercise
from bige.external_load import load_segments, read_load
from bige.files import InputError
from bige.markers import Markers, write_trc
from bige.motion import ACTIVATIONS, COORDINATES, Motion, analytic_squat, example_squat, write_motion
from bige.rendering import (COLOURS, FORCE_COLUMNS, PARTS, Stage, drawable, effort_order, extent, ground_box,
                            frames_in_phase, in_step, landmark_frames, peak_activation, percent_frames,
                            phase_frames, png, preview, project, read_drawable, read_recording,
                            record_beside, repetition_frames, rgb, row_of_poses, save_picture, strip,
                            view_axes, write_gif, write_mp4)
from bige import report
from bige.report import curves, cycle_curves, recordings_of, render_files
from bige.skeleton import Skeleton


def with_forces(motion: Motion) -> Motion:
    "400 N up and 50 N forward under each foot, at x = 0.1 m, z = ±0.1 m."

    def foot(z: float) -> list[float]:
        return [0.1, 0, z, 50, 400, 0]

    return motion.with_columns(np.ravel(FORCE_COLUMNS).tolist(),
                               np.tile(foot(-0.1) + foot(0.1), (len(motion.time), 1)))


def walking_markers(frames: int = 40) -> Markers:
    "Four markers, left and right, somebody facing +z; one of them lost for a while."
    base = np.array([[0.2, 1, 0], [-0.2, 1, 0], [0.1, 0, 0], [-0.1, 0, 0]]) + [3, 0, -2]
    positions = base + np.linspace(0, 0.3, frames)[:, None, None] * [0, 0, 1]
    positions[10:20, 1] = np.nan
    return Markers(np.arange(frames) / 60, positions, ("LSHO", "RSHO", "LHEE", "RHEE"))


@pytest.fixture(scope="module")
def squats() -> list[Motion]:
    return [with_activations(analytic_squat(reps=1, rate_hz=30, depth_deg=d), d / 120) for d in (100, 60, 80)]


# anatomy


def test_assets_are_small_and_whole():
    bones, paths = asset("bones.npz"), asset("muscle_paths.npz")
    assert bones["counts"].sum() == len(bones["vertices"]) > bones["faces"].max() and len(
        bones["names"]
    ) == len(bones["bodies"])
    assert list(paths["names"]) == [n.removesuffix("/activation") for n in ACTIVATIONS]
    assert (np.diff(paths["point_muscle"]) >= 0).all() and len(np.unique(paths["point_muscle"])) == 80


def test_bones_meet_at_their_joints():
    person = anatomy()
    frames = body_frames(person, example_squat().coordinates()[::20])
    world = to_world(frames, person.vertex_body, person.vertices)
    for joint, child in (("femur_r", "tibia_r"), ("humerus_l", "ulna_l"), ("tibia_l", "talus_l")):
        near = [
            np.linalg.norm(
                world[:, person.vertex_body == person.bodies.index(body)]
                - frames[:, None, person.bodies.index(child), :, 3],
                axis=-1,
            ).min(1)
            for body in (joint, child)
        ]
        assert max(near[0].max(), near[1].max()) < 0.04


def test_left_and_right_are_mirror_images():
    person, paths = anatomy(), asset("muscle_paths.npz")
    lines = muscle_paths(person, body_frames(person, np.zeros((1, 33))))[0]
    assert np.allclose(lines[:40] * [1, 1, -1], lines[40:], atol=2e-3)
    assert np.allclose(paths["volume"][:40], paths["volume"][40:])


def test_muscles_are_as_long_as_opensim_says():
    from bige.muscles import default_geometry

    q = example_squat().coordinates()[::8]
    person = anatomy()
    drawn = np.linalg.norm(np.diff(muscle_paths(person, body_frames(person, q)), axis=2), axis=-1).sum(-1)
    apart = np.sqrt(((drawn - default_geometry()(q)[0]) ** 2).mean(0))
    assert np.median(apart) < 0.5e-3 and apart.max() < 4e-3


def test_patella_stays_in_front_of_the_bent_knee():
    person, q = anatomy(), np.zeros((2, 33))
    q[1, COORDINATES.index("knee_angle_r")] = np.radians(90)
    frames = body_frames(person, q)
    femur, patella = person.bodies.index("femur_r"), person.bodies.index("patella_r")
    local = np.einsum("tji,tj->ti", frames[:, femur, :, :3],
                      frames[:, patella, :, 3] - frames[:, femur, :, 3])
    assert local[0, 0] > 0.035 and -0.47 < local[1, 1] < local[0, 1] < -0.38


def test_a_longer_thigh_has_a_longer_femur():
    default = Skeleton.default()
    bodies = default.bodies | {
        "femur_r": replace(default.bodies["femur_r"], mass_center=default.bodies["femur_r"].mass_center * 1.2)
    }
    tree = tuple(replace(j, p_PF=j.p_PF * 1.2) if j.parent == "femur_r" else j for j in default.tree)
    tall = replace(default, tree=tree, bodies=bodies)
    assert np.allclose(body_scales(tall)["femur_r"], 1.2) and np.allclose(body_scales(tall)["tibia_r"], 1)

    def bone(person) -> np.ndarray:
        return person.vertices[person.vertex_body == person.bodies.index("femur_r")]

    assert np.allclose(bone(anatomy(tall)), 1.2 * bone(anatomy()))


def test_tubes_close_round_their_path():
    lines = np.cumsum(np.random.default_rng(0).normal(size=(3, 16, 3)) * 0.02 + [0, 0.05, 0], axis=1)
    vertices, n = tubes(lines, np.full((3, 16), 0.01))
    faces = tube_faces(3)
    assert faces.max() == len(vertices) - 1 and np.isfinite(vertices).all()
    assert ((normals(vertices, faces) * n).sum(-1) > 0.5).mean() > 0.97
    one = muscle_paths(anatomy(), body_frames(anatomy(), np.zeros((1, 33))))
    assert 0.001 < muscle_radii(one).min() and muscle_radii(one).max() < 0.06


# takes


@pytest.mark.parametrize("yaw", [0.5, -2.0, np.pi])
def test_where_the_person_stands_and_faces_does_not_matter(yaw):
    here = analytic_squat(reps=1, rate_hz=20)
    i = {n: COORDINATES.index(n) for n in COORDINATES}
    upright = here.with_columns(["pelvis_tilt"], np.zeros(len(here.time)))
    q = upright.coordinates().copy()
    x, z = q[:, i["pelvis_tx"]].copy(), q[:, i["pelvis_tz"]].copy()
    q[:, i["pelvis_tx"]] = np.cos(yaw) * x + np.sin(yaw) * z + 3
    q[:, i["pelvis_tz"]] = -np.sin(yaw) * x + np.cos(yaw) * z - 2
    q[:, i["pelvis_ty"]] += 0.25
    q[:, i["pelvis_rotation"]] += yaw
    a, b = drawable(upright), drawable(Motion.from_arrays(here.time, q))
    assert np.allclose(a.frames, b.frames, atol=1e-9) and np.allclose(a.hips, b.hips, atol=1e-9)


def test_feet_stand_on_the_ground_and_the_head_is_up(squats):
    shown = drawable(squats[0])
    bones = to_world(shown.frames, shown.person.vertex_body, shown.person.vertices)
    assert -0.03 < bones[..., 1].min() < 0.03 and 1.4 < bones[0, :, 1].max() < 1.9
    toes = bones[0, shown.person.vertex_body == shown.person.bodies.index("toes_r")]
    assert toes[:, 0].mean() > 0.05 and toes[:, 2].mean() > 0.02  # ahead, and to the right


def test_markers_face_forward_and_stand_on_the_ground():
    shown = drawable(walking_markers())
    travelled = np.nanmean(shown.markers[-1] - shown.markers[0], axis=0)
    assert travelled[0] == pytest.approx(0.3, abs=0.02) and abs(travelled[2]) < 0.02
    assert (
        np.nanmin(shown.markers[..., 1]) == pytest.approx(0, abs=1e-6)
        and shown.markers[0, 1, 2] > 0 > shown.markers[0, 0, 2]
    )
    vertices = PARTS["markers"](shown, 15)[0].reshape(4, 6, 3)
    assert (
        np.ptp(vertices[1], axis=0).max() == 0 < np.ptp(vertices[0], axis=0).min()
    )  # a lost marker has no size


def test_ground_forces_turn_with_the_person():
    motion = with_forces(analytic_squat(reps=1, rate_hz=20))
    yaw = motion.with_columns(["pelvis_rotation"], motion["pelvis_rotation"] + np.pi / 2)
    force = drawable(yaw).forces[0, 0, 1]
    assert (
        force[1] == pytest.approx(400)
        and force[2] == pytest.approx(50, abs=1)
        and drawable(motion).forces[0, 0, 1, 0] == pytest.approx(50, abs=1)
    )
    assert drawable(analytic_squat(reps=1, rate_hz=20)).forces is None
    top = PARTS["forces"](drawable(motion), 3)[0][:, 1].max()
    assert top == pytest.approx(0.4, abs=0.03)  # 400 N are 40 cm


# what is carried, and what carries

LOADS = {"barbell:60": "torso", "dumbbells:2x10": "hand_r", "vest:15": "torso"}


def made_up_rise(rate_hz: float = 30) -> Motion:
    "The second half of a squat to 100 degrees."
    whole = analytic_squat(reps=1, rate_hz=rate_hz, depth_deg=100)
    return whole.slice(whole.time[whole["knee_angle_r"].argmax()], whole.time[-1])


def of_colour(picture: np.ndarray, name: str) -> int:
    "Pixels with the hue of a colour of the scene, whatever light falls on it."
    pixels = picture[..., :3][picture[..., 3] > 127] if picture.shape[-1] == 4 else picture.reshape(-1, 3)
    share = pixels / np.maximum(pixels.max(-1, keepdims=True), 1)
    return int((np.abs(share - rgb(COLOURS[name]) / rgb(COLOURS[name]).max()).max(-1) < 0.025).sum())


@pytest.mark.parametrize("load, carrier", LOADS.items())
def test_a_load_moves_with_its_carrier(load, carrier, squats):
    shown, body = drawable(squats[0], load=load), None
    for frame in (0, 40):
        vertices, normals, faces, _ = PARTS["load"](shown, frame)
        body = shown.frames[frame, shown.person.bodies.index(carrier)]
        mine = shown.solids["load"].body == shown.person.bodies.index(carrier)
        local = (vertices[mine] - body[:, 3]) @ body[:, :3]
        assert mine.any() and np.allclose(local, shown.solids["load"].vertices[mine])
        assert faces.max() == len(vertices) - 1 and np.allclose(np.linalg.norm(normals, axis=1), 1)
    assert PARTS["load"](drawable(squats[0]), 0) is None


@pytest.mark.parametrize("load", ["barbell:10", "barbell:60"])
def test_the_bar_that_is_drawn_is_that_of_dynamics(load):
    squat = analytic_squat(reps=1, rate_hz=10)
    shown, q = drawable(squat, load=load), squat.coordinates()
    ends = load_segments(Skeleton.default(), read_load(load), q)[:, 0]
    for frame in (0, 18):
        drawn = PARTS["load"](shown, frame)[0]
        middle = (drawn.min(0) + drawn.max(0)) / 2
        placed = middle - (shown.hips[frame] - _hips(q)[frame])
        assert np.allclose(placed, ends[frame].mean(0), atol=2e-3)
        assert np.ptp(drawn @ np.diff(ends[frame], axis=0)[0] / 2.2) == pytest.approx(2.2, abs=1e-6)


def _hips(q: np.ndarray) -> np.ndarray:
    "Where the skeleton, not the picture, has the middle of the hip joints, (T, 3) m."
    skeleton = Skeleton.default()
    names = list(skeleton.body_names)
    centres = np.asarray(skeleton.body_transforms(q))[:, :, :3, 3]
    return centres[:, [names.index(f"femur_{side}") for side in "lr"]].mean(1)


def test_a_seat_has_the_height_that_dynamics_finds():
    rise, exercise = made_up_rise(), load_exercise("sit_to_stand")
    shown = drawable(rise, seat=exercise.seat)
    support = find_support(Skeleton.default(), rise.coordinates(), exercise.contacts, "rise")
    top = PARTS["seat"](shown, 0)[0][:, 1].max()
    assert top == pytest.approx(support.described()["height_m"], abs=0.01) == shown.seat[1]
    box = PARTS["seat"](shown, 0)[0]
    assert np.array_equal(box, PARTS["seat"](shown, len(shown) - 1)[0]) and abs(box[:, 1].min()) < 1e-9
    assert box[:, 0].min() < shown.hips[0, 0] < box[:, 0].max() < shown.hips[-1, 0] + 0.1
    assert drawable(rise, seat={"height": 0.41, "friction": 0.5}).seat[1] == 0.41


def test_no_seat_where_none_is_known(squats):
    still = Motion(np.arange(30) / 60, np.zeros((30, 33)), COORDINATES)
    seat = load_exercise("sit_to_stand").seat
    rise = made_up_rise()
    feet_up = rise.with_columns(["pelvis_tilt"], np.full(len(rise.time), -1.9))
    for shown in (drawable(squats[0]), drawable(made_up_rise()), drawable(still, seat=seat),
                  drawable(feet_up, seat=seat)):
        assert shown.seat is None and PARTS["seat"](shown, 0) is None and shown.solids == {}


def row(ax) -> np.ndarray:
    "The poses in a row of a strip or an overview, (H, W, 4) of bytes."
    return np.asarray(ax.images[0].get_array())


def test_strips_and_overviews_show_load_and_seat_and_nothing_without():
    rise, exercise = made_up_rise(15), load_exercise("sit_to_stand")
    full, bare = drawable(rise, load="barbell:60", seat=exercise.seat), drawable(rise)
    both, overview = strip([full, bare], exercise=exercise), preview([full])
    for kind in ("load", "seat"):
        assert of_colour(row(both.axes[0]), kind) > 7000 > 200 > of_colour(row(both.axes[1]), kind)
        assert of_colour(row(overview.axes[0]), kind) > 1000


def test_films_show_load_and_seat_whole():
    rise, size = made_up_rise(), (600, 300)
    both = [drawable(rise, load="barbell:60", seat=load_exercise("sit_to_stand").seat), drawable(rise)]
    stage = Stage(both, size, 1)
    picture = stage.picture([0, 0])
    stage.close()
    left, right = picture[:, :300], picture[:, 300:]
    for kind in ("load", "seat"):
        assert of_colour(left, kind) > 4 * of_colour(right, kind) + 500, kind
    assert ground_box(both[0])[2] <= -1 and extent(both[0])[1] - extent(both[0])[0] > 1.3


# files


def simulated_record(folder, trial: str, **noted) -> None:
    "A simulated rise and its record, as bige simulate lays them down."
    file = (folder / trial).with_name(f"kinematics_activations_{trial.split('/')[-1]}_muscle_driven.mot")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_motion(made_up_rise(), file)
    record = {"trial": trial, "status": "Solve_Succeeded", "exercise": "sit_to_stand", **noted}
    (folder / "simulation.json").write_text(json.dumps(record))


def test_a_simulation_says_what_was_carried_and_what_carried(tmp_path):
    simulated_record(tmp_path, "anna/rise", load="dumbbells:2x8", seat={"height_m": 0.4, "friction": 0.5})
    file = tmp_path / "anna" / "kinematics_activations_rise_muscle_driven.mot"
    for path in (file, file.parent):
        shown = read_drawable(path)
        assert (str(shown.load), shown.seat[1], shown.label) == ("dumbbells:2x8", 0.4, "rise")
    assert str(read_drawable(file, load="vest:15").load) == "vest:15"
    simulated_record(tmp_path, "anna/rise", exercise="my_rise", seat={"height_m": 0.4})
    assert read_drawable(file).seat[1] == 0.4  # an exercise of a user's own, whose file is elsewhere
    simulated_record(tmp_path, "anna/rise", exercise="squat")
    assert read_drawable(file).solids == {}


@pytest.mark.parametrize("noted, found", [({"load": 40}, "load"), ({"load": "barbell:9999"}, "barbell:9999"),
                                          ({"seat": "high"}, "seat"), ({"seat": {"height_m": "x"}}, "_m")])
def test_a_damaged_record_is_named(noted, found, tmp_path):
    simulated_record(tmp_path, "rise", **noted)
    with pytest.raises(InputError, match=found) as error:
        read_drawable(tmp_path)
    assert "rise" in str(error.value.where)


def test_repetitions_and_samples_know_their_exercise(tmp_path):
    for name in ("trial_rep1.mot", "other.mot", "sample_00.mot"):
        write_motion(made_up_rise(), tmp_path / name)
    (tmp_path / "segments.json").write_text(json.dumps({"trial": "trial", "exercise": "sit_to_stand"}))
    (tmp_path / "metrics.json").write_text(json.dumps({"exercise": "sit_to_stand", "seed": 3}))
    for name in ("trial_rep1.mot", "sample_00.mot"):
        assert record_beside(tmp_path / name) == {"exercise": "sit_to_stand"}
        assert read_drawable(tmp_path / name).seat is not None
        assert read_drawable(tmp_path / name, exercise="squat").seat is None
    assert record_beside(tmp_path / "other.mot") == {} and read_drawable(tmp_path / "other.mot").seat is None
    assert read_drawable(tmp_path / "other.mot", exercise="sit_to_stand").seat is not None


def test_the_exercise_of_a_strip_is_the_noted_one(tmp_path, monkeypatch):
    drawn = []

    def note(shown, out, exercise) -> None:
        drawn.append((shown, exercise.name))

    monkeypatch.setitem(report.STYLES, "strip", note)
    simulated_record(tmp_path, "rise", load="barbell:40")
    render_files([tmp_path], tmp_path / "a.png", "strip")
    render_files([tmp_path], tmp_path / "a.png", "strip", exercise="squat", load="vest:10")
    assert [name for _, name in drawn] == ["sit_to_stand", "squat"]
    assert [str(shown[0].load) for shown, _ in drawn] == ["barbell:40", "vest:10"]
    assert [shown[0].seat is None for shown, _ in drawn] == [False, True]


def test_a_load_is_refused_where_none_is_drawn(tmp_path, squats):
    write_motion(squats[0], tmp_path / "a.mot")
    write_trc(walking_markers(), tmp_path / "m.trc")
    for name, style in (("a.png", "curves"), ("a.bvh", "scene")):
        with pytest.raises(InputError, match="--load"):
            render_files([tmp_path / "a.mot"], tmp_path / name, style, load="barbell:40")
    with pytest.raises(InputError, match="bige ik"):
        render_files([tmp_path / "m.trc"], tmp_path / "a.png", "strip", load="barbell:40")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mot", "m.trc"]


def test_simulated_motion_finds_its_ground_forces(tmp_path):
    motion = with_forces(analytic_squat(reps=1, rate_hz=20))
    names = np.ravel(FORCE_COLUMNS).tolist()
    file = tmp_path / "kinematics_activations_squat1_muscle_driven.mot"
    write_motion(Motion.from_arrays(motion.time, motion.coordinates()), file)
    assert not read_recording(file).has(names)
    write_motion(Motion(motion.time, np.stack([motion[n] for n in names], -1), names),
                 tmp_path / "ground_forces_squat1.mot")
    for path in (file, tmp_path):
        assert np.allclose(read_recording(path)["ground_force_l_vy"], 400)


def test_folder_of_samples_is_its_samples(tmp_path, squats):
    for i in (1, 0):
        write_motion(squats[i], tmp_path / f"sample_0{i}.mot")
    (tmp_path / "sample_best.mot").write_text("somebody's own, and no sample")
    assert [p.name for p in recordings_of([tmp_path, "x.mot"])] == ["sample_00.mot", "sample_01.mot", "x.mot"]


@pytest.mark.parametrize("name, content, found",
                         [("a.c3d", "", r"'\.c3d'"), ("a", "", "''"), ("empty", None, "0 simulated trials")])
def test_what_cannot_be_drawn_is_named(name, content, found, tmp_path):
    if content is None:
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=found):
        read_recording(tmp_path / name)


def test_motion_without_coordinates_and_lost_markers_are_named():
    with pytest.raises(InputError, match="32 of 33"):
        drawable(Motion(np.arange(3.0), np.zeros((3, 1)), ("pelvis_tx",)))
    with pytest.raises(InputError, match="missing"):
        drawable(Markers(np.arange(3.0), np.full((3, 2, 3), np.nan), ("a", "b")))


@pytest.mark.parametrize(
    "name, style, words",
    [
        ("film.avi", "scene", "mp4"),
        ("noending", "scene", "mp4"),
        ("a.mp4", "strip", "png"),
        ("a.html", "panel", "png"),
    ],
)
def test_other_results_are_refused(name, style, words, tmp_path):
    with pytest.raises(InputError, match=words):
        render_files([], tmp_path / name, style)
    assert not list(tmp_path.iterdir())


def test_too_many_and_the_wrong_kind_are_refused(tmp_path, squats):
    write_trc(walking_markers(), tmp_path / "m.trc")
    with pytest.raises(InputError, match="one to three"):
        render_files(["a.mot"] * 4, tmp_path / "a.png")
    with pytest.raises(InputError, match="in turn"):
        render_files(["a.mot"] * 2, tmp_path / "a.bvh")
    for style, name in (("panel", "a.png"), ("curves", "a.png"), ("scene", "a.bvh")):
        with pytest.raises(InputError, match="bige ik"):
            render_files([tmp_path / "m.trc"], tmp_path / name, style)
    with pytest.raises(InputError, match="nothere"):
        render_files([tmp_path / "nothere.mot"], tmp_path / "a.mp4")
    assert [p.name for p in tmp_path.iterdir()] == ["m.trc"]


# pictures


def test_camera_is_a_rotation_and_shows_everybody(squats):
    assert np.allclose(view_axes() @ view_axes().T, np.eye(3)) and np.linalg.det(
        view_axes()
    ) == pytest.approx(1)
    assert np.allclose(project([1.0, 2, 3], 0, 0), [1, 2, 3])
    left, right, bottom, top = extent(drawable(squats[0]))
    assert left < 0 < right and bottom < 0.05 and 1.4 < top < 2


@pytest.fixture(scope="module")
def three_panels(squats):
    stage = Stage(
        [
            drawable(with_forces(squats[0]), label="one"),
            drawable(analytic_squat(reps=1, rate_hz=30), label="two"),
            drawable(walking_markers(), label="three"),
        ],
        (720, 300),
        1,
    )
    yield stage
    stage.close()


def test_stage_shows_each_take_and_moves(three_panels):
    start, middle = three_panels.picture([0, 0, 0]), three_panels.picture([55, 0, 0])
    assert start.shape == (300, 720, 3) and np.array_equal(start, three_panels.picture([0, 0, 0]))
    differs = (start != middle).any(-1)
    assert differs[:, :240].mean() > 0.05 and not differs[:, 240:].any()
    assert all((start[40:260, i : i + 240].min(-1) < 150).any() for i in (0, 240, 480))


def test_active_muscles_are_red(three_panels):

    def red(p: np.ndarray) -> int:
        return ((p[:, :240, 0].astype(int) - p[:, :240, 2] > 60) & (p[:, :240, 1] < 110)).sum()

    assert red(three_panels.picture([55, 0, 0])) > 100 + red(three_panels.picture([0, 0, 0]))


@pytest.mark.parametrize("draw", [lambda m: strip(m[0]), preview, lambda m: curves(m)])
def test_the_same_motion_gives_the_same_bytes(draw, squats):
    first, second = png(draw(squats)), png(draw(squats))
    assert first == second and not any(stamp in first for stamp in (b"tEXt", b"iTXt", b"tIME"))


def test_strip_says_where_the_hips_are(squats):
    ax = strip(drawable(squats[0], label="named")).axes[0]
    height = ax.lines[1].get_ydata()
    first, last = repetition_frames(squats[0])
    assert np.allclose(height, drawable(squats[0]).hips[first : last + 1, 1])
    under = [t.get_text().split("\n") for t in ax.get_xticklabels()]
    seconds = squats[0].time[[first, load_exercise().bottom(squats[0].coordinates()), last]]
    assert under[::3] == [[f"{p} %", f"{s - seconds[0]:.1f} s"] for p, s in zip((0, 50, 100), seconds)]
    assert ax.get_ylabel() == "height (m)"
    assert ax.get_title(loc="left") == "named"


def test_strip_of_markers_is_the_whole_recording():
    assert png(strip(walking_markers())).startswith(b"\x89PNG") and np.allclose(
        percent_frames(walking_markers(), [0, 100]), [0, 39])


def test_samples_stand_in_the_order_of_their_activation(squats):
    assert effort_order(squats) == [1, 2, 0]
    ax = preview(squats).axes[0]
    texts = [t.get_text() for t in ax.get_xticklabels()]
    assert texts == ["1\n60°\n0.50", "2\n80°\n0.67", "0\n100°\n0.83"]
    assert ax.get_xlabel() == "sample, largest knee flexion, peak activation of vastus medialis"
    heights = ax.lines[1].get_ydata()
    assert len(heights) == 3 and heights[0] > heights[1] > heights[2]
    bare = [analytic_squat(reps=1, depth_deg=d) for d in (100, 60, 80)]
    assert effort_order(bare) == [1, 2, 0] and np.isnan(peak_activation(bare[0]))
    calf = squats[1].with_columns(["soleus_l/activation"], np.ones(len(squats[1].time)))
    by_the_calf = replace(load_exercise(), effort=("soleus_l",))
    assert effort_order([squats[0], calf], by_the_calf) == [0, 1]


def test_picture_is_written_whole_or_not_at_all(tmp_path, squats, monkeypatch):
    save_picture(curves(squats), tmp_path / "a.png")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save_picture(curves(squats), tmp_path / "b.png")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


# the cycle


def test_cycle_is_the_deepest_repetition_without_the_standing():
    five = analytic_squat(reps=5)
    deeper = five.with_columns(
        ["knee_angle_l", "knee_angle_r"],
        np.repeat((five["knee_angle_l"] * np.where((five.time > 6.9) & (five.time < 9.6), 1.1, 1))[:, None],
                  2, 1),
    )
    first, last = (deeper.time[f] for f in repetition_frames(deeper))
    bottom = deeper.time[load_exercise().bottom(deeper.coordinates())]
    assert 6.9 <= first < 7.5 and bottom == pytest.approx(8.25, abs=0.02) and 9.0 < last <= 9.7


def test_cycle_of_a_motion_that_stands_still_is_all_of_it():
    still = Motion(np.arange(30) / 60, np.zeros((30, 33)), COORDINATES)
    assert repetition_frames(still) == (0, 29) and png(strip(still)).startswith(b"\x89PNG")


def lazy_squat(rate_hz: float = 60) -> Motion:
    "Half a second down, one and a half up."
    knee = np.concatenate([np.linspace(0, 1.2, 30), np.linspace(1.2, 0, 90)])
    q = np.zeros((120, 33))
    q[:, [COORDINATES.index(name) for name in ("knee_angle_l", "knee_angle_r")]] = knee[:, None]
    return Motion(np.arange(120) / rate_hz, q, COORDINATES)


def test_percentages_are_linear_in_time_and_those_of_constraints():
    import torch
    from bige.constraints import Batch, moment_frame

    motion = lazy_squat()
    q = torch.tensor(motion.coordinates())[None]
    batch = Batch(q, torch.zeros(1, 120, 80), Skeleton.default())
    for percent in (0, 30, 50, 100):
        assert abs(float(moment_frame(batch, f"{percent} %")[0]) - percent_frames(motion, percent)) <= 0.5
    first, last = repetition_frames(motion)
    bottom = int(moment_frame(batch, "bottom")[0])
    assert (
        bottom in (29, 30)
        and abs(percent_frames(motion, 100 * (bottom - first) / (last - first)) - bottom) <= 1
    )


def test_the_repetition_is_that_of_the_exercise_in_every_recorded_squat():
    from bige.metrics import load_reference

    exercise, other = load_exercise(), []
    for motion in load_reference():
        q = motion.coordinates()
        if repetition_frames(motion) != tuple(map(int, exercise.cycle(q))):
            other.append(exercise.progress_share(q)[0])
    assert len(other) == 1 and other[0] > 0.5  # this recording begins with the end of another repetition


# films


def bottom_of(motion: Motion) -> int:
    return int(load_exercise().bottom(motion.coordinates()))


def test_recordings_turn_together():
    slow, fast = lazy_squat(30), analytic_squat(reps=1, rate_hz=20, period=1.0)
    steps = np.array(in_step([drawable(slow), drawable(fast)], 60))
    assert steps[0].tolist() == [0, 0] and len(steps) == len(slow.time)
    assert [bottom_of(slow), bottom_of(fast)] in steps.tolist()
    assert (np.diff(steps, axis=0) >= 0).all() and steps[-1, 1] >= landmark_frames(fast)[-1]
    assert len(in_step([drawable(slow)], 10)) == pytest.approx(len(slow.time) / 3, abs=1)
    markers = drawable(walking_markers())
    assert in_step([markers, drawable(fast)], 60)[-1] == [len(markers) - 1, len(fast.time) - 1]


def test_every_pose_of_a_strip_lies_within_its_repetition():
    quick = analytic_squat(reps=1, rate_hz=60, period=1.2, pause=2.0)  # stands still before and after
    frames = phase_frames(quick, np.linspace(0, 100, 7))
    knee = np.interp(frames, np.arange(len(quick.time)), quick["knee_angle_r"])
    assert (np.diff(frames) > 0).all() and knee.argmax() == 3 and knee[[0, -1]].max() < 0.15 * knee.max()
    assert np.allclose(knee[:3], knee[:3:-1], atol=0.15)     # the way down and the way up, of formulas


def test_a_rise_begins_where_the_trunk_leans_forward():
    from bige.metrics import load_reference

    exercise = load_exercise("sit_to_stand")
    for motion in load_reference(split="val", exercise=exercise)[:5]:
        start, end = landmark_frames(motion, exercise)
        first = repetition_frames(motion, exercise)[0]
        lead = motion["pelvis_tilt"]
        assert start <= first < end and np.ptp(lead[start:first + 1]) >= 0.9 * np.ptp(lead[:first + 1])


def test_a_ghost_stands_behind_at_the_same_phase(squats):
    deep, shallow = drawable(squats[0], label="deep"), drawable(squats[1], label="shallow")
    both = replace(deep, ghost=shallow)
    together = frames_in_phase(deep, shallow)
    assert together[bottom_of(squats[0])] == bottom_of(squats[1]) and len(together) == len(deep)
    assert (extent(both) == extent(deep)).sum() < 4 or (extent(both) == extent(deep)).all()
    assert extent(both)[3] == max(extent(deep)[3], extent(shallow)[3])
    ax = strip(both).axes[0]
    assert ax.get_title(loc="left") == "deep (pale: shallow)"
    assert [line.get_linestyle() for line in ax.lines if len(line.get_xdata()) > 2] == ["--", "-"]
    plain = strip(deep)
    assert png(strip(both)) != png(plain)


def test_a_ghost_is_drawn_beside_the_body_in_a_scene(squats):
    deep, shallow = drawable(squats[0]), drawable(squats[1])
    pictures = []
    for each in (deep, replace(deep, ghost=shallow)):
        stage = Stage([each], (320, 180), 1)
        pictures.append(stage.picture([bottom_of(squats[0])]).astype(int))
        stage.close()
    changed = np.abs(pictures[0] - pictures[1]).max(-1) > 20
    assert 0.002 < changed.mean() < 0.2
    blue = pictures[1][changed] - pictures[0][changed]
    assert blue[:, 2].mean() > blue[:, 0].mean()


def test_the_camera_sees_the_left_side_in_the_same_light(squats):
    shown = drawable(squats[0])
    window = (-0.8, 0.8, -0.1, 2.0)
    right, front, left = (row_of_poses([(shown, 0, 0.0)], window, view_deg=a) for a in (0, 90, 180))
    seen = [np.argwhere(p[..., 3] > 0)[:, 1] for p in (right, front, left)]
    assert np.ptp(seen[1]) != np.ptp(seen[0])
    assert seen[0].mean() - right.shape[1] / 2 == pytest.approx(left.shape[1] / 2 - seen[2].mean(), abs=6)
    bright = [p[p[..., 3] > 0][:, :3].mean() for p in (right, left)]
    assert bright[0] == pytest.approx(bright[1], rel=0.1)


def test_film_is_what_browsers_play(tmp_path, squats):
    from imageio_ffmpeg import count_frames_and_secs, read_frames

    short = drawable(squats[0].slice(1.2, 1.5))
    write_mp4([short], tmp_path / "a.mp4")
    frames, seconds = count_frames_and_secs(str(tmp_path / "a.mp4"))
    about = next(read_frames(str(tmp_path / "a.mp4")))
    assert frames == len(short) and seconds == pytest.approx(0.3 + 1 / 30, abs=0.05)
    assert about["size"] == (1280, 720) and "h264" in about["codec"] and "yuv420p" in about["pix_fmt"]
    head = (tmp_path / "a.mp4").read_bytes()
    assert head.index(b"moov") < head.index(b"mdat")  # plays before it is loaded


def test_one_motion_goes_to_blender(tmp_path):
    write_motion(analytic_squat(reps=1, rate_hz=10), tmp_path / "a.mot")
    render_files([tmp_path / "a.mot"], tmp_path / "a.bvh")
    assert (tmp_path / "a.bvh").read_text().startswith("HIERARCHY")


def test_gif_repeats_at_its_speed(tmp_path, squats):
    from PIL import Image

    write_gif([drawable(squats[0].slice(1.2, 1.7)), drawable(walking_markers())], tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as film:
        assert (
            film.size == (640, 360)
            and film.n_frames == 14
            and film.info["loop"] == 0
            and film.info["duration"] == 50
        )


# the whole way


def test_drawing_is_light_and_quiet(tmp_path):
    write_motion(example_squat(), tmp_path / "a.mot")
    code = (
        "import sys\n"
        "def loaded(*names): return [m for m in names if m in sys.modules]\n"
        "import bige.rendering, bige.report\n"
        "light = loaded('vtkmodules', 'jinja2', 'matplotlib', 'imageio_ffmpeg', 'PIL', 'pandas')\n"
        "from bige.report import render_files\n"
        "render_files([sys.argv[1]], sys.argv[2], 'strip')\n"
        "render_files([sys.argv[1]], sys.argv[3])\n"
        "print(light, loaded('torch', 'nimblephysics', 'opensim', 'casadi', 'pyvista'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a.mot", tmp_path / "a.png", tmp_path / "b.png"],
        capture_output=True, text=True)
    assert done.stdout.strip() == "[] []" and done.stderr == "", done.stdout + done.stderr


@pytest.mark.slow
def test_film_of_196_frames_is_ready_in_half_a_minute(tmp_path):
    import time

    motion = example_squat()
    motion = motion.resample(195 / motion.duration)
    start = time.process_time()
    shown = drawable(motion)
    write_mp4([shown], tmp_path / "a.mp4")
    assert len(shown) == 196 and time.process_time() - start < 45  # of processor time over two cores


def test_without_a_graphics_library_strips_are_drawn_and_films_refused(monkeypatch, tmp_path, squats):
    with_library = strip(squats[0]).axes[0].images[0].get_array()
    monkeypatch.setattr("bige.rendering.has_graphics", lambda: False)
    without = strip(squats[0]).axes[0].images[0].get_array()
    assert (with_library == without).all()
    r, g, b, opaque = np.moveaxis(without.astype(int), -1, 0)
    red = (r - b > 60) & (g < 110) & (opaque > 127)
    assert red.sum() > 300
    write_motion(squats[0], tmp_path / "a.mot")
    for name in ("a.mp4", "a.gif", "a.png"):
        with pytest.raises(InputError, match="libosmesa6"):
            render_files([tmp_path / "a.mot"], tmp_path / name)
    render_files([tmp_path / "a.mot"], tmp_path / "a.html")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "a.mot"]
