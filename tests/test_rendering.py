"""Bones and muscles stand where the skeleton says, pictures and films are what they claim to be, bad input is named."""
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from bige.anatomy import (anatomy, asset, body_frames, body_scales, muscle_paths, muscle_radii, normals,
                          to_world, tube_faces, tubes)
from bige.files import InputError
from bige.motion import (ACTIVATIONS, COORDINATES, Markers, Motion, analytic_squat, example_squat,
                         write_motion, write_trc)
from bige.rendering import (COLOURS, FORCE_COLUMNS, PARTS, Stage, by_activation, contrast, cycle_frames, extent, in_step, peak_activation, png, preview, project,
                            read_recording, recordings_of, render, save_picture, squat_cycle, strip, take, view_axes, write_gif, write_mp4)
from bige.report import curves, cycle_curve, describe, html_table, markdown_table, report, with_verification
from bige.skeleton import Skeleton


def with_activations(motion: Motion, level: float) -> Motion:
    "All muscles follow the knee up to `level`."
    knee = motion["knee_angle_r"]
    a = level * (knee - knee.min()) / np.ptp(knee)
    return motion.with_columns(ACTIVATIONS, np.repeat(a[:, None], 80, 1))


def with_forces(motion: Motion) -> Motion:
    "400 N up and 50 N forward under each foot, at x = 0.1 m, z = ±0.1 m."
    foot = lambda z: [0.1, 0, z, 50, 400, 0]
    return motion.with_columns(np.ravel(FORCE_COLUMNS).tolist(), np.tile(foot(-.1) + foot(.1), (len(motion.time), 1)))


def walking_markers(frames: int = 40) -> Markers:
    "Four markers, left and right, somebody facing +z; one of them lost for a while."
    base = np.array([[.2, 1, 0], [-.2, 1, 0], [.1, 0, 0], [-.1, 0, 0]]) + [3, 0, -2]
    positions = base + np.linspace(0, .3, frames)[:, None, None] * [0, 0, 1]
    positions[10:20, 1] = np.nan
    return Markers(np.arange(frames) / 60, positions, ("LSHO", "RSHO", "LHEE", "RHEE"))


@pytest.fixture(scope="module")
def squats() -> list[Motion]:
    return [with_activations(analytic_squat(reps=1, rate_hz=30, depth_deg=d), d / 120) for d in (100, 60, 80)]


# anatomy

def test_assets_are_small_and_whole():
    bones, paths = asset("bones.npz"), asset("muscle_paths.npz")
    assert bones["counts"].sum() == len(bones["vertices"]) > bones["faces"].max() and len(bones["names"]) == len(bones["bodies"])
    assert list(paths["names"]) == [n.removesuffix("/activation") for n in ACTIVATIONS]
    assert (np.diff(paths["point_muscle"]) >= 0).all() and len(np.unique(paths["point_muscle"])) == 80


def test_bones_meet_at_their_joints():
    person = anatomy()
    frames = body_frames(person, example_squat().coordinates()[::20])
    world = to_world(frames, person.vertex_body, person.vertices)
    for joint, child in (("femur_r", "tibia_r"), ("humerus_l", "ulna_l"), ("tibia_l", "talus_l")):
        near = [np.linalg.norm(world[:, person.vertex_body == person.bodies.index(body)] - frames[:, None, person.bodies.index(child), :, 3], axis=-1).min(1)
                for body in (joint, child)]
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
    local = np.einsum("tji,tj->ti", frames[:, femur, :, :3], frames[:, patella, :, 3] - frames[:, femur, :, 3])
    assert local[0, 0] > 0.035 and -0.47 < local[1, 1] < local[0, 1] < -0.38


def test_a_longer_thigh_has_a_longer_femur():
    from dataclasses import replace
    default = Skeleton.default()
    bodies = default.bodies | {"femur_r": replace(default.bodies["femur_r"], mass_center=default.bodies["femur_r"].mass_center * 1.2)}
    tree = tuple(replace(j, p_PF=j.p_PF * 1.2) if j.parent == "femur_r" else j for j in default.tree)
    tall = replace(default, tree=tree, bodies=bodies)
    assert np.allclose(body_scales(tall)["femur_r"], 1.2) and np.allclose(body_scales(tall)["tibia_r"], 1)
    bone = lambda p: p.vertices[p.vertex_body == p.bodies.index("femur_r")]
    assert np.allclose(bone(anatomy(tall)), 1.2 * bone(anatomy()))


