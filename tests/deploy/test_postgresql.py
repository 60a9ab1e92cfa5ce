"""Prefect and MLflow on PostgreSQL, set up and cared for as the compose file and the runbook say, without containers."""

import base64
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import boto3
import psycopg2
import pytest

from ..buckets import bucket
from ..flows.serving import start_sweep
from ..flows.test_resume import digests as digests_of
from .postgresql import FOUND, PostgreSQL, postgresql
from .runbook import block, typed
from .stack import Stack, stack

PASSWORDS = {name: f"{name.lower()}-secret" for name in ("PREFECT_DATABASE_PASSWORD", "MLFLOW_DATABASE_PASSWORD")}
ANOTHER = "another-secret"
BUCKET = "fair-pruner"
OUTPUT = f"s3://{BUCKET}/runs"
MISSING = "apt-get install postgresql rclone"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not (FOUND and shutil.which("rclone")), reason=MISSING)]


def test_a_sweep_its_backup_and_its_passwords(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / ".env").write_text("OBJECT_STORE_KEY_ID=anybody\nOBJECT_STORE_SECRET=anything\n")
    with bucket(tmp_path / "cache"), closing(boto3.client("s3")) as client:
        client.create_bucket(Bucket=BUCKET)
        object_store = urlsplit(os.environ["AWS_ENDPOINT_URL"]).netloc
        with postgresql(PASSWORDS) as database, stack(tmp_path / "stack", database, object_store) as servers:
            nobody_gets_in_without_a_login(servers)
            state = swept(servers)
            servers.wait(lambda: keys(client, "runs/cache/recalibrate-"))  # a worker computes a branch
            back_up(database, tmp_path)
            assert state() == "Running"
            servers.wait(lambda: state() == "Completed")
            undisturbed = digests(client, tmp_path / "undisturbed")
            all_is_in_the_databases_and_the_bucket(database, client)
            assert not [*(tmp_path / "stack").rglob("*.db")]
            mlflow_gets_another_password(servers, tmp_path)
        for key in keys(client):
            client.delete_object(Bucket=BUCKET, Key=key)
        with postgresql(PASSWORDS) as database:
            restore(database, tmp_path)
            assert database.ask("prefect", "select state_name from flow_run where name = 'tiny'") == ["Running"]
            assert database.ask("mlflow", "select username from users") == ["admin"]
            with stack(tmp_path / "another stack", database, object_store) as servers:
                assert database.ask("prefect", "select state_name from flow_run where name = 'tiny'") == ["Crashed"]
                state = swept(servers)
                servers.wait(lambda: state() == "Completed")
                assert "from the cache" in servers.said("worker")
                assert digests(client, tmp_path / "restored") == undisturbed
                all_is_in_the_databases_and_the_bucket(database, client)
            the_databases_get_other_passwords(database, tmp_path)


def swept(servers: Stack) -> Callable[[], str]:
    return start_sweep(servers.client, OUTPUT, branches="deployment", track={"enabled": True})


def keys(client: Any, prefix: str = "") -> list[str]:
    """Of the objects in the bucket that begin so."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return [item["Key"] for page in pages for item in page.get("Contents", ())]


def digests(client: Any, folder: Path) -> dict[str, tuple[str, ...]]:
    """Of what the run in the bucket has made; `folder` takes its report."""
    (folder / "runs" / "tiny").mkdir(parents=True)
    client.download_file(BUCKET, "runs/tiny/report.json", str(folder / "runs" / "tiny" / "report.json"))
    return digests_of(folder)


def all_is_in_the_databases_and_the_bucket(database: PostgreSQL, client: Any) -> None:
    names = database.ask("prefect", "select distinct name from flow_run where state_name = 'Completed' order by name")
    assert names == ["branch tolerance 0.3", "branch tolerance 0.6", "tiny"]
    assert int(database.ask("prefect", "select count(*) from task_run where state_name = 'Completed'")[0]) > 10
    logged = database.ask("mlflow", "select name, status from runs order by name")
    assert logged == [f"{name}|FINISHED" for name in ("dense", "tiny", "tolerance-0.3", "tolerance-0.6")]
    assert {"report.json", "plan.json", "model.onnx"} <= {key.rpartition("/")[2] for key in keys(client, "mlflow/")}


def back_up(database: PostgreSQL, folder: Path) -> None:
    typed(block("Back up", "pg_dump"), folder, database.superuser | {"in_postgres": ""})
    typed(at_home(block("Back up", "rclone")), folder, {"PATH": os.environ["PATH"], "HOME": str(folder)})


def restore(database: PostgreSQL, folder: Path) -> None:
    typed(block("Restore", "pg_restore"), folder, database.superuser | {"in_postgres": ""})
    *exports, _ = at_home(block("Back up", "rclone")).splitlines()
    lines = "\n".join((*exports, block("Restore", "rclone")))
    typed(lines, folder, {"PATH": os.environ["PATH"], "HOME": str(folder)})


def at_home(lines: str) -> str:
    return lines.replace("http://127.0.0.1:8333", os.environ["AWS_ENDPOINT_URL"])


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
