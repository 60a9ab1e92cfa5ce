"""The command that says yes or no to a finished run, for people and for CI."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.ending import one_sentence

if TYPE_CHECKING:
    from pipeline.gate import GateResult


def gate(
    run: Annotated[str, typer.Argument(help="Folder or URL of a finished run, for example runs/digits", show_default=False)],
    candidate: Annotated[
        str | None, typer.Option(help="Judge this candidate; default: the best of all.", show_default=False)
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="Judge files of this precision: fp32, fp16, int8-cpu, int8-trt.", show_default=False)
    ] = None,
    max_accuracy_drop: Annotated[
        float | None,
        typer.Option(help="Share of validation top-1 that may be lost against dense: 0.01 is one point.", show_default=False),
    ] = None,
    min_speedup: Annotated[
        float | None, typer.Option(help="What the lower end of the speed-up's interval must reach.", show_default=False)
    ] = None,
    max_p99_ms: Annotated[
        float | None, typer.Option(help="Largest 99th percentile of latency, in ms.", show_default=False)
    ] = None,
    max_bytes: Annotated[int | None, typer.Option(help="Largest size of the ONNX file.", show_default=False)] = None,
    max_parity: Annotated[
        float | None,
        typer.Option(help="Largest difference of the fp32 file from torch, as a share of the largest logit.", show_default=False),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Batch size to judge at; default: the first that was measured.", show_default=False)
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="report.json of an earlier run to compare with.", show_default=False)
    ] = None,
    max_slowdown: Annotated[
        float | None,
        typer.Option(
            help="Median latency over the baseline's that may be reached. What was measured on another machine does not pass.",
            show_default=False,
        ),
    ] = None,
    max_regression: Annotated[
        float | None, typer.Option(help="Share of validation top-1 that may be lost against the baseline.", show_default=False)
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write a JUnit XML report here.", show_default=False)] = None,
    summary: Annotated[Path | None, typer.Option(help="Append the result as Markdown to this file.", show_default=False)] = None,
) -> None:
    """Say whether a finished run has a file that may be shipped. Exits with 0 if so, with 1 if not, and says why.

    A bound that is not given is the run's own, of the section gate of its configuration.
    """
    with one_sentence("nothing was written"):
        from pipeline.gate import baseline_of, gate_config
        from pipeline.gate import gate as judge
        from pipeline.gate_files import write_gate
        from pipeline.saved_report import read_report
        from pipeline.shared_run import folder_of_run

        report = read_report(folder_of_run(run))
        bounds = gate_config(
            report,
            {
                "max_accuracy_drop": max_accuracy_drop,
                "min_speedup": min_speedup,
                "max_p99_ms": max_p99_ms,
                "max_bytes": max_bytes,
                "max_parity": max_parity,
            },
        )
        earlier = baseline_of(baseline, {"max_slowdown": max_slowdown, "max_regression": max_regression})
        result = judge(report, bounds, candidate, precision, batch, earlier)
        write_gate(report, result, junit, summary)
        show_gate(result)
    raise typer.Exit(0 if result.passes else 1)


def show_gate(result: "GateResult") -> None:
    """One line a bound, and the result in words below."""
    from rich.table import Table

    from flows.terminal import plain, terminal

    table = Table(title=f"{result.candidate} in {result.precision}, {result.runtime}, batch {result.batch_size}")
    for title in ("bound", "found", "allowed", "outcome"):
        table.add_column(title)
    for check in result.checks:
        table.add_row(check.name, check.found, check.allowed, check.outcome)
    console = terminal()
    console.print(table)
    console.print(plain(f"{result.sentence}.", "green" if result.passes else "red"), soft_wrap=True)