def test_tubes_close_round_their_path():
    lines = np.cumsum(np.random.default_rng(0).normal(size=(3, 16, 3)) * .02 + [0, .05, 0], axis=1)
    vertices, n = tubes(lines, np.full((3, 16), .01))
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
    a, b = take(upright), take(Motion.from_arrays(here.time, q))
    assert np.allclose(a.frames, b.frames, atol=1e-9) and np.allclose(a.hips, b.hips, atol=1e-9)


def test_feet_stand_on_the_floor_and_the_head_is_up(squats):
    shown = take(squats[0])
    bones = to_world(shown.frames, shown.person.vertex_body, shown.person.vertices)
    assert -0.03 < bones[..., 1].min() < 0.03 and 1.4 < bones[0, :, 1].max() < 1.9
    toes = bones[0, shown.person.vertex_body == shown.person.bodies.index("toes_r")]
    assert toes[:, 0].mean() > 0.05 and toes[:, 2].mean() > 0.02  # ahead, and to the right


def test_markers_face_forward_and_stand_on_the_floor():
    shown = take(walking_markers())
    travelled = np.nanmean(shown.dots[-1] - shown.dots[0], axis=0)
    assert travelled[0] == pytest.approx(.3, abs=.02) and abs(travelled[2]) < .02
    assert np.nanmin(shown.dots[..., 1]) == pytest.approx(0, abs=1e-6) and shown.dots[0, 1, 2] > 0 > shown.dots[0, 0, 2]
    vertices = PARTS["dots"](shown, 15)[0].reshape(4, 6, 3)
    assert np.ptp(vertices[1], axis=0).max() == 0 < np.ptp(vertices[0], axis=0).min()  # a lost marker has no size


def test_ground_forces_turn_with_the_person():
    motion = with_forces(analytic_squat(reps=1, rate_hz=20))
    yaw = motion.with_columns(["pelvis_rotation"], motion["pelvis_rotation"] + np.pi / 2)
    force = take(yaw).forces[0, 0, 1]
    assert force[1] == pytest.approx(400) and force[2] == pytest.approx(50, abs=1) and take(motion).forces[0, 0, 1, 0] == pytest.approx(50, abs=1)
    assert take(analytic_squat(reps=1, rate_hz=20)).forces is None
    top = PARTS["forces"](take(motion), 3)[0][:, 1].max()
    assert top == pytest.approx(.4, abs=.03)  # 400 N are 40 cm


# files

def test_simulated_motion_finds_its_ground_forces(tmp_path):
    motion = with_forces(analytic_squat(reps=1, rate_hz=20))
    names = np.ravel(FORCE_COLUMNS).tolist()
    file = tmp_path / "kinematics_activations_squat1_muscle_driven.mot"
    write_motion(Motion.from_arrays(motion.time, motion.coordinates()), file)
    assert not read_recording(file).has(names)
    write_motion(Motion(motion.time, np.stack([motion[n] for n in names], -1), names), tmp_path / "ground_forces_squat1.mot")
    for path in (file, tmp_path): assert np.allclose(read_recording(path)["ground_force_l_vy"], 400)


def test_folder_of_samples_is_its_samples(tmp_path, squats):
    for i in (1, 0): write_motion(squats[i], tmp_path / f"sample_0{i}.mot")
    (tmp_path / "sample_best.mot").write_text("somebody's own, and no sample")
    assert [p.name for p in recordings_of([tmp_path, "x.mot"])] == ["sample_00.mot", "sample_01.mot", "x.mot"]


@pytest.mark.parametrize("name, content, found", [("a.c3d", "", r"'\.c3d'"), ("a", "", "''"), ("empty", None, "0 simulated trials")])
def test_what_cannot_be_drawn_is_named(name, content, found, tmp_path):
    if content is None: (tmp_path / name).mkdir()
    else: (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=found): read_recording(tmp_path / name)


