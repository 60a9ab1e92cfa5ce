"""The HTML report: one file, no request, everything escaped, the same bytes each time, readable without seeing it."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline.compare import compare
from pipeline.compare_html import compare_html
from pipeline.measurements import RunReport

from .conftest import ROWS, Row
from .finished import finished

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&amp;"
LOADING = ("src", "srcset", "data", "action", "formaction", "poster", "background", "ping", "manifest", "xlink:href", "style")


class Page(HTMLParser):
    """The page's elements with their attributes, and the text of each that was opened last."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(content.decode())
        self.close()

    def handle_starttag(self, name, attributes):
        self.elements.append((name, {key: value or "" for key, value in attributes}))
        if name not in ("meta", "br"):
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name, "elements are closed in order"

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, name: str, **wanted: str) -> list[dict[str, str]]:
        return [each for found, each in self.elements if found == name and wanted.items() <= each.items()]

    def text(self, *names: str) -> str:
        return "\n".join(text for name, text in self.texts if name in names)


def html_of(*reports: RunReport) -> bytes:
    return compare_html(compare([(Path(report.folder), report) for report in reports]))


@pytest.fixture
def two(tmp_path: Path) -> tuple[RunReport, RunReport]:
    first = finished(tmp_path / "runs" / "first", "dense", "not_faster", "slower", "quick", "quicker", int8=True)
    return first, finished(tmp_path / "runs" / "second", "dense", "quick")


def test_the_page_asks_for_nothing_from_anywhere(two):
    content = html_of(*two)
    page = Page(content)
    assert page.open == []
    assert not re.search(rb"https?:|//\w|url\(|@import|fetch\(|XMLHttpRequest", content)
    assert not {"link", "img", "iframe", "object", "embed", "base", "form", "video", "audio", "use", "image"} & {
        name for name, _ in page.elements
    }
    for name, attributes in page.elements:
        assert not set(LOADING) & set(attributes), (name, attributes)
        assert attributes.get("href", "#").startswith("#")
    assert {name for name, attributes in page.elements if "href" in attributes} == {"a"}


