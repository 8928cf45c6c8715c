"""Pictures say what the motion says, are the same twice, and the report asks nothing from the network."""
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from bige.motion import ACTIVATIONS, COORDINATES, InputError, Motion, analytic_squat, example_squat, write_motion
from bige.rendering import (by_activation, capsule, curves, cycle_curve, cycle_frames, draw_pose, html_table, landmarks, peak_activation, png,
                            preview, project, quadriceps, render, report, save_picture, spindle, squat_cycle, strip)


def with_activations(motion: Motion, level: float) -> Motion:
    "All muscles follow the knee up to `level`."
    knee = motion["knee_angle_r"]
    a = level * (knee - knee.min()) / np.ptp(knee)
    return motion.with_columns(ACTIVATIONS, np.repeat(a[:, None], 80, 1))


@pytest.fixture(scope="module")
def squats() -> list[Motion]:
    return [with_activations(analytic_squat(reps=1, depth_deg=d), d / 120) for d in (100, 60, 80)]


def test_landmarks_stand_on_the_floor_and_look_ahead():
    p = {n: v[0] for n, v in landmarks(analytic_squat(reps=1)).items()}
    heights = [p[n][1] for n in ("head", "neck", "waist", "hip_r", "knee_r", "ankle_r")]
    assert heights == sorted(heights, reverse=True)
    assert 1.4 < p["head"][1] < 1.9 and abs(p["toe_r"][1]) < 0.06
    for side in "lr":
        assert p[f"toe_{side}"][0] > p[f"ball_{side}"][0] > p[f"heel_{side}"][0]
        assert p[f"kneecap_{side}"][0] > p[f"knee_{side}"][0]
    assert p["hip_r"][2] > 0 > p["hip_l"][2]


@pytest.mark.parametrize("yaw", [0.5, -2.0, np.pi])
def test_where_the_person_stands_and_faces_does_not_matter(yaw):
    here = analytic_squat(reps=1)
    i = {n: COORDINATES.index(n) for n in COORDINATES}
    upright = here.with_columns(["pelvis_tilt"], np.zeros(len(here.time)))
    q = upright.coordinates().copy()
    x, z = q[:, i["pelvis_tx"]].copy(), q[:, i["pelvis_tz"]].copy()
    q[:, i["pelvis_tx"]] = np.cos(yaw) * x + np.sin(yaw) * z + 3
    q[:, i["pelvis_tz"]] = -np.sin(yaw) * x + np.cos(yaw) * z - 2
    q[:, i["pelvis_ty"]] += 0.25
    q[:, i["pelvis_rotation"]] += yaw
    there = Motion.from_arrays(here.time, q)
    a, b = landmarks(upright), landmarks(there)
    assert all(np.allclose(a[n], b[n], atol=1e-9) for n in a)


def test_cycle_is_the_deepest_repetition_without_the_standing():
    five = analytic_squat(reps=5)
    deeper = five.with_columns(["knee_angle_l", "knee_angle_r"],
                               np.repeat((five["knee_angle_l"] * np.where((five.time > 6.9) & (five.time < 9.6), 1.1, 1))[:, None], 2, 1))
    start, deepest, end = (deeper.time[f] for f in squat_cycle(deeper))
    assert 6.9 <= start < 7.4 and deepest == pytest.approx(8.25, abs=0.02) and 9.1 < end <= 9.7


def test_cycle_of_a_motion_that_stands_still_is_all_of_it():
    still = Motion(np.arange(30) / 60, np.zeros((30, 33)), COORDINATES)
    assert squat_cycle(still) == (0, 14, 29)
    assert png(strip(still)).startswith(b"\x89PNG")


def test_half_of_the_cycle_is_the_deepest_pose_however_slow_the_way_up():
    down, up = np.linspace(0, 1, 30), np.linspace(1, 0, 90)
    q = np.zeros((120, 33))
    for name in ("knee_angle_l", "knee_angle_r"): q[:, COORDINATES.index(name)] = np.concatenate([down, up])
    lazy = Motion(np.arange(120) / 60, q, COORDINATES)
    assert cycle_frames(lazy, 50) in (29, 30) and cycle_curve(lazy, "knee_angle").argmax() == 50
    assert png(strip(lazy)).startswith(b"\x89PNG")


def test_curves_are_in_degrees_and_percent(squats):
    knee = cycle_curve(squats[0], "knee_angle")
    assert abs(knee.max() - 100) < 0.2 and abs(knee.argmax() - 50) <= 2
    assert cycle_curve(squats[0], "vasmed").max() == pytest.approx(100 / 120, abs=0.01)
    assert cycle_curve(analytic_squat(reps=1), "vasmed") is None


def test_samples_stand_in_the_order_of_their_activation(squats):
    assert by_activation(squats) == [1, 2, 0]
    texts = [t.get_text() for t in preview(squats).axes[0].texts]
    assert [t.split("\n")[0] for t in texts] == ["1", "2", "0"]
    assert "knee 60°" in texts[0] and "peak 0.50" in texts[0]
    bare = [analytic_squat(reps=1, depth_deg=d) for d in (100, 60, 80)]
    assert by_activation(bare) == [1, 2, 0] and "peak" not in preview(bare).axes[0].texts[0].get_text()


