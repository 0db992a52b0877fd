"""The label browser as a person uses it, in headless Chromium."""

import csv
import io
import re
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from pipeline.labels import LabelStore
from pipeline.labels.files.reviews import read_reviews
from tests.pipeline.browser.conftest import tab
from tests.pipeline.browser.made_people import FRAMES, HOSTILE_DATASET, HOSTILE_KEYS, PEOPLE
from tests.pipeline.browser.small_store import Served

pytestmark = pytest.mark.browser

CHECKS = (Path(__file__).parent / "page_checks.js").read_text(encoding="utf-8")
FIGURES_DRAWN = "[...document.querySelectorAll('figure img')].every((i) => i.complete && i.naturalWidth)"
EVERYBODY = PEOPLE + FRAMES + len(HOSTILE_KEYS)
FIRST = {"pd": "demo", "ps": "000000", "pk": "demo/00000", "pp": "0"}


def open_grid(page: Page, **words: str) -> None:
    page.goto("/?" + urlencode(words))
    expect(page.locator("#count")).to_contain_text("people")


def shown(page: Page) -> int:
    """The number of people that the page says pass."""
    return int(page.locator("#count").inner_text().split()[0].replace(",", ""))


def expect_count(page: Page, count: int) -> None:
    expect(page.locator("#count")).to_have_text(re.compile(rf"^{count} of {EVERYBODY} people"))
    expect(page.locator(".card")).to_have_count(min(count, 48))


def until(page: Page, expression: str) -> None:
    """Wait for JavaScript to be true; asked from outside, for the page's policy forbids to evaluate text in it."""
    for _ in range(600):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"never true: {expression}")


def drawn(page: Page, selector: str) -> np.ndarray:
    """What is seen of an element."""
    return np.asarray(Image.open(io.BytesIO(page.locator(selector).first.screenshot())).convert("RGB")).astype(float)


def test_everybody_is_in_the_grid_with_a_drawn_photo(page: Page, pictures: Path) -> None:
    open_grid(page)
    expect_count(page, EVERYBODY)
    until(page, "[...document.querySelectorAll('.card img')].slice(0, 8).every((i) => i.complete)")
    assert page.evaluate("document.querySelector('.card img').naturalWidth") == 256
    assert drawn(page, ".card img").std() > 15
    page.screenshot(path=pictures / "browser_grid.png")


def test_every_filter_by_hand(page: Page, anna: Served) -> None:
    """Each control of the form, one after the other: the count falls to what the API says, and comes back."""
    facets = anna.ask("facets", ("a", 0), ("b", 1))
    columns = {item["name"]: item["kind"] for item in anna.ask("rounds")["columns"]}
    open_grid(page)
    expect_count(page, EVERYBODY)
    page.locator("summary", has_text="More").click()
    controls = page.eval_on_selector_all("form [id^=f-]", "(all) => all.map((e) => e.id)")
    assert {"f-dataset", "f-decision_b", "f-start_b", "f-contains", "f-reviewed", "f-joint", "f-joint_state",
            "f-min-px_b", "f-max-px_change", "f-min-angle_change_deg", "f-prediction_b"} <= set(controls)  # fmt: skip
    for control in controls:
        name = control.removeprefix("f-")
        field = page.locator(f"#{control}")
        if name.startswith(("min-", "max-")):
            side, column = name[:3], name[4:]
            bound = {"min": "3.5", "max": "3.5"}[side]
            field.fill(bound)
            field.blur()
            query = (f"{side}.{column}", bound)
        elif name in facets:
            if not facets[name]:
                continue
            field.select_option(facets[name][0])
            query = (name, facets[name][0])
        elif name in ("contains", "shard"):
            field.fill("000002")
            field.blur()
            query = (name, "000002")
        else:
            value = {"reviewed": "no", "joint": "any", "joint_state": "at"}.get(name, "yes")
            assert name in ("reviewed", "joint", "joint_state") or columns[name] == "flag"
            field.select_option(value)
            query = (name, value)
        expect(page).to_have_url(re.compile(re.escape(urlencode([query]))))
        expect_count(page, anna.ask("count", ("a", 0), ("b", 1), query)["count"])
        page.locator("#reset").click()
        expect_count(page, EVERYBODY)


