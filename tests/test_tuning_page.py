"""What the tuning page does beyond sliders: exercises, bodies, recordings, simulations."""

import io
import json
import re
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import until
from test_tuning import (BIGE, PATIENCE_MS, after, browser, picture, press, release, saved_bvh, served,
                         settled, status, table, thigh)

from bige.answers import Request
from bige.constraint_files import default_constraints
from bige.exercises import shipped_exercises
from bige.files import InputError
from bige.markers import Markers, write_trc
from bige.motion import analytic_squat, example_squat, read_motion, write_motion
from bige.skeleton import Skeleton
from bige.tuning import (MOST_FILES, Cancelled, Download, Setting, Tuner, Verification, advice_words,
                         noted_options, setting_of, sized_skeleton, slider_value, sliders_of, unpack_session,
                         with_setting)

__all__ = ["browser", "served"]         # fixtures of the other file
SLIDER = {each.key: each for each in sliders_of()}


@pytest.fixture(scope="module")
def tuner():
    return Tuner()


def content(motion) -> bytes:
    """A motion as an uploaded .mot file."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        write_motion(motion, Path(folder, "x.mot"))
        return Path(folder, "x.mot").read_bytes()


@pytest.fixture(scope="module")
def recorded() -> bytes:
    return content(example_squat())


# exercises, bodies, loads


@pytest.mark.parametrize("exercise", shipped_exercises())
def test_a_slider_shows_the_muscle_that_an_exercise_requests(exercise):
    shown = [slider for slider in sliders_of(exercise)
             if setting_of(slider, default_constraints(exercise)).low is not None]
    assert shown and all(slider.group == "Muscles" for slider in shown)


@pytest.mark.parametrize("height_m, mass_kg", [(1.5, 45.0), (2.0, 120.0)])
def test_a_body_of_a_height_and_mass_keeps_them_and_its_muscles(tuner, height_m, mass_kg):
    from bige.dynamics import MusculoskeletalModel

    path = tuner.keep_sized(height_m, mass_kg)
    found = Skeleton.from_osim(path)
    assert found.body_height() == pytest.approx(height_m, abs=1e-3)
    assert found.mass == pytest.approx(mass_kg) and len(MusculoskeletalModel(path).skeleton.muscles) == 80


@pytest.mark.parametrize("height_m, mass_kg, words", [(178, 70, "height"), (1.7, 0, "mass")])
def test_a_body_that_nobody_has_is_refused(height_m, mass_kg, words):
    with pytest.raises(InputError, match=words):
        sized_skeleton(height_m, mass_kg)


def test_a_request_with_body_load_and_repetition_is_made_again_by_its_command(tmp_path, recorded):
    """The request is saved as an archive; its command writes the same motions, byte for byte."""
    page = Tuner("squat")
    repetition = page.repetitions(page.keep("my squat.mot", recorded)).files[0]
    request = Request(with_setting(default_constraints(), SLIDER["trunk"], Setting(True, None, 40)), n=2,
                      seed=3, model=page.keep_sized(1.85, 90), load="barbell:20", like=repetition)
    name, archive = page.make(Download("yaml", request, 0))
    assert name == "request.zip"
    with zipfile.ZipFile(io.BytesIO(archive)) as z:
        assert z.namelist() == ["constraints.yaml", "person_185cm_90kg.osim", "start/my_squat.mot"]
        z.extractall(tmp_path)
    command = (tmp_path / "constraints.yaml").read_text().splitlines()[0].removeprefix("# bige ").split()
    subprocess.run([*BIGE, *command], cwd=tmp_path, check=True, timeout=600, capture_output=True)
    text, files = page.read_request(name, archive)
    assert noted_options(text) == {"exercise": "squat", "load": "barbell:20", "n": 2, "seed": 3}
    assert files["like"].read_bytes() == repetition.read_bytes() and files["model"].name == request.model.name
    for i in range(2):
        made = (tmp_path / "squats" / f"sample_{i:02d}.mot").read_bytes()
        assert made == page.make(Download("mot", request, i))[1]


def test_a_saved_request_of_another_exercise_says_so():
    text = Request(default_constraints("side_lunge"), 4, 7, exercise="side_lunge").yaml("lunges")
    assert noted_options(text) == {"exercise": "side_lunge", "load": None, "n": 4, "seed": 7}
    assert noted_options("# bige generate 'broken") == {} == noted_options("constraints: []")


# what is predicted


def test_values_of_sliders_are_those_of_the_motion(tuner):
    found = tuner.answer(Request(n=2))
    values = tuner.values(found, 1)
    peaks = [found.motions[1][f"vasmed_{side}/activation"].max() for side in "lr"]
    assert values["vastus"] == pytest.approx(np.mean(peaks), abs=0.03)
    assert values["duration"] < found.motions[1].duration and set(values) == set(SLIDER)
    from bige.tuning import batch_of
    assert slider_value(SLIDER["vastus"], batch_of(found.motions[1], found)) == values["vastus"]


def test_predicted_curves_have_bands_and_recorded_ones_do_not(tuner):
    panels = {p["title"]: p for p in tuner.curves(tuner.answer(Request(n=2)), 0, ["bflh"], others=True)}
    assert [title for title, p in panels.items() if not p["predicted"]] == [
        "Knee flexion", "Hip flexion", "Ankle dorsiflexion", "Pelvis tilt"]
    for title in ("Biceps femoris, long head", "Vastus medialis", "Knee load"):
        p = panels[title]
        for side, y in p["lines"].items():
            low, high = map(np.array, p["band"][side])
            assert (low <= y).all() and (high >= y).all() and (high > low).any()
        assert len(p["others"]) == 1 and set(p["others"][0]) == set(p["lines"]) == {"left", "right"}
    assert panels["Knee load"]["usual"] == [[], []] and not panels["Knee flexion"]["band"]
    json.dumps(list(panels.values()), allow_nan=False)


def test_rows_say_what_is_predicted_and_how_sure(tuner):
    rows = {row["constraint"]: row for row in tuner.rows(tuner.answer(Request(n=2)), 0)}
    vastus = rows["Vastus medialis"]
    assert vastus["which is"] == "predicted"
    assert re.fullmatch(r"[\d.]+ to [\d.]+, holds with \d+ %", vastus["in simulation"])
    assert rows["Asymmetry"]["which is"] == "of the motion"


# own repetitions


def test_a_trial_is_cut_and_one_repetition_is_taken_whole(tuner, recorded):
    whole = tuner.repetitions(tuner.keep("rep.mot", recorded))
    assert [f.name for f in whole.files] == ["rep.mot"] and whole.model is None
    three = tuner.repetitions(tuner.keep("three.mot", content(analytic_squat(reps=3))))
    assert [f.name for f in three.files] == [f"three_rep{k}.mot" for k in (1, 2, 3)]
    assert all(read_motion(f).duration < 9 for f in three.files)


def test_advice_names_what_was_changed(tuner, recorded):
    own = tuner.repetitions(tuner.keep("rep.mot", recorded)).files[0]
    shallow = with_setting(default_constraints(), SLIDER["depth"], Setting(True, 80, 95))
    words = advice_words(tuner.answer(Request(shallow, n=1, like=own)), 0)
    assert any(re.search(r"bend the .*knee.* less by \d+°", each) for each in words)


def test_markers_become_a_repetition_with_its_model(tuner, tmp_path):
    default, motion = Skeleton.default(), example_squat()
    names = [m.name for m in default.markers]
    places = default.marker_positions(motion.coordinates(), names)
    write_trc(Markers(motion.time, places, tuple(names)), tmp_path / "squat.trc")
    found = tuner.repetitions(tuner.keep("squat.trc", (tmp_path / "squat.trc").read_bytes()), 70.0)
    knee = read_motion(found.files[0])["knee_angle_r"]
    assert np.rad2deg(np.abs(knee.max() - motion["knee_angle_r"].max())) < 3
    assert Skeleton.from_osim(found.model).mass == pytest.approx(70)


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_a_session_folder_brings_its_model_and_only_the_trials_of_the_exercise(tuner, recorded):
    model = tuner.keep_sized(1.8, 72).read_bytes()
    still = example_squat().slice(0, 0.4)
    files = {"OpenCapData_x/OpenSimData/Kinematics/squat1.mot": recorded,
             "OpenCapData_x/OpenSimData/Kinematics/stand.mot": content(still),
             "OpenCapData_x/OpenSimData/Model/scaled.osim": model,
             "OpenCapData_x/sessionMetadata.yaml": b"mass_kg: 72\nheight_m: 1.8\n",
             "OpenCapData_x/Videos/film.avi": b"not taken"}
    found = tuner.repetitions(tuner.keep("session.zip", zipped(files)))
    assert [f.name for f in found.files] == ["squat1.mot"] and found.model.read_bytes() == model


@pytest.mark.parametrize(
    "files, words",
    [({"../../out.mot": b"x"}, "inside the folder"), ({"/out.mot": b"x"}, "inside the folder"),
     ({"a/film.avi": b"x"}, "no file of a session"),
     ({f"a/{i}.mot": b"" for i in range(MOST_FILES + 1)}, f"{MOST_FILES + 1} files"),
     ({f"a/{i}.mot": b"0" * 9_000_000 for i in range(30)}, "MB unpacked")],
    ids=["upwards", "absolute", "no session", "many", "bomb"])
def test_an_archive_that_is_no_session_is_refused(tmp_path, files, words):
    with pytest.raises(InputError) as error:
        unpack_session(zipped(files), tmp_path / "inside", "a.zip")
    assert words in str(error.value) and not list(tmp_path.rglob("out.mot"))


@pytest.mark.parametrize("name, data", [("a.zip", b"PK\3\4 broken"), ("a.c3d", b"\0" * 600), ("a.trc", b"x"),
                                        ("a.mot", b""), ("a.doc", b"x"), ("", b"x")])
def test_a_file_that_is_no_recording_is_one_named_error(tuner, name, data):
    with pytest.raises(InputError) as error:
        tuner.repetitions(tuner.keep(name, data))
    assert len(str(error.value).splitlines()) == 1


# simulation


def test_a_simulation_is_remembered_and_compared(tuner):
    seconds, wanted = [], Verification(Request(n=2), 1, "qp")
    finding = tuner.verify(wanted, tell=seconds.append)
    assert tuner.verify(wanted) is finding and seconds
    (row,) = [r for r in finding.rows if r["constraint"].startswith("muscle_range")]
    assert set(row["predicted"]) == set(row["simulated"]) and finding.verdict in (
        "proved", "request not satisfied")
    panels = {p["title"]: p for p in tuner.curves(tuner.answer(Request(n=2)), 1, finding=finding)}
    peak = max(panels["Vastus medialis"]["simulated"]["left"])
    assert peak == pytest.approx(row["simulated"]["vasmed_l"], abs=0.02)
    assert "squat 2: it" in tuner.finding_words(finding, 1)
    assert tuner.simulated_words(finding)["Vastus medialis"]


def test_a_stopped_simulation_is_killed(tuner):
    told = []
    with pytest.raises(Cancelled):
        tuner.verify(Verification(Request(n=2), 0, "tracking"), lambda: len(told) > 2, told.append)
    assert len(told) == 3 and len([p for p in tuner.findings if p[2] == "tracking"]) == 0


def test_a_simulation_that_fails_says_why(tuner):
    from bige.tuning import error_message

    bare = Request(n=1, model=tuner.folder / "bare.osim")
    from bige.inverse_kinematics import write_osim

    write_osim(Skeleton.default(), bare.model)          # no muscles
    with pytest.raises(RuntimeError, match="muscles") as error:
        tuner.verify(Verification(bare, 0, "qp"))
    assert "Traceback" not in error_message(error.value)


# in a browser

CHOOSER = ".bige input[type=file][accept='.mot,.trc,.c3d,.zip']"
STATE = "document.querySelector('.bige-state .bige-status')"
FINDING = "document.querySelector('.bige-finding .bige-status')"


def opened(browser, served, width=1280, height=800):
    """A tab with the page after its first answer."""
    tab = browser.new_page(viewport={"width": width, "height": height}, accept_downloads=True)
    tab.noise = []
    tab.on("pageerror", lambda e: tab.noise.append(str(e)))
    tab.on("console", lambda m: tab.noise.append(m.text) if m.type == "error" else None)
    tab.set_default_timeout(PATIENCE_MS)
    tab.goto(served)
    settled(tab)
    tab.evaluate(f"""() => {{ const line = {STATE}; let last = line.dataset.tone; window.answers = 0;
        new MutationObserver(() => {{ const now = line.dataset.tone;
            if (last === 'busy' && now !== 'busy') window.answers++; last = now;
        }}).observe(line, {{ attributes: true }}) }}""")
    return tab


@pytest.fixture(scope="module")
def page(browser, served):
    tab = opened(browser, served)
    yield tab
    tab.close()


def says(page, where: str, words: str) -> None:
    page.wait_for_function("([where, words]) => eval(where).innerText.includes(words)", arg=[where, words],
                           timeout=3 * PATIENCE_MS)


def verified(page, how: str) -> str:
    """Press Verify; what the simulation says."""
    page.get_by_label("Verify by").select_option(how)
    page.get_by_role("button", name="Verify", exact=True).click()
    done = f"{FINDING}.dataset.tone !== 'busy' && {FINDING}.innerText.includes(': it ')"
    page.wait_for_function(f"() => {done}", timeout=4 * PATIENCE_MS)
    return page.locator(".bige-finding [role=status]").inner_text()


def test_the_figure_stays_in_view_and_everything_fits_beside_it(page):
    box = page.locator(".bige-viewer canvas").bounding_box()
    assert 0 <= box["y"] and box["y"] + box["height"] <= 800 and box["x"] + box["width"] <= 1280
    page.mouse.move(100, 600)
    page.mouse.wheel(0, 900)
    last = page.locator(".bige-sliders .slider").last
    page.wait_for_function("() => document.querySelector('.bige-sliders .slider:last-child')")
    last.scroll_into_view_if_needed()
    box = page.locator(".bige-viewer canvas").bounding_box()
    assert 0 <= box["y"] and box["y"] + box["height"] <= 800
    assert page.locator(".bige-sliders .scale").count() == len(SLIDER)
    assert re.search(r"\d+°\s*now \d+°\s*\d+°", page.locator(".bige-sliders .scale").first.inner_text())
    page.mouse.wheel(0, -3000)


def test_verify_puts_the_simulated_value_beside(page):
    assert "simulated" not in table(page)
    said = verified(page, "Static optimisation")
    assert said.startswith("Static optimisation of squat 1: it ")
    page.wait_for_function("() => document.querySelector('.bige table').innerText.includes('simulated')")
    assert page.locator(".bige-curves .simulated").count() >= 6
    assert page.get_by_label("Compare with", exact=True).locator("option", has_text="simulated").count() == 1
    page.get_by_label("Compare with", exact=True).select_option("simulated")
    says(page, "document.querySelector('.bige-viewer strong')", "simulated")
    page.get_by_label("Compare with", exact=True).select_option("nothing")


def test_a_simulation_runs_beside_the_sliders_and_can_be_stopped(page):
    page.get_by_label("Verify by").select_option("Tracking simulation")
    page.get_by_role("button", name="Verify", exact=True).click()
    says(page, FINDING, "s so far")
    release(page, "Depth, at most", 100)
    assert "squats satisfy" in status(page)
    assert page.evaluate(f"() => {FINDING}.dataset.tone") == "busy"
    page.get_by_role("button", name="Stop", exact=True).click()
    says(page, FINDING, "stopped")
    press(page, "Undo")


def test_own_repetition_is_uploaded_advised_and_undone(page, recorded, tmp_path):
    (tmp_path / "rep1.mot").write_bytes(recorded)
    before, image = table(page), picture(page)
    page.locator(CHOOSER).set_input_files(tmp_path / "rep1.mot")
    says(page, "document.querySelector('.bige-facts')", "Against your repetition")
    settled(page)
    assert page.get_by_role("button", name="rep1.mot", exact=True).is_visible() and table(page) != before
    assert "own repetition" in page.locator(".bige-viewer strong").inner_text()
    assert np.abs(picture(page) - image).mean() > 0.2
    press(page, "Undo")
    assert table(page) == before


def test_a_file_that_is_no_recording_is_said_on_the_page(page, tmp_path):
    kept, chooser = table(page), page.locator(CHOOSER)
    for name, data in (("broken.zip", b"PK\3\4"), ("noise.c3d", b"\1" * 2000), ("words.mot", b"hello")):
        (tmp_path / name).write_bytes(data)
        chooser.set_input_files(tmp_path / name)
        says(page, STATE, f"{name} was not opened")
        assert "Traceback" not in page.locator(".bige").inner_text() and table(page) == kept


def test_curves_scrub_the_figure_and_a_click_on_a_muscle_adds_its_curve(page):
    moment = page.get_by_label("Moment of the recording")
    box = page.locator(".bige-curves svg").first.bounding_box()
    page.locator(".bige-curves svg").first.scroll_into_view_if_needed()
    box = page.locator(".bige-curves svg").first.bounding_box()
    page.mouse.click(box["x"] + 0.2 * box["width"], box["y"] + box["height"] / 2)
    early = int(moment.input_value())
    page.mouse.click(box["x"] + 0.8 * box["width"], box["y"] + box["height"] / 2)
    page.wait_for_function("early => document.querySelector('.bige-viewer input').value > early", arg=early)
    shapes, canvas = page.locator(".bige-curves svg"), page.locator(".bige-viewer canvas").bounding_box()
    for down in np.linspace(0.45, 0.8, 8):              # somewhere on the way down the thigh lies a muscle
        for across in (0.35, 0.4, 0.45, 0.5):
            page.mouse.click(canvas["x"] + across * canvas["width"], canvas["y"] + down * canvas["height"])
    page.wait_for_function("() => document.querySelectorAll('.bige-curves svg').length > 11")
    assert shapes.count() == 12
    page.get_by_label("Curve of muscle").select_option("of the list")
    page.wait_for_function("() => document.querySelectorAll('.bige-curves svg').length === 11")


def test_layers_can_be_hidden_and_motions_compared(page):
    image = picture(page)
    page.get_by_label("Bones").uncheck()
    assert np.abs(picture(page) - image).mean() > 0.2
    page.get_by_label("Bones").check()
    page.get_by_label("Compare all").check()
    says(page, "document.querySelector('.bige-facts')", "All squats side by side")
    assert page.locator(".bige-curves .other").count() > 10
    page.get_by_label("Compare all").uncheck()
    page.wait_for_function("() => !document.querySelector('.bige-curves .other')")


def test_height_and_mass_alone_make_a_person(page, tmp_path):
    length = thigh(saved_bvh(page, tmp_path))
    for label, value in (("Height (cm)", "190"), ("Mass (kg)", "95")):
        page.get_by_label(label, exact=True).fill(value)
        page.keyboard.press("Tab")
    press(page, "Use height and mass")
    page.get_by_role("button", name="person_190cm_95kg.osim", exact=True).wait_for()
    taller = 1.9 / Skeleton.default().body_height()
    assert thigh(saved_bvh(page, tmp_path)) == pytest.approx(taller * length, rel=0.01)
    press(page, "Shipped model")


def test_another_exercise_with_a_load_and_back(page):
    kept = table(page)
    after(page, lambda: page.get_by_label("Exercise").select_option("Sit-to-stand"))
    labels = page.locator(".bige-sliders .name").all_inner_texts()
    assert [label.strip() for label in labels] == [s.label for s in sliders_of("sit_to_stand")]
    assert "this sit-to-stand" in table(page)
    after(page, lambda: page.get_by_label("Load", exact=True).select_option("vest"))
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Request (.yaml)", exact=True).click()
    said = Path(waiting.value.path()).read_text().splitlines()[0]
    assert "--exercise sit_to_stand" in said and "--load vest:20" in said
    settled(page)
    for _ in range(2):
        press(page, "Undo")
    assert table(page) == kept


def test_two_tabs_do_not_disturb_each_other(page, browser, served):
    other = opened(browser, served)
    before = table(page)
    release(other, "Depth, at most", 90)
    release(page, "Trunk lean, at most", 45)
    assert "at most 90°" in table(other) and "at most 90°" not in table(page)
    assert "at most 45°" in table(page) and "at most 45°" not in table(other)
    press(page, "Undo")
    assert table(page) == before and "at most 90°" in table(other) and other.noise == []
    other.close()


def test_on_a_phone_the_figure_comes_first_and_stays(browser, served):
    tab = opened(browser, served, 390, 844)
    order = (".bige-viewer canvas", ".bige-choice", ".bige-sliders", ".bige table", ".bige-curves")
    places = {name: tab.locator(name).first.bounding_box()["y"] for name in order}
    assert list(places) == sorted(places, key=places.get) and places[".bige-viewer canvas"] < 200
    assert tab.evaluate("() => document.documentElement.scrollWidth") <= 390
    tab.get_by_label("Depth", exact=True).scroll_into_view_if_needed()
    tab.mouse.move(190, 800)
    tab.mouse.wheel(0, 600)
    until(lambda: tab.locator(".bige-viewer canvas").bounding_box()["y"] < 60)
    assert tab.locator(".bige-viewer canvas").bounding_box()["y"] >= 0
    release(tab, "Depth, at most", 95)
    assert "squats satisfy" in status(tab) and tab.noise == []
    tab.close()


@pytest.mark.slow
def test_a_tracking_simulation_from_the_page(page):
    press(page, "Reset")
    said = verified(page, "Tracking simulation")
    assert said.startswith("Tracking simulation of squat 1: it ") and "simulated" in table(page)


def test_the_visit_was_quiet(page):
    assert page.noise == []
