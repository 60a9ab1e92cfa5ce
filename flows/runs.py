"""The command `runs`: what lies in an output folder, and what each run came to."""

from typing import TYPE_CHECKING, Annotated

import typer

from flows.ending import one_sentence

if TYPE_CHECKING:
    from pipeline.finished_runs import FinishedRun

WIDTH = 140


def runs(
    output: Annotated[str, typer.Option(help="Folder that runs are written in.")] = "runs",
) -> None:
    """List the finished runs: when, how many candidates, what is recommended, how fast and how accurate it is."""
    from flows.terminal import plain, terminal
    from pipeline.finished_runs import BrokenRun, finished_runs
    from pipeline.output import local_folder

    with one_sentence():
        found = finished_runs(local_folder(output))
    if not found:
        typer.echo(f"no finished run in {output}; fair-pruner run makes one, or name another folder with --output")
        return
    console = terminal(WIDTH)
    whole = [each for each in found if not isinstance(each, BrokenRun)]
    if whole:
        _show(whole)
    for each in found:
        if isinstance(each, BrokenRun):
            console.print(plain(f"broken: {each.reason}", "red"), soft_wrap=True)


def _show(found: "list[FinishedRun]") -> None:
    from rich.table import Table

    from flows.terminal import plain, terminal

    table = Table()
    for title in ("run", "when"):
        table.add_column(title, overflow="fold")
    table.add_column("candidates", justify="right")
    table.add_column("recommended", overflow="fold")
    for title in ("best speed-up\n[95 %]", "top-1 against\ndense"):
        table.add_column(title, justify="right")
    for title in ("machine", "files"):
        table.add_column(title, overflow="fold")
    for each in found:
        table.add_row(*map(plain, _cells(each)))
    terminal(WIDTH).print(table)


def _cells(run: "FinishedRun") -> tuple[str, ...]:
    report, best = run.report, run.best
    shipped = report.recommendation
    speedup = "-"
    if best:
        speedup = f"{best.speedup:.2f} [{best.speedup_low:.2f}, {best.speedup_high:.2f}]"
        speedup += "" if shipped.candidate else f"\n{best.candidate} {best.precision}"
    points = "-" if run.points is None else f"{run.points:+.2f} points" + "\nvalidation" * (run.split != "test")
    machine = report.latency.machine
    return (
        run.folder.name,
        f"{run.written:%Y-%m-%d %H:%M}",
        str(len(report.candidates)),
        f"{shipped.candidate} {shipped.precision}" if shipped.candidate else "none",
        speedup,
        points,
        machine.gpu or machine.cpu,
        "intact" if not run.missing else f"{run.missing} of {run.files} missing",
    )
