"""What a run shows in Prefect: a sweep for the module, its artifacts and log lines read back from the server."""

import base64
import json
import logging
import re
import time
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from prefect import flow, runtime
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import Artifact
from prefect.logging.handlers import APILogHandler

from flows import progress_artifact as progress_module
from flows.artifact_calls import artifact_key
from flows.artifacts import show
from flows.progress_artifact import progress_artifact
from flows.sweep import flow_run_url, sweep
from pipeline.headline import headline
from pipeline.measurements import RunReport, TrackRecord
from pipeline.progress import observer, progress
from pipeline.run_summary import candidate_rows, run_summary

from .conftest import tiny

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(scope="module")
def report(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> RunReport:
    """A sweep that shows its progress as if every stage took long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress_module, "EVERY_SECONDS", 0.0)
        return sweep(tiny(tmp_path_factory.mktemp("runs"), engine={"enabled": False}, allocate={"tolerances": [0.3]}))


@pytest.fixture(scope="module")
def shown(report: RunReport, client: SyncPrefectClient) -> dict[str, Artifact]:
    return artifacts_of(client, report.flow_run_id)


def artifacts_of(client: SyncPrefectClient, flow_run_id: str) -> dict[str, Artifact]:
    """By key."""
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(flow_run_id)]))
    return {str(artifact.key): artifact for artifact in client.read_artifacts(artifact_filter=of_run)}


def test_the_summary_is_a_page(report: RunReport, shown: dict[str, Artifact]) -> None:
    summary = shown["tiny-summary"]
    assert summary.type == "markdown"
    assert summary.data == run_summary(report)
    assert headline(report) in str(summary.data)


def test_the_candidates_are_a_table(report: RunReport, shown: dict[str, Artifact]) -> None:
    table = shown["tiny-candidates"]
    assert table.type == "table"
    assert json.loads(str(table.data)) == [*candidate_rows(report)]


def test_the_pareto_figure_is_an_image_that_needs_no_server(report: RunReport, shown: dict[str, Artifact]) -> None:
    image = shown["tiny-pareto"]
    scheme, _, content = str(image.data).partition(",")
    assert (image.type, scheme) == ("image", "data:image/png;base64")
    assert base64.b64decode(content) == Path(report.folder, "pareto.png").read_bytes()
    assert len(content) < 200_000


def test_long_tasks_show_how_far_they_are(report: RunReport, client: SyncPrefectClient, shown: dict[str, Artifact]) -> None:
    bars = {key: artifact for key, artifact in shown.items() if artifact.type == "progress"}
    long = ("dense-vgg", "score-vgg", "finetune-tolerance-0-3", "evaluate-dense-onnx-test", "benchmark-2-candidates")
    assert {f"tiny-{name}" for name in long} <= bars.keys()
    assert {artifact.data for artifact in bars.values()} == {100}
    assert all(re.fullmatch("[a-z0-9-]+", key) for key in shown)
    tuned = bars["tiny-finetune-tolerance-0-3"]
    assert tuned.task_run_id
    assert client.read_task_run(tuned.task_run_id).name == "finetune · tolerance 0.3"
    assert tuned.description == "finetune · tolerance 0.3 · epoch 1/1"
    assert observer.get() is None


def test_log_lines_of_the_pipeline_are_in_the_run(report: RunReport, client: SyncPrefectClient) -> None:
    APILogHandler().flush()
    lines = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[UUID(report.flow_run_id)])), limit=200)
    ours = {line.message: line for line in lines if line.name == "pipeline"}
    trained = next(line for message, line in ours.items() if message.startswith("train: epoch 1/1, loss"))
    assert trained.task_run_id
    assert any("tasks, 0 of them from the cache" in message for message in ours)
    assert not [handler for handler in logging.getLogger("pipeline").handlers if isinstance(handler, APILogHandler)]


@flow
def showing(report: RunReport, tracked: TrackRecord | None) -> str:
    """A run that only shows."""
    show(report, tracked, "Registered as tiny, version 3.")
    return str(runtime.flow_run.id)


@flow
def working() -> int:
    """A run that is told of five steps of progress."""
    with progress_artifact("finetune · tolerance 0.3"):
        return len(list(progress(range(5), "epoch", 5)))


@pytest.mark.parametrize(("uri", "linked"), [("http://127.0.0.1:5510", True), ("sqlite:////runs/mlflow.db", False)])
def test_candidates_that_were_logged_are_linked(
    report: RunReport, client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch, uri: str, linked: bool
) -> None:
    monkeypatch.delenv("FAIR_PRUNER_MLFLOW_UI", raising=False)
    runs = {candidate.name: f"id-{candidate.name}" for candidate in report.candidates}
    tracked = TrackRecord(tracking_uri=uri, experiment_id="1", parent_run_id="p", run_ids=runs)
    artifacts = artifacts_of(client, showing(report, tracked))
    summary = str(artifacts["tiny-summary"].data)
    assert "Registered as tiny, version 3." in summary
    assert ("tiny-mlflow" in artifacts) == linked
    if linked:
        link = f"{uri}/#/compare-runs?runs=%5B%22id-dense%22%2C%20%22id-tolerance-0.3%22"
        assert f"]({link}" in str(artifacts["tiny-mlflow"].data)
        assert f"]({link}" in summary
    else:
        assert f"`mlflow server --backend-store-uri {uri}`" in summary


def test_a_run_knows_its_page() -> None:
    @flow
    def page() -> tuple[str, str]:
        return flow_run_url(), str(runtime.flow_run.id)

    url, flow_run_id = page()
    assert re.fullmatch(rf"http://\S+/runs/flow-run/{flow_run_id}", url)


def test_a_server_that_is_gone_fails_no_run(
    report: RunReport, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise httpx.ConnectError("Connection refused")

    monkeypatch.setattr(SyncPrefectClient, "create_artifact", refuse)
    monkeypatch.setattr(progress_module, "EVERY_SECONDS", 0.0)
    showing(report, None)
    assert working() == 5
    what = ("the summary", "the table of candidates", "the Pareto figure", "the progress of finetune · tolerance 0.3")
    warned = [record.getMessage() for record in caplog.records if record.name == "pipeline"]
    assert warned == [f"Prefect does not show {each}: Connection refused" for each in what]


def test_progress_is_renewed_no_more_often_than_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[float] = []
    monkeypatch.setattr(progress_module, "create_progress_artifact", lambda share, *_: calls.append(share) or UUID(int=1))
    monkeypatch.setattr(progress_module, "update_progress_artifact", lambda _, share, *__: calls.append(share))
    with progress_artifact("quick"):
        list(progress(range(100), "quick", 100))
    assert calls == []
    monkeypatch.setattr(progress_module, "EVERY_SECONDS", 0.05)
    with progress_artifact("slow"):
        for _ in progress(range(40), "slow", 40):
            time.sleep(0.01)
    assert 2 <= len(calls) <= 9
    assert calls == sorted(calls)
    assert calls[-1] == 100


def test_keys_have_the_characters_that_prefect_allows() -> None:
    assert artifact_key("Digits_2 (rebuilt)", "finetune · tolerance 0.10") == "digits-2-rebuilt-finetune-tolerance-0-10"
