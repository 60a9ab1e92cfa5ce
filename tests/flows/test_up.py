import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from typer.testing import CliRunner, Result

from flows.cli import app
from flows.server_folder import locked
from pipeline.measurements import RunReport

from .conftest import tiny


def refused(*arguments: object) -> str:
    result: Result = CliRunner().invoke(app, ["up", *map(str, arguments)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("fair-pruner: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "my-machine", "127.0.0.1.example.com"])  # noqa: S104
def test_other_machines_are_not_served(tmp_path: Path, host: str) -> None:
    sentence = refused("--output", tmp_path / "runs", "--host", host)
    assert f"--host {host} is refused, since MLflow asks nobody for a password" in sentence
    assert not (tmp_path / "runs").exists()


def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for option in ("--prefect-port", "--mlflow-port"):
            assert f"{option} {port} is in use on 127.0.0.1" in refused("--output", tmp_path, option, port)
    assert [path.name for path in tmp_path.rglob("*")] == ["server", "up.json"]


def test_a_folder_that_is_served_already_is_refused(tmp_path: Path) -> None:
    with locked(tmp_path / "server"):
        assert f"{tmp_path} is served already" in refused("--output", tmp_path)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file, no folder")
    assert "cannot write in" in refused("--output", tmp_path / "runs")


class Served:
    """`fair-pruner up` in a process of its own, and what it has said so far."""

    def __init__(self, output: Path) -> None:
        self.output, self.said = output, output.with_name("said.txt")
        with self.said.open("w") as said:
            command = [sys.executable, "-m", "flows", "up", "--output", str(output)]
            self.process = subprocess.Popen(command, cwd=output.parent, stdout=said, stderr=subprocess.STDOUT)
        self.wait(lambda: "Ctrl-C ends everything" in self.said.read_text())
        lines = self.said.read_text().splitlines()
        self.prefect, self.mlflow = (
            next(line.split()[1] for line in lines if line.startswith(f"{name} ") and "http" in line)
            for name in ("Prefect", "MLflow")
        )

    def wait(self, until: Callable[[], object], seconds: float = 300) -> None:
        deadline = time.monotonic() + seconds
        while not until():
            assert self.process.poll() is None, self.said.read_text()
            assert time.monotonic() < deadline, self.said.read_text()
            time.sleep(0.2)

    def answers(self) -> bool:
        try:
            with urlopen(f"{self.prefect}/api/health") as prefect, urlopen(f"{self.mlflow}/health") as mlflow:  # noqa: S310
                return bool(prefect.status == mlflow.status == 200)
        except OSError:
            return False

    def servers(self) -> list[int]:
        """Prefect's and MLflow's process."""
        children = psutil.Process(self.process.pid).children()
        return [child.pid for child in children if "server" in child.cmdline()]

    @contextmanager
    def ending_all(self) -> Iterator[None]:
        """After the block, which ends the process: none of its family is left, and the ports are free."""
        family = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        assert len(family) >= 6  # itself, the orphans' end, two servers with MLflow's own child, and the worker
        yield
        self.process.wait(60)
        _, alive = psutil.wait_procs(family, 20)
        assert alive == []
        for url in (self.prefect, self.mlflow):
            socket.create_server(("127.0.0.1", int(url.rpartition(":")[2]))).close()


@contextmanager
def serving(output: Path) -> Iterator[tuple[Served, SyncPrefectClient]]:
    served = Served(output)
    try:
        with temporary_settings({PREFECT_API_URL: f"{served.prefect}/api"}), get_client(sync_client=True) as client:
            yield served, client
    finally:
        served.process.terminate()
        served.process.wait(60)


def start_sweep(client: SyncPrefectClient, output: Path, **changes: Any) -> Callable[[], str]:
    """Starts a run; returns the function that tells its state."""
    config = tiny(output, **changes).model_dump(mode="json")
    deployment = client.read_deployment_by_name("sweep/sweep").id
    run = client.create_flow_run_from_deployment(deployment, parameters={"config": config}).id

    def state() -> str:
        found = client.read_flow_run(run).state
        assert found
        assert found.name != "Failed", found.message
        return str(found.name)

    return state


@pytest.mark.slow
def test_a_run_started_through_the_api_completes_and_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    output = tmp_path / "my runs"
    with serving(output) as (served, client):
        assert served.answers()
        assert {d.name for d in client.read_deployments()} == {"sweep", "nightly-sweep", "rebuild-engine"}
        assert "is served already, by process" in refused("--output", output)
        state = start_sweep(client, output, track={"enabled": True})
        served.wait(lambda: state() == "Completed")
        report = RunReport.model_validate_json((output / "tiny" / "report.json").read_bytes())
        assert len(report.candidates) == 3
        with urlopen(f"{served.mlflow}/ajax-api/2.0/mlflow/experiments/search?max_results=9") as answer:  # noqa: S310
            experiments = {e["name"]: e["artifact_location"] for e in json.load(answer)["experiments"]}
        assert experiments["fair-pruner"].startswith((output / "mlartifacts").as_uri())  # found without a server too
        with served.ending_all():
            served.process.send_signal(signal.SIGINT)
        assert served.process.returncode == 0
        assert served.said.read_text().endswith("stopping\nstopped\n")
    assert {path.name for path in tmp_path.iterdir()} == {"my runs", "said.txt"}


@pytest.mark.slow
def test_servers_that_die_come_back_and_a_kill_leaves_nothing_but_a_crashed_run(tmp_path: Path) -> None:
    output = tmp_path / "runs"
    with serving(output) as (served, client):
        for server in served.servers():
            os.kill(server, signal.SIGKILL)
        served.wait(lambda: served.said.read_text().count("was ended by SIGKILL") == 2)
        served.wait(served.answers)
        state = start_sweep(client, output, finetune={"epochs": 1000, "batch_size": 64})
        served.wait(lambda: state() == "Running")
        with served.ending_all():
            served.process.kill()
        earlier = served.prefect, served.mlflow
    with serving(output) as (served, client):
        assert (served.prefect, served.mlflow) == earlier
        (run,) = client.read_flow_runs()
        assert run.state
        assert run.state.name == "Crashed"
        with served.ending_all():
            served.process.terminate()
        assert served.process.returncode == 0
