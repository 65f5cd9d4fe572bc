"""The report in a real browser: that it draws, fetches nothing, shows names as text, and can be read and used by all."""

import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from distxfer.languages import language_name
from distxfer.reports.page import sections_of
from distxfer.reports.page.facts import facts_of
from distxfer.reports.page.html import page_text
from distxfer.results.collect import collect
from finished_runs import TARGETS, write_run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here: apt-get install chromium")

HOSTILE = "</script><img src=x onerror=alert(1)>"
TERM = "<img src=x onerror=alert(2)>"
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """A report of three methods, one with a hostile name, one language with another, and a hostile result left out."""
    folder = tmp_path_factory.mktemp("report")
    for seed in range(3):
        write_run(folder, "plain", seed)
        write_run(folder, "align", seed, gain=0.1, terms=("align", TERM))
        write_run(folder, HOSTILE, seed, gain=-0.1)
    facts = facts_of(collect([], folder), baseline="plain")
    ordered = (facts.baseline, *sorted(facts.methods[1:], key=lambda method: method.name == HOSTILE))
    languages = facts.languages.assign(name=facts.languages["name"].where(facts.languages.index != "tur", HOSTILE))
    facts = replace(facts, methods=ordered, languages=languages, left_out=(HOSTILE,))
    path = folder / "report.html"
    path.write_text(page_text(facts, sections_of(facts)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """The browser, with a profile of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def opened(browser, report):
    """The page, and what it asked for, complained of or popped up while it was drawn."""
    heard: dict[str, list[str]] = {"asked": [], "errors": [], "dialogs": []}
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.on("request", lambda request: heard["asked"].append(request.url))
    page.on("pageerror", lambda error: heard["errors"].append(str(error)))
    page.on("console", lambda line: heard["errors"].append(line.text) if line.type == "error" else None)
    page.on("dialog", lambda dialog: (heard["dialogs"].append(dialog.message), dialog.dismiss()))
    draw(page, report)
    yield page, heard
    page.close()


def draw(page, report: Path) -> None:
    """Open the report and wait until its charts are drawn, or cannot be."""
    page.goto(report.as_uri())
    page.wait_for_selector("html[data-charts]", state="attached")
    page.evaluate("document.querySelectorAll('.part').forEach(part => { part.open = true; })")
    page.wait_for_selector(".chart:empty", state="detached")


def wait_for_text(page, figure: str, text: str) -> None:
    """Wait until a figure's chart has a text. By a selector: the page's policy forbids the `eval` of `wait_for_function`."""
    page.locator(f"#{figure} svg").first.filter(has_text=text).wait_for(state="attached")


def test_all_charts_draw_and_nothing_is_fetched(opened, report, tmp_path):
    page, heard = opened
    assert page.evaluate("document.documentElement.dataset.charts") == "drawn"
    marks = page.eval_on_selector_all(
        ".chart", "all => all.map(chart => chart.querySelectorAll('[role=graphics-symbol]').length)"
    )
    assert len(marks) == 12
    assert min(marks) > 0
    assert heard == {"asked": [report.as_uri()], "errors": [], "dialogs": []}
    shot = page.screenshot(path=tmp_path / "desktop.png", full_page=True)
    assert len(shot) > 100_000


def test_at_most_five_parts_are_open_and_a_link_opens_another(browser, report):
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(report.as_uri())
    page.wait_for_selector("html[data-charts]", state="attached")
    assert page.locator(".part[open]").count() <= 5
    assert page.locator("#cost svg").count() == 0
    page.click("nav a[href='#cost']")
    page.locator("#cost svg [role=graphics-symbol]").first.wait_for(state="attached")
    assert page.locator(".wide-hint:visible").count() > 0  # on a phone, tables are wider than the screen
    page.close()


def test_a_hostile_name_is_shown_as_text(opened):
    page, heard = opened
    assert page.locator("img").count() == 0
    assert HOSTILE in page.locator(".warning li").inner_text()
    page.select_option("[data-choice=method]", HOSTILE)
    wait_for_text(page, "figure-transfer-by-distance", HOSTILE[:20])
    assert HOSTILE[:20] in page.locator("#figure-effects-by-language svg").text_content()
    assert HOSTILE[:15] in page.locator("#figure-drift-by-layer svg").first.text_content()  # the language
    page.select_option("[data-choice=method]", "align")
    page.select_option("[data-choice=term]", TERM)
    wait_for_text(page, "figure-learning-curves", TERM)
    assert page.locator("img").count() == 0
    assert heard["dialogs"] == heard["errors"] == []


def test_the_pointer_finds_the_name_of_a_language(opened):
    page, _ = opened
    page.locator("#figure-transfer-by-distance path[aria-roledescription=point]").last.hover()
    tooltip = page.locator("#vg-tooltip-element")
    tooltip.wait_for(state="visible")
    names = [language_name(code) for code in TARGETS if code != "tur"]
    assert any(name in tooltip.inner_text() for name in [*names, HOSTILE])


def test_what_is_chosen_is_drawn(opened):
    page, heard = opened
    chart = page.locator("#figure-transfer-by-distance svg")
    page.select_option("[data-choice=distance]", "geographic")
    wait_for_text(page, "figure-transfer-by-distance", "geographic distance")
    before = chart.inner_html()
    page.select_option("[data-choice=measure]", "gain")
    wait_for_text(page, "figure-transfer-by-distance", "gain over")
    assert chart.inner_html() != before
    assert heard["errors"] == []


def test_everything_can_be_chosen_there_and_back(opened):
    page, heard = opened
    empty = page.evaluate(
        """async () => {
            const empty = [];
            for (const select of document.querySelectorAll("select")) {
                for (const option of [...select.options].concat(select.options[0])) {
                    select.value = option.value;
                    select.dispatchEvent(new Event("change"));
                    await new Promise((done) => setTimeout(done, 40));
                    document.querySelectorAll(".chart").forEach((chart) => {
                        if (!chart.querySelector("[role=graphics-symbol]")) {
                            empty.push([select.dataset.choice, option.value, chart.closest("figure").id]);
                        }
                    });
                }
            }
            return empty;
        }"""
    )
    assert heard["errors"] == []
    # The terms of `align` are in no log of the method that is chosen then, but as the thin line of another method.
    assert {(choice, figure) for choice, _, figure in empty} <= {("term", "figure-learning-curves")}


def test_the_keyboard_reaches_everything(opened):
    page, _ = opened
    page.evaluate("scrollTo(0, 0); document.activeElement.blur()")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator("#comparison details details summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#comparison details details").first.evaluate("part => part.open")
    page.locator("[data-choice=method]").first.focus()
    page.keyboard.press("ArrowDown")
    wait_for_text(page, "figure-effects-by-language", HOSTILE[:20])


def test_a_screen_reader_is_told_what_there_is(opened):
    page, _ = opened
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.locator("main, header, nav, footer").count() == 4
    for label in page.eval_on_selector_all(".chart", "all => all.map(chart => chart.getAttribute('aria-label'))"):
        assert label
    assert page.locator("select").count() == page.locator("label select").count()
    assert (
        page.locator("main table").count() == page.locator("main table:has(th[scope=col]):has(th[scope=row])").count()
    )
    levels = [
        int(level) for level in page.eval_on_selector_all("h1, h2, h3", "all => all.map(title => title.tagName[1])")
    ]
    assert levels[0] == 1
    assert max(after - before for before, after in pairwise(levels)) <= 1


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)` (WCAG 2.2)."""
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    """Contrast of two colours, from 1 to 21 (WCAG 2.2)."""
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_marks_stand_out(browser, report, scheme):
    page = browser.new_page(color_scheme=scheme)
    draw(page, report)
    colours = page.evaluate(
        """() => Object.fromEntries(['ink', 'paper', 'quiet', 'faint', 'accent', 'warm', 'green', 'pink', 'orange'].map(name => {
            document.body.style.outlineColor = `var(--${name})`;
            return [name, getComputedStyle(document.body).outlineColor];
        }))"""
    )
    assert (luminance(colours["paper"]) > 0.5) == (scheme == "light")
    for name in ("ink", "quiet"):  # text
        assert contrast(colours[name], colours["paper"]) >= 4.5, name
    for name in set(colours) - {"paper"}:  # marks
        assert contrast(colours[name], colours["paper"]) >= 3, name
    label = page.locator("#figure-effects svg text").first
    assert label.evaluate("text => getComputedStyle(text).fill") == colours["ink"]
    page.close()


def test_a_phone_scrolls_in_one_direction(browser, report):
    page = browser.new_page(viewport={"width": 390, "height": 844})
    draw(page, report)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    widths = page.eval_on_selector_all(".chart svg", "all => all.map(svg => svg.getBoundingClientRect().right)")
    assert max(widths) <= 390
    page.close()


def test_it_prints(opened, tmp_path):
    page, _ = opened
    paper = page.pdf(path=tmp_path / "report.pdf", format="A4", print_background=False)
    assert paper.startswith(b"%PDF")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.locator("body").evaluate("body => getComputedStyle(body).color") == "rgb(27, 31, 36)"
    page.emulate_media(media="screen", color_scheme="light")


def test_without_scripts_the_tables_are_there(browser, report):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(report.as_uri())
    assert "Charts need JavaScript" in page.locator("header").inner_text()
    assert page.locator("#comparison table").first.is_visible()
    page.close()
