"""Tracking in a real MLflow over SQLite, made once for the module: creating its tables takes seconds."""

import hashlib
import json
import logging
import multiprocessing
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from pipeline import track as track_module
from pipeline.config import TrackConfig
from pipeline.errors import InputError, StageError
from pipeline.report import report
from pipeline.track import track

from ...local_mlflow import QUIET, local_mlflow

pytestmark = QUIET
CONFIG = TrackConfig(experiment="tests")


@pytest.fixture(scope="module", autouse=True)
def environment():
    with local_mlflow():
        yield


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("output")


@pytest.fixture(scope="module")
def sweep(make_sweep, output):
    return make_sweep(output, "dense", "not_faster", "quick", "quicker")


@pytest.fixture(scope="module")
def result(sweep):
    return report(**sweep)


@pytest.fixture(scope="module")
def tracked(result, sweep, output):
    return track(result, CONFIG, output, sweep["store"], "http://prefect/runs/flow-run/flow-1")


@pytest.fixture(scope="module")
def client(tracked):
    from mlflow import MlflowClient

    return MlflowClient(tracked.tracking_uri)


def runs_of(client, experiment_id, **wanted):
    found = client.search_runs([experiment_id])
    return [run for run in found if all(run.data.tags.get(key) == value for key, value in wanted.items())]


def test_one_parent_and_a_child_for_each_candidate(tracked, client, result, output):
    assert tracked.tracking_uri == f"sqlite:///{output}/mlflow.db"
    parent = client.get_run(tracked.parent_run_id)
    children = runs_of(client, tracked.experiment_id, **{"mlflow.parentRunId": tracked.parent_run_id})
    assert {run.info.run_name: run.info.run_id for run in children} == tracked.run_ids
    assert set(tracked.run_ids) == {candidate.name for candidate in result.candidates}
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}


def test_the_parent_tells_whence_and_the_best(tracked, client, result):
    parent = client.get_run(tracked.parent_run_id)
    assert parent.data.tags["prefect.flow_run_id"] == "flow-1"
    assert parent.data.tags["prefect.flow_run_url"] == "http://prefect/runs/flow-run/flow-1"
    assert parent.data.tags["fair_pruner.git_commit"] == "0123456789abcdef"
    assert parent.data.tags["fair_pruner.report_digest"] == result.digest
    assert parent.data.tags["mlflow.note.content"].startswith("tolerance-0.2 is 1.25 times as fast")
    assert parent.data.params == {"name": "digits", "seed": "0"}
    assert parent.data.metrics["best_speedup"] == 1.25
    assert parent.data.metrics["candidates_faster"] == 2
    assert json.loads(parent.data.tags["mlflow.loggedArtifacts"]) == [{"path": "candidates.json", "type": "table"}]
    artifacts = {file.path for file in client.list_artifacts(tracked.parent_run_id)}
    assert artifacts == {
        "report.json",
        "report.md",
        "candidates.json",
        "pareto.png",
        "tod-curves.png",
        "depth-0.05.png",
        "depth-0.2.png",
        "depth-0.4.png",
    }


