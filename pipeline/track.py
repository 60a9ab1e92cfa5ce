"""Stage: report -> MLflow, one run for the sweep and one below it for each candidate. The only file that imports mlflow."""

import fcntl
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline.config import TrackConfig
from pipeline.errors import InputError, StageError
from pipeline.measurements import Candidate, RunReport, TrackRecord
from pipeline.quiet import quiet_loggers
from pipeline.records import FileRef, timed
from pipeline.store import Store, make_folder
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

SQLITE = "sqlite:///"
PARAMS_A_BATCH, METRICS_A_BATCH = 100, 1000  # MLflow takes no more at once
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # by default a server that is down holds the run up for minutes a call
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
TALKATIVE = ("mlflow", "alembic")


@timed
def track(report: RunReport, config: TrackConfig, output: Path, store: Store) -> TrackRecord:
    """Log a report to MLflow: values, training curves, files, and each ONNX file as a model that MLflow can load.

    Goes to MLFLOW_TRACKING_URI if that is set, else to `output`/mlflow.db (SQLite) with the files in `output`/mlartifacts.
    All runs end FINISHED together, the parent last. If the experiment already has a finished parent with this report's
    digest and these very latencies, nothing is logged and that run is returned; a new measurement of the same models is a
    new parent. If logging fails, all runs it began are marked FAILED. Raises StageError if MLflow refuses, InputError if a
    file of the report is missing.
    """
    with _quiet():
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{output.resolve() / 'mlflow.db'}"
        try:
            with _first_use(uri):
                client = MlflowClient(tracking_uri=uri)
                experiment = _experiment(client, config.experiment, uri, output.resolve() / "mlartifacts")
            runs = _earlier(client, experiment, report) or _log(client, experiment, report, store)
        except (MlflowException, SQLAlchemyError) as error:
            reason = str(error).partition("\n")[0]
            raise StageError(f"MLflow at {uri} refused: {reason}. The report is complete in {report.folder}") from error
    parent, children = runs
    return TrackRecord(
        parents=(report.digest,), tracking_uri=uri, experiment_id=experiment, parent_run_id=parent, run_ids=children
    )


def _experiment(client: Any, name: str, uri: str, artifacts: Path) -> str:
    """The id of the experiment, made if it is not there; a server decides itself where its files lie."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, None if uri.startswith("http") else artifacts.as_uri()))
        except MlflowException:  # somebody else made it in between
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise InputError(f"MLflow experiment {name} at {uri} was deleted; restore it, or set track.experiment to another name")
    return str(found.experiment_id)


def _earlier(client: Any, experiment: str, report: RunReport) -> tuple[str, dict[str, str]] | None:
    """The finished runs that already hold this report."""
    same = (
        f"tags.`fair_pruner.report_digest` = '{report.digest}' and "
        f"tags.`fair_pruner.measurement_digest` = '{measurement_digest(report)}' and attributes.status = 'FINISHED'"
    )
    found = client.search_runs([experiment], same, max_results=1)
    if not found:
        return None
    parent = found[0].info.run_id
    children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    return parent, {run.data.params["candidate"]: run.info.run_id for run in children}


def _log(client: Any, experiment: str, report: RunReport, store: Store) -> tuple[str, dict[str, str]]:
    from mlflow.exceptions import MlflowException

    begun: list[str] = []  # parent first
    try:
        parent = client.create_run(experiment, run_name=report.name, tags=parent_tags(report)).info.run_id
        begun.append(parent)
        _log_values(client, parent, parent_params(report), parent_metrics(report))
        for file in _report_files(Path(report.folder)):
            client.log_artifact(parent, str(file))
        children = {}
        for candidate in report.candidates:
            tags = candidate_tags(report, candidate) | {"mlflow.parentRunId": parent}
            run = client.create_run(experiment, run_name=candidate.name, tags=tags).info.run_id
            begun.append(run)
            children[candidate.name] = run
            _log_values(client, run, candidate_params(candidate), candidate_metrics(report, candidate), curve(candidate))
            _log_files(client, run, candidate, store)
            _log_model(client, experiment, run, candidate, store)
        for run in reversed(begun):
            client.set_terminated(run, "FINISHED")
    except BaseException:
        for run in begun:
            with suppress(MlflowException):  # the first error is the one to report
                client.set_terminated(run, "FAILED")
        raise
    return parent, children


def _report_files(folder: Path) -> list[Path]:
    files = [folder / "report.json", folder / "report.md"]
    for file in files:
        if not file.is_file():
            raise InputError(f"{file} is missing; write the report anew before it is tracked")
    return files + sorted([*folder.glob("pareto.png"), *folder.glob("depth-*.png"), *folder.glob("tod-curves.png")])


def _log_values(
    client: Any, run: str, params: dict[str, str], metrics: dict[str, float], points: list[tuple[str, float, int]] | None = None
) -> None:
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    entries = [Metric(key, float(value), now, 0) for key, value in metrics.items()]
    entries += [Metric(key, value, now, step) for key, value, step in points or []]
    settings = [Param(key, value) for key, value in params.items()]
    for start in range(0, len(settings), PARAMS_A_BATCH):
        client.log_batch(run, params=settings[start : start + PARAMS_A_BATCH])
    for start in range(0, len(entries), METRICS_A_BATCH):
        client.log_batch(run, metrics=entries[start : start + METRICS_A_BATCH])


def _log_files(client: Any, run: str, candidate: Candidate, store: Store) -> None:
    """Plan and engine, under the names they have in the report's folder."""
    files: dict[str, FileRef | None] = {
        "plan.json": candidate.plan.plan if candidate.plan else None,
        "model.engine": candidate.engine.file,
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, ref in files.items():
            if ref:
                link = Path(folder, name)
                link.symlink_to(store.path(ref).resolve())
                client.log_artifact(run, str(link))


def _log_model(client: Any, experiment: str, run: str, candidate: Candidate, store: Store) -> None:
    """The ONNX file as an MLflow model of the run, for any batch size.

    These are the steps of mlflow.onnx.log_model with an explicit client: that function itself goes through the global
    tracking URI of the process.
    """
    import numpy as np
    import onnx
    from mlflow import onnx as mlflow_onnx
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    record = candidate.onnx
    float32 = np.dtype(np.float32)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(float32, (-1, *record.input_shape), record.input_name)]),
        outputs=Schema([TensorSpec(float32, (-1, record.num_classes), record.output_name)]),
    )
    name = "".join(letter if letter.isalnum() or letter in "-_" else "p" for letter in f"onnx-{candidate.name}")
    tags = {"fair_pruner.onnx_sha256": record.file.sha256, "fair_pruner.onnx_digest": record.digest}
    logged = client.create_logged_model(experiment, name, source_run_id=run, tags=tags, params=candidate_params(candidate))
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


@contextmanager
def _first_use(uri: str) -> Iterator[None]:
    """One process at a time opens an SQLite file: several that create its tables together destroy it for good."""
    if not uri.startswith(SQLITE):
        yield
        return
    database = Path(uri.removeprefix(SQLITE)).resolve()
    make_folder(database.parent)
    with database.with_name(f".{database.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """No telemetry, and no chatter of MLflow and its database tool but errors, for the length of the block."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow  # noqa: F401  (it sets up its loggers when imported)

        with quiet_loggers(TALKATIVE, logging.ERROR):
            yield