def test_an_sql_condition_filters_and_a_bad_one_says_why(page: Page, anna: Served) -> None:
    open_grid(page)
    page.locator("#where").fill("px_b > 3 AND dataset = 'demo'")
    page.locator("#where-apply").click()
    expect_count(page, anna.ask("count", ("a", 0), ("b", 1), ("where", "px_b > 3 AND dataset = 'demo'"))["count"])
    page.goto("/?" + urlencode({"where": "1=1) UNION SELECT 1"}))
    page.unroute_all()
    expect(page.get_by_role("alert")).to_contain_text("not understood")


def test_sorting_orders_the_cards(page: Page, anna: Served) -> None:
    open_grid(page)
    page.locator("#sort").select_option("px_b")
    page.locator("#order").click()
    expect(page).to_have_url(re.compile("order=desc"))
    worst = anna.ask("people", ("a", 0), ("b", 1), ("sort", "px_b"), ("order", "desc"), ("limit", 1))["rows"][0]
    expect(page.locator(".card .key").first).to_have_text(f"{worst['key']} #{worst['person']}")


def test_dragging_over_a_chart_filters_the_grid(page: Page) -> None:
    open_grid(page)
    for chart, name in (("#histogram", "px_b"), ("#scatter", "px_a")):
        box = page.locator(f"{chart} .u-over").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 20)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] - 10, steps=8)
        page.mouse.up()
        expect(page).to_have_url(re.compile(rf"min\.{name}="))
        until(page, f"!document.querySelector('#count').innerText.startsWith('{EVERYBODY} ')")
        assert 0 < shown(page) < EVERYBODY
        page.locator("#reset").click()
        expect_count(page, EVERYBODY)


def test_a_persons_page_shows_everything(page: Page, pictures: Path) -> None:
    page.goto("/?" + urlencode(FIRST))
    expect(page.locator("#person-name")).to_have_text("demo / 000000 / demo/00000 #0")
    expect(page.locator("#history-table > tbody > tr")).to_have_count(2)
    expect(page.locator("#history-table")).to_contain_text("converted to SKEL")
    expect(page.locator("#angle-list li")).to_have_count(46)
    expect(page.locator("#angle-list")).to_contain_text("knee_angle_r")
    expect(page.locator("figure img")).to_have_count(4)
    page.locator("#history-table summary").first.click()
    expect(page.locator("#history-table")).to_contain_text("snapshot")
    page.locator("summary", has_text="round 1").click()
    expect(page.locator("pre").last).to_contain_text('"anchor_q"')
    expect(page.get_by_text("Drag to turn")).to_be_visible()
    page.locator("#history-table summary").first.click()
    page.locator("summary", has_text="round 1").click()
    until(page, FIGURES_DRAWN)
    page.screenshot(path=pictures / "browser_person.png", full_page=True)


