"""The sheet says in plain words what the motion does, fits on one page, and is always the same."""

import re
from dataclasses import replace

import numpy as np
import pytest
from conftest import with_activations
from matplotlib.backends.backend_agg import FigureCanvasAgg

from bige.answers import Answer, Request, answer
from bige.constraint_files import parse_constraints
from bige.exercises import load_exercise, shipped_exercises
from bige.files import InputError
from bige.handout import (CAUTION, Handout, answer_drawable, answer_handout, felt_in, filled_in, handout,
                          handout_figure, lists_of, pdf, pose_pictures, sample_to_show, seconds_words,
                          strip_view_deg, tempo_s, thigh_words, three_sentences, watch_for, what_to_change)
from bige.metrics import load_reference
from bige.motion import analytic_squat, write_motion
from bige.rendering import drawable
from bige.report import render_files, write_pages

JARGON = re.compile(r"flexion|extension|activation|constraint|simulat|surrogate|sample|pelvis_|_[lr]\b"
                    r"|\bseed\b|phase|metric|vast|glut|coordinate|latent|predicted|°\s*C|\bnan\b|[{}]", re.I)


def sheet_of(name: str, **how) -> Handout:
    exercise = load_exercise(name)
    motion = load_reference(split="val", exercise=name)[0]
    return handout(drawable(motion, seat=exercise.seat), exercise, **how)


def words_on(sheet: Handout) -> str:
    lists = [line for title, lines in lists_of(sheet).items() for line in (title, *lines)]
    return "\n".join([sheet.title, *sheet.sentences, *lists])


@pytest.mark.parametrize("name", shipped_exercises())
def test_a_sheet_of_each_exercise_is_plain(name):
    sheet = sheet_of(name)
    assert len(sheet.sentences) == 3 and not JARGON.search(words_on(sheet)), words_on(sheet)
    assert all(re.fullmatch(r"[A-Z][^.]*(\d\.\d[^.]*)*\.", sentence) for sentence in sheet.sentences)
    leads = load_exercise(name).leading is not None
    assert ("right leg" in sheet.title or "left leg" in sheet.title) == leads
    assert "second" in sheet.sentences[1] and (leads or "chair" in sheet.sentences[0])


def test_the_side_is_that_of_the_motion():
    exercise = load_exercise("side_lunge")
    motion, side = exercise.to_leading_leg(load_reference(split="val", exercise=exercise)[0])
    right, left = (handout(drawable(m), exercise) for m in (motion, motion.mirror()))
    assert right.side == "r" and left.side == "l"
    assert "your right knee" in right.sentences[0] and "the left leg stays straight" in right.sentences[0]
    assert left.title == "Side lunge, left leg" and "your left knee" in left.sentences[2]
    assert strip_view_deg(right) == 90.0                     # it moves sideways
    assert strip_view_deg(sheet_of("squat")) != 90.0


def test_numbers_are_those_of_the_motion():
    slow = drawable(analytic_squat(reps=1, depth_deg=88, period=6.0))
    there, pause, back = tempo_s(slow.recording)
    assert there + pause + back == pytest.approx(6.0 * (1 - 2 * np.arccos(0.8) / (2 * np.pi)), abs=0.1)
    assert pause > 0.75 and there == pytest.approx(back, abs=0.1)
    found = filled_in(slow)
    assert found["knee"] == "90" and found["there"] == seconds_words(there) and "stop" in found["pause"]
    quick = tempo_s(analytic_squat(reps=1, period=2.0))
    assert quick[1] == 0 and "stop" not in three_sentences(drawable(analytic_squat(reps=1, period=2.0)))[1]
    assert thigh_words(20) != thigh_words(90) and "lower than" in thigh_words(110)


def test_what_was_requested_comes_first():
    wanted = parse_constraints("constraints:\n  - {kind: trunk_lean, high: 30}\n"
                               "  - {kind: heel_contact, high: 1}\n"
                               "  - {kind: muscle, muscle: soleus, high: 0.5}\n")
    squat = drawable(analytic_squat(reps=1))
    sheet = handout(squat, constraints=tuple(wanted))
    assert "30°" in sheet.watch[0] and sum("heel" in each.lower() for each in sheet.watch) == 1
    assert sheet.feel == "You should feel it in your calf." and not JARGON.search(words_on(sheet))
    assert felt_in(["gluteus_medius_l"]) == ["the side of your hip"] and felt_in(["perlong_l"]) == []
    assert watch_for(load_exercise(), filled_in(squat)) == tuple(load_exercise().instructions["watch"])


def test_changes_are_the_largest_and_the_tempo():
    rows = [{"words": f"bend the knee more by {k}°"} for k in (9, 7, 5, 3, 2)]
    assert len(what_to_change(rows)) == 4 and what_to_change(rows)[0] == "Bend the knee more by 9°."
    with_tempo = what_to_change(rows, ["go there more slowly: in 3 seconds instead of 1 second"])
    assert len(with_tempo) == 4 and with_tempo[-1].startswith("Go there more slowly")
    same = drawable(analytic_squat(reps=1))
    assert handout(replace(same, ghost=same), changes=[]).changes == ("Nothing: go on as you do.",)
    assert handout(same).changes is None and list(lists_of(handout(same))) == ["Watch for"]


def test_no_limb_leaves_a_picture():
    for name in ("squat", "side_lunge", "sit_to_stand"):
        sheet = sheet_of(name)
        for row in pose_pictures(sheet).values():
            for picture in row:
                ground = (picture == 150).all(-1)             # the line on which the person stands
                body = (picture < 250).any(-1) & ~ground
                assert body.any() and not body[0].any() and not body[:, [0, -1]].any(), name
        assert not (sheet.film[:, [0, -1]] < 140).any()


