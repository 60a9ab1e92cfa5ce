"""A comparison of runs as one HTML file that needs nothing else: no network, no other file, the same bytes each time."""

import base64
import hashlib
from importlib.resources import files

from pipeline.compare import Block, Comparison, Run
from pipeline.compare_chart import symbol
from pipeline.compare_figure import Point, figure
from pipeline.compare_run import run_section
from pipeline.compare_tables import files_table
from pipeline.compare_text import conditions_of, drift
from pipeline.headline import headline
from pipeline.html_tags import Markup, joined, raw, tag

READING = (
    "Bars and small figures are 95% intervals: Wilson's of the accuracy, the bootstrap's of the latency. The accuracy is that of "
    "the ONNX file on the test images; for other precisions than fp32 it was measured on the validation images alone, and they "
    "are not in the chart. A speed-up is against the same run's dense model in fp32 in the same runtime; the verdict is “faster” "
    "only if its whole interval lies above 1. A star marks what no other file of its table beats in both."
)
Kinds = dict[str, int]  # number of the colour and shape by run


def compare_html(comparison: Comparison) -> bytes:
    """The whole page. Whatever comes from a report is escaped, and the page forbids itself every request."""
    kinds = {run.name: number for number, run in enumerate(comparison.runs)}
    *others, last = kinds
    title = f"Comparison of {', '.join(others)} and {last}" if others else f"Files of {last}"
    script, style = (files("pipeline.compare_files").joinpath(name).read_text("utf-8") for name in ("page.js", "style.css"))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(script)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", raw(style)),
    )
    sections, details = [], []
    for number, block in enumerate(comparison.blocks):
        ids = tuple(f"file-{number}-{index}" for index in range(len(block.rows)))
        sections.append(_block(block, comparison.batch_size, ids, kinds))
        details += [run_section(run, block, ids, kinds[run.name]) for run in block.runs]
    body = tag(
        "body",
        tag("header", tag("h1", title), *map(_finding, comparison.runs)),
        tag("main", *sections, tag("p", READING, class_="note"), *details),
        tag("div", class_="tooltip", role="status", hidden=True),
        tag("script", raw(script)),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n".encode()


def _policy(script: str) -> str:
    """No request, and no script but our own."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def _finding(run: Run) -> Markup:
    return tag("p", tag("b", f"{run.name}: "), headline(run.report), class_="finding")


def _block(block: Block, batch_size: int, ids: tuple[str, ...], kinds: Kinds) -> Markup:
    """One machine and one set of images: chart and table."""
    where = conditions_of(block, batch_size)
    points = [
        Point(row, name, row.test, row.on_front, kinds[row.run.name])
        for row, name in zip(block.rows, ids, strict=True)
        if row.test
    ]
    title = f"Top-1 on the test images against median latency: {where}"
    return tag(
        "section",
        tag("h2", f"Accuracy against latency: {', '.join(run.name for run in block.runs)}"),
        *(tag("p", f"Kept apart: {sentence}.", class_="apart") for sentence in block.apart),
        tag("p", where, class_="where"),
        figure(points, title, _legend(block, kinds)) if points else None,
        tag("p", drift(block)) if len(block.runs) > 1 else None,
        files_table(block, ids, f"All files at batch {batch_size}, quickest first"),
    )


def _legend(block: Block, kinds: Kinds) -> Markup:
    runs = [kinds[run.name] for run in block.runs]
    buttons = (
        tag("button", symbol(kind), run.name, type="button", class_="only", aria_pressed="false", data_kind=kind)
        for kind, run in zip(runs, block.runs, strict=True)
    )
    filled = tag("span", symbol(runs[0]), symbol(runs[0], filled=False), "filled and joined: beaten by no other in both")
    return joined(*buttons, filled, tag("span", "ringed: recommended by its run"))
