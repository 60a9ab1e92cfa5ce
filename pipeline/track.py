"""Stage: report -> MLflow, one run for the sweep and one below it for each candidate."""

import tempfile
from pathlib import Path
from typing import Any

from pipeline.candidate_files import candidate_files
from pipeline.config import TrackConfig
from pipeline.errors import InputError
from pipeline.exported import OnnxRecord
from pipeline.measurements import Candidate, RunReport, TrackRecord
from pipeline.mlflow_runs import Experiment, Times, finished, log_values, open_experiment, together
from pipeline.records import timed
from pipeline.run_summary import candidate_rows
from pipeline.store import Store
from pipeline.track_values import (
    candidate_metrics,
    candidate_params,
    candidate_tags,
    curve,
    measurement_digest,
    parent_metrics,
    parent_params,
    parent_tags,
)

TABLE = "candidates.json"

LEFT_OUT = ("model.onnx", "model.safetensors")  # the one is logged as a model, the other stays in the store


@timed
def track(
    report: RunReport,
    config: TrackConfig,
    output: Path,
    store: Store,
    flow_run_url: str = "",
    times: Times | None = None,
    folder: Path | None = None,
) -> TrackRecord:
    """Log a report to MLflow: values, training curves, files, and models that MLflow can load.

    These are the fp32 ONNX file of every candidate, and the recommended file. Goes to MLFLOW_TRACKING_URI if that is set,
    else to `output`/mlflow.db (SQLite) with the files in `output`/mlartifacts.
    All runs end FINISHED together, the parent last. If the experiment already has a finished parent with this report's
    digest and these very latencies, nothing is logged and that run is returned; a new measurement of the same models is a
    new parent. If logging fails, all runs it began are marked FAILED. Raises StageError if MLflow refuses, InputError if a
    file of the report is missing. `flow_run_url` is the page of the flow run that the sweep was, if there is one; `times` are
    those of the runs, now if none are given; `folder` holds the report's files if its own does not any more.
    """
    with open_experiment(config, output, f"The report is complete in {report.folder}", times) as experiment:
        files = folder or Path(report.folder)
        parent, children = _earlier(experiment, report) or _log(experiment, report, files, store, flow_run_url)
    return TrackRecord(
        parents=(report.digest,),
        tracking_uri=experiment.uri,
        experiment_id=experiment.id,
        parent_run_id=parent,
        run_ids=children,
    )


def _earlier(experiment: Experiment, report: RunReport) -> tuple[str, dict[str, str]] | None:
    """The finished runs that already hold this report."""
    found = finished(experiment, report_digest=report.digest, measurement_digest=measurement_digest(report))
    return (found[0], {run.data.params["candidate"]: run.info.run_id for run in found[1]}) if found else None


def _source(experiment: Experiment, report: RunReport) -> dict[str, str]:
    """The run whose engines were built anew, if it was logged here."""
    if not report.rebuilt_from:
        return {}
    found = finished(experiment, report_digest=report.rebuilt_from)
    return {"fair_pruner.source_run_id": found[0]} if found else {}


def _log(experiment: Experiment, report: RunReport, folder: Path, store: Store, flow_run_url: str) -> tuple[str, dict[str, str]]:
    client, children = experiment.client, dict[str, str]()
    with together(experiment) as begin:
        parent = begin(report.name, parent_tags(report, flow_run_url) | _source(experiment, report))
        log_values(experiment, parent, parent_params(report), parent_metrics(report))
        for file in _report_files(folder):
            client.log_artifact(parent, str(file))
        rows = candidate_rows(report)
        client.log_table(parent, {column: [row[column] for row in rows] for column in rows[0]}, TABLE)
        for candidate in report.candidates:
            run = begin(candidate.name, candidate_tags(report, candidate) | {"mlflow.parentRunId": parent})
            children[candidate.name] = run
            log_values(experiment, run, candidate_params(candidate), candidate_metrics(report, candidate), curve(candidate))
            _log_files(client, run, candidate, store)
            for onnx in _models(report, candidate):
                _log_model(client, experiment.id, run, candidate, onnx, store)
    return parent, children


def _report_files(folder: Path) -> list[Path]:
    files = [folder / "report.json", folder / "report.md"]
    for file in files:
        if not file.is_file():
            raise InputError(f"{file} is missing; write the report anew before it is tracked")
    return files + sorted([*folder.glob("pareto.png"), *folder.glob("depth-*.png"), *folder.glob("tod-curves.png")])


def _log_files(client: Any, run: str, candidate: Candidate, store: Store) -> None:
    """Plan, engines and the files in other precisions, under the names they have in the report's folder."""
    with tempfile.TemporaryDirectory() as folder:
        for name, ref in candidate_files(candidate).items():
            if name in LEFT_OUT or name.endswith(".log"):
                continue
            link = Path(folder, name)
            link.symlink_to(store.path(ref).resolve())
            client.log_artifact(run, str(link))


def _models(report: RunReport, candidate: Candidate) -> list[OnnxRecord]:
    """The files that become MLflow models: the one in fp32, and the one that the report recommends."""
    shipped = report.recommendation
    ships = candidate.name == shipped.candidate
    return [candidate.onnx, *(v.onnx for v in candidate.variants if ships and v.onnx.precision == shipped.precision)]


def _log_model(client: Any, experiment: str, run: str, candidate: Candidate, record: OnnxRecord, store: Store) -> None:
    """An ONNX file as an MLflow model of the run, for any batch size.

    These are the steps of mlflow.onnx.log_model with an explicit client: that function itself goes through the global
    tracking URI of the process.
    """
    import numpy as np
    import onnx
    from mlflow import onnx as mlflow_onnx
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    float32 = np.dtype(np.float32)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(float32, (-1, *record.input_shape), record.input_name)]),
        outputs=Schema([TensorSpec(float32, (-1, record.num_classes), record.output_name)]),
    )
    name = f"onnx-{candidate.name}" + ("" if record.precision == "fp32" else f"-{record.precision}")
    name = "".join(letter if letter.isalnum() or letter in "-_" else "p" for letter in name)
    params = candidate_params(candidate) | {"precision": record.precision}
    tags = {"fair_pruner.onnx_sha256": record.file.sha256, "fair_pruner.onnx_digest": record.digest}
    logged = client.create_logged_model(experiment, name, source_run_id=run, tags=tags, params=params)
    status = "FAILED"
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model")
            mlflow_onnx.save_model(
                onnx.load(store.path(record.file)),
                str(path),
                mlflow_model=Model(
                    artifact_path=logged.artifact_location, run_id=run, model_uuid=logged.model_id, model_id=logged.model_id
                ),
                signature=signature,
                pip_requirements=[
                    f"onnx=={onnx.__version__}",
                    "onnxruntime",
                    "numpy",
                ],  # named, or MLflow runs the model to find out
                onnx_execution_providers=["CPUExecutionProvider"],
                save_as_external_data=False,
            )
            client.log_model_artifacts(logged.model_id, str(path))
        status = "READY"
    finally:
        client.finalize_logged_model(logged.model_id, status)
    client.log_outputs(run, [LoggedModelOutput(logged.model_id, step=0)])