def test_motion_without_coordinates_and_lost_markers_are_named():
    with pytest.raises(InputError, match="32 of 33"): take(Motion(np.arange(3.), np.zeros((3, 1)), ("pelvis_tx",)))
    with pytest.raises(InputError, match="missing"): take(Markers(np.arange(3.), np.full((3, 2, 3), np.nan), ("a", "b")))


@pytest.mark.parametrize("name, style, words", [("film.avi", "scene", "mp4"), ("noending", "scene", "mp4"), ("a.mp4", "strip", "png"), ("a.html", "panel", "png")])
def test_other_results_are_refused(name, style, words, tmp_path):
    with pytest.raises(InputError, match=words): render([], tmp_path / name, style)
    assert not list(tmp_path.iterdir())


def test_too_many_and_the_wrong_kind_are_refused(tmp_path, squats):
    write_trc(walking_markers(), tmp_path / "m.trc")
    with pytest.raises(InputError, match="one to three"): render(["a.mot"] * 4, tmp_path / "a.png")
    with pytest.raises(InputError, match="in turn"): render(["a.mot"] * 2, tmp_path / "a.bvh")
    for style, name in (("panel", "a.png"), ("curves", "a.png"), ("scene", "a.bvh")):
        with pytest.raises(InputError, match="bige ik"): render([tmp_path / "m.trc"], tmp_path / name, style)
    with pytest.raises(InputError, match="nothere"): render([tmp_path / "nothere.mot"], tmp_path / "a.mp4")
    assert [p.name for p in tmp_path.iterdir()] == ["m.trc"]


# pictures

def test_camera_is_a_rotation_and_shows_everybody(squats):
    assert np.allclose(view_axes() @ view_axes().T, np.eye(3)) and np.linalg.det(view_axes()) == pytest.approx(1)
    assert np.allclose(project([1., 2, 3], 0, 0), [1, 2, 3])
    left, right, bottom, top = extent(take(squats[0]))
    assert left < 0 < right and bottom < 0.05 and 1.4 < top < 2


@pytest.fixture(scope="module")
def three_panels(squats):
    stage = Stage([take(with_forces(squats[0]), label="one"), take(analytic_squat(reps=1, rate_hz=30), label="two"), take(walking_markers(), label="three")],
                  (720, 300), 1)
    yield stage
    stage.close()


def test_stage_shows_each_take_and_moves(three_panels):
    start, middle = three_panels.picture([0, 0, 0]), three_panels.picture([55, 0, 0])
    assert start.shape == (300, 720, 3) and np.array_equal(start, three_panels.picture([0, 0, 0]))
    differs = (start != middle).any(-1)
    assert differs[:, :240].mean() > 0.05 and not differs[:, 240:].any()
    assert all((start[40:260, i:i + 240].min(-1) < 150).any() for i in (0, 240, 480))


def test_active_muscles_are_red(three_panels):
    red = lambda p: ((p[:, :240, 0].astype(int) - p[:, :240, 2] > 60) & (p[:, :240, 1] < 110)).sum()
    assert red(three_panels.picture([55, 0, 0])) > 100 + red(three_panels.picture([0, 0, 0]))


@pytest.mark.parametrize("draw", [lambda m: strip(m[0]), preview, lambda m: curves(m)])
def test_the_same_motion_gives_the_same_bytes(draw, squats):
    first, second = png(draw(squats)), png(draw(squats))
    assert first == second and not any(stamp in first for stamp in (b"tEXt", b"iTXt", b"tIME"))


def test_strip_says_where_the_hips_are(squats):
    ax = strip(take(squats[0], label="named")).axes[0]
    height = ax.lines[1].get_ydata()
    start, _, end = squat_cycle(squats[0])
    assert np.allclose(height, take(squats[0]).hips[start:end + 1, 1])
    assert [t.get_text() for t in ax.get_xticklabels()][::3] == ["0 %", "50 %", "100 %"] and ax.get_ylabel() == "height (m)"
    assert ax.get_title(loc="left") == "named"


def test_strip_of_markers_is_the_whole_recording():
    assert png(strip(walking_markers())).startswith(b"\x89PNG") and np.allclose(cycle_frames(walking_markers(), [0, 100]), [0, 39])


