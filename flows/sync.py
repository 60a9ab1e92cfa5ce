"""The command `sync`: log to MLflow what it could not be told when a run ended."""

from typing import Annotated

import typer

from flows.ending import one_sentence
from flows.environment import prepare_environment


def sync(
    output: Annotated[str, typer.Option(help="Folder or URL that runs are written in.", envvar="FAIR_PRUNER_OUTPUT")] = "runs",
) -> None:
    """Log the runs that ended while MLflow was away, each once, with its original times. Exits with 1 if one still waits."""
    with one_sentence():
        prepare_environment()
        from flows.console import log_to_stderr
        from pipeline.output import folder_of, place
        from pipeline.sync import sync as sync_spool

        log_to_stderr()
        found = sync_spool(folder_of(place(output)))
        if not found:
            typer.echo(f"nothing waits in {output}: MLflow has been told of every run")
        for each in found:
            where = f"logged, MLflow run {each.tracked.parent_run_id}" if each.tracked else f"still waits: {each.reason}"
            typer.echo(f"{each.entry.name}: {where}")
        if any(each.tracked is None for each in found):
            raise typer.Exit(1)
