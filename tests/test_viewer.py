"""Page and widget carry what the motion says; in a browser the page plays and asks nothing of the network."""

import json
import re
import subprocess
import sys
from importlib.resources import files

import numpy as np
import pytest

from bige.anatomy import PATH_SAMPLES
from bige.exercises import load_exercise
from bige.files import InputError
from bige.markers import Markers
from bige.motion import ACTIVATIONS, analytic_squat, example_squat, write_motion
from bige.rendering import COLOURS, FORCE_COLUMNS, drawable, rgb
from bige.report import render_files
from bige.viewer import (SEND_HZ, _as_text, describe_recording, packed, scene, scene_constants, viewer_page,
                         write_viewer_page)


def pushing(motion):
    return motion.with_columns(np.ravel(FORCE_COLUMNS).tolist(),
                               np.tile([0.1, 0, -0.1, 0, 400, 0] * 2, (len(motion.time), 1)))


def markers() -> Markers:
    positions = np.random.default_rng(0).uniform(0, 1, (30, 5, 3))
    positions[3:9, 2] = np.nan
    return Markers(np.arange(30) / 30, positions, ("a", "b", "c", "d", "e"))


def test_what_is_sent_is_the_motion():
    motion = example_squat()
    shown = drawable(motion, label="x")
    sent = packed(shown)
    frames = np.frombuffer(sent["frames"], "<f4").reshape(-1, sent["bodies"], 3, 4)
    assert len(frames) == len(sent["time"]) <= motion.duration * SEND_HZ + 2 and sent["time"][
        -1
    ] == pytest.approx(motion.duration, abs=1e-3)
    assert np.allclose(frames[[0, -1]], shown.frames[[0, -1]], atol=1e-6)
    lines = np.frombuffer(sent["lines"], "<i2").reshape(-1, 80, PATH_SAMPLES, 3) / 1e4
    assert np.allclose(lines[-1], shown.muscles[0][-1], atol=6e-5)
    level = np.frombuffer(sent["activations"], "u1").reshape(-1, 80) / 255
    assert np.allclose(level[0], motion.activations()[0], atol=0.003)
    length = np.linalg.norm(np.diff(lines[-1], axis=1), axis=-1).sum(-1)
    radius = np.frombuffer(sent["girth"], "<f4").reshape(80, PATH_SAMPLES) / np.sqrt(length)[:, None]
    assert np.allclose(radius.max(1), shown.muscles[1][-1].max(1), atol=5e-4)


def test_forces_markers_and_bare_motions_are_sent():
    assert np.frombuffer(packed(drawable(pushing(analytic_squat(reps=1))))["forces"], "<f4").reshape(
        -1, 2, 2, 3)[0, :, 1, 1] == pytest.approx(400)
    dots = np.frombuffer(packed(drawable(markers()))["markers"], "<i2").reshape(-1, 5, 3)
    assert (
        (dots[:, 2] == -32768).all(1).any()
        and (abs(dots[:, 0]) < 3000).all()
        and "frames" not in packed(drawable(markers()))
    )
    assert "activations" not in packed(drawable(analytic_squat(reps=1)))


def rise_with_a_bar():
    "The second half of a squat, on the seat of the sit-to-stand and with a bar."
    whole = analytic_squat(reps=1, rate_hz=20, depth_deg=100)
    rise = whole.slice(whole.time[whole["knee_angle_r"].argmax()], whole.time[-1])
    return drawable(rise, label="a rise", load="barbell:60", seat=load_exercise("sit_to_stand").seat)


