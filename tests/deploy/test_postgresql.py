"""Prefect and MLflow on PostgreSQL, set up and cared for as the compose file and the runbook say, without containers."""

import base64
import json
import os
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import boto3
import psycopg2
import pytest

from ..buckets import bucket
from ..flows.serving import start_sweep
from .postgresql import FOUND, PostgreSQL, postgresql
from .runbook import block, typed
from .stack import Stack, stack

PASSWORDS = {name: f"{name.lower()}-secret" for name in ("PREFECT_DATABASE_PASSWORD", "MLFLOW_DATABASE_PASSWORD")}
ANOTHER = "another-secret"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not FOUND, reason="apt-get install postgresql")]


def test_a_sweep_its_backup_and_its_passwords(tmp_path: Path) -> None:
    with bucket(tmp_path / "cache"), closing(boto3.client("s3")) as client, ExitStack() as ending:
        client.create_bucket(Bucket="fair-pruner")
        object_store = urlsplit(os.environ["AWS_ENDPOINT_URL"]).netloc
        database = ending.enter_context(postgresql(PASSWORDS))
        servers = ending.enter_context(stack(tmp_path / "stack", tmp_path / "runs", database, object_store))
        nobody_gets_in_without_a_login(servers)
        state = start_sweep(servers.client, tmp_path / "runs", allocate={"tolerances": [0.6]}, track={"enabled": True})
        servers.wait(lambda: state() == "Running")
        typed(block("Back up", "pg_dump"), tmp_path, database.superuser | {"in_postgres": ""})
        servers.wait(lambda: state() == "Completed")

        assert json.loads((tmp_path / "runs" / "tiny" / "report.json").read_text())["name"] == "tiny"
        assert database.ask("prefect", "select name, state_name from flow_run") == ["tiny|Completed"]
        assert int(database.ask("prefect", "select count(*) from task_run where state_name = 'Completed'")[0]) > 10
        logged = database.ask("mlflow", "select name, status from runs order by name")
        assert logged == [f"{name}|FINISHED" for name in ("dense", "tiny", "tolerance-0.6")]
        listed = client.list_objects_v2(Bucket="fair-pruner", Prefix="mlflow/")["Contents"]
        assert {"report.json", "plan.json", "model.onnx"} <= {item["Key"].rpartition("/")[2] for item in listed}
        assert not [*(tmp_path / "stack").rglob("*.db")]

        mlflow_gets_another_password(servers, tmp_path)
    with postgresql(PASSWORDS) as empty:
        typed(block("Restore", "pg_restore"), tmp_path, empty.superuser | {"in_postgres": ""})
        assert empty.ask("prefect", "select state_name from flow_run") == ["Running"]
        assert empty.ask("mlflow", "select username from users") == ["admin"]
        the_databases_get_other_passwords(empty, tmp_path)


def answer(url: str, password: str = "", **headers: str) -> int:
    if password:
        headers["Authorization"] = f"Basic {base64.b64encode(f'admin:{password}'.encode()).decode()}"
    try:
        with urlopen(Request(url, headers=headers)) as response:  # noqa: S310
            return int(response.status)
    except HTTPError as error:
        return error.code


def nobody_gets_in_without_a_login(servers: Stack) -> None:
    prefect, mlflow = servers.worker["PREFECT_API_URL"], servers.worker["MLFLOW_TRACKING_URI"]
    experiments, password = (
        f"{mlflow}/api/2.0/mlflow/experiments/search?max_results=1",
        servers.worker["MLFLOW_TRACKING_PASSWORD"],
    )
    assert (answer(f"{prefect}/health"), answer(f"{prefect}/admin/version")) == (200, 401)
    assert (answer(f"{mlflow}/health"), answer(experiments), answer(experiments, password)) == (200, 401, 200)
    assert answer(experiments, password, Host=f"mlflow:{mlflow.rpartition(':')[2]}") == 200
    assert answer(experiments, password, Host="elsewhere:5000") == 403


def mlflow_gets_another_password(servers: Stack, folder: Path) -> None:
    mlflow, old = servers.worker["MLFLOW_TRACKING_URI"], servers.worker["MLFLOW_TRACKING_PASSWORD"]
    lines = block("Rotate a secret", "update-password").replace("http://127.0.0.1:5000", mlflow)
    typed(lines, folder, {"PATH": servers.worker["PATH"], "old": old, "new": ANOTHER})
    experiments = f"{mlflow}/api/2.0/mlflow/experiments/search?max_results=1"
    assert (answer(experiments, old), answer(experiments, ANOTHER)) == (401, 200)


def the_databases_get_other_passwords(server: PostgreSQL, folder: Path) -> None:
    typed(block("Rotate a secret", "ALTER ROLE"), folder, server.superuser | {"in_postgres": "", "new": ANOTHER})
    for name in ("prefect", "mlflow"):
        login = {"host": "127.0.0.1", "port": server.port, "user": name, "dbname": name}
        psycopg2.connect(**login, password=ANOTHER).close()
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            psycopg2.connect(**login, password=PASSWORDS[f"{name.upper()}_DATABASE_PASSWORD"])
