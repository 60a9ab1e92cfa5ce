"""The stage: what a sweep recommends becomes a version, and the champion if it is better."""

import json
import logging
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.config import GateConfig, TrackConfig
from pipeline.errors import StageError
from pipeline.measurements import TrackRecord
from pipeline.promote import promote, rollback
from pipeline.registry import register
from pipeline.standings import standings
from pipeline.store import Store

from ....local_mlflow import QUIET
from .conftest import BOUNDS, SHARED, a_report, aliases, into, pruned, tracked

pytestmark = QUIET


def test_the_first_version_is_champion_and_says_what_it_is(first, client):
    report, track_record = first
    record = register(report, track_record, into("one"), BOUNDS)
    assert (record.name, record.version, record.aliases, record.promoted) == ("one", 1, ("champion",), True)
    assert record.reason == "version 1 of one has become champion: it passes the gate and there was no champion"
    assert record.parents == (report.digest, track_record.digest)
    version = client.get_model_version("one", "1")
    candidate = report.candidates[1]
    assert version.description == f"{report.recommendation.reason}."
    assert version.run_id == track_record.run_ids["tolerance-0.2"]
    assert {key.removeprefix("fair_pruner."): value for key, value in version.tags.items() if "digest" not in key} == {
        "candidate": "tolerance-0.2",
        "precision": "fp32",
        "runtime": "onnxruntime",
        "onnx_sha256": candidate.onnx.file.sha256,
        "run_id": track_record.run_ids["tolerance-0.2"],
        "parent_run_id": track_record.parent_run_id,
        "batch_size": "1",
        "p50_ms": "0.4 [0.388, 0.416]",
        "speedup": "1.25 [1.20, 1.31]",
        "top1_validation": "0.9619",
        "machine": "Model CPU 3000, threads: 1",
        "promotion": "has become champion: it passes the gate and there was no champion",
    }
    assert version.tags["fair_pruner.report_digest"] == report.digest


def test_the_champion_can_be_loaded_by_its_alias_and_its_model_leads_to_it(in_int8, client):
    import mlflow

    report, track_record = in_int8
    register(report, track_record, into("loaded"), BOUNDS)
    version = client.get_model_version_by_alias("loaded", "champion")
    assert (version.tags["fair_pruner.precision"], version.tags["fair_pruner.top1_validation"]) == ("int8-cpu", "0.9569")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", track_record.tracking_uri)
        folder = mlflow.artifacts.download_artifacts("models:/loaded@champion")
        model = mlflow.pyfunc.load_model(folder)
    onnx = report.candidates[1].variants[0].onnx
    assert Path(folder, "model.onnx").read_bytes() == Store(Path(report.folder).parent / "store").path(onnx.file).read_bytes()
    assert model.predict(np.zeros((3, 1, 8, 8), np.float32))["logits"].shape == (3, 10)
    outputs = client.get_run(track_record.run_ids["tolerance-0.35"]).outputs.model_outputs
    logged = {each.name: each for each in (client.get_logged_model(one.model_id) for one in outputs)}
    assert set(logged) == {"onnx-tolerance-0p35", "onnx-tolerance-0p35-int8-cpu"}
    links = json.loads(logged["onnx-tolerance-0p35-int8-cpu"].tags["mlflow.modelVersions"])
    assert [(link["name"], int(link["version"])) for link in links] == [("loaded", 1)]


def test_a_better_file_takes_the_place_and_the_one_before_is_remembered(first, better, client):
    register(*first, into("two"), BOUNDS)
    record = register(*better, into("two"), BOUNDS)
    assert record.reason == "version 2 of two has become champion: it passes the gate and beats version 1"
    assert aliases(client, "two") == {"champion": 2, "previous": 1}


def test_what_does_not_beat_the_champion_stays_challenger_and_says_why(first, no_faster, client, caplog):
    register(*first, into("stays"), BOUNDS)
    caplog.clear()
    with caplog.at_level(logging.INFO, "pipeline"):
        record = register(*no_faster, into("stays"), BOUNDS)
    assert (record.version, record.aliases, record.promoted) == (2, ("challenger",), False)
    assert record.reason == (
        "version 2 of stays has not become champion in place of version 1: "
        "it is not surely faster than the champion: 1.03 times [0.96, 1.10] as fast at batch 1"
    )
    assert caplog.messages == [record.reason]
    assert client.get_model_version("stays", "2").tags["fair_pruner.promotion"] == record.reason.removeprefix(
        "version 2 of stays "
    )
    assert aliases(client, "stays") == {"champion": 1, "challenger": 2}


