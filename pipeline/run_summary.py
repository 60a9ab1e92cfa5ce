"""What a run has found, on one page for whoever started it; report.md has the rest."""

from pathlib import Path

from pipeline.compare import Row, compare
from pipeline.compare_text import accuracy, median, speedup, units_removed
from pipeline.device_text import conditions, recommendation
from pipeline.findings import batch_sizes
from pipeline.headline import headline, points
from pipeline.markdown import section
from pipeline.measurements import RunReport
from pipeline.search_text import search_sentence

NOTE = (
    "Every file that was measured at batch {batch_size}. Top-1 is that of the file on {samples} test images, of other precisions "
    "than fp32 on the validation images; the speed-up is against the dense model's fp32 file. 95% intervals are in brackets."
)
NOTHING = "–"  # Prefect's pages take a plain dash for a list
ONE_LINE = 1000  # and break a paragraph at every line


def run_summary(report: RunReport, *remarks: str) -> str:
    """The finding, what to ship and why, or why nothing, every measured file, and the conditions of the measurement.

    `remarks` are further sentences of Markdown, such as where to compare the candidates.
    """
    rows = candidate_rows(report)
    note = NOTE.format(batch_size=batch_sizes(report.latency)[0], samples=report.candidates[0].onnx_test.samples)
    parts = (
        f"# {report.name}",
        f"**{headline(report)}**",
        _capitalised(recommendation(report)),
        *([search_sentence(report.search)] if report.search else []),
        *map(_capitalised, remarks),
        section("Candidates", note, tuple(rows[0]), (tuple(row.values()) for row in rows), ONE_LINE),
        _refused(report),
        "\n".join(("## Conditions of the measurement", "", *(f"- {line}" for line in conditions(report.latency)))),
        f"Everything else, with all figures, is in `{report.folder}/report.md`.",
    )
    return "\n\n".join(filter(None, parts)) + "\n"


def candidate_rows(report: RunReport) -> tuple[dict[str, str], ...]:
    """One row a measured file, at the first batch size, by column; in the order of the measurement, the dense fp32 file first."""
    (block,) = compare([(Path(report.folder), report)], batch_sizes(report.latency)[0]).blocks
    return tuple(_cells(report, row) for row in sorted(block.rows, key=lambda row: report.latency.series.index(row.series)))


def _cells(report: RunReport, row: Row) -> dict[str, str]:
    model, dense = row.candidate.model, report.candidates[0].model
    marks = ("recommended" * row.recommended, "on the Pareto front" * row.on_front)
    return {
        "candidate": row.candidate.name,
        "precision": row.series.precision,
        "verdict": row.series.verdict,
        "speed-up": _with_brackets(*speedup(row)),
        "top-1": _with_brackets(*accuracy(row)),
        "note": ", ".join(filter(None, marks)) or NOTHING,
        "median": _with_brackets(*median(row)),
        "MACs": f"{model.macs:,} ({model.macs / dense.macs:.0%})",
        "MB": f"{row.file.size_bytes / 1e6:.3f}",
        "units removed": units_removed(row) if row.candidate.plan else NOTHING,
        "points against dense": f"{points(report, row.candidate):+.2f}" if row.test and row.candidate.plan else NOTHING,
        "runtime": row.series.runtime,
    }


def _capitalised(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _with_brackets(text: str, beside: str) -> str:
    return f"{text} ({beside})" if beside else text


def _refused(report: RunReport) -> str:
    """What speaks against every other file."""
    refused = report.recommendation.refused
    return "\n".join(("## Not recommended", "", *(f"- {name}: {why}" for name, why in refused.items()))) if refused else ""