def test_samples_stand_in_the_order_of_their_activation(squats):
    assert by_activation(squats) == [1, 2, 0]
    ax = preview(squats).axes[0]
    texts = [t.get_text() for t in ax.get_xticklabels()]
    assert [t.split("\n")[0] for t in texts] == ["1", "2", "0"] and "knee 60°" in texts[0] and "peak 0.50" in texts[0]
    heights = ax.lines[1].get_ydata()
    assert len(heights) == 3 and heights[0] > heights[1] > heights[2]
    bare = [analytic_squat(reps=1, depth_deg=d) for d in (100, 60, 80)]
    assert by_activation(bare) == [1, 2, 0] and np.isnan(peak_activation(bare[0]))
    calf = squats[1].with_columns(["soleus_l/activation"], np.ones(len(squats[1].time)))
    assert by_activation([squats[0], calf], ("soleus_l",)) == [0, 1]


def test_picture_is_written_whole_or_not_at_all(tmp_path, squats, monkeypatch):
    save_picture(curves(squats), tmp_path / "a.png")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt): save_picture(curves(squats), tmp_path / "b.png")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


# the cycle

def test_cycle_is_the_deepest_repetition_without_the_standing():
    five = analytic_squat(reps=5)
    deeper = five.with_columns(["knee_angle_l", "knee_angle_r"],
                               np.repeat((five["knee_angle_l"] * np.where((five.time > 6.9) & (five.time < 9.6), 1.1, 1))[:, None], 2, 1))
    start, deepest, end = (deeper.time[f] for f in squat_cycle(deeper))
    assert 6.9 <= start < 7.4 and deepest == pytest.approx(8.25, abs=0.02) and 9.1 < end <= 9.7


def test_cycle_of_a_motion_that_stands_still_is_all_of_it():
    still = Motion(np.arange(30) / 60, np.zeros((30, 33)), COORDINATES)
    assert squat_cycle(still) == (0, 14, 29) and png(strip(still)).startswith(b"\x89PNG")


def test_half_of_the_cycle_is_the_deepest_pose_however_slow_the_way_up():
    down, up = np.linspace(0, 1, 30), np.linspace(1, 0, 90)
    q = np.zeros((120, 33))
    for name in ("knee_angle_l", "knee_angle_r"): q[:, COORDINATES.index(name)] = np.concatenate([down, up])
    lazy = Motion(np.arange(120) / 60, q, COORDINATES)
    assert cycle_frames(lazy, 50) in (29, 30) and cycle_curve(lazy, "knee_angle").argmax() == 50


# films

def test_takes_begin_and_end_together():
    slow, fast = take(analytic_squat(reps=1, rate_hz=20)), take(analytic_squat(reps=1, rate_hz=20).slice(0, 1))
    steps = in_step([slow, fast], 60)
    assert steps[0] == [0, 0] and steps[-1] == [len(slow) - 1, len(fast) - 1] and len(steps) == len(slow)
    assert len(in_step([slow], 10)) == pytest.approx(len(slow) / 2, abs=1)


def test_film_is_what_browsers_play(tmp_path, squats):
    from imageio_ffmpeg import count_frames_and_secs, read_frames
    short = take(squats[0].slice(1.2, 1.5))
    write_mp4([short], tmp_path / "a.mp4")
    frames, seconds = count_frames_and_secs(str(tmp_path / "a.mp4"))
    about = next(read_frames(str(tmp_path / "a.mp4")))
    assert frames == len(short) and seconds == pytest.approx(.3 + 1 / 30, abs=.05)
    assert about["size"] == (1280, 720) and "h264" in about["codec"] and "yuv420p" in about["pix_fmt"]
    head = (tmp_path / "a.mp4").read_bytes()
    assert head.index(b"moov") < head.index(b"mdat")  # plays before it is loaded


def test_one_motion_goes_to_blender(tmp_path):
    write_motion(analytic_squat(reps=1, rate_hz=10), tmp_path / "a.mot")
    render([tmp_path / "a.mot"], tmp_path / "a.bvh")
    assert (tmp_path / "a.bvh").read_text().startswith("HIERARCHY")