def test_the_3d_view_shows_both_bodies_and_turns(page: Page) -> None:
    page.goto("/?" + urlencode(FIRST))
    expect(page.get_by_text("Drag to turn")).to_be_visible()
    front = drawn(page, "#bodies-canvas")
    ground = front[3, 3]
    inside = np.abs(front - ground).max(-1) > 12
    assert 0.02 < inside.mean() < 0.9, "the 3D view is blank"
    box = page.locator("#bodies-canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 100, box["y"] + 150)
    page.mouse.down()
    page.mouse.move(box["x"] + 260, box["y"] + 150, steps=6)
    page.mouse.up()
    turned = drawn(page, "#bodies-canvas")
    assert np.abs(turned - front).mean() > 1
    page.locator("#turn-left").click()
    assert np.abs(drawn(page, "#bodies-canvas") - turned).mean() > 1
    for part in ("bones-a", "skin-b", "bones-b"):
        page.locator(f"#{part}").uncheck()
    nothing = drawn(page, "#bodies-canvas")
    assert (np.abs(nothing - ground).max(-1) > 12).mean() < 0.01  # rounded corners
    for part in ("skin-a", "bones-a", "skin-b", "bones-b"):
        page.locator(f"#{part}").check()
        seen = drawn(page, "#bodies-canvas")
        assert (np.abs(seen - ground).max(-1) > 12).mean() > 0.02, part
        page.locator(f"#{part}").uncheck()


def test_neighbours_in_the_video_with_angles_over_time(page: Page) -> None:
    page.goto("/?" + urlencode({"pd": "video", "ps": "000000", "pk": "clip/00004", "pp": "0"}))
    expect(page.locator(".film a")).to_have_count(FRAMES)
    expect(page.get_by_text("by track clip")).to_be_visible()
    assert drawn(page, "#video-angle").shape
    before = drawn(page, ".plot canvas")
    page.locator("#video-angle").select_option("elbow_flexion_l")
    page.wait_for_timeout(300)
    assert np.abs(drawn(page, ".plot canvas") - before).mean() > 0.05
    page.locator(".film a").nth(7).click()
    expect(page.locator("#person-name")).to_contain_text("clip/00007")


def test_keys_move_open_and_go_back(page: Page) -> None:
    open_grid(page)
    expect_count(page, EVERYBODY)
    for key, chosen in (("j", 0), ("j", 1), ("j", 2), ("k", 1)):
        page.keyboard.press(key)
        expect(page.locator(f"#card-{chosen}")).to_have_class("card chosen")
    name = page.locator("#card-1 .key").inner_text()
    page.keyboard.press("Enter")
    expect(page.locator("#person-name")).to_contain_text(name)
    expect(page.locator("#person-next")).to_be_enabled()
    page.keyboard.press("j")
    expect(page.locator("#person-name")).not_to_contain_text(name)
    expect(page.locator("#person-previous")).to_be_enabled()
    page.keyboard.press("k")
    expect(page.locator("#person-name")).to_contain_text(name)
    page.keyboard.press("Escape")
    expect_count(page, EVERYBODY)


def test_an_address_is_the_whole_state(page: Page) -> None:
    words = {"a": "1", "b": "0", "dataset": "demo", "min.px_b": "6", "sort": "px_b", "order": "desc",
             "layers": "bones", "show": "both"}  # fmt: skip
    open_grid(page, **words)
    assert page.locator("#round-b").input_value() == "0"
    assert page.locator("#f-min-px_b").input_value() == "6"
    assert page.locator("#layer-bones").get_attribute("aria-pressed") == "true"
    assert page.locator("#layer-skin").get_attribute("aria-pressed") == "false"
    count = shown(page)
    assert 0 < count < PEOPLE
    expect(page.locator(".card img")).to_have_count(2 * count)
    page.locator(".card a").first.click()
    expect(page.locator("#person-name")).to_be_visible()
    page.go_back()
    expect(page.locator(".card")).to_have_count(count)
    page.reload()
    expect(page.locator(".card")).to_have_count(count)


def test_two_reviewers_at_once(page: Page, chromium: Browser, anna: Served, ben: Served, people: LabelStore) -> None:
    start = len(read_reviews(people.storage))
    with tab(chromium, ben) as other:
        for tab_page in (page, other):
            tab_page.goto("/?" + urlencode(FIRST))
            expect(tab_page.locator("#verdict-bad_label")).to_be_visible()
        note = "<img src=x onerror=alert(1)> 'left' knee"
        page.locator("#note").fill(note)
        page.locator("#verdict-bad_label").click()
        expect(page.locator("#review-list .note")).to_have_text(note)
        other.locator("#verdict-bad_keypoints").click()
        expect(other.locator("#review-list li")).to_have_count(start + 2)
        expect(other.locator("#review-list")).to_contain_text("ben <b>")
        other.keyboard.press("1")
        expect(other.locator("#review-list li")).to_have_count(start + 3)
        page.goto("/?" + urlencode({"reviewed": "good", "sort": "px_b"}))
        expect_count(page, 1)
        expect(page.locator(".badge")).to_have_text("good")
        page.keyboard.press("j")
        page.keyboard.press("3")
        expect_count(page, 0)
        page.goto("/?" + urlencode({"reviewed": "bad_label"}))
        expect_count(page, 1)
    found = list(read_reviews(people.storage).values())[start:]
    assert [item.reviewer for item in found] == ["anna", "ben <b>", "ben <b>", "anna"]
    page.goto("/?" + urlencode(FIRST))
    page.locator("#verdict-withdrawn").click()
    page.goto("/?" + urlencode({"reviewed": "any"}))
    expect_count(page, 0)


def test_hostile_names_are_text_and_nothing_else(page: Page) -> None:
    open_grid(page, dataset=HOSTILE_DATASET)
    expect(page.locator(".card")).to_have_count(len(HOSTILE_KEYS))
    for key in HOSTILE_KEYS:
        expect(page.locator(".card .key", has_text=key)).to_have_count(1)
        page.goto("/?" + urlencode({"pd": HOSTILE_DATASET, "ps": "000000", "pk": key, "pp": "0", "contains": key}))
        expect(page.locator("#person-name")).to_have_text(f"{HOSTILE_DATASET} / 000000 / {key} #0")
        expect(page.locator("#history-table > tbody > tr")).to_have_count(2)
        until(page, FIGURES_DRAWN)
        assert page.evaluate("document.querySelectorAll('main img[src=x], main b, main script').length") == 0
        page.go_back()
        expect(page.locator(".card")).to_have_count(len(HOSTILE_KEYS))


def test_downloads_are_the_selection(page: Page, anna: Served, tmp_path: Path) -> None:
    words = {"dataset": "demo", "min.px_b": "3"}
    open_grid(page, **words)
    count = anna.ask("count", ("a", 0), ("b", 1), *words.items())["count"]
    expect_count(page, count)
    saved = {}
    for form in ("csv", "parquet", "shards"):
        with page.expect_download() as download:
            page.locator(f"#download-{form}").click()
        saved[form] = tmp_path / form
        download.value.save_as(saved[form])
    assert len(list(csv.DictReader(saved["csv"].open()))) == count
    assert pq.read_table(saved["parquet"]).num_rows == count
    assert all(Path(line).is_file() for line in saved["shards"].read_text().splitlines())


@pytest.mark.parametrize("words", [{}, FIRST], ids=["grid", "person"])
def test_a_page_is_accessible(words: dict[str, str], page: Page) -> None:
    """All controls and pictures have a name, all text WCAG AA's contrast of 4.5, no id stands twice, nothing is cut."""
    page.goto("/?" + urlencode(words))
    expect(page.locator("#person-name" if words else ".card").first).to_be_visible()
    page.wait_for_timeout(1000)
    assert page.evaluate(CHECKS) == {"nameless": [], "faint": [], "wide": [], "twice": []}
    assert page.evaluate("document.documentElement.lang") == "en"


def test_a_phone_shows_all_of_it(chromium: Browser, anna: Served, pictures: Path) -> None:
    with tab(chromium, anna, width=390, height=844) as phone:
        open_grid(phone, sort="px_b", order="desc")
        expect_count(phone, EVERYBODY)
        assert phone.evaluate("document.documentElement.scrollWidth") <= 390
        assert phone.evaluate(CHECKS)["wide"] == []
        until(phone, "[...document.querySelectorAll('.card img')].slice(0, 4).every((i) => i.complete)")
        phone.screenshot(path=pictures / "browser_grid_phone.png")
        phone.locator(".card a").first.click()
        expect(phone.get_by_text("Drag to turn")).to_be_visible()
        assert phone.evaluate("document.documentElement.scrollWidth") <= 390
        assert phone.evaluate(CHECKS)["wide"] == []
        phone.locator("#pictures").scroll_into_view_if_needed()
        until(phone, FIGURES_DRAWN)
        phone.screenshot(path=pictures / "browser_person_phone.png", full_page=True)


def test_pages_turn(page: Page) -> None:
    """By the API in small pages: the grid's own hold everybody here."""
    open_grid(page)
    expect(page.locator("#next")).to_be_disabled()
    expect(page.locator("#previous")).to_be_disabled()
    page.goto("/?" + urlencode({"after": "WyIiLCBudWxsLCA5XQ"}))  # behind the tenth
    expect(page.locator(".card")).to_have_count(EVERYBODY - 10)
    page.locator("#previous").click()
    expect(page.locator(".card")).to_have_count(10)
    page.locator("#first").click()
    expect(page.locator(".card")).to_have_count(EVERYBODY)
