"""The command `bench`: latency of any files, measured interleaved, with intervals and verdicts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.ending import one_sentence
from flows.environment import prepare_environment

if TYPE_CHECKING:
    from rich.text import Text

    from pipeline.latency import LatencyReport, LatencySeries
    from pipeline.latency_change import Change


def bench(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="ONNX files of the same images, for the runtime tensorrt engines. The others are compared with the first.",
            show_default=False,
        ),
    ],
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            help="What runs them: onnxruntime (the default), openvino, onnxruntime-cuda, onnxruntime-tensorrt, tensorrt. "
            "Repeatable.",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[list[int] | None, typer.Option(help="Batch size. Repeatable; default: 1 and 8.", show_default=False)] = None,
    threads: Annotated[int, typer.Option(help="Threads of the runtime, each held to a core of its own.")] = 1,
    min_seconds: Annotated[float, typer.Option(help="Time spent on each file at each batch size, at least.")] = 3.0,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds, each in a process of its own.")] = 20,
    json: Annotated[Path | None, typer.Option(help="Write the report here too.", show_default=False)] = None,
    against: Annotated[
        Path | None, typer.Option(help="Compare with a report that --json wrote earlier on this machine.", show_default=False)
    ] = None,
) -> None:
    """Measure the latency of any ONNX files on this machine, and tell which are really faster than the first one.

    Run it alone on the machine.
    """
    with one_sentence("nothing was written"):
        prepare_environment()
        from pipeline.bench_files import bench_config, bench_files, check_output
        from pipeline.latency_change import changes, read_latency
        from pipeline.whole_files import write_together

        config = bench_config(runtimes=runtime, batch_sizes=batch, threads=threads, min_seconds=min_seconds, rounds=rounds)
        earlier = read_latency(against) if against else None
        if json:
            check_output(json)
        report = bench_files(tuple(files), config, earlier)
        show_latency(report)
        if earlier:
            show_changes(changes(earlier, report))
        if json:
            write_together({json: report.model_dump_json(indent=2).encode()})


def show_latency(report: "LatencyReport") -> None:
    """One line a file and batch size, and the conditions below."""
    from rich.table import Table

    from flows.terminal import terminal
    from pipeline.device_text import conditions

    table = Table(title="latency of one batch")
    for title in ("file", "runtime"):
        table.add_column(title, overflow="fold")
    for title in ("batch", "p50", "p90", "p99", "CPU time", "speed-up [95 %]"):
        table.add_column(title, justify="right")
    table.add_column("verdict")
    for series in report.series:
        table.add_row(*_cells(series))
    console = terminal()
    console.print(table)
    for line in conditions(report):
        console.print(line, highlight=False, soft_wrap=True)


def show_changes(found: "tuple[Change, ...]") -> None:
    """What differs from the earlier report."""
    from rich.table import Table

    from flows.terminal import plain, terminal

    table = Table(title="against the earlier report")
    table.add_column("file", overflow="fold")
    for title in ("batch", "p50 then", "p50 now", "speed-up (interval)"):
        table.add_column(title, justify="right")
    table.add_column("verdict")
    for each in found:
        interval = f"{each.speedup:.2f} [{each.low:.2f}, {each.high:.2f}]"
        row = (
            plain(each.candidate),
            f"{each.batch_size}",
            f"{each.then_ms:.3f} ms",
            f"{each.now_ms:.3f} ms",
            interval,
            each.verdict,
        )
        table.add_row(*row)
    terminal().print(table)


def _cells(series: "LatencySeries") -> "tuple[str | Text, ...]":
    from flows.terminal import plain

    times = (f"{ms:.3f} ms" for ms in (series.p50_ms, series.p90_ms, series.p99_ms))
    cpu = "-" if series.cpu_ms is None else f"{series.cpu_ms:.3f} ms"
    interval = f"{series.speedup:.2f} [{series.speedup_low:.2f}, {series.speedup_high:.2f}]"
    speedup = "1" if series.verdict == "reference" else interval
    return (plain(series.candidate), series.runtime, f"{series.batch_size}", *times, cpu, speedup, series.verdict)
