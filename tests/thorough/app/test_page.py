"""The page in a browser, with the step in a process of its own: every control is used."""

import json
import re
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.commands import QUICK
from tests.serving.web.people import CAPTION, CITIES, EVIL, data_folder, evil_folder
from tests.thorough.app.serving import Seen, chromium, names, serving, wait_for

api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def made(run_step, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """MatchModule folder and folder of profiles."""
    home = tmp_path_factory.mktemp("app")
    words = ("data.num_couples=80", "trainer.max_epochs=1", "head.hidden_dim=16", *QUICK)
    run_step("train", *words, f"hydra.run.dir={home / 'run'}")
    run_step("export", f"run={home / 'run'}", f"out={home / 'matcher'}")
    return home / "matcher", evil_folder(data_folder(home / "run"), home / "people")


@pytest.fixture(scope="module")
def address(made):
    with serving(*made) as (found, _):
        yield found


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def page(browser, address, seen):
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    page = context.new_page()
    page.set_default_timeout(60_000)
    api.expect.set_options(timeout=60_000)
    seen.watch(page)
    page.goto(address)
    shown(page, 8)
    yield page
    context.close()
    seen.check(address)


def shown(page, num: int, model: str = "trained") -> None:
    api.expect(page.locator(f"#{model} .card")).to_have_count(num)
    api.expect(page.locator("#match")).not_to_have_attribute("aria-busy", "true")


def test_a_profile_is_searched_and_chosen(page):
    page.get_by_label("Profile", exact=True).fill("M000")
    api.expect(page.locator("#profiles button")).to_have_count(9)
    page.get_by_role("button", name="m0004").click()
    api.expect(page.locator("#query .name")).to_have_text("m0004")
    api.expect(page.get_by_role("button", name="m0004")).to_have_attribute("aria-pressed", "true")
    api.expect(page.get_by_role("button", name="m0004")).to_be_focused()
    api.expect(page.get_by_role("status")).to_contain_text("8 best matches of m0004")
    assert all(each.startswith("f") or each == EVIL for each in names(page, "#trained") + names(page, "#frozen"))
    scores = [float(each) for each in page.locator("#trained .score").all_text_contents()]
    assert scores == sorted(scores, reverse=True)
    page.locator("#trained summary").first.click()
    api.expect(page.locator("#trained dl").first).to_contain_text("caption")
    page.get_by_label("Profile", exact=True).fill("nobody")
    api.expect(page.locator("#found")).to_contain_text("no profile")
    loaded = "[...document.querySelectorAll('#trained img, #query img')].every((each) => each.naturalWidth > 0)"
    wait_for(page, loaded)


def test_how_many_and_who(page, seen):
    page.get_by_label("Best").fill("3")
    page.get_by_role("button", name="Apply").click()
    shown(page, 3)
    page.get_by_label("Only").select_option("city")
    api.expect(page.get_by_label("that are")).to_be_enabled()
    for city in CITIES:
        page.get_by_label("that are").select_option(city)
        wait_for(page, "!document.querySelector('[aria-busy]')")
        page.locator("#frozen summary").last.click()
        api.expect(page.locator("#frozen dl").last).to_contain_text(city)
    page.get_by_label("Filter").fill("age < 24 or age > 48")
    page.get_by_label("Filter").press("Enter")
    api.expect(page.get_by_role("status")).to_contain_text("best matches")
    ages = page.locator("#trained dt:text-is('age') + dd").all_text_contents()
    assert len(ages) == 3 and not any(24 <= int(age) <= 48 for age in ages)
    page.get_by_label("Only").select_option("")
    for wrong, told in (
        ("agee < 3", "Did you mean age?"),
        ("age <", "where: the condition is not complete"),
        ("age > 90", "where leaves 0"),
    ):
        page.get_by_label("Filter").fill(wrong)
        page.get_by_role("button", name="Apply").click()
        api.expect(page.get_by_role("alert")).to_contain_text(told)
    seen.refused = 3
    page.get_by_label("Filter").fill("")
    page.get_by_role("button", name="Apply").click()
    api.expect(page.locator("#error")).to_be_hidden()
    api.expect(page.locator("#error")).to_be_empty()
    shown(page, 3)


def test_a_photo_is_uploaded(page, seen, made, tmp_path):
    page.get_by_label("or a photo").set_input_files(next((made[1] / "images").glob("f0009*")))
    api.expect(page.locator("#query .name")).to_have_text("your photo")
    shown(page, 8)
    assert all(each.startswith("m") for each in names(page, "#trained") + names(page, "#frozen"))
    wait_for(page, "document.querySelector('#query img').naturalWidth > 0")
    page.get_by_label("of a").select_option("male")
    api.expect(page.locator("#trained .name").first).to_have_text(re.compile("^(f|<)"))
    assert seen.posts == 2
    (tmp_path / "letter.jpg").write_text("no photo")
    page.get_by_label("or a photo").set_input_files(tmp_path / "letter.jpg")
    api.expect(page.get_by_role("alert")).to_contain_text("your photo: is not an image")
    seen.refused = 1
    noise = np.random.default_rng(0).integers(0, 255, (2700, 2700, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.bmp")
    page.get_by_label("or a photo").set_input_files(tmp_path / "large.bmp")
    api.expect(page.get_by_role("alert")).to_contain_text("The photo has 21.9 MB; the limit is 20 MB.")
    assert seen.posts == 3
    page.locator("#profiles button").nth(1).click()
    api.expect(page.locator("#query .name")).to_have_text("m0001")
    assert page.get_by_label("or a photo").input_value() == ""


def test_tabs_by_mouse_and_keyboard(page):
    tabs = page.get_by_role("tab")
    for number, panel in enumerate(("match", "search", "map")):
        tabs.nth(number).click()
        assert page.get_by_role("tabpanel").count() == 1
        api.expect(page.locator(f"#{panel}")).to_be_visible()
        assert [each.get_attribute("tabindex") or "0" for each in tabs.all()].count("0") == 1
    for key, now in (("ArrowRight", 0), ("ArrowLeft", 2), ("ArrowLeft", 1), ("Home", 0), ("End", 2), ("Home", 0)):
        page.keyboard.press(key)
        api.expect(tabs.nth(now)).to_be_focused()
        api.expect(tabs.nth(now)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Tab")
    api.expect(page.get_by_label("Best")).to_be_focused()


def test_texts_in_english_and_korean(page):
    page.get_by_role("tab", name="Text search").click()
    found = {}
    for text in ("a neat dandy look", "깔끔한 댄디룩 찾아줘"):
        page.get_by_label("Looking for").fill(text)
        page.get_by_role("button", name="Search").click()
        api.expect(page.get_by_role("status")).to_contain_text("The 8 profiles that fit best. Searched: ")
        found[text] = names(page, "#hits")
        assert len(found[text]) == 8
    page.get_by_label("Only").select_option("gender")
    page.get_by_label("that are").select_option("male")
    wait_for(page, "[...document.querySelectorAll('#hits .name')].every((each) => each.textContent[0] == 'm')")
    page.get_by_label("Looking for").fill("  ")
    page.get_by_role("button", name="Search").click()
    api.expect(page.get_by_role("alert")).to_have_text("Write some words to search for.")


def test_the_map(page):
    page.get_by_role("tab", name="Map").click()
    points = page.locator("#map-trained .points path")
    api.expect(points).to_have_count(160)
    api.expect(page.locator("#map-frozen .points path")).to_have_count(160)
    api.expect(page.get_by_role("status")).to_contain_text("160 profiles. t-SNE")
    page.get_by_label("Colour by").select_option("city")
    api.expect(page.locator("#map-trained .legendtext")).to_have_text(sorted(CITIES))
    box = points.first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    api.expect(page.locator("#hover")).to_be_visible()
    wait_for(page, "document.querySelector('#hover-photo').naturalWidth > 0")
    told = page.locator("#hover-text").text_content()
    assert told.endswith(CITIES)
    width = "(() => { const [a, b] = document.getElementById('map-trained')._fullLayout.xaxis.range; return b - a; })()"
    before = page.evaluate(width)
    page.mouse.wheel(0, -300)
    wait_for(page, f"{width} < {0.95 * before}")
    page.locator("#map-trained [data-title='Reset axes']").click()
    wait_for(page, f"Math.abs({width} - {before}) < {0.05 * before}")
    page.get_by_label("Filter").fill("age > 40")
    page.get_by_role("button", name="Apply").click()
    api.expect(page.get_by_role("status")).to_contain_text("of 160 profiles. t-SNE")
    wait_for(page, "document.querySelectorAll('#map-trained .points path').length < 80")
    page.get_by_label("Filter").fill("")
    page.get_by_role("button", name="Apply").click()
    api.expect(points).to_have_count(160)
    box = points.nth(5).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    api.expect(page.locator("#hover")).to_be_visible()
    told = page.locator("#hover-text").text_content()
    page.mouse.down()
    page.mouse.up()
    api.expect(page.get_by_role("tab", name="Matches")).to_have_attribute("aria-selected", "true")
    api.expect(page.locator("#hover")).to_be_hidden()
    chosen = page.locator("#query .name")
    api.expect(chosen).not_to_have_text(EVIL)
    assert told.startswith(chosen.text_content())


def test_markup_of_the_data_is_shown_as_text(page):
    page.get_by_label("Profile", exact=True).fill(EVIL[:9])
    api.expect(page.locator("#profiles button")).to_have_count(1)
    page.locator("#profiles button").click()
    api.expect(page.locator("#query .name")).to_have_text(EVIL)
    page.locator("#query summary").click()
    api.expect(page.locator("#query dl")).to_contain_text(CAPTION)
    api.expect(page.get_by_role("status")).to_contain_text(EVIL)
    page.get_by_role("tab", name="Map").click()
    page.get_by_label("Colour by").select_option("city")
    api.expect(page.locator("#map-trained .legendtext")).to_have_text(sorted(CITIES))
    assert page.evaluate("document.querySelectorAll('img[src=x], main script, main b, [onerror]').length") == 0


def test_every_photo_of_a_profile(page):
    turner = page.locator("#query .turn")
    api.expect(turner).to_have_text("photo 1 of 2")
    sources = []
    for told in ("photo 2 of 2", "photo 1 of 2"):
        turner.click()
        api.expect(turner).to_have_text(told)
        sources.append(page.locator("#query img").get_attribute("src"))
        wait_for(page, "document.querySelector('#query img').naturalWidth > 0")
    assert [re.search(r"photo=(\d+)", each)[1] for each in sources] == ["1", "0"]


def test_a_phone_has_no_sideways_scroll(page):
    page.set_viewport_size({"width": 390, "height": 844})
    for tab in ("Matches", "Text search", "Map", "Matches"):
        page.get_by_role("tab", name=tab).click()
        wait_for(page, "!document.querySelector('[aria-busy]')")
        if tab == "Map":
            api.expect(page.locator("#map-frozen .points path")).to_have_count(160)
            assert page.locator("#map-trained svg.main-svg").first.bounding_box()["width"] < 390
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), tab


def test_a_slow_answer_is_waited_for_and_a_late_one_dropped(page, seen):
    held = []
    page.route("**/api/match?*", lambda route: held.append(route))
    page.get_by_role("button", name="m0001").click()
    api.expect(page.get_by_role("status")).to_have_text("Working …")
    api.expect(page.locator("#match")).to_have_attribute("aria-busy", "true")
    page.get_by_role("button", name="f0002").click()
    page.wait_for_timeout(200)
    held[1].continue_()
    api.expect(page.locator("#query .name")).to_have_text("f0002")
    held[0].continue_()
    page.wait_for_timeout(500)
    api.expect(page.locator("#query .name")).to_have_text("f0002")
    api.expect(page.locator("#match")).not_to_have_attribute("aria-busy", "true")


def test_what_cannot_be_done_is_said(page, address):
    def less(route):
        about = {**route.fetch().json(), "sides": [], "columns": [], "colours": []}
        route.fulfill(body=json.dumps({**about, "search_note": "No text search: x.", "upload_note": "No upload: y."}))

    page.route("**/api/about?", less)
    page.goto(address)
    shown(page, 8)
    api.expect(page.get_by_label("or a photo")).to_be_disabled()
    api.expect(page.get_by_label("Only")).to_be_disabled()
    api.expect(page.locator("#of-side")).to_be_hidden()
    api.expect(page.get_by_text("No upload: y.")).to_be_visible()
    page.get_by_role("tab", name="Text search").click()
    api.expect(page.get_by_label("Looking for")).to_be_disabled()
    api.expect(page.get_by_role("button", name="Search")).to_be_disabled()
    api.expect(page.get_by_text("No text search: x.")).to_be_visible()
    page.get_by_role("tab", name="Map").click()
    api.expect(page.get_by_label("Colour by")).to_be_disabled()
    api.expect(page.locator("#map-trained .points path")).to_have_count(160)


def test_ctrl_c_ends_it_and_the_page_says_so(browser, made):
    with serving(*made) as (address, process):
        page = browser.new_page()
        page.goto(address)
        shown(page, 8)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode in (0, 130) and "Traceback" not in out + err, out + err
        page.get_by_role("button", name="Apply").click()
        api.expect(page.get_by_role("alert")).to_contain_text("is style_match.app still running?")
        page.close()
