"""Curves are true, a report is one page that says one state."""

import json
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from conftest import with_activations

from bige.answers import Answer, Request, answer
from bige.constraint_files import parse_constraints
from bige.exercises import load_exercise
from bige.motion import Motion, analytic_squat
from bige.rendering import COLOURS, CSS_COLOURS, FORCE_COLUMNS, contrast, drawable
from bige.handout import sample_to_show
from bige.report import (advice_rows, certificate_rows, constraint_title, curve_unit, curves, cycle_curves,
                         describe_curves, load_rows, moment_rows, requested_ranges, sample_limit_rows,
                         state_of, verification_tables, write_pages)
from bige.viewer import asset_text, describe_recording


def with_forces(motion: Motion) -> Motion:
    "400 N up under each foot."
    foot = [0.1, 0, 0, 50, 400, 0]
    return motion.with_columns(np.ravel(FORCE_COLUMNS).tolist(), np.tile(foot * 2, (len(motion.time), 1)))


@pytest.fixture(scope="module")
def squats() -> list[Motion]:
    return [with_activations(analytic_squat(reps=1, rate_hz=30, depth_deg=d), d / 120) for d in (100, 60, 80)]


# curves


def test_curves_are_in_degrees_and_percent(squats):
    found = cycle_curves(squats[0])
    assert abs(found["knee_angle"].max() - 100) < 0.5 and abs(found["knee_angle"].argmax() - 50) <= 2
    assert found["vasmed"].max() == pytest.approx(100 / 120, abs=0.01)
    assert "vasmed" not in cycle_curves(analytic_squat(reps=1)) and "ground_force" not in found
    assert np.allclose(cycle_curves(with_forces(squats[0]))["ground_force"], 800)
    assert [
        curve_unit(name) for name in ("knee_angle", "pelvis_tilt", "pelvis_ty", "vasmed", "ground_force")
    ] == ["°", "°", "m", "", "N"]


def test_curves_are_those_of_the_exercise(squats):
    hips = replace(load_exercise(),
                   curves={"hip_adduction": "hip adduction", "pelvis_ty": "height of the pelvis"})
    assert list(cycle_curves(squats[0], hips)) == ["hip_adduction", "pelvis_ty"]
    assert [ax.get_title() for ax in curves(squats, exercise=hips).axes] == [
        "hip adduction (°)",
        "height of the pelvis (m)",
    ]
    assert "height of the pelvis 0." in describe_curves(squats, hips)


def test_curves_carry_band_request_units_and_names(squats):
    fig = curves(squats[:2], squats, {"vasmed": (0.35, 0.45)}, labels=["first", "second"])
    axes = {ax.get_title().split(" (")[0]: ax for ax in fig.axes}
    assert {line.get_linestyle() for line in axes["vastus medialis"].lines} == {"-", "--", ":"} and axes[
        "knee flexion"
    ].collections
    assert "(°)" in axes["knee flexion"].get_title() and "0–1" in axes["soleus"].get_title()
    legend = [text.get_text() for text in fig.legends[0].get_texts()]
    assert legend == ["10th to 90th percentile of recorded repetitions", "first", "second", "requested range"]
    assert [text.get_text() for text in fig.texts] == ["phase of the squat (%; 50: the turning point)"]


def test_a_crowd_is_explained_and_a_force_has_its_own_panel(squats):
    fig = curves(squats)
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["3 samples", "their mean"]
    mixed = curves([squats[0], with_forces(squats[1])], labels=["first", "second"])
    assert [
        [line.get_linestyle() for line in ax.lines] for ax in mixed.axes if "force" in ax.get_title()
    ] == [["--"]]
    assert len(mixed.axes) == 9 and mixed.legends[0].get_texts()[1].get_text() == "second"


def test_requested_ranges_are_in_the_units_of_the_curves():
    constraints = parse_constraints(
        "constraints:\n  - {kind: coordinate, coordinate: knee_angle, low: 90, high: 100, unit: deg}\n"
        "  - {kind: muscle_range, muscles: [vasmed_l], low: 0.2, high: 0.3}\n"
        "  - {kind: joint_centre, joint: knee, axis: right, high: 30 cm}\n"
    )
    found = requested_ranges(constraints, load_exercise())
    assert (
        found["knee_angle"] == pytest.approx((90, 100)) and found["vasmed"] == (0.2, 0.3) and len(found) == 2
    )