def test_depth_line_and_hip_path_follow_the_hips(squats):
    line = preview(squats).axes[0].lines[0].get_ydata()
    assert len(line) == 3 and line[0] > line[1] > line[2]
    path = strip(squats[0]).axes[0].lines[0].get_ydata()
    hips = landmarks(squats[0])["pelvis"][:, 1]
    start, _, end = squat_cycle(squats[0])
    assert np.allclose(path, hips[start:end + 1])


def test_quadriceps_are_darker_when_more_active(squats):
    from matplotlib.figure import Figure
    page = {n: project(p[60]) for n, p in landmarks(squats[0]).items()}

    def colours(level):
        ax = Figure().add_subplot()
        draw_pose(ax, page, activation=None if level is None else np.array([level, level]))
        return {tuple(c) for c in ax.collections[0].get_facecolor()}
    low, high = colours(0.1) - colours(None), colours(0.9) - colours(None)
    assert len(low) == len(high) == 1
    assert sum(min(low)[:3]) > sum(min(high)[:3]) + 0.8
    assert quadriceps(analytic_squat(reps=1)) is None and quadriceps(squats[0]).shape == (len(squats[0].time), 2)
    assert np.isnan(peak_activation(analytic_squat(reps=1)))


@pytest.mark.parametrize("outline", [capsule(np.zeros(2), np.array([0.3, 0.4]), 0.1, 0.05),
                                     spindle(np.zeros(2), np.array([0.15, 0.3]), np.array([0.3, 0.4]), 0.05)])
def test_outlines_enclose_the_limb(outline):
    from matplotlib.path import Path
    inside = Path(outline).contains_points([[0.15, 0.22]])
    assert inside.all() and outline.shape[1] == 2


@pytest.mark.parametrize("draw", [strip, preview, curves])
def test_the_same_motion_gives_the_same_bytes(draw, squats):
    first, second = png(draw(squats)), png(draw(squats))
    assert first == second
    assert not any(stamp in first for stamp in (b"tEXt", b"iTXt", b"tIME"))


def test_picture_is_written_whole_or_not_at_all(tmp_path, squats, monkeypatch):
    save_picture(strip(squats[0]), tmp_path / "a.png")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt): save_picture(strip(squats[0]), tmp_path / "b.png")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("name", ["film.mp4", "page.html", "film.gif", "noending"])
def test_other_formats_are_refused_and_png_is_named(name, tmp_path):
    with pytest.raises(InputError, match=r"\.png"): render([], tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_three_files_side_by_side_and_in_rows(tmp_path, squats):
    paths = [tmp_path / f"{n}.mot" for n in "abc"]
    for path, motion in zip(paths, squats): write_motion(motion, path)
    render(paths, tmp_path / "side.png")
    render(paths, tmp_path / "rows.PNG", use_strip=True)
    from matplotlib.image import imread
    side, rows = imread(tmp_path / "side.png"), imread(tmp_path / "rows.PNG", format="png")
    assert rows.shape[0] > 1.5 * side.shape[0]


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.images, self.links, self.open = [], [], []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "img": self.images.append(attributes)
        self.links += [v for k, v in attributes.items() if k in ("src", "href", "data", "action") and not v.startswith("data:")]
        if tag not in ("img", "meta"): self.open.append(tag)

    def handle_endtag(self, tag): assert self.open.pop() == tag


def test_report_is_one_page_that_needs_nothing_else(squats):
    tables = {"What was asked": [{"what": "peak <0.45", "met": True}, {"what": "tilt & list", "met": False}]}
    make = lambda: report(squats, tables, {"seed": 3}, "bige generate --seed 3", lead="Twenty & more",
                          reference=squats[:2], requested={"vasmed": (0.35, 0.45)})
    text, page = make(), _Page()
    page.feed(text)
    assert text == make() and page.open == [] and page.links == []
    assert len(page.images) == 3 and all(len(i["alt"]) > 10 for i in page.images)
    assert "size: A4" in text and "peak &lt;0.45" in text and "tilt &amp; list" in text and "Twenty &amp; more" in text
    assert "bige generate --seed 3" in text and "url(" not in text and "@import" not in text


def test_table_says_met_in_words():
    text = html_table([{"a": True, "b": float("nan")}, {"a": np.False_, "b": 1234.5678}])
    assert "✓ met" in text and "✗ not met" in text and "<td>–</td>" in text and "<td>1235<" in text


def test_drawing_needs_no_network_libraries(tmp_path):
    write_motion(example_squat(), tmp_path / "a.mot")
    code = ("import sys; from bige.rendering import render; render([sys.argv[1]], sys.argv[2], use_strip=True);"
            "print([m for m in ('torch', 'nimblephysics', 'opensim', 'casadi', 'matplotlib.pyplot') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.mot", tmp_path / "a.png"], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