def test_a_child_has_its_numbers_and_lineage(tracked, client, result):
    candidate = result.candidates[2]
    data = client.get_run(tracked.run_ids[candidate.name]).data
    expected = {
        "params": 56_000,
        "macs": 800_000,
        "tolerance": 0.2,
        "units_removed": 28,
        "units_removed_of/layer3.0.conv1": 15,
        "tod_of/layer3.0.conv1": 0.1,
        "removed_mass": pytest.approx(0.56),
        "mass_bound": pytest.approx(1.68),
        "random_mass": pytest.approx(2.8),
        "uniform_mass": pytest.approx(0.84),
        "exchange_margin": pytest.approx(0.28),
        "onnx_bytes": candidate.onnx.file.size_bytes,
        "engine_bytes": candidate.engine.file.size_bytes,
        "engine_build_seconds": 12.5,
        "top1_torch_test": 0.9639,
        "top1_onnx_test": 0.9639,
        "top1_recalibrated_validation": pytest.approx(0.9139),
        "top1_finetuned_validation": pytest.approx(0.9619),
        "recall_onnx_test/class_00": pytest.approx(0.93141),
        "latency_batch_8/p50_ms": 1.8,
        "latency_batch_1/p99_ms": pytest.approx(0.6),
        "speedup_batch_1": 1.25,
        "speedup_low_batch_1": 1.2,
        "speedup_high_batch_1": 1.31,
        "parity_max_abs_diff": 2e-6,
        "seconds/finetune": 3.0,
    }
    assert {name: data.metrics[name] for name in expected} == expected
    assert data.params["tolerance"] == "0.2"
    assert (data.params["rule"], data.params["goal"], data.params["rounds"]) == ("tod", "tolerance 0.2", "1")
    assert data.params["engine_status"] == "built"
    assert data.tags["fair_pruner.verdict_batch_1"] == "faster"
    assert data.tags["fair_pruner.model_digest"] == candidate.model.digest
    assert data.tags["fair_pruner.onnx_digest"] == candidate.onnx.digest
    assert {file.path for file in client.list_artifacts(tracked.run_ids[candidate.name])} == {"plan.json", "model.engine"}


def test_the_training_curve_goes_by_steps_of_the_optimiser(tracked, client):
    losses = client.get_metric_history(tracked.run_ids["tolerance-0.2"], "training/loss")
    assert [(point.step, point.value) for point in losses] == [(5, 0.2), (10, 0.1), (15, pytest.approx(1 / 15))]
    epochs = client.get_metric_history(tracked.run_ids["tolerance-0.2"], "training/epoch_loss")
    assert [(point.step, point.value) for point in epochs] == [(10, 1.0), (20, 0.5), (30, pytest.approx(1 / 3))]
    accuracies = client.get_metric_history(tracked.run_ids["tolerance-0.2"], "training/top1_validation")
    assert [point.step for point in accuracies] == [10, 20, 30]


def test_the_onnx_model_comes_back_byte_for_byte_and_runs_at_any_batch_size(tracked, client, result):
    import mlflow

    candidate = result.candidates[2]
    (output,) = client.get_run(tracked.run_ids[candidate.name]).outputs.model_outputs
    logged = client.get_logged_model(output.model_id)
    assert (logged.name, logged.status) == ("onnx-tolerance-0p2", "READY")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", tracked.tracking_uri)
        folder = mlflow.artifacts.download_artifacts(f"models:/{output.model_id}")
        model = mlflow.pyfunc.load_model(folder)
    assert hashlib.sha256(Path(folder, "model.onnx").read_bytes()).hexdigest() == candidate.onnx.file.sha256
    for batch in (1, 5):
        assert model.predict(np.zeros((batch, 1, 8, 8), np.float32))["logits"].shape == (batch, 10)


def test_tracking_again_returns_the_same_runs(tracked, client, result, sweep, output):
    before = len(client.search_runs([tracked.experiment_id]))
    again = track(result.model_copy(update={"flow_run_id": "flow-2"}), CONFIG, output, sweep["store"])
    assert again.digest == tracked.digest
    assert len(client.search_runs([tracked.experiment_id])) == before


def test_a_new_measurement_of_the_same_models_is_a_new_sweep(tracked, client, result, sweep, output):
    series = tuple(entry.model_copy(update={"p99_ms": 9.0}) for entry in result.latency.series)
    anew = result.model_copy(update={"latency": result.latency.model_copy(update={"series": series})})
    assert anew.digest == result.digest
    assert track(anew, CONFIG, output, sweep["store"]).parent_run_id != tracked.parent_run_id