def test_gif_repeats_at_its_speed(tmp_path, squats):
    from PIL import Image
    write_gif([take(squats[0].slice(1.2, 1.7)), take(walking_markers())], tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as film:
        assert film.size == (640, 360) and film.n_frames == 14 and film.info["loop"] == 0 and film.info["duration"] == 50


# curves and report

def test_curves_are_in_degrees_and_percent(squats):
    knee = cycle_curve(squats[0], "knee_angle")
    assert abs(knee.max() - 100) < 0.5 and abs(knee.argmax() - 50) <= 2
    assert cycle_curve(squats[0], "vasmed").max() == pytest.approx(100 / 120, abs=0.01)
    assert cycle_curve(analytic_squat(reps=1), "vasmed") is None
    assert np.allclose(cycle_curve(with_forces(squats[0]), "ground_force"), 800)


def test_curves_carry_band_request_units_and_names(squats):
    fig = curves(squats[:2], squats, {"vasmed": (.35, .45)}, labels=["first", "second"])
    axes = {ax.get_title().split(" (")[0].split("\n")[0]: ax for ax in fig.axes}
    assert {line.get_linestyle() for line in axes["vastus medialis"].lines} == {"-", "--", ":"} and axes["knee flexion"].collections
    assert "(°)" in axes["knee flexion"].get_title() and "0–1" in axes["soleus"].get_title()
    assert [t.get_text() for t in fig.legends[0].get_texts()] == ["first", "second"]
    one_pushes = curves([squats[0], with_forces(squats[1])], labels=["first", "second"])
    assert [[line.get_linestyle() for line in ax.lines] for ax in one_pushes.axes if "force" in ax.get_title()] == [["--"]]
    assert "ground force, vertical" in {ax.get_title().split(" (")[0] for ax in curves([with_forces(squats[0])]).axes}


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.images, self.links, self.open, self.headings = [], [], [], []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "img": self.images.append(attributes)
        if "id" in attributes: self.headings.append(attributes["id"])
        self.links += [v for k, v in attributes.items() if k in ("src", "href", "data", "action") and not v.startswith("data:")]
        if tag not in ("img", "meta", "link"): self.open.append(tag)

    def handle_endtag(self, tag): assert self.open.pop() == tag


def test_report_is_one_page_that_needs_nothing_else(squats):
    tables = {"What was asked": [{"what": "peak <0.45", "met": True}, {"what": "tilt & list", "met": False}]}
    make = lambda: report(squats, tables, {"seed": 3}, "bige generate --seed 3", lead="Twenty & more",
                          reference=squats[:2], requested={"vasmed": (0.35, 0.45)})
    text, page = make(), _Page()
    page.feed(text)
    assert text == make() and page.open == [] and {link[1:] for link in page.links} == set(page.headings) and all(link[0] == "#" for link in page.links)
    assert len(page.images) == 3 and all(len(i["alt"]) > 40 and int(i["width"]) > 100 for i in page.images)
    assert "size: A4" in text and "peak &lt;0.45" in text and "tilt &amp; list" in text and "Twenty &amp; more" in text
    assert "bige generate --seed 3" in text and "url(" not in text and "@import" not in text and 'lang="en"' in text
    assert "knee flexion 80° (60° to 100°)" in describe(squats).replace("(60 to 100)", "(60° to 100°)")


def test_verification_takes_its_place_in_the_report(squats):
    page = report(squats, {}, {"seed": 3}, "again")
    assert "bige verify" in page
    checked = with_verification(page, {"Static optimisation": [{"sample": 0, "met": True}]})
    assert "bige verify" not in checked and "Static optimisation" in checked and "✓ met" in checked
    again = with_verification(checked, {"Tracking": [{"sample": 0, "met": False}]})
    assert "Static optimisation" not in again and "Tracking" in again and with_verification("another page", {}) == "another page"


def _luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5))]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_text_of_the_report_has_contrast_aa():
    from bige.report import STYLE
    used, defined = set(re.findall(r"(?<![-a-z])color: var\(--bige-([a-z]+)\)", STYLE)), dict(re.findall(r"--bige-([a-z]+): (#[0-9a-f]{6});", STYLE))
    assert used >= {"ink", "muted", "accent", "good", "bad"} and defined == COLOURS
    assert not re.findall(r"#[0-9a-f]{3,6}\b", STYLE.split("}", 1)[1]), "a colour of its own"
    for name in used: assert contrast(COLOURS[name], "#ffffff") == pytest.approx(1.05 / (_luminance(COLOURS[name]) + 0.05), rel=1e-3) and contrast(COLOURS[name], "#ffffff") >= 4.5, name
    assert contrast(COLOURS["ink"], COLOURS["wash"]) >= 4.5  # code on its grey


