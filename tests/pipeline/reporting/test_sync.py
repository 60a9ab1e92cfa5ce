from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from pipeline.config import GateConfig, TrackConfig
from pipeline.errors import StageError
from pipeline.measurements import RunReport
from pipeline.report import report
from pipeline.spool import spool, unlogged
from pipeline.sync import sync
from pipeline.track import track

BEGAN, ENDED = 1_700_000_000_000, 1_700_000_360_000
AWAY = "http://127.0.0.1:9"  # nobody listens at the discard port


@pytest.fixture
def kept(make_sweep: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunReport:
    """A run that is in the spool of `tmp_path`, since MLflow was away when it ended."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", AWAY)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    sweep = make_sweep(tmp_path, "dense", "quick")
    result = report(**sweep)
    with pytest.raises(StageError, match=r"MLflow at http://127\.0\.0\.1:9 refused"):
        track(result, TrackConfig(), tmp_path, sweep["store"])
    spool(result, TrackConfig(registry=False), GateConfig(), "", BEGAN, ENDED, tmp_path)
    return result


def parents(output: Path) -> list[Any]:
    client = MlflowClient(f"sqlite:///{output / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("fair-pruner")
    return list(client.search_runs([experiment.experiment_id], "tags.`fair_pruner.report_digest` != ''"))


def test_a_run_waits_while_mlflow_is_away_and_is_logged_once_with_its_times(
    kept: RunReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (waits,) = sync(tmp_path)
    assert waits.tracked is None
    assert "refused" in waits.reason
    assert [entry.digest for entry in unlogged(tmp_path)] == [kept.digest]

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (Path(kept.folder) / "report.md").unlink()  # a later run has replaced what lay there
    (done,) = sync(tmp_path)
    assert done.tracked is not None
    assert sync(tmp_path) == ()
    (parent,) = parents(tmp_path)
    assert parent.info.run_id == done.tracked.parent_run_id
    assert (parent.info.status, parent.info.start_time, parent.info.end_time) == ("FINISHED", BEGAN, ENDED)
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    child = done.tracked.run_ids["tolerance-0.2"]
    history = client.get_metric_history(child, "training/top1_validation")
    assert [(point.step, point.timestamp) for point in history] == [(10, ENDED), (20, ENDED), (30, ENDED)]
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} >= {"report.md", "report.json", "pareto.png"}


def test_a_sync_that_was_killed_before_it_could_say_so_logs_nothing_twice(
    kept: RunReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with monkeypatch.context() as killed:
        killed.setattr("pipeline.sync.mark_logged", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            sync(tmp_path)
    assert [entry.digest for entry in unlogged(tmp_path)] == [kept.digest]
    sync(tmp_path)
    assert len(parents(tmp_path)) == 1
    assert unlogged(tmp_path) == ()


def test_a_report_of_the_spool_that_is_not_the_one_put_there_is_refused(
    kept: RunReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (entry,) = unlogged(tmp_path)
    file = tmp_path / "store" / entry.files["report.json"].path
    file.write_text(file.read_text().replace('"name": "digits"', '"name": "others"', 1))
    (waits,) = sync(tmp_path)
    assert "is not the one that was put there" in waits.reason
    assert len(unlogged(tmp_path)) == 1