def test_the_page_forbids_itself_requests_and_every_script_but_its_own(two):
    content = html_of(*two).decode()
    script = re.search(r"<script>(.*?)</script>", content, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = (each["content"] for each in Page(content.encode()).all("meta") if "http-equiv" in each)
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_hostile_names_are_shown_and_not_obeyed(tmp_path):
    report = finished(tmp_path / "runs" / "a", "dense", "quick", name=HOSTILE, machine={"cpu": HOSTILE}, int8=True)
    safe = Page(html_of(finished(tmp_path / "safe" / "a", "dense", "quick", int8=True)))
    dense, quick = report.candidates
    depths = tuple(depth.model_copy(update={"group": f"{HOSTILE}{i}"}) for i, depth in enumerate(quick.plan.depths))
    plan = quick.plan.model_copy(update={"depths": depths})
    recommendation = report.recommendation.model_copy(update={"reason": HOSTILE, "refused": {HOSTILE: HOSTILE}})
    series = tuple(
        each.model_copy(update={"candidate": HOSTILE}) if each.candidate == quick.name else each for each in report.latency.series
    )
    changes = {
        "candidates": (dense, quick.model_copy(update={"name": HOSTILE, "plan": plan})),
        "recommendation": recommendation,
        "latency": report.latency.model_copy(update={"series": series}),
        "git_commit": HOSTILE,
    }
    page = Page(html_of(report.model_copy(update=changes)))
    assert len(page.all("script")) == 1
    assert {name for name, _ in page.elements} <= {name for name, _ in safe.elements} | {"dl", "dt", "dd"}
    assert not any(key.startswith("on") for _, attributes in page.elements for key in attributes)
    assert page.text("title", "h1").count(HOSTILE) == 2
    for name in ("th", "td", "dt", "dd", "li", "h2"):
        assert HOSTILE in page.text(name), name


def test_equal_runs_give_equal_bytes(two):
    first = html_of(*two)
    assert html_of(*two) == first
    again = [RunReport.model_validate_json(report.model_dump_json()) for report in two]
    assert html_of(*again) == first


def test_every_file_is_a_row_of_a_real_table_that_its_point_leads_to(two):
    page = Page(html_of(*two))
    rows = [each["id"] for each in page.all("tr") if "id" in each]
    assert len(rows) == len(set(rows)) == 5 * 2 + 2
    links = page.all("a")
    # every fp32 file in the chart of the test images, all of the first run's in that of its validation images; wide and narrow
    assert len(links) == 2 * (7 + 10)
    assert {each["href"] for each in links} == {f"#{row}" for row in rows}
    assert all("median" in each["aria-label"] and "top-1" in each["aria-label"] for each in links)
    assert len(page.all("table")) == len(page.all("thead")) == page.text("caption").count("\n") + 1
    assert all("scope" in each for each in page.all("th"))
    assert all(each.get("aria-label") for each in page.all("svg", role="group"))
    assert page.all("html")[0]["lang"] == "en"


def test_the_chart_shows_both_intervals_and_fills_the_front_alone(two):
    first, _ = two
    page = Page(html_of(first))
    fronts = [each for each in page.all("a") if each["class"].endswith(" front")]
    labels = {each["aria-label"].splitlines()[0] for each in fronts}
    assert "first: tolerance-0.4, fp32, onnxruntime" in labels
    assert not any("tolerance-0.1," in label for label in labels)
    bars = page.all("path", **{"class": "bars"})
    assert len(bars) == len(page.all("a"))
    assert all(re.match(r"M[\d.]+ [\d.]+H[\d.]+M[\d.]+ [\d.]+V[\d.]+", each["d"]) for each in bars)


def test_the_page_says_what_is_recommended_and_what_speaks_against_the_others(two):
    page, (first, _) = Page(html_of(*two)), two
    assert f"To ship: {first.recommendation.reason}." in page.text("p")
    for name, reason in first.recommendation.refused.items():
        assert name in page.text("dt").splitlines()
        assert reason in page.text("dd").splitlines()
    assert "machine: Model CPU 3000, 2 cores, Linux 6; no GPU" in page.text("li").splitlines()


def test_whole_digests_can_be_copied(two):
    first, _ = two
    copied = {each["data-copy"] for each in Page(html_of(*two)).all("button") if "data-copy" in each}
    for each in first.candidates:
        records = (each.plan, each.model, each.onnx, each.onnx_test, each.engine)
        assert {record.digest for record in records if record} <= copied
    assert {first.digest, first.latency.digest, first.config_digest} <= copied


def test_depths_are_given_group_by_group(two):
    page, (first, _) = Page(html_of(two[0])), two
    for depth in first.candidates[-1].plan.depths:
        assert depth.group in page.text("th").splitlines()
        width = f"{100 * depth.removed / depth.units:.2f}"
        assert page.all("rect", width=width)


def test_other_machines_are_kept_apart_in_words_and_in_charts(two, tmp_path):
    other = finished(tmp_path / "runs" / "other", "dense", "quick", machine={"cpu": "Other CPU"})
    page = Page(html_of(two[1], other))
    assert "Kept apart: latencies of different machines are not compared: cpu is Model CPU 3000 in second" in page.text("p")
    assert len(page.all("svg", role="group")) == 2 * 2
    assert "These runs were measured at different times" not in page.text("p")


def test_perfect_accuracy_and_a_lone_dense_model_can_be_drawn(tmp_path):
    perfect = ROWS["dense"]._replace(top1=1.0)
    page = Page(html_of(finished(tmp_path / "runs" / "a", perfect)))
    assert len(page.all("a")) == 2
    ticks = [float(text) for name, text in page.texts if name == "text" and re.fullmatch(r"[\d.]+", text)]
    assert max(ticks) <= 100


def test_more_runs_than_colours_can_be_compared(tmp_path):
    reports = [finished(tmp_path / "runs" / f"run-{i}", Row(None, 0.9 + i / 100, {1: (0.5 + i / 50, 1, 1, 1)})) for i in range(8)]
    page = Page(html_of(*reports))
    assert {each["data-kind"] for each in page.all("button", **{"class": "only"})} == set("01234567")
