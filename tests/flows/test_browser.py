"""The way people use it, in a real browser: the form in Prefect, the run and what it shows, the comparison in MLflow.

FAIR_PRUNER_SCREENSHOTS names a folder to keep pictures of it in.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.measurements import RunReport

from .serving import serving

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")]

SECOND, RUN_SECONDS = 1000, 600  # the first in milliseconds
QUICK = {  # by section and field as the form calls them; everything else is as the digits example has it
    ("Train", "Epochs"): "20",
    ("Fine-tune", "Epochs"): "2",
    ("Benchmark", "Rounds"): "5",
    ("Benchmark", "Warm-up seconds"): "0",
}


@pytest.fixture
def page() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1100, "height": 760})
        opened.set_default_timeout(30 * SECOND)
        yield opened
        browser.close()


def field(page: Any, *path: str) -> Any:
    """A field of the form by its label, after those of the sections around it."""
    found = page
    for label in path:
        heading = page.locator(":scope > .p-label__header").get_by_text(f"{label} (Optional)", exact=True)
        found = found.locator(".schema-form-property").filter(has=heading)
    return found


def fill(field: Any, value: str) -> None:
    box = field.get_by_role("spinbutton")
    box.fill(value)
    box.blur()
    sync_api.expect(box).to_have_value(value)


def picture(page: Any, name: str) -> None:
    if folder := os.environ.get("FAIR_PRUNER_SCREENSHOTS"):
        page.wait_for_timeout(SECOND)  # for what moves into its place
        page.screenshot(path=Path(folder, f"{name}.png"))


def open_form(page: Any, prefect: str) -> None:
    page.goto(f"{prefect}/deployments")
    page.locator("a[href*='/deployments/deployment/']").filter(has_text=re.compile("^sweep$")).click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Custom run").click()
    page.wait_for_load_state("networkidle")  # what is filled in before all has arrived is lost


def choose_axis(page: Any, axis: str, metric: str) -> None:
    page.locator(f"#{axis}-axis-selector").click()
    page.get_by_role("option", name=metric, exact=True).click()


def test_from_the_form_to_the_comparison(tmp_path: Path, page: Any) -> None:
    output = tmp_path / "runs"
    with serving(output) as (served, client):
        open_form(page, served.prefect)
        for label in ("Rule", "Tolerances", "Budgets"):
            field(page, "Allocate", label).wait_for()
        for (section, label), value in QUICK.items():
            fill(field(page, section, label), value)
        drop = field(page, "Gate", "Maximum accuracy drop")

        fill(drop, "2")
        page.get_by_role("button", name="Submit").click()
        drop.get_by_text("2 is greater than the maximum of 1").wait_for()
        drop.scroll_into_view_if_needed()
        picture(page, "prefect-form")
        assert client.read_flow_runs() == []  # nothing was started

        fill(drop, "0.02")
        page.get_by_role("button", name="Submit").click()
        page.get_by_text("scheduled to start").first.wait_for()
        page.goto("about:blank")  # to draw the page of a run keeps a core busy, which the run needs
        (run,) = client.read_flow_runs()
        served.wait(lambda: client.read_flow_run(run.id).state.is_final(), RUN_SECONDS)
        page.goto(f"{served.prefect}/runs")
        page.locator("a[href*='/runs/flow-run/']").first.click()
        page.get_by_text("Completed", exact=True).first.wait_for()
        page.get_by_role("heading", name="digits").or_(page.get_by_text("digits", exact=True)).first.wait_for()
        report = RunReport.model_validate_json((output / "digits" / "report.json").read_bytes())
        assert report.config["gate"]["max_accuracy_drop"] == 0.02
        assert report.config["finetune"]["epochs"] == 2

        page.get_by_text("Artifacts", exact=True).first.click()
        picture(page, "prefect-run")
        shown = page.locator("a[href*='/artifacts/artifact/']")
        shown.filter(has_text="digits-summary").wait_for()
        addresses = {name: shown.filter(has_text=name).get_attribute("href") for name in ("digits-candidates", "digits-pareto")}
        shown.filter(has_text="digits-summary").click()
        page.get_by_text(report.recommendation.reason, exact=False).first.wait_for()
        picture(page, "prefect-summary")
        compare = page.get_by_role("link", name="Compare these candidates in MLflow").get_attribute("href")
        page.goto(f"{served.prefect}{addresses['digits-candidates']}")
        for candidate in report.candidates:
            page.get_by_text(candidate.name, exact=True).first.wait_for()
        page.goto(f"{served.prefect}{addresses['digits-pareto']}")
        figure = page.locator("img[src^='data:image/png']")
        figure.wait_for()
        assert figure.evaluate("image => image.naturalWidth") > 100

        page.goto(compare)
        page.get_by_text(f"Comparing {len(report.candidates)} Runs").first.wait_for()
        for candidate in report.candidates:
            page.get_by_text(candidate.name, exact=True).first.wait_for()
        page.get_by_text("Scatter Plot").click()
        choose_axis(page, "x", "latency_batch_1/p50_ms")
        choose_axis(page, "y", "top1_onnx_test")
        picture(page, "mlflow-compare")
        drawn = page.locator(".js-plotly-plot").evaluate("plot => [...plot.data[0].x.map((x, i) => [x, plot.data[0].y[i]])]")
        tested = {candidate.name: candidate.onnx_test.top1 for candidate in report.candidates}
        fp32 = [each for each in report.latency.series if (each.batch_size, each.precision) == (1, "fp32")]
        np.testing.assert_allclose(sorted(drawn), sorted([each.p50_ms, tested[each.candidate]] for each in fp32))