def test_load_and_seat_are_sent_once_with_the_bodies_that_carry_them():
    shown = rise_with_a_bar()
    sent = packed(shown)["solids"]
    body = np.frombuffer(sent["body"], "u1")
    vertices, normals = (np.frombuffer(sent[name], "<f4").reshape(-1, 3) for name in ("vertices", "normals"))
    tints = np.frombuffer(sent["tints"], "u1").reshape(-1, 3)
    faces = np.frombuffer(sent["faces"], "<u2")
    assert len(body) == len(vertices) == len(normals) == len(tints) == faces.max() + 1
    torso, ground = shown.person.bodies.index("torso"), len(shown.person.bodies)
    for index, kind in ((torso, "load"), (ground, "seat")):
        mine, solid = body == index, shown.solids[kind]
        assert np.allclose(vertices[mine], solid.vertices, atol=1e-6) and mine.sum() == len(solid.body)
        assert np.allclose(tints[mine], 255 * rgb(COLOURS[kind]), atol=1)
        assert len(np.unique(body[faces].reshape(-1, 3)[:, 0])) == 2  # no triangle between the two
    assert "solids" not in packed(drawable(example_squat())) and "solids" not in packed(drawable(markers()))
    words = describe_recording(shown)
    assert "carrying 60 kg (barbell)" in words and re.search(r"seat \d\d cm high", words)
    assert not re.search("carrying|seat", describe_recording(drawable(example_squat())))


def test_a_live_scene_keeps_the_seat_of_its_exercise():
    rise = rise_with_a_bar().recording
    live = scene(rise, exercise="sit_to_stand")
    live.replace(rise)
    assert "solids" in live.recordings[0] and "solids" not in scene(rise).recordings[0]


