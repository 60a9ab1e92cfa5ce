"""What a person sees on the terminal: tables at the end, and log lines without tracebacks for errors of input."""

import logging
import warnings

from httpx import TransportError
from rich.console import Console
from rich.table import Table

from fair_pruner.errors import FairPrunerError
from fair_pruner.ranking import number_name
from flows.terminal import terminal
from pipeline.device_text import recommendation
from pipeline.doctor import Finding
from pipeline.errors import PipelineError
from pipeline.findings import batch_sizes, measured, series_of
from pipeline.headline import points
from pipeline.latency import LatencySeries
from pipeline.measurements import Candidate, RunReport
from pipeline.records import ModelRecord, PlanRecord
from pipeline.search_text import search_sentence

EXPLAINED = PipelineError | FairPrunerError | TransportError  # the last: a server that is away
STATE_STYLE = {"ok": "green", "missing": "yellow", "broken": "red"}


class _NoTraceback(logging.Filter):
    """Leaves the traceback out of log records about errors that explain themselves."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], EXPLAINED):
            record.exc_info = None
        return True


class _NoEvents(logging.Filter):
    """Leaves out that an event could not be sent, with all that it says: a server that is away is told of in one sentence."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith(("Unable to connect to", "Service %r failed"))


def keep_console_readable() -> None:
    """Put the filters on Prefect's loggers; their own handlers print the rest."""
    for name in ("prefect", "prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_NoTraceback())
    for name in ("prefect.events.clients", "prefect._internal.concurrency"):
        logging.getLogger(name).addFilter(_NoEvents())


def log_to_stderr() -> None:
    """Show the pipeline's log lines where no Prefect run does it."""
    warnings.filterwarnings("ignore", message="Logger 'pipeline' attempted to send logs")
    logging.basicConfig(format="%(message)s")
    logging.getLogger("pipeline").setLevel(logging.INFO)


def show_report(report: RunReport) -> None:
    """The candidates, one a row, and where everything lies."""
    dense = report.candidates[0]
    table = Table(title=f"{report.name}: ONNX files on {dense.onnx_test.samples} test images, {report.latency.machine.cpu}")
    table.add_column("candidate")
    sizes = batch_sizes(report.latency)
    for title in ("units\nremoved", "MACs", "top-1", *(f"batch {size}: median\nspeed-up [95 %]" for size in sizes)):
        table.add_column(title, justify="right")
    table.add_column("engine")
    for candidate in report.candidates:
        star = " *" if candidate.name in report.pareto else ""
        latencies = (_latency_cell(series_of(report.latency, candidate.name, size)) for size in sizes)
        table.add_row(candidate.name + star, *_candidate_cells(report, candidate), *latencies, candidate.engine.status)
        for variant in candidate.variants:
            found = [measured(report.latency, candidate.name, size, variant.onnx.precision) for size in sizes]
            if not any(found):
                continue
            lost = f"{variant.against.points:+.2f} points\nof fp32, validation"
            cells = ("-" if series is None else _latency_cell(series) for series in found)
            table.add_row(f"  {variant.onnx.precision}", "", "", lost, *cells, "")
        table.add_section()
    console = terminal()
    console.print(table)
    console.print("* no other candidate is both more accurate and faster (files in fp32)")
    if report.search:
        console.print(search_sentence(report.search))
    console.print(recommendation(report))
    console.print(f"report: {report.folder}/report.md", soft_wrap=True)


def _candidate_cells(report: RunReport, candidate: Candidate) -> tuple[str, ...]:
    plan, dense = candidate.plan, report.candidates[0]
    return (
        f"{plan.units_removed / plan.units:.1%}" if plan else "-",
        f"{candidate.model.macs / 1e6:.2f} M\n{candidate.model.macs / dense.model.macs:.0%}",
        f"{candidate.onnx_test.top1:.2%}" + (f"\n{points(report, candidate):+.2f} points" if plan else ""),
    )


def _latency_cell(series: LatencySeries) -> str:
    if series.verdict == "reference":
        return f"{series.p50_ms:.3f} ms"
    return f"{series.p50_ms:.3f} ms {series.verdict}\n{series.speedup:.2f} [{series.speedup_low:.2f}, {series.speedup_high:.2f}]"


def show_plans(dense: ModelRecord, plans: tuple[PlanRecord, ...], rounds: int) -> None:
    """What each candidate's first cut would remove and what would be left."""
    table = Table(title=f"{dense.architecture.name}: {dense.params:,} params, {dense.macs:,} MACs an image before the cut")
    table.add_column("candidate")
    for title in (number_name(plans[0].rule), "units removed", "params", "MACs", "weights"):
        table.add_column(title, justify="right")
    for plan in plans:
        table.add_row(
            plan.goal.name,
            f"{plan.tolerance:.4g}",
            f"{plan.units_removed} of {plan.units} ({plan.units_removed / plan.units:.1%})",
            f"{plan.params:,} ({plan.params / dense.params:.0%})",
            f"{plan.macs:,} ({plan.macs / dense.macs:.0%})",
            f"{plan.weights_bytes / 1024:,.0f} KiB",
        )
    console = terminal()
    console.print(table)
    if rounds > 1:
        console.print(f"This is the first of {rounds} rounds; what the others remove depends on the fine-tuning before them.")


def show_findings(findings: tuple[Finding, ...]) -> None:
    """One line a finding."""
    table = Table(show_header=False, box=None)
    for finding in findings:
        table.add_row(finding.subject, f"[{STATE_STYLE[finding.state]}]{finding.state}[/]", finding.detail)
    Console().print(table)
