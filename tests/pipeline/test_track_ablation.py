"""A comparison in a real MLflow over SQLite, made once for the module: creating its tables takes seconds."""

import pytest

from pipeline import track_ablation as module
from pipeline.ablation import FILES
from pipeline.ablation_report import ablation_report
from pipeline.config import TrackConfig
from pipeline.errors import InputError, StageError
from pipeline.track_ablation import track_ablation

from ..local_mlflow import QUIET, local_mlflow
from .ablations import HALF, QUARTER, comparison, latency, three_seeds

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
def report(output):
    made = comparison(three_seeds((HALF, QUARTER)))
    return ablation_report(made, output / made.full_name)


@pytest.fixture(scope="module")
def tracked(report, output):
    return track_ablation(report, CONFIG, output)


@pytest.fixture(scope="module")
def client(tracked):
    from mlflow import MlflowClient

    return MlflowClient(tracked.tracking_uri)


def test_one_parent_and_a_child_for_each_cell(tracked, client, report, output):
    assert tracked.tracking_uri == f"sqlite:///{output}/mlflow.db"
    assert tracked.parents == (report.digest,)
    parent = client.get_run(tracked.parent_run_id)
    children = client.search_runs([tracked.experiment_id], f"tags.`mlflow.parentRunId` = '{tracked.parent_run_id}'")
    assert {run.info.run_name: run.info.run_id for run in children} == tracked.run_ids
    assert len(tracked.run_ids) == len(report.cells) == 12
    assert parent.info.run_name == "digits-ablation"
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    assert parent.info.end_time >= max(run.info.end_time for run in children)


def test_the_parent_has_the_settings_the_dense_figures_and_the_files(tracked, client):
    data = client.get_run(tracked.parent_run_id).data
    expected = {"methods": "fair, l1-uniform", "seeds": "0, 1, 2", "name": "digits", "finetune.epochs": "1"}
    assert {name: data.params[name] for name in expected} == expected
    assert data.params["finetune.distillation.weight"] == "0.0"
    assert data.metrics == {
        "dense_params": 100_000,
        "dense_macs": 1_000_000,
        "dense_top1_validation": 0.98,
        "dense_top1_test": 0.975,
    }
    assert {file.path for file in client.list_artifacts(tracked.parent_run_id)} == set(FILES)


def test_a_child_has_its_numbers_and_the_curve_by_steps(tracked, client):
    run = tracked.run_ids["fair-macs-0.25-seed-1"]
    data = client.get_run(run).data
    assert data.params == {"method": "fair", "goal": "macs 0.25", "seed": "1"}
    expected = {
        "params": 50_000,
        "macs": 250_000,
        "units_removed": 30,
        "top1_recalibrated": 0.931,
        "top1_validation": 0.98,
        "top1_test": 0.952,
    }
    assert {name: data.metrics[name] for name in expected} == pytest.approx(expected)
    history = client.get_metric_history(run, "training/top1_validation")
    assert [(point.step, point.value) for point in history] == [(0, pytest.approx(0.931)), (5, 0.94), (20, 0.98)]


def test_tracking_again_returns_the_same_runs_also_after_a_new_measurement(tracked, client, report, output):
    before = len(client.search_runs([tracked.experiment_id]))
    for same in (report, report.model_copy(update={"latency": latency(), "seconds": 3.0})):
        assert track_ablation(same, CONFIG, output).digest == tracked.digest
    assert len(client.search_runs([tracked.experiment_id])) == before


def test_other_results_are_another_parent(tracked, report, output):
    fewer = report.model_copy(update={"cells": report.cells[:6], "methods": report.methods})
    assert track_ablation(fewer, CONFIG, output).parent_run_id != tracked.parent_run_id


def test_a_failure_in_the_middle_leaves_no_run_running_and_the_next_attempt_is_whole(
    tracked, client, report, output, monkeypatch
):
    from mlflow.exceptions import MlflowException

    config, real = TrackConfig(experiment="failing"), module._cell_metrics

    def fail(cell):
        if cell.seed == 1:
            raise MlflowException("disk full\nat line 7")
        return real(cell)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_cell_metrics", fail)
        with pytest.raises(StageError, match=r"refused: disk full\. The comparison is complete in .*digits-ablation"):
            track_ablation(report, config, output)
    experiment = client.get_experiment_by_name("failing").experiment_id
    assert {run.info.status for run in client.search_runs([experiment])} == {"FAILED"}
    record = track_ablation(report, config, output)
    assert len(record.run_ids) == len(report.cells)
    finished = client.search_runs([experiment], "attributes.status = 'FINISHED'")
    assert len(finished) == 1 + len(report.cells)


def test_a_comparison_that_is_gone_is_named_and_its_run_failed(tracked, client, report, output):
    gone = report.model_copy(update={"name": "gone"})
    ablation_report(gone, output / gone.full_name)
    (output / gone.full_name / "ablation.md").unlink()
    with pytest.raises(InputError, match=r"gone-ablation/ablation\.md is missing; write the comparison anew"):
        track_ablation(gone, TrackConfig(experiment="gone"), output)
    runs = client.search_runs([client.get_experiment_by_name("gone").experiment_id])
    assert [run.info.status for run in runs] == ["FAILED"]


def test_a_server_that_is_down_is_named(report, output, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(StageError, match=r"MLflow at http://127\.0\.0\.1:9 refused"):
        track_ablation(report, CONFIG, output)
