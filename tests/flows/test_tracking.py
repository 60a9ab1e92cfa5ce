"""A run ends whatever MLflow does."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from flows.sweep import sweep
from pipeline.spool import unlogged
from pipeline.sync import sync

from .conftest import tiny

SECRET = "hunter2-hunter2"  # noqa: S105
pytestmark = pytest.mark.usefixtures("prefect_server")


def test_a_sweep_ends_while_mlflow_is_away_and_is_logged_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("STORAGE_TOKEN", SECRET)
    told = {"root": tmp_path / SECRET}  # where nothing is read from
    config = tiny(tmp_path / "runs", track={"enabled": True, "registry": True}, allocate={"tolerances": [0.6]}, data=told)
    report = sweep(config)
    assert (Path(report.folder) / "report.json").is_file()
    (waits,) = unlogged(config.output)
    assert (waits.digest, waits.name) == (report.digest, report.name)
    assert waits.began_ms < waits.ended_ms
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (done,) = sync(config.output)
    assert done.tracked is not None
    assert set(done.tracked.run_ids) == {"dense", "tolerance-0.6"}
    assert unlogged(config.output) == ()
    params = MlflowClient(done.tracked.tracking_uri).get_run(done.tracked.parent_run_id).data.params
    assert params["data.root"] == report.config["data"]["root"] == str(tmp_path / "***")
    files = [path for path in config.output.rglob("*") if path.is_file()]
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
