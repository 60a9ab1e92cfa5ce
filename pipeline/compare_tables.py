"""The tables of the HTML report: all files, units removed of each group, and the digests of a run's records."""

from collections.abc import Sequence

from pipeline.compare import Block, Row, Run
from pipeline.compare_text import accuracy, median, speedup, units_removed
from pipeline.html_tags import Markup, joined, tag

DIGITS = 12  # of a digest that are shown; all 64 are copied
VERDICT_CLASS = {"faster": "good", "slower": "bad", "too noisy to tell": "unsure"}
WORDS, NUMBERS = ("run", "candidate", "precision", "runtime"), ("units removed", "MACs", "bytes", "top-1", "median", "speed-up")
LARGEST_FIRST = ("units removed", "top-1", "speed-up")  # where a click sorts so


def files_table(block: Block, ids: Sequence[str], caption: str) -> Markup:
    """Every row of the block under its id, sortable by every column."""
    heads = (_head(title) for title in (*WORDS, *NUMBERS, "verdict"))
    body = (tag("tr", *_cells(row), id=name) for name, row in zip(ids, block.rows, strict=True))
    table = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *heads)),
        tag("tbody", *body),
        class_="sortable",
    )
    return _scrolling(table, caption)


def depth_table(run: Run) -> Markup | None:
    """A group a row, a pruned candidate a column: units removed as number and bar. None if nothing was pruned."""
    pruned = [(candidate.name, candidate.plan) for candidate in run.report.candidates if candidate.plan]
    if not pruned:
        return None
    removed = {name: {depth.group: depth.removed for depth in plan.depths} for name, plan in pruned}
    units = {depth.group: depth.units for _, plan in pruned for depth in plan.depths}
    rows = (
        tag(
            "tr",
            tag("th", group, scope="row"),
            tag("td", str(count), class_="n"),
            *(_bar(each.get(group), count) for each in removed.values()),
        )
        for group, count in units.items()
    )
    heads = (tag("th", title, scope="col") for title in ("group", "units", *removed))
    totals = (tag("td", f"{plan.units_removed} ({plan.units_removed / plan.units:.0%})", class_="n") for _, plan in pruned)
    total = tag("tr", tag("th", "all", scope="row"), tag("td", str(pruned[0][1].units), class_="n"), *totals)
    caption = f"{run.name}: units removed of each group"
    table = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *heads)),
        tag("tbody", *rows),
        tag("tfoot", total),
        class_="depths",
    )
    return _scrolling(table, caption)


def lineage_table(run: Run) -> Markup:
    """The digests of each candidate's records, to be copied."""
    rows = []
    for each in run.report.candidates:
        records = (each.plan, each.model, each.onnx, each.onnx_test, each.engine)
        cells = (tag("td", digest_button(record.digest) if record else "-") for record in records)
        rows.append(tag("tr", tag("th", each.name, scope="row"), *cells))
    titles = ("candidate", "plan", "model", "ONNX", "evaluation", "engine")
    heads = (tag("th", title, scope="col") for title in titles)
    caption = f"{run.name}: digests of the records, shortened; a click copies all of it"
    table = tag("table", tag("caption", caption), tag("thead", tag("tr", *heads)), tag("tbody", *rows), class_="lineage")
    return _scrolling(table, caption)


def _head(title: str) -> Markup:
    first = "descending" if title in LARGEST_FIRST else "ascending"
    return tag("th", tag("button", title, type="button"), scope="col", class_="n" if title in NUMBERS else None, data_first=first)


def _cells(row: Row) -> tuple[Markup, ...]:
    candidate, series = row.candidate, row.series
    star = tag("span", " ★", class_="star", title="beaten by no other file in both") if row.on_front else None
    shipped = joined(tag("br"), tag("span", "recommended", class_="tag best")) if row.recommended else None
    removed = candidate.plan.units_removed / candidate.plan.units if candidate.plan else 0.0
    return (
        tag("td", row.run.name),
        tag("th", candidate.name, star, shipped, scope="row"),
        tag("td", series.precision),
        tag("td", series.runtime),
        _number(removed, units_removed(row)),
        _number(candidate.model.macs, f"{candidate.model.macs:,}"),
        _number(row.file.size_bytes, f"{row.file.size_bytes:,}"),
        _number(row.test.top1 if row.test else row.validation.top1, *accuracy(row)),
        _number(series.p50_ms, *median(row)),
        _number(series.speedup, *speedup(row)),
        tag("td", tag("span", series.verdict, class_=f"tag {VERDICT_CLASS.get(series.verdict, '')}".strip())),
    )


def _number(value: float, text: str, below: str = "") -> Markup:
    return tag("td", text, tag("small", below) if below else None, class_="n", data_v=value)


def _bar(removed: int | None, units: int) -> Markup:
    if removed is None:
        return tag("td", "-", class_="n")
    bar = tag(
        "svg",
        tag("rect", width=f"{100 * removed / units:.2f}", height=6),
        viewBox="0 0 100 6",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
    return tag("td", f"{removed} ", tag("small", f"{removed / units:.0%}"), bar, class_="n bar")


def digest_button(digest: str) -> Markup:
    """The beginning of a digest; a click copies all of it."""
    return tag(
        "button", digest[:DIGITS], type="button", class_="copy", data_copy=digest, title=digest, aria_label=f"copy {digest}"
    )


def _scrolling(table: Markup, name: str) -> Markup:
    """Wide tables scroll on their own, by keyboard too."""
    return tag("div", table, class_="scrolling", role="region", aria_label=name, tabindex=0)
