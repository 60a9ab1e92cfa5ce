"""The command that packs one candidate of a finished run for the device that will run it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.code_option import AllowCode
from flows.ending import one_sentence
from flows.environment import prepare_environment
from pipeline.config import override_config
from pipeline.errors import InputError

if TYPE_CHECKING:
    from pipeline.measurements import RunReport


def bundle(
    run: Annotated[str, typer.Argument(help="Folder or URL of a finished run, for example runs/digits", show_default=False)],
    tolerance: Annotated[float | None, typer.Option(help="Take the candidate that was cut at this tolerance.")] = None,
    candidate: Annotated[
        str | None, typer.Option(help="Take the candidate of this name, for example macs-0.5; default: the recommended one.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder to write; default: bundle-CANDIDATE in the run's folder.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier bundle there.")] = False,
    _: AllowCode = False,
) -> None:
    """Pack one candidate for an edge device: ONNX files, manifest, golden outputs, Triton repository, scripts.

    The scripts verify the files, build an engine and measure latency on the device, without this package. Reads the run's
    data set once more, for the golden images.
    """
    with one_sentence("nothing was written"):
        prepare_environment()
        from flows.console import log_to_stderr
        from pipeline.bundle import bundle as write_bundle
        from pipeline.saved_report import read_report, store_of
        from pipeline.shared_run import folder_of_run

        log_to_stderr()
        folder = folder_of_run(run)
        report = read_report(folder)
        name = chosen(report, tolerance, candidate)
        config = override_config(report.config, ())
        record = write_bundle(
            report,
            name,
            output or folder / f"bundle-{name}",
            config.data,
            config.seed,
            config.evaluate,
            store_of(folder),
            force=force,
        )
        size = sum(file.size_bytes for file in record.contents)
        typer.echo(f"{len(record.contents)} files, {size / 1e6:.1f} MB: {record.path}")
        typer.echo(f"on the device: python3 {Path(record.path).name}/verify.py")


def chosen(report: "RunReport", tolerance: float | None, candidate: str | None) -> str:
    """The candidate's name. Raises InputError with those there are if nothing, or too much, says which."""
    if tolerance is not None and candidate is not None:
        raise InputError(f"--tolerance {tolerance:g} and --candidate {candidate} are both given; keep one of them")
    if candidate is not None:
        return candidate
    names = ", ".join(each.name for each in report.candidates)
    if tolerance is not None:
        for each in report.candidates:
            if each.plan and each.plan.goal.quantity == "tolerance" and each.plan.goal.value == tolerance:
                return each.name
        raise InputError(f"run {report.name} has no candidate of tolerance {tolerance:g}; choose with --candidate one of {names}")
    if not report.recommendation.candidate:
        raise InputError(f"run {report.name} recommends no candidate; choose with --candidate one of {names}")
    return report.recommendation.candidate