# the report


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.images, self.links, self.open, self.headings = [], [], [], []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "img":
            self.images.append(attributes)
        if "id" in attributes:
            self.headings.append(attributes["id"])
        self.links += [
            v
            for k, v in attributes.items()
            if k in ("src", "href", "data", "action") and not v.startswith("data:")
        ]
        if tag not in ("img", "meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def words_of(text: str) -> str:
    "A page without its style, its scripts and its pictures."
    return re.sub(r"<(style|script)\b.*?</\1>|base64,[^\"]*", "", text, flags=re.S)


def read(text: str) -> _Page:
    page = _Page()
    page.feed(text)
    return page


@pytest.fixture(scope="module")
def found() -> Answer:
    return answer(Request(n=2, seed=3))


@pytest.fixture(scope="module")
def folder(found, tmp_path_factory):
    folder = tmp_path_factory.mktemp("answer")
    found.save(folder, extras=[write_pages])
    return folder


@pytest.fixture(scope="module")
def text(folder) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def test_report_is_one_page_that_needs_nothing_else(text):
    page = read(text)
    assert (
        page.open == []
        and {link[1:] for link in page.links} == set(page.headings) - {"scene", "data"}
        and all(link[0] == "#" for link in page.links)
    )
    assert len(page.images) == 9 and all(len(i["alt"]) > 20 and int(i["width"]) > 50 for i in page.images)
    assert "size: A4" in text and 'lang="en"' in text and "url(" not in text and "@import" not in text
    assert "bige generate --constraints constraints.yaml -n 2 --seed 3" in text
    assert (
        text.count('<th scope="row">sample_0') == 2
        and "stays within a range" in text
        and "nan" not in words_of(text).split()
    )


def test_the_same_answer_gives_the_same_pages(folder, found, tmp_path):
    write_pages(found, tmp_path)
    for name in ("report.html", "preview.png", "handout.pdf"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_names_and_words_of_a_request_are_escaped(found, tmp_path):
    strange = replace(found, shortfalls=({"sentence": "peak <0.45 & more"},), folder=tmp_path)
    write_pages(strange, tmp_path)
    assert "<p>peak &lt;0.45 &amp; more</p>" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_advice_of_like_is_on_the_sheet_and_in_the_clinicians_part(found, text, tmp_path):
    assert "What to change" not in text and advice_rows(found) == []
    advised = replace(found, changes=[[{"words": "bend the right hip more by 4°"}], []], folder=tmp_path)
    write_pages(advised, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    sheet, clinical = page.split('id="clinician">')
    shown = sample_to_show(advised)
    assert ("Bend the right hip more by 4°." if shown == 0 else "Nothing: go on as you do.") in sheet
    assert "bend the right hip more by 4°" in clinical and "no change of a degree or more" in clinical


RESEARCH = ("mac", "fidelity_w2", "com_velocity", "proximity", "latent", "seed", "com_acceleration")


def test_words_of_research_are_in_the_last_part_only(text):
    first, last = words_of(text).split('id="researcher">')
    assert [name for name in RESEARCH if re.search(rf"\b{name}\b", first)] == []
    assert [name for name in RESEARCH if not re.search(rf"\b{name}\b", last)] == []


def test_a_limit_says_requested_predicted_and_simulated(found):
    i = sample_to_show(found)
    row = sample_limit_rows(found, i)[0]
    held = found.satisfaction[i]["muscle_range vasmed_l vasmed_r"]
    assert float(row["predicted"]) == pytest.approx(held["predicted"], rel=0.01)
    low, high = map(float, row["nine in ten simulations"].split(" to "))
    assert low < held["predicted"] < high and row["probability"] == f"{held['probability']:.0%}"
    assert row["in simulation"] == "not simulated" and "vastus medialis" in row["what"]
    sided = parse_constraints("constraints:\n  - {kind: muscle, muscle: soleus_r, high: 0.3}\n")
    assert constraint_title(next(iter(sided)), found.exercise).endswith("soleus, right")
    proof = {"sample": f"sample_{i:02d}.mot", "verdict": "request not satisfied",
             "simulation": {"mode": "qp"}, "simulations": 1,
             "request": [{"constraint": "muscle_range vasmed_l vasmed_r", "unit": "",
                          "simulated": {"vasmed_l": 0.47, "vasmed_r": 0.41}, "satisfied": False}]}
    proved = replace(found, certificates=(proof,))
    assert sample_limit_rows(proved, i)[0]["in simulation"] == "✗ 0.47, 0.41"
    assert certificate_rows([proof])[0]["by"] == "static optimisation"


def test_loads_and_moments_stand_beside_their_simulation(found):
    rows = load_rows(found, 0)
    assert [len(row) for row in rows] == [3] * 9 and rows[0]["joint"] == "right hip"
    motion = found.motions[0]
    assert rows[0]["peak, predicted (body weights)"] == pytest.approx(motion["hip_r/load"].max())
    doubled = motion.with_columns(["hip_r/load"], 2 * motion["hip_r/load"])
    beside = load_rows(found, 0, doubled)[0]
    assert beside["peak in simulation (body weights)"] == pytest.approx(2 * motion["hip_r/load"].max())
    bare = Motion(motion.time, motion.coordinates(), motion.names[:33])
    assert load_rows(replace(found, motions=(bare, bare)), 0) == []
    kinetics = Motion(motion.time[:2], [[10.0, -30.0]] * 2, ("ankle_angle_l_moment", "ankle_angle_r_moment"))
    assert moment_rows(kinetics, 60.0) == [{"largest moment": "ankle", "left (N·m/kg)": pytest.approx(1 / 6),
                                            "right (N·m/kg)": 0.5}]


def test_a_height_is_not_given_in_degrees():
    from bige.metrics import load_reference
    from bige.rendering import peak_progress_words

    rising = load_reference(split="val", exercise="sit_to_stand")[0]
    words = peak_progress_words(rising, "sit_to_stand")
    assert words.endswith(" cm") and 60 < float(words[:-3]) < 130
    assert words in describe_recording(drawable(rising), "sit_to_stand")


SAMPLE = {
    "file": "sample_00.mot",
    "status": "Solve_Succeeded",
    "satisfied_by_surrogate": True,
    "satisfied_by_simulation": False,
    "simulation": {},
}
VERIFIED = {
    "n": 2,
    "modes": {
        "qp": {
            "simulated": 2,
            "dynamically_consistent": 2,
            "satisfied_by_surrogate": 2,
            "satisfied_by_simulation": 1,
            "muscles": {},
            "samples": [SAMPLE],
        }
    },
}


def test_a_report_says_one_state(found, text, folder, tmp_path):
    assert text.count("No simulation has confirmed them yet") == 1
    found.save(tmp_path, extras=[write_pages])
    (tmp_path / "verification.json").write_text(json.dumps(VERIFIED))
    write_pages(Answer.load(tmp_path), tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "confirmed them yet" not in page and "bige verify on this folder" not in page
    assert (
        page.count("1 of 2 in static optimisation") == 1 and "Static optimisation: 2 of 2 simulated" in page
    )
    drawn = replace(found, verified={"mode": "qp", "drawn": 5, "requested": 2, "passed": 2, "simulations": 7})
    assert (
        "7 simulations of 5 candidates" in state_of(drawn)
        and "yet" not in state_of(drawn)
        and "bige verify" not in state_of(drawn)
    )


def test_a_new_answer_in_the_same_folder_is_not_verified(found, tmp_path):
    found.save(tmp_path, extras=[write_pages])
    (tmp_path / "verification.json").write_text(json.dumps(VERIFIED))
    found.save(tmp_path, extras=[write_pages])
    assert "confirmed them yet" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not (tmp_path / "verification.json").exists() and verification_tables(None) == {}


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return float(
        np.dot([c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts],
               [0.2126, 0.7152, 0.0722])
    )


@pytest.mark.parametrize("name", ["report.css", "viewer.css", "tuning/page.css"])
def test_text_of_the_pages_has_contrast_aa(name):
    style = asset_text(name)
    used = set(re.findall(r"(?<![-a-z])color: var\(--bige-([a-z]+)\)", style))
    assert (
        used >= {"ink", "muted"}
        and dict(re.findall(r"--bige-([a-z]+): (#[0-9a-f]{6});", CSS_COLOURS)) == COLOURS
    )
    for colour in used - {"paper"}:
        assert contrast(COLOURS[colour], "#ffffff") >= 4.5, colour
        assert contrast(COLOURS[colour], "#ffffff") == pytest.approx(
            1.05 / (_luminance(COLOURS[colour]) + 0.05), rel=1e-3)
    assert contrast(COLOURS["ink"], COLOURS["wash"]) >= 4.5  # code on its grey


def test_preview_is_a_png(folder):
    data = (folder / "preview.png").read_bytes()
    assert data.startswith(b"\x89PNG") and zlib.crc32(data[12:29]) == int.from_bytes(data[29:33], "big")