def test_a_failure_in_the_middle_leaves_no_run_running_and_the_next_attempt_is_whole(
    tracked, client, result, sweep, output, monkeypatch
):
    from mlflow.exceptions import MlflowException

    config = TrackConfig(experiment="failing")
    real = track_module._log_model

    def fail(client, experiment, run, candidate, onnx, store):
        if candidate.name == "tolerance-0.2":
            raise MlflowException("disk full\nat line 7")
        real(client, experiment, run, candidate, onnx, store)

    with monkeypatch.context() as patch:
        patch.setattr(track_module, "_log_model", fail)
        with pytest.raises(StageError, match=r"refused: disk full\. The report is complete in"):
            track(result, config, output, sweep["store"])
    experiment = client.get_experiment_by_name("failing").experiment_id
    runs = client.search_runs([experiment])
    assert sorted(run.info.run_name for run in runs) == ["dense", "digits", "tolerance-0.05", "tolerance-0.2"]
    assert {run.info.status for run in runs} == {"FAILED"}
    record = track(result, config, output, sweep["store"])
    assert len(record.run_ids) == len(result.candidates)
    finished = [run for run in client.search_runs([experiment]) if run.info.status == "FINISHED"]
    assert len(finished) == 1 + len(result.candidates)


def test_a_report_that_is_gone_is_named_and_its_run_failed(tracked, client, make_sweep, tmp_path, output):
    sweep = make_sweep(tmp_path, "dense", "quick")
    gone = report(**sweep)
    (sweep["folder"] / "report.md").unlink()
    with pytest.raises(InputError, match=r"report\.md is missing; write the report anew"):
        track(gone, TrackConfig(experiment="gone"), output, sweep["store"])
    runs = client.search_runs([client.get_experiment_by_name("gone").experiment_id])
    assert [run.info.status for run in runs] == ["FAILED"]


def test_a_deleted_experiment_is_named(tracked, client, result, sweep, output):
    client.delete_experiment(client.create_experiment("deleted"))
    with pytest.raises(InputError, match=r"experiment deleted .* was deleted; restore it"):
        track(result, TrackConfig(experiment="deleted"), output, sweep["store"])


def test_a_server_that_is_down_is_named(result, sweep, output, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(StageError, match=r"MLflow at http://127\.0\.0\.1:9 refused"):
        track(result, CONFIG, output, sweep["store"])


def test_a_database_that_is_none_is_named(result, sweep, tmp_path):
    (tmp_path / "mlflow.db").write_text("this is not a database, and it is longer than a header of one" * 20)
    with pytest.raises(StageError, match=r"mlflow\.db refused"):
        track(result, CONFIG, tmp_path, sweep["store"])


def test_loggers_and_global_tracking_uri_are_left_as_they_were(tracked, result, sweep, output, monkeypatch):
    import mlflow

    monkeypatch.setattr(logging.getLogger("mlflow"), "level", logging.DEBUG)
    track(result, CONFIG, output, sweep["store"])
    assert logging.getLogger("mlflow").level == logging.DEBUG
    assert tracked.tracking_uri not in (mlflow.get_tracking_uri(), os.environ.get("MLFLOW_TRACKING_URI"))
    assert mlflow.active_run() is None


def _track_elsewhere(result, sweep, output, failures):
    try:
        track(result, TrackConfig(experiment="together"), output, sweep["store"])
    except Exception as error:  # noqa: BLE001  (the parent process shows it)
        failures.put(repr(error))


@pytest.mark.slow
def test_processes_that_open_a_fresh_database_together_do_not_destroy_it(result, sweep, tmp_path):
    context = multiprocessing.get_context("fork")
    failures = context.Queue()
    workers = [context.Process(target=_track_elsewhere, args=(result, sweep, tmp_path, failures)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=300)
    assert failures.empty(), failures.get()
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        assert database.execute("select count(*) from runs where status = 'FINISHED'").fetchone()[0] in (5, 10, 15)


def test_a_rebuild_is_linked_to_its_source(tracked, client, result, sweep, output):
    rebuilt = result.model_copy(update={"rebuilt_from": result.digest, "name": "digits-rebuilt"})
    again = track(rebuilt, CONFIG, output, sweep["store"])
    assert again.parent_run_id != tracked.parent_run_id
    source = client.get_run(again.parent_run_id).data.tags["fair_pruner.source_run_id"]
    assert client.get_run(source).data.tags["fair_pruner.report_digest"] == result.digest
