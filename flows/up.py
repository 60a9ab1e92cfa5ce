"""The command `up`: everything that one machine needs to start runs from a browser and to compare them there."""

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from flows.code_option import AllowCode
from flows.ending import one_sentence
from flows.environment import prepare_environment
from flows.logins import check_logins
from flows.server_folder import choose_ports, locked, remember
from pipeline.output import local_folder
from pipeline.whole_files import make_folder

if TYPE_CHECKING:
    from flows.servers import Servers

PREFECT_PORT, MLFLOW_PORT = "--prefect-port", "--mlflow-port"


def up(
    output: Annotated[str, typer.Option(help="Folder for everything: runs, databases, logs.")] = "runs",
    host: Annotated[
        str, typer.Option(help="Address to listen at; other machines reach any but 127.0.0.1, and need a login.")
    ] = "127.0.0.1",
    prefect_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of Prefect; 0: that of the last time, or one that is free.")
    ] = 0,
    mlflow_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of MLflow; 0: likewise.")] = 0,
    limit: Annotated[int, typer.Option(min=1, help="Runs at a time; others wait for their turn.")] = 1,
    workers: Annotated[int, typer.Option(min=0, help="Workers for the branches of runs with `branches: deployment`.")] = 0,
    _: AllowCode = False,
) -> None:
    """Start a Prefect server, an MLflow server and a worker on this machine, and keep them running until Ctrl-C.

    Nothing of it is reachable from other machines unless --host says so, and nothing connects to the outside.
    """
    with one_sentence("nothing runs any more"):
        check_logins(host)
        prepare_environment()
        everything = local_folder(output).resolve()
        folder = everything / "server"
        with locked(folder) as lock, ExitStack() as making:
            ports = choose_ports(folder, host, {PREFECT_PORT: prefect_port, MLFLOW_PORT: mlflow_port})
            from flows.servers import Servers
            from flows.services import supervise
            from pipeline.mlflow_runs import first_use

            servers = Servers(everything, host, ports[PREFECT_PORT], ports[MLFLOW_PORT], limit, workers)
            make_folder(folder / "logs")
            remember(folder, servers.prefect_url, ports)

            def when_ready() -> None:
                making.close()
                typer.echo(_how_to(servers))

            making.enter_context(first_use(servers.mlflow_database))  # no run opens the database while MLflow makes it
            supervise(servers.services(), when_ready, typer.echo, held=(lock,))
            typer.echo("stopped")


def _how_to(servers: "Servers") -> str:
    return f"""
Prefect  {servers.prefect_url}
MLflow   {servers.mlflow_url}

Start a run: in Prefect, Deployments > sweep > Run > Custom run. The form holds the settings of the digits example.
Every night: Deployments > nightly-sweep, and turn its schedule on. New engines for a finished run: rebuild-engine.
Compare: in MLflow, Experiments > fair-pruner (mode "Model training"), tick runs, Compare.
Runs beyond --limit {servers.limit} wait as "Late" for their turn.
All data is in {servers.output}, logs in {servers.folder / "logs"}. Ctrl-C ends everything.
"""
