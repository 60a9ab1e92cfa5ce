import json
import os
import signal
import socket
from pathlib import Path
from urllib.request import urlopen

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from flows.server_folder import locked
from pipeline.measurements import RunReport

from .serving import serving, start_sweep


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
