import json
import os
import signal
import socket
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import httpx
import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, temporary_settings
from typer.testing import CliRunner, Result

from flows.cli import app
from flows.logins import PASSWORD, PREFECT, USER
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
    assert f"--host {host} lets other machines in, and whoever reaches Prefect can run anything here: set a login" in sentence
    assert not (tmp_path / "runs").exists()


LOGINS = {PREFECT: "me:my-own-password", USER: "me", PASSWORD: "another-password"}


@pytest.mark.parametrize("missing", LOGINS)
def test_one_server_without_a_login_is_one_too_many(tmp_path: Path, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set(LOGINS) - {missing}:
        monkeypatch.setenv(name, LOGINS[name])
    monkeypatch.setenv(missing, "")
    assert f"({missing} not set)" in refused("--output", tmp_path / "runs", "--host", "0.0.0.0")  # noqa: S104


def test_an_address_of_another_machine_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in LOGINS.items():
        monkeypatch.setenv(name, value)
    assert "--host 192.0.2.7 is no IPv4 address of this machine" in refused("--output", tmp_path / "runs", "--host", "192.0.2.7")
    monkeypatch.setenv(PREFECT, "password-alone")
    assert f"{PREFECT} holds no colon" in refused("--output", tmp_path / "runs", "--host", "0.0.0.0")  # noqa: S104


@pytest.mark.slow
def test_other_machines_need_a_login_for_both_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in LOGINS.items():
        monkeypatch.setenv(name, value)
    output = tmp_path / "100 % runs"
    with (
        temporary_settings({PREFECT_API_AUTH_STRING: LOGINS[PREFECT]}),
        serving(output, "--host", "0.0.0.0") as (served, client),  # noqa: S104
    ):
        for url in (f"{served.prefect}/api/flows/count", f"{served.mlflow}/api/2.0/mlflow/experiments/get?experiment_id=0"):
            with pytest.raises(HTTPError, match="401"):
                urlopen(Request(url, method="POST" if "flows" in url else "GET"))  # noqa: S310
        state = start_sweep(client, output, track={"enabled": True})
        served.wait(lambda: state() == "Completed")
        answer = httpx.get(f"{served.mlflow}/ajax-api/2.0/mlflow/experiments/search?max_results=9", auth=("me", LOGINS[PASSWORD]))
        assert "fair-pruner" in [experiment["name"] for experiment in answer.json()["experiments"]]
        for file in output.rglob("*.log"):
            assert b"-password" not in file.read_bytes()


def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for option in ("--prefect-port", "--mlflow-port"):
            assert f"{option} {port} is in use on 127.0.0.1" in refused("--output", tmp_path, option, port)
    assert [path.name for path in tmp_path.rglob("*")] == ["server", ".up.lock"]


def test_a_folder_that_is_served_already_is_refused(tmp_path: Path) -> None:
    with locked(tmp_path / "server"):
        assert f"{tmp_path} is served already" in refused("--output", tmp_path)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file, no folder")
    assert "cannot write in" in refused("--output", tmp_path / "runs")


@pytest.mark.slow
def test_a_run_started_through_the_api_completes_and_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    output = tmp_path / "my runs"
    with serving(output, "--workers", "1") as (served, client):
        assert served.answers()
        assert {d.name for d in client.read_deployments()} == {"sweep", "nightly-sweep", "rebuild-engine", "branch"}
        assert "is served already, by process" in refused("--output", output)
        state = start_sweep(client, output, track={"enabled": True}, branches="deployment")
        served.wait(lambda: state() == "Completed", 900)
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