def test_table_says_met_in_words():
    rows = [{"a": True, "b": float("nan")}, {"a": np.False_, "b": 1234.5678}, {"a": None, "b": np.float32(0.123456)}, {"a": "x", "b": -0.0}]
    cells = [["✓ met", "–"], ["✗ not met", "1235"], ["–", "0.123"], ["x", "0"]]
    assert re.findall(r"<td.*?>(.*?)</td>", html_table(rows)) == sum(cells, [])
    assert [line.strip("| ").split(" | ") for line in markdown_table(rows).splitlines()[2:]] == cells


# the whole way

def test_drawing_is_light_and_quiet(tmp_path):
    write_motion(example_squat(), tmp_path / "a.mot")
    code = ("import sys; import bige.rendering, bige.report; light = [m for m in ('pyvista', 'vtkmodules', 'matplotlib', 'imageio_ffmpeg', 'PIL', 'pandas') if m in sys.modules];"
            "from bige.rendering import render; render([sys.argv[1]], sys.argv[2], 'strip'); render([sys.argv[1]], sys.argv[3]);"
            "print(light, [m for m in ('torch', 'nimblephysics', 'opensim', 'casadi') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.mot", tmp_path / "a.png", tmp_path / "b.png"], capture_output=True, text=True)
    assert done.stdout.strip() == "[] []" and done.stderr == "", done.stdout + done.stderr


@pytest.mark.slow
def test_film_of_196_frames_is_ready_in_half_a_minute(tmp_path):
    import time
    motion = example_squat()
    motion = motion.resample(195 / motion.duration)
    start = time.process_time()
    shown = take(motion)
    write_mp4([shown], tmp_path / "a.mp4")
    assert len(shown) == 196 and time.process_time() - start < 45  # of processor time over two cores


def test_without_a_graphics_library_strips_are_drawn_and_films_refused(monkeypatch, tmp_path, squats):
    with_library = strip(squats[0]).axes[0].images[0].get_array()
    monkeypatch.setattr("bige.rendering.has_graphics", lambda: False)
    without = strip(squats[0]).axes[0].images[0].get_array()
    assert with_library.shape == without.shape and ((with_library[..., 3] > 127) != (without[..., 3] > 127)).mean() < 0.02
    red = lambda p: ((p[..., 0].astype(int) - p[..., 2] > 60) & (p[..., 1] < 110) & (p[..., 3] > 127)).sum()
    assert red(without) == pytest.approx(red(with_library), rel=0.25) and red(without) > 300
    write_motion(squats[0], tmp_path / "a.mot")
    for name in ("a.mp4", "a.gif", "a.png"):
        with pytest.raises(InputError, match="libosmesa6"): render([tmp_path / "a.mot"], tmp_path / name)
    render([tmp_path / "a.mot"], tmp_path / "a.html")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "a.mot"]


def test_findings_of_verify_enter_the_report(tmp_path):
    from bige.cli import into_report
    sample = {"file": "sample_00.mot", "status": "Solve_Succeeded", "met_by_surrogate": True, "met_by_simulation": False, "simulation": {}}
    record = {"n": 1, "modes": {"qp": {"simulated": 1, "met_by_surrogate": 1, "met_by_simulation": 0, "muscles": {}, "samples": [sample]}}}
    into_report(tmp_path / "report.html", record)  # nothing to enter
    assert not (tmp_path / "report.html").exists()
    (tmp_path / "report.html").write_text("<p>before</p><!-- verification -->old<!-- end of verification --><p>after</p>")
    into_report(tmp_path / "report.html", record)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "by surrogate, by 0 in simulation" in page and "sample_00" in page and "old" not in page and page.startswith("<p>before") and page.endswith("after</p>")