def test_page_is_whole_and_the_same_twice(tmp_path):
    shown = [drawable(example_squat(), label="a </script><b>"), drawable(markers(), label="m")]
    write_viewer_page(shown, tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert (
        text == viewer_page(shown)
        and not re.search(r"""(?:src|href)=["'](?!data:)""", text)
        and "import " not in text.replace("important ", "")
    )
    data = json.loads(text.split('id="data">')[1].split("</script>")[0])
    assert [t["label"] for t in data["recordings"]] == ["a </script><b>", "m"] and "<b>" not in text.split(
        "<script"
    )[0]
    assert "knee flexion up to" in text and "<noscript>" in text and len(text) < 3e6


def test_render_writes_the_page(tmp_path):
    write_motion(analytic_squat(reps=1), tmp_path / "one.mot")
    render_files([tmp_path / "one.mot"] * 3, tmp_path / "three.html")
    assert (tmp_path / "three.html").read_text().count('"label":"one"') == 3
    with pytest.raises(InputError, match="png"):
        render_files([tmp_path / "one.mot"], tmp_path / "a.html", "curves")


def test_live_scene_takes_a_new_motion():
    live = scene([example_squat(), analytic_squat(reps=1)], labels=["now", "before"], height=300)
    heard = []
    live.observe(lambda change: heard.append(change["new"]), "frame")
    meshes = live.scene
    live.replace(analytic_squat(reps=1, depth_deg=60), at=0)
    live.show(12)
    assert (
        live.recordings[0]["label"] == "now"
        and "activations" not in live.recordings[0]
        and live.recordings[1]["label"] == "before"
    )
    assert heard == [12] and live.scene is meshes and live.height == 300 and not live.playing
    assert len(scene_constants()["key"]) == 768


def test_importing_the_viewer_is_light():
    names = ("anywidget", "ipywidgets", "vtkmodules", "matplotlib", "torch", "pandas", "jinja2")
    code = f"import sys, bige.viewer; print([m for m in {names} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


# in a browser


@pytest.fixture(scope="module")
def opened(browser, tmp_path_factory):
    "A page of two motions, what it complained, and what it asked for."
    file = tmp_path_factory.mktemp("page") / "a.html"
    motion = example_squat().with_columns(ACTIVATIONS,
                                          np.tile(np.linspace(0, 1, len(example_squat().time))[:, None], 80))
    write_viewer_page(
        [drawable(motion, label="red at last"), drawable(pushing(analytic_squat(reps=1)), label="pushing")],
        file)
    tab = browser.new_page(viewport={"width": 900, "height": 600}, reduced_motion="reduce")
    complaints, requests = [], []
    tab.on("pageerror", lambda e: complaints.append(str(e)))
    tab.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    tab.on("request", lambda r: requests.append(r.url))
    tab.set_default_timeout(90_000)
    tab.goto(file.as_uri())
    tab.wait_for_function("document.querySelector('output').textContent")
    yield tab, complaints, requests
    tab.close()


def _canvas(tab) -> np.ndarray:
    from io import BytesIO
    from PIL import Image

    tab.evaluate(
        "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )  # what has changed is drawn
    return np.asarray(Image.open(BytesIO(tab.locator("canvas").screenshot())).convert("RGB")).astype(int)


def test_page_plays_by_keyboard_alone(opened):
    tab, complaints, requests = opened
    assert tab.locator(".play").inner_text() == "Play"  # somebody who asked for less motion starts at rest
    tab.locator("canvas").focus()
    first = _canvas(tab)
    tab.keyboard.press("End")
    last = _canvas(tab)

    def red(picture: np.ndarray) -> int:
        return ((picture[..., 0] - picture[..., 2] > 70) & (picture[..., 1] < 60)).sum()

    assert (first != last).any(-1).mean() > 0.02 and red(last) > red(first) + 150
    tab.keyboard.press("Home")
    tab.keyboard.press("ArrowRight")
    assert tab.locator("input[type=range]").input_value() == "1"
    tab.keyboard.press("Space")
    assert tab.locator(".play").inner_text() == "Pause"
    tab.wait_for_function("+document.querySelector('input[type=range]').value > 3")
    tab.keyboard.press("Space")
    tab.keyboard.press("Home")
    tab.keyboard.press("Shift+ArrowRight")
    assert (_canvas(tab) != first).any(-1).mean() > 0.01
    assert complaints == [] and len(requests) == 1


KERNEL = """
const state = JSON.parse(document.getElementById("state").textContent), heard = {};
const told = window.told = [], seen = window.seen = new Set();
window.model = { get: k => state[k], on: (k, act) => (heard[k] ??= []).push(act),
  save_changes: () => told.push({ frame: state.frame, playing: state.playing }),
  set(k, v) {
    state[k] = v;
    if (k === "frame") seen.add(v);
    (heard["change:" + k] ?? []).forEach(act => act());
  } };
widget.render({ model, el: document.body });
"""


def test_playing_live_tells_the_kernel_five_frames_a_second_and_the_last(browser, tmp_path):
    live = scene([analytic_squat(reps=1)], height=200)
    state = json.dumps(
        _as_text(
            {name: getattr(live, name) for name in ("scene", "recordings", "frame", "playing", "height")}
        )
    ).replace("<", "\\u003c")
    script = (
        files("bige").joinpath("assets", "viewer.js").read_text().replace("export default", "const widget =")
    )
    (tmp_path / "live.html").write_text(
        f'<body><script type="application/json" id="state">{state}</script>'
        f'<script type="module">{script}\n{KERNEL}</script></body>'
    )
    tab = browser.new_page(viewport={"width": 300, "height": 300})
    tab.set_default_timeout(90_000)
    tab.goto((tmp_path / "live.html").as_uri())
    tab.wait_for_selector(".play")
    seconds, told = tab.evaluate("""async () => {
        const since = performance.now(), enough = () => seen.size > 15 || performance.now() - since > 15000;
        document.querySelector('.play').click();
        while (!enough()) await new Promise(requestAnimationFrame);
        const seconds = (performance.now() - since) / 1000;
        document.querySelector('.play').click();
        const count = told.length;
        await new Promise(done => setTimeout(done, 500));
        return [seconds, [told.length - count, ...told]] }""")
    after_the_pause, *told = told
    assert tab.evaluate("seen.size") > 15 and len(told) <= 5 * seconds + 3
    assert (
        told[-1] == {"frame": tab.evaluate("model.get('frame')"), "playing": False} and after_the_pause == 0
    )
    tab.evaluate("model.set('frame', 3)")
    assert tab.locator("input[type=range]").input_value() == "3"
    tab.close()


def test_page_says_in_words_what_it_shows(opened):
    tab, _, _ = opened
    alt = tab.locator("canvas").get_attribute("aria-label")
    assert "red at last: a skeleton" in alt and "knee flexion up to" in alt
    assert tab.locator("input[type=range]").get_attribute("aria-valuetext").endswith(" s")
    assert [s.inner_text() for s in tab.locator("strong").all()] == ["red at last", "pushing"]
    assert "1 m = 1000 N" in tab.locator("em").nth(1).inner_text()
    unnamed = tab.evaluate(
        "[...document.querySelectorAll('button, input, select')]"
        ".filter(e => !(e.textContent || e.ariaLabel || e.labels?.length)).length"
    )
    assert unnamed == 0


def test_both_panels_show_a_person(opened):
    picture = _canvas(opened[0])
    for half in (picture[:, : picture.shape[1] // 2], picture[:, picture.shape[1] // 2 :]):
        assert (
            (half.max(-1) - half.min(-1) < 40) & (half.max(-1) < 200) & (half.max(-1) > 60)
        ).sum() > 1500  # shaded bone


def test_the_browser_shows_load_and_seat(browser, tmp_path):
    shown = rise_with_a_bar()
    write_viewer_page([shown, drawable(shown.recording)], tmp_path / "a.html")
    tab = browser.new_page(viewport={"width": 900, "height": 500}, reduced_motion="reduce")
    complaints = []
    tab.on("pageerror", lambda e: complaints.append(str(e)))
    tab.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    tab.set_default_timeout(90_000)
    tab.goto((tmp_path / "a.html").as_uri())
    tab.wait_for_function("document.querySelector('output').textContent")

    def where(kind: str) -> tuple[np.ndarray, np.ndarray]:
        "Rows of the pixels with the hue of the load or the seat, in the left and in the right panel."
        picture, colour = _canvas(tab), rgb(COLOURS[kind])
        share = picture / np.maximum(picture.max(-1, keepdims=True), 1)
        hue = (np.abs(share - colour / colour.max()).max(-1) < 0.025) & (picture.max(-1) < 250)
        half = picture.shape[1] // 2
        return np.nonzero(hue[:, :half])[0], np.nonzero(hue[:, half:])[0]

    def means() -> list[float]:
        found = [where(kind) for kind in ("load", "seat")]
        assert all(len(left) > 3 * len(right) + 500 for left, right in found)
        return [left.mean() for left, _ in found]

    (bar_low, seat), _ = means(), tab.locator("canvas").focus()
    tab.keyboard.press("End")
    bar_high, seat_after = means()
    assert bar_low - bar_high > 30 and abs(seat - seat_after) < 25  # the bar rises, the seat stays
    assert "carrying 60 kg" in tab.locator("canvas").get_attribute("aria-label") and complaints == []
    tab.close()


def test_report_opens_without_complaint_or_request(browser, tmp_path):
    from bige.answers import Request, answer
    from bige.report import write_pages

    answer(Request(n=1)).save(tmp_path, extras=[write_pages])
    tab, complaints, requests = browser.new_page(viewport={"width": 400, "height": 800}), [], []
    tab.on("pageerror", lambda e: complaints.append(str(e)))
    tab.on("console", lambda m: complaints.append(m.text))
    tab.on("request", lambda r: requests.append(r.url[:60]) if not r.url.startswith("data:") else None)
    tab.set_default_timeout(90_000)
    tab.goto((tmp_path / "report.html").as_uri())
    assert complaints == [] and len(requests) == 1
    assert tab.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 100)")
    assert tab.evaluate(
        "document.documentElement.scrollWidth <= innerWidth"
    )  # nothing sticks out on a telephone
    tab.close()
