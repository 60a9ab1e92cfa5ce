"""The part of the HTML report about one run: what it recommends and why, its precisions, depths, conditions and lineage."""

from collections.abc import Iterator

from pipeline.compare import Block, Run
from pipeline.compare_figure import Point, figure
from pipeline.compare_tables import depth_table, digest_button, lineage_table
from pipeline.device_text import conditions, recommendation
from pipeline.findings import batch_sizes, pareto, runtimes
from pipeline.html_tags import Markup, joined, tag

VALIDATION = (
    "Files in other precisions than fp32 are measured on the validation images alone. Those steered the run, so they flatter it "
    "a little; what counts here is the difference to the candidate's own fp32 file."
)


def run_section(run: Run, block: Block, ids: tuple[str, ...], kind: int) -> Markup:
    """`ids` are those of the block's rows in the table; `kind` is the number of the run's colour and shape."""
    return tag(
        "section",
        tag("h2", run.name),
        tag("p", recommendation(run.report), class_="finding"),
        _titled("What speaks against the others", _refused(run)),
        _titled("All precisions, on the validation images", _precisions(run, block, ids, kind)),
        _titled("Depth per group", depth_table(run)),
        _titled("Conditions of the measurement", tag("ul", *(tag("li", line) for line in _conditions(run)))),
        _titled("Lineage", _lineage(run)),
    )


def _titled(title: str, content: Markup | None) -> Markup | None:
    return joined(tag("h3", title), content) if content else None


def _refused(run: Run) -> Markup | None:
    refused = run.report.recommendation.refused
    pairs = (joined(tag("dt", name), tag("dd", reason)) for name, reason in refused.items())
    return tag("dl", *pairs) if refused else None


def _precisions(run: Run, block: Block, ids: tuple[str, ...], kind: int) -> Markup | None:
    """The figure of all files; nothing if there is fp32 alone."""
    found = [(row, name) for row, name in zip(block.rows, ids, strict=True) if row.run is run]
    if all(row.test for row, _ in found):
        return None
    front = pareto([(row.validation.top1, row.series.p50_ms) for row, _ in found])
    points = [Point(row, name, row.validation, place in front, kind) for place, (row, name) in enumerate(found)]
    title = f"{run.name}: top-1 on the validation images against median latency"
    legend = tag("span", f"{found[0][0].validation.samples} images; filled and joined: beaten by no other in both")
    return joined(tag("p", VALIDATION, class_="note"), figure(points, title, legend))


def _conditions(run: Run) -> Iterator[str]:
    report = run.report
    sizes = ", ".join(map(str, batch_sizes(report.latency)))
    yield from conditions(report.latency)
    yield f"batch sizes measured: {sizes}; what to ship was decided at the first, in {runtimes(report.latency)[0]}"
    yield f"code: git commit {report.git_commit or 'unknown'}, Prefect flow run {report.flow_run_id or 'none'}"
    yield f"seed {report.config.get('seed', 'unknown')}"


def _lineage(run: Run) -> Markup:
    report = run.report
    digests = {
        "report": report.digest,
        "measurement": report.latency.digest,
        "scores": report.scores.digest,
        "config": report.config_digest,
    }
    named = (joined(f"{name} ", digest_button(digest), " ") for name, digest in digests.items() if digest)
    return joined(tag("p", *named), lineage_table(run))
