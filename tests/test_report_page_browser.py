"""report.html in a real Chromium: it works by keyboard alone, fetches nothing, runs nothing."""

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import report_pages
from tests.programs import absent, require_package

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

WIDE, NARROW = (1280, 900), (390, 844)
HOSTILE = """</script><img src=x onerror="window.hacked=1">'"""

Open = Callable[..., "Page"]


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """One Chromium for all tests here."""
    program = shutil.which("chromium")
    if program is None:
        absent("the program chromium: bash scripts/install-system.sh")
    playwright = require_package("playwright.sync_api")
    # Chromium's own sandbox does not start as root, as in a container.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=program, args=arguments)
        yield started
        started.close()


@pytest.fixture
def opened(browser: "Browser") -> Iterator[Open]:
    """Opens a file, and fails the test for any error or anything fetched beyond that file."""
    pages = []
    faults: list[str] = []

    def open_file(file: Path, size: tuple[int, int] = WIDE, **context: Any) -> "Page":
        page = browser.new_page(viewport={"width": size[0], "height": size[1]}, **context)
        pages.append(page)
        page.on("console", lambda message: faults.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((file.as_uri(), "data:"))
                else faults.append(request.url[:80])
            ),
        )
        page.goto(file.as_uri())
        return page

    yield open_file
    for page in pages:
        page.close()
    assert not faults


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of twelve questions: two sets, two fields, each outcome of "aim" three times."""
    folder = tmp_path_factory.mktemp("run")
    return written(folder)


def written(folder: Path, croppers: tuple[str, ...] = ("aim", "wide"), **told: Any) -> Path:
    asked = report_pages.questions(folder)
    results, rows = report_pages.run(asked, croppers, **told)
    file = folder / "report.html"
    report_pages.write(file, results, rows, asked)
    return file


def count(page: "Page") -> str:
    return page.locator("#count").inner_text()


def title(page: "Page") -> str:
    return page.locator("#question-title").inner_text()


def focused(page: "Page") -> str:
    return str(page.evaluate("document.activeElement.id || document.activeElement.tagName"))


def tab_to(page: "Page", wanted: str, *, back: bool = False) -> None:
    for _ in range(60):
        page.keyboard.press("Shift+Tab" if back else "Tab")
        if page.evaluate("wanted => document.activeElement.matches(wanted)", wanted):
            return
    pytest.fail(f"the keyboard does not reach {wanted}")


def test_it_opens_without_an_error_and_without_fetching(opened: Open, report: Path) -> None:
    page = opened(report)
    assert page.title() == "Does zooming help openai:some/model on pages?"
    assert count(page) == "12 of the 12 questions here match"
    assert page.locator("#list [role=option]").count() == 12
    assert page.evaluate("document.querySelectorAll('main h2').length") == 7


def test_the_skip_link_comes_first_and_leads_to_the_questions(opened: Open, report: Path) -> None:
    page = opened(report)
    page.keyboard.press("Tab")
    assert page.locator(".skip").bounding_box()["x"] >= 0  # type: ignore[index]
    page.keyboard.press("Enter")
    assert focused(page) == "browser"
    page.keyboard.press("Tab")
    assert focused(page) == "view"


def test_filters_work_by_keyboard(opened: Open, report: Path) -> None:
    page = opened(report)
    tab_to(page, "#outcome")
    page.keyboard.press("ArrowDown")
    assert count(page) == "3 of the 12 questions here match"  # rescued
    assert title(page) == "What is number 1?"
    assert "▲ rescued" in page.locator("#question").inner_text()
    page.keyboard.press("ArrowDown")
    assert title(page) == "What is number 2?"
    assert "▼ harmed" in page.locator("#question").inner_text()
    page.keyboard.press("Tab")
    assert focused(page) == "set"
    page.keyboard.press("s")  # signs
    assert count(page) == "1 of the 12 questions here matches"
    assert title(page) == "What is number 10?"
    page.keyboard.press("Tab")
    page.keyboard.press("d")  # of which none has the field date
    assert focused(page) == "field"
    assert count(page) == "0 of the 12 questions here match"
    assert not page.locator("#stage").is_visible()
    tab_to(page, "button[type=reset]")
    page.keyboard.press("Enter")
    page.wait_for_function("document.getElementById('count').textContent.startsWith('12 ')")
    tab_to(page, "#hit", back=True)
    page.keyboard.press("m")  # miss: "aim" has none
    assert count(page).startswith("0 ")
    tab_to(page, "#view", back=True)
    page.keyboard.press("w")  # and "wide" has nothing else
    assert count(page).startswith("12 ")
    tab_to(page, "#words")
    page.keyboard.type("VALUE 7")
    assert count(page).startswith("1 ")
    assert title(page) == "What is number 7?"


def test_every_option_of_a_filter_counts_right(opened: Open, report: Path) -> None:
    page = opened(report)
    for outcome in report_pages.OUTCOMES:
        page.select_option("#outcome", outcome)
        assert count(page).startswith("3 "), outcome
        for text in page.locator("#list .outcome").all_inner_texts():
            assert outcome in text
    page.select_option("#outcome", "")
    page.select_option("#set", "=bills")
    assert count(page).startswith("8 ")
    page.select_option("#field", "=total")
    assert count(page).startswith("4 ")
    page.select_option("#hit", "unknown")
    assert count(page).startswith("0 ")


def test_questions_are_walked_by_keyboard(opened: Open, report: Path) -> None:
    page = opened(report)
    tab_to(page, "#list [role=option]")
    for key, number in (
        ("ArrowDown", 2), ("j", 3), ("k", 2), ("End", 12), ("j", 12), ("ArrowUp", 11), ("Home", 1)
    ):  # fmt: skip
        page.keyboard.press(key)
        assert title(page) == f"What is number {number}?", key
        assert focused(page) == f"option-{number - 1}"
        assert page.locator("[aria-selected=true]").count() == 1
    page.keyboard.press("Enter")
    assert focused(page) == "question-title"
    page.keyboard.press("j")
    assert (focused(page), title(page)) == ("question-title", "What is number 2?")
    assert page.url.endswith("#question-2")
    page.keyboard.press("Escape")
    assert focused(page) == "option-1"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the button "Previous"
    assert title(page) == "What is number 1?"
    tab_to(page, "#question summary")
    page.keyboard.press("Enter")
    page.locator("#question tbody tr").nth(2).wait_for(state="visible")
    page.keyboard.press("j")  # what was opened stays open
    page.locator("#question tbody tr").nth(2).wait_for(state="visible")


def test_keys_do_nothing_elsewhere_and_in_text(opened: Open, report: Path) -> None:
    page = opened(report)
    page.keyboard.press("j")
    assert title(page) == "What is number 1?"
    tab_to(page, "#words")
    page.keyboard.type("j")
    assert page.locator("#words").input_value() == "j"
    assert count(page).startswith("0 ")


def test_focus_can_be_seen(opened: Open, report: Path) -> None:
    page = opened(report)
    for wanted in ("nav a", "#view", "#words", "#list [role=option]", "#question button"):
        tab_to(page, wanted)
        width = page.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth)")
        assert width >= 2, wanted


def test_everything_has_a_name(opened: Open, report: Path) -> None:
    page = opened(report)
    assert page.evaluate(
        "[...document.querySelectorAll('table')].every(t => t.caption?.textContent.trim())"
    )
    assert page.evaluate(
        "[...document.querySelectorAll('select, input')].every(e => e.labels.length === 1)"
    )
    assert page.evaluate("[...document.images].every(image => image.alt)")
    assert page.evaluate(
        "[...document.querySelectorAll('tbody tr')].every(r => r.cells[0].scope === 'row')"
    )
    assert page.locator("main, header, nav, [role=search], [role=status]").count() == 5
    assert page.locator("section:not([aria-labelledby])").count() == 0


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_boxes_lie_where_they_should(opened: Open, report: Path, size: tuple[int, int]) -> None:
    page = opened(report, size)
    for view, crop in ((None, report_pages.AIMED), ("wide", report_pages.WIDE)):
        if view is not None:
            page.select_option("#view", label=view)
        image = frame(page.locator(".canvas img"))
        assert image["width"] / image["height"] == pytest.approx(2 / 3, rel=0.01)
        assert frame(page.locator(".canvas svg")) == pytest.approx(image, abs=1.5)
        for kind, box in (("crop-box", crop), ("truth-box", report_pages.TRUE)):
            assert frame(page.locator(f".canvas .{kind}")) == pytest.approx(
                {
                    "x": image["x"] + box.left * image["width"],
                    "y": image["y"] + box.top * image["height"],
                    "width": box.width * image["width"],
                    "height": box.height * image["height"],
                },
                abs=1.5,
            )
        cut = frame(page.locator(".cuts img"))
        shape = crop.width * 400 / (crop.height * 600)
        assert cut["width"] / cut["height"] == pytest.approx(shape, rel=0.02)
    styles = [
        page.evaluate(
            f"getComputedStyle(document.querySelector('.canvas .{kind}')).strokeDasharray"
        )
        for kind in ("crop-box", "truth-box")
    ]
    assert styles[0] == "none" != styles[1]  # told apart without colour
    assert page.locator(".legend span:visible").count() >= 2


def frame(element: "Locator") -> dict[str, float]:
    """Where an element lies, its stroke apart."""
    script = "e => (({x, y, width, height}) => ({x, y, width, height}))(e.getBoundingClientRect())"
    return dict(element.evaluate(script))


def test_a_view_without_pictures_of_its_own_is_cut_from_the_page(
    opened: Open, report: Path
) -> None:
    page = opened(report)
    page.select_option("#view", label="centre")
    assert page.locator(".cuts img").count() == 0
    assert page.locator(".cuts svg").get_attribute("viewBox") == "100 150 200 300"
    page.select_option("#view", label="page twice")
    assert "No crop in this view." in page.locator(".cuts").inner_text()


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_names_in_the_plot_do_not_overlap(
    opened: Open, tmp_path: Path, size: tuple[int, int]
) -> None:
    page = opened(written(tmp_path, ("aim", "wide", "hf:some/long/folder/of/a/model")), size)
    names = page.locator(".plot:not(.square):visible .label")
    frames = [frame(names.nth(index)) for index in range(names.count())]
    assert len(frames) == len(report_pages.views(("a", "b", "c")))
    assert report_pages.overlapping(frames) == []
    room = frame(page.locator(".plot:not(.square):visible"))
    markers = page.locator(".plot:not(.square):visible .marker")
    for box in (*frames, *(frame(markers.nth(index)) for index in range(markers.count()))):
        assert room["x"] <= box["x"]
        assert box["x"] + box["width"] <= room["x"] + room["width"] + 1
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


def test_hostile_text_does_nothing(opened: Open, tmp_path: Path) -> None:
    asked = [
        dataclasses.replace(
            one, question=HOSTILE, answers=(HOSTILE,), field=HOSTILE, id=HOSTILE, set_name=HOSTILE
        )
        for one in report_pages.questions(tmp_path)
    ]
    results, rows = report_pages.run(asked, ("aim", HOSTILE), target=HOSTILE, data=HOSTILE)
    for row in rows:
        for cell in row["views"].values():
            cell["answer"] = HOSTILE * 30
    report_pages.write(tmp_path / "report.html", results, rows, asked)
    page = opened(tmp_path / "report.html")
    assert title(page) == HOSTILE
    page.select_option("#view", label=HOSTILE)
    page.select_option("#field", f"={HOSTILE}")
    page.select_option("#set", f"={HOSTILE}")
    assert count(page) == "12 of the 12 questions here match"
    assert page.locator("#question .said").first.inner_text().startswith(HOSTILE[:20])
    assert page.evaluate("window.hacked") is None
    assert page.locator("img").count() == page.locator("#question img").count() == 2


def test_the_policy_keeps_a_foreign_script_from_running(browser: "Browser", report: Path) -> None:
    page = browser.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(report.as_uri())
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.hacked = 1";
            document.body.append(script);
            document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.hacked=1'>");
        }"""
    )
    page.wait_for_timeout(100)
    assert page.evaluate("window.hacked") is None
    assert any("Content Security Policy" in text for text in said)
    page.close()


