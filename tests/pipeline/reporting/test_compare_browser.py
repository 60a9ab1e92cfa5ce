"""The HTML report in a real browser: what fonts, script and window really do with it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.compare import compare
from pipeline.compare_html import compare_html

from .conftest import Row
from .finished import finished

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")]

BOXES = """selector => [...document.querySelectorAll(selector)].map(each => each.getBoundingClientRect())
    .filter(box => box.width > 0).map(box => [box.left, box.top, box.right, box.bottom])"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two crowded runs, one of them with int8 files, and a third of another machine."""
    root = tmp_path_factory.mktemp("runs")
    dense = Row(None, 0.95, {1: (1.0, 1, 1, 1)})

    def row(i: int, run: int) -> Row:
        speedup = 1 + i / 6 + run / 20
        return Row(i / 20, 0.95 - i * i / 1000 - run / 200, {1: (1 / speedup, speedup, 0.98 * speedup, 1.02 * speedup)})

    rows = [[dense, *(row(i, run) for i in range(1, 9))] for run in (0, 1)]
    reports = [
        finished(root / "first", *rows[0], int8=True),
        finished(root / "second", *rows[1]),
        finished(root / "edge", *rows[1], machine={"cpu": "Other CPU"}),
    ]
    page = root / "compare.html"
    page.write_bytes(compare_html(compare([(Path(each.folder), each) for each in reports])))
    return page


@pytest.fixture(params=[(1280, "light"), (420, "dark")], ids=lambda param: f"{param[0]} {param[1]}")
def page(browser: Any, report: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    found = context.new_page()
    said: list[str] = []
    found.on("console", lambda message: said.append(message.text))
    found.on("pageerror", lambda error: said.append(str(error)))
    found.on("request", lambda asked: said.append(asked.url))
    found.goto(report.as_uri())
    yield found
    assert said == [report.as_uri()]
    context.close()


def overlap(one: list[float], other: list[float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def test_labels_do_not_overlap_in_the_browsers_own_font_and_the_page_is_no_wider_than_the_window(page: Any) -> None:
    labels = page.evaluate(BOXES, ".label")
    assert len(labels) > 20
    assert not [1 for i, one in enumerate(labels) for other in labels[:i] if overlap(one, other)]
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    assert len(page.evaluate(BOXES, ".chart")) == 3


def test_colours_can_be_read(page: Any) -> None:
    ratios = page.evaluate(
        """() => {
            const light = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(Number)
                .map(c => c / 255).map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
                .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
            const paper = light(getComputedStyle(document.body).backgroundColor);
            const contrast = own => (Math.max(own, paper) + .05) / (Math.min(own, paper) + .05);
            const of = (selector, property) => [...document.querySelectorAll(selector)]
                .map(each => contrast(light(getComputedStyle(each)[property])));
            return [...of(".label, .tick, .axis", "fill"), ...of("p, td, th, li, dd, small, caption", "color")];
        }"""
    )
    assert min(ratios) >= 4.5  # WCAG 2, level AA


def test_a_point_tells_its_numbers_and_leads_to_its_row(page: Any) -> None:
    mark = page.locator(".chart:visible .mark.front").first
    words = mark.get_attribute("aria-label")
    mark.focus()
    assert page.locator(".tooltip").inner_text() == words
    row = page.locator(f"tr[id='{mark.get_attribute('data-row')}']")
    assert "hot" in row.get_attribute("class")
    page.keyboard.press("Escape")
    assert page.locator(".tooltip").is_hidden()
    page.keyboard.press("Enter")
    assert page.url.endswith(f"#{row.get_attribute('id')}")
    assert row.get_by_text(words.split(", ")[0].split(": ")[1]).count() == 1


def test_the_table_is_sorted_by_a_click(page: Any) -> None:
    table = page.locator(".sortable").first

    def column(place: int) -> list[str]:
        return table.locator(f"tbody tr > :nth-child({place})").all_inner_texts()

    shown = [float(text.split()[0]) for text in column(9)]
    assert shown == sorted(shown)
    table.get_by_role("button", name="top-1").click()
    top1 = [float(text.split("%")[0]) for text in column(8)]
    assert top1 == sorted(top1, reverse=True)
    assert table.locator("th[aria-sort]").all_inner_texts() == ["top-1"]
    table.get_by_role("button", name="candidate").click()
    names = [text.split()[0] for text in column(2)]
    assert names == sorted(names)


def test_one_run_can_be_shown_alone_and_a_digest_copied_whole(page: Any) -> None:
    button = page.locator(".only", has_text="second").first
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    dimmed = page.locator("figure").first.locator(".mark.dim").count()
    assert (
        dimmed
        == page.locator("figure").first.locator(f".mark:not([data-kind='{button.get_attribute('data-kind')}'])").count()
        > 0
    )
    button.click()
    assert page.locator(".mark.dim").count() == 0
    copy = page.locator(".copy").first
    copy.click()
    page.locator(".copy.done").first.wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == copy.get_attribute("data-copy")
