"""The commands `promote` and `rollback`: which version of a registered model is champion."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.ending import one_sentence
from flows.environment import prepare_environment
from pipeline.errors import InputError

if TYPE_CHECKING:
    from pipeline.standings import Standing

Output = Annotated[
    Path, typer.Option(help="Folder that the runs were written in; its mlflow.db is used unless MLFLOW_TRACKING_URI is set.")
]


def promote(
    model: Annotated[
        str | None, typer.Argument(help="Registered model; default: list them all and change nothing.", show_default=False)
    ] = None,
    version: Annotated[int | None, typer.Option(min=1, help="Version; default: the challenger.", show_default=False)] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Do not compare with the champion. The gate holds all the same.")
    ] = False,
    output: Output = Path("runs"),
) -> None:
    """Make the challenger of a registered model its champion if it beats the present one, as a sweep does by itself.

    It must pass the gate of its run, lose no more accuracy against the champion than that allows, and surely be faster, on
    the same images and machine. Exits with 0 if it is champion now, with 1 if not, and says why.
    """
    with one_sentence("fair-pruner promote shows what is champion now"):
        prepare_environment()
        if model is None:
            if version is not None or force:
                raise InputError("--version and --force need the name of a registered model; give it first")
            _list(output)
            return
        from flows.terminal import plain, terminal
        from pipeline.promote import promote as promote_version
        from pipeline.registered_model import CHAMPION

        record = promote_version(model, output, version, force)
    champion = CHAMPION in record.aliases
    terminal().print(plain(f"{record.reason}.", "green" if champion else "red"), soft_wrap=True)
    raise typer.Exit(0 if champion else 1)


def rollback(
    model: Annotated[str, typer.Argument(help="Registered model.", show_default=False)], output: Output = Path("runs")
) -> None:
    """Make the previous champion of a registered model its champion again.

    The version that was champion is marked, so that no sweep makes it champion again by itself.
    """
    with one_sentence("fair-pruner promote shows what is champion now"):
        prepare_environment()
        from flows.terminal import plain, terminal
        from pipeline.promote import rollback as roll_back

        record = roll_back(model, output)
        terminal().print(plain(f"{record.reason}.", "green"), soft_wrap=True)


def _list(output: Path) -> None:
    from pipeline.standings import standings

    found = standings(output)
    if not found:
        typer.echo("no run has registered a model in MLflow; one does when it recommends a file")
        return
    _show(found)


def _show(found: "tuple[Standing, ...]") -> None:
    from rich.table import Table

    from flows.terminal import plain, terminal

    table = Table()
    table.add_column("registered model", overflow="fold")
    table.add_column("versions", justify="right")
    for title in ("champion", "challenger", "previous"):
        table.add_column(title, overflow="fold")
    for each in found:
        table.add_row(*map(plain, (each.name, str(each.versions), *(alias or "-" for alias in each[2:]))))
    terminal().print(table)