def test_the_pdf_is_one_page_of_a4_and_always_the_same():
    sheet = sheet_of("squat", changes=[{"words": "straighten the trunk by 10°"}] * 9)
    data = pdf(handout_figure(sheet), sheet.title)
    assert data == pdf(handout_figure(replace(sheet)), sheet.title) and b"CreationDate" not in data
    assert len(re.findall(rb"/Type /Page\b(?!s)", data)) == 1
    box = [float(x) for x in re.search(rb"/MediaBox \[([^]]*)\]", data)[1].split()]
    assert box[2:] == pytest.approx([210 / 25.4 * 72, 297 / 25.4 * 72], abs=0.1)
    fig = handout_figure(sheet)
    renderer, shares = FigureCanvasAgg(fig).get_renderer(), fig.transFigure.inverted()
    for text in fig.texts:                                    # nothing is written beyond the paper
        x0, y0, x1, y1 = text.get_window_extent(renderer).transformed(shares).extents
        assert x0 >= 0.03 and x1 <= 0.97 and y0 >= 0.01 and y1 <= 0.99, text.get_text()


def test_render_writes_a_sheet(tmp_path):
    slow, fast = analytic_squat(reps=1, period=4.0), analytic_squat(reps=1, period=2.0, depth_deg=80)
    for name, motion in {"mine": fast, "better": slow}.items():
        write_motion(motion, tmp_path / f"{name}.mot")
    render_files([tmp_path / "better.mot"], tmp_path / "one.pdf", "handout")
    render_files([tmp_path / "mine.mot", tmp_path / "better.mot"], tmp_path / "two.pdf", "handout")
    assert (tmp_path / "one.pdf").read_bytes() != (tmp_path / "two.pdf").read_bytes()
    with pytest.raises(InputError, match="a name ending in .pdf"):
        render_files([tmp_path / "mine.mot"], tmp_path / "one.png", "handout")
    with pytest.raises(InputError, match="an own repetition and what to change it to"):
        render_files([tmp_path / "mine.mot"] * 3, tmp_path / "three.pdf", "handout")


# of an answer


@pytest.fixture(scope="module")
def found() -> Answer:
    return answer(Request(n=2, seed=3))


def test_the_sheet_shows_what_holds(found):
    assert sample_to_show(found) in (0, 1)
    failed = dict(found.satisfaction[0])
    key = next(k for k, row in failed.items() if row["satisfied"])
    failed[key] = failed[key] | {"satisfied": False, "violation": 1.0}
    worse = replace(found, satisfaction=(failed, found.satisfaction[1]))
    assert sample_to_show(worse) == 1 and answer_handout(worse, 1).note == ""
    assert answer_handout(worse, 0).note == CAUTION
    samples = [{"satisfied_by_simulation": k == 0} for k in range(2)]
    assert sample_to_show(found, {"modes": {"qp": {"samples": samples}}}) == 0


def test_the_recording_is_a_ghost_on_the_sheet(found, tmp_path):
    write_motion(with_activations(analytic_squat(reps=1), 0.1), tmp_path / "mine.mot")
    advised = replace(found, request=replace(found.request, like=tmp_path / "mine.mot"), changes=[[], []])
    shown = answer_drawable(advised, 0)
    assert shown.ghost is not None and shown.ghost.recording.duration == pytest.approx(3.7, abs=0.1)
    assert answer_handout(advised, 0).changes and answer_handout(found, 0).changes is None
    gone = replace(found, request=replace(found.request, like=tmp_path / "gone.mot"))
    assert answer_drawable(gone, 0).ghost is None


# on paper and on a phone


NINE = [{"words": f"bend the left knee less by {k}°"} for k in range(9)]


@pytest.mark.parametrize("changes", [None, [NINE, NINE]], ids=["request", "advice"])
def test_the_first_page_of_the_report_is_one_sheet(browser, found, tmp_path, changes):
    write_pages(replace(found, changes=changes, folder=tmp_path), tmp_path)
    page, asked, complaints = browser.new_page(viewport={"width": 1280, "height": 800}), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto((tmp_path / "report.html").as_uri())
    page.wait_for_selector("#scene canvas")
    assert complaints == [] and [url for url in asked if not url.startswith(("file:", "data:"))] == []
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 688, "height": 1000})    # the width between the margins
    high, overflow = page.evaluate(
        "(() => { const s = document.querySelector('.sheet');"
        " return [s.getBoundingClientRect().height, s.scrollHeight - s.clientHeight]; })()")
    assert high <= 273 / 25.4 * 96 and overflow <= 1          # 297 mm less two margins of 12 mm
    for image in page.query_selector_all(".sheet img"):
        assert image.bounding_box()["height"] > 90
    whole = page.pdf(prefer_css_page_size=True)
    page.evaluate("document.querySelectorAll('main > section:not(.sheet)').forEach(each => each.remove())")
    first = page.pdf(prefer_css_page_size=True)
    page.close()
    count = [len(re.findall(rb"/Type /Page\b(?!s)", data)) for data in (first, whole)]
    assert count[0] == 1 and count[1] > 2
    box = [float(x) for x in re.search(rb"/MediaBox \[([^]]*)\]", first)[1].split()]
    assert box[2:] == pytest.approx([595, 842], abs=1)


def test_nothing_is_cut_off_on_a_phone(browser, found, tmp_path):
    write_pages(replace(found, folder=tmp_path), tmp_path)
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto((tmp_path / "report.html").as_uri())
    page.wait_for_selector("#scene canvas")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    cut = page.evaluate("[...document.querySelectorAll('table')]"
                        ".filter(t => t.scrollWidth > t.clientWidth + 1"
                        " && getComputedStyle(t.parentElement).overflowX !== 'auto').length")
    page.close()
    assert cut == 0