def test_the_same_report_twice_is_one_version(first, better, client):
    for each in (first, better, first, better):
        register(*each, into("again"), BOUNDS)
    assert len(client.search_model_versions("name = 'again'")) == 2
    assert aliases(client, "again") == {"champion": 2, "previous": 1, "challenger": 1}
    record = register(*better, into("again"), BOUNDS)
    assert (record.version, record.promoted, record.reason) == (2, False, "version 2 of again is the champion already")
    why = client.get_model_version("again", "2").tags["fair_pruner.promotion"]
    assert why == "has become champion: it passes the gate and beats version 1"


def test_a_file_that_is_measured_anew_is_known_by_the_newest_measurement(first, better, output, client):
    register(*first, into("anew"), BOUNDS)
    anew = tracked(output, "anew", pruned(0.2, 0.25))
    assert register(*anew, into("anew"), BOUNDS).version == 1
    tags = client.get_model_version("anew", "1").tags
    assert (tags["fair_pruner.p50_ms"], tags["fair_pruner.run_id"]) == ("0.25 [0.2425, 0.26]", anew[1].run_ids["tolerance-0.2"])
    assert "0.83 times" in register(*better, into("anew"), BOUNDS).reason


def test_the_first_one_must_pass_the_gate_too(first, client):
    record = register(*first, into("strict"), GateConfig(max_accuracy_drop=0.001))
    assert record.reason.startswith("version 1 of strict has not become champion: it does not pass the gate: loses 1.11 points")
    assert aliases(client, "strict") == {"challenger": 1}


def test_nothing_recommended_is_nothing_registered(output, caplog):
    nothing = a_report(output / "nothing", "slower")
    elsewhere = TrackRecord(tracking_uri="http://127.0.0.1:9", experiment_id="1", parent_run_id="", run_ids={})
    with caplog.at_level(logging.INFO, "pipeline"):
        record = register(nothing, elsewhere, SHARED, BOUNDS)
    assert (record.name, record.version, record.aliases, record.promoted) == ("digits", None, (), False)
    assert record.reason.startswith("nothing is registered as digits: nothing is recommended: tolerance-0.1 fp32 does not pass")
    assert caplog.messages == [record.reason]


def test_a_champion_whose_report_is_gone_stays_until_somebody_forces(first, better, client, output):
    register(*first, into("lost"), BOUNDS)
    client.set_model_version_tag("lost", "1", "fair_pruner.parent_run_id", "0" * 32)
    record = register(*better, into("lost"), BOUNDS)
    assert "nobody can compare it with the champion: the report of version 1, in MLflow run 000" in record.reason
    assert promote("lost", output, force=True).promoted


def test_a_server_that_is_down_is_named(first, output, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for ask in (lambda: promote("any", output), lambda: rollback("any", output), lambda: standings(output)):
        with pytest.raises(StageError, match=r"MLflow at http://127\.0\.0\.1:9 refused"):
            ask()
    down = first[1].model_copy(update={"tracking_uri": "http://127.0.0.1:9"})
    with pytest.raises(StageError, match=r"refused: .*\. The report is complete in .*first"):
        register(first[0], down, into("down"), BOUNDS)


def test_a_model_that_was_lost_since_it_was_logged_is_named(first, better):
    swapped = first[1].model_copy(update={"run_ids": {"tolerance-0.2": better[1].run_ids["dense"]}})
    with pytest.raises(StageError, match=r"MLflow run .* holds no model of the fp32 file; delete the run in MLflow"):
        register(first[0], swapped, into("gone"), BOUNDS)


def _register_elsewhere(sweep, failures):
    try:
        register(*sweep, into("together"), BOUNDS)
    except Exception as error:  # noqa: BLE001  (the parent process shows it)
        failures.put(repr(error))


@pytest.mark.slow
def test_of_sweeps_that_end_together_the_fastest_is_champion(first, better, in_int8, client):
    context = multiprocessing.get_context("fork")
    failures = context.Queue()
    workers = [context.Process(target=_register_elsewhere, args=(sweep, failures)) for sweep in (in_int8, better, first)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=300)
    assert failures.empty(), failures.get()
    assert sorted(int(version.version) for version in client.search_model_versions("name = 'together'")) == [1, 2, 3]
    champion = client.get_model_version_by_alias("together", "champion")
    assert champion.tags["fair_pruner.precision"] == "int8-cpu"


@pytest.mark.parametrize("name", ["", "a/b", "models:a", "..", "it's", "x" * 129])
def test_a_name_that_mlflow_does_not_take_is_refused_in_the_configuration(name):
    with pytest.raises(ValidationError, match="registered_model"):
        TrackConfig(registered_model=name)
