"""The command that builds the engines of a finished run anew."""

from typing import Annotated

import typer

from flows.code_option import AllowCode
from flows.ending import one_sentence
from flows.environment import prepare_environment


def rebuild(
    run: Annotated[str, typer.Argument(help="Folder or URL of a finished run, for example runs/digits", show_default=False)],
    candidate: Annotated[list[str] | None, typer.Option(help="Only this candidate, with the dense one. Repeatable.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Change a setting, such as engine.max_batch=32.")] = None,
    _: AllowCode = False,
) -> None:
    """Build the engines of a finished run anew from its ONNX files, for this machine's GPU and TensorRT, and measure them.

    Leaves a run of its own beside the old one, in MLflow linked to it.
    """
    with one_sentence():
        prepare_environment()
        from flows.console import keep_console_readable, show_report
        from flows.outage import leave_server_behind, outlive_server
        from flows.rebuild_engine import rebuild_engine

        keep_console_readable()
        show_report(outlive_server(rebuild_engine, run, tuple(candidate or ()), tuple(set_ or ())))
        leave_server_behind()
