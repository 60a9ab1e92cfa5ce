"""The command `compare`: all files of several runs side by side, on the terminal and as an HTML report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.ending import one_sentence
from pipeline.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from pipeline.compare import Block, Comparison, Row

WIDTH = 140


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(help="Folders or URLs of finished runs, for example runs/digits runs/deeper", show_default=False),
    ],
    html: Annotated[Path | None, typer.Option(help="Write one self-contained HTML report here too.", show_default=False)] = None,
    batch: Annotated[
        int | None, typer.Option(help="Batch size; default: the first one that all runs have measured.", show_default=False)
    ] = None,
) -> None:
    """Compare every candidate and precision of one or more finished runs: accuracy, latency, speed-up, and who is not beaten.

    Runs of different machines or on different images are shown apart: their numbers do not compare.
    """
    with one_sentence("nothing was written"):
        from pipeline.compare import compare as compare_runs
        from pipeline.saved_report import read_report
        from pipeline.shared_run import folder_of_run

        folders = [folder_of_run(run) for run in runs]
        comparison = compare_runs([(folder, read_report(folder)) for folder in folders], batch)
        if html:
            _write(comparison, html)
        show_comparison(comparison)
        if html:
            typer.echo(f"report: {html}")


def show_comparison(comparison: "Comparison") -> None:
    """One table a block, why it is apart from the first, and what every run recommends."""
    from flows.terminal import plain, terminal
    from pipeline.compare_text import STAR_NOTE, VALIDATION_NOTE, conditions_of, drift
    from pipeline.device_text import recommendation

    console = terminal(WIDTH)
    for block in comparison.blocks:
        for sentence in block.apart:
            console.print(plain(f"Kept apart: {sentence}.", "yellow"), soft_wrap=True)
        console.print(plain(conditions_of(block, comparison.batch_size), "bold"), soft_wrap=True)
        console.print(_table(block))
        notes = (
            STAR_NOTE,
            "below each figure its 95% interval",
            *([] if all(row.test for row in block.rows) else [VALIDATION_NOTE]),
        )
        console.print(plain("; ".join(notes), "dim"), soft_wrap=True)
        if len(block.runs) > 1:
            console.print(plain(drift(block)), soft_wrap=True)
        for run in block.runs:
            console.print(plain(f"{run.name}: {recommendation(run.report)}"), soft_wrap=True)
        console.print()


def _table(block: "Block") -> "Table":
    from rich.table import Table

    from flows.terminal import plain

    table = Table()
    for title in ("run", "candidate", "file"):
        table.add_column(title, overflow="fold")
    for title in ("units removed\nMACs", "bytes", "top-1", "median", "speed-up"):
        table.add_column(title, justify="right")
    table.add_column("verdict")
    for row in block.rows:
        table.add_row(*map(plain, _cells(row)))
    return table


def _cells(row: "Row") -> tuple[str, ...]:
    from pipeline.compare_text import accuracy, median, speedup, units_removed

    candidate, series = row.candidate, row.series
    return (
        row.run.name,
        candidate.name + " *" * row.on_front + "\nrecommended" * row.recommended,
        f"{series.precision}\n{series.runtime}",
        f"{units_removed(row)}\n{candidate.model.macs:,}",
        f"{row.file.size_bytes:,}",
        *("\n".join(pair) for pair in (accuracy(row), median(row), speedup(row))),
        series.verdict,
    )


def _write(comparison: "Comparison", html: Path) -> None:
    from pipeline.compare_html import compare_html
    from pipeline.whole_files import make_folder, write_together

    if html.is_dir():
        raise InputError(f"{html} is a folder; give the name of a file, for example {html / 'compare.html'}")
    make_folder(html.parent)
    write_together({html: compare_html(comparison)})