def test_the_figures_are_there_without_javascript(opened: Open, report: Path) -> None:
    page = opened(report, java_script_enabled=False)
    assert page.locator("noscript").inner_text().startswith("Looking through the questions needs")
    assert page.locator(".verdict").count() == 2
    assert not page.locator("#filters").is_visible()


def test_without_scores_the_page_says_where_croppers_look(opened: Open, tmp_path: Path) -> None:
    page = opened(written(tmp_path, scored=False))
    assert page.title() == "Where do the croppers look in pages?"
    assert page.locator("#outcome").is_disabled()
    page.select_option("#view", label="wide")
    page.select_option("#hit", "miss")
    assert count(page).startswith("12 ")
    assert "No answers were scored" in page.locator("#verdict").inner_text()


def test_a_preview_in_a_sandbox_works(browser: "Browser", report: Path) -> None:
    page = browser.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.set_content("<iframe sandbox='allow-scripts' width='900' height='900'></iframe>")
    page.evaluate("html => { document.querySelector('iframe').srcdoc = html; }", report.read_text())
    inside = page.frame_locator("iframe")
    inside.get_by_role("button", name="Next").click()
    assert inside.locator("#question-title").inner_text() == "What is number 2?"
    page.close()
    assert not faults


def test_a_link_opens_its_question(opened: Open, report: Path) -> None:
    page = opened(report)
    page.goto(f"{report.as_uri()}#question-7")
    page.reload()
    assert title(page) == "What is number 7?"
