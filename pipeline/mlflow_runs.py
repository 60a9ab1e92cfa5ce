"""MLflow: an experiment to log to, runs that are finished together or failed together, and values in batches."""

import logging
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

import psutil

from pipeline.config import TrackConfig
from pipeline.errors import InputError, StageError
from pipeline.file_lock import locked
from pipeline.quiet import quiet_loggers
from pipeline.redact import redacted, without_secrets

SQLITE = "sqlite:///"
PROCESS = "fair_pruner.process"  # tag: which process logs a run
PARAMS_A_BATCH, METRICS_A_BATCH = 100, 1000  # MLflow takes no more at once
MOST = 50000  # runs that a search gives back
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # by default a server that is down holds the run up for minutes a call
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
}
TALKATIVE = ("mlflow", "alembic")


class Times(NamedTuple):
    """When a run began and when its results were complete, in milliseconds since 1970."""

    began_ms: int
    ended_ms: int

    @classmethod
    def now(cls) -> Self:
        """A run that begins and ends as it is logged."""
        at = int(time.time() * 1000)
        return cls(at, at)


class Experiment(NamedTuple):
    """Where runs go: an MlflowClient, the experiment's id, and the tracking URI; and the times that they are logged with."""

    client: Any
    id: str
    uri: str
    times: Times


def tracking_uri(output: Path) -> str:
    """MLFLOW_TRACKING_URI if that is set, else `output`/mlflow.db."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{output.resolve() / 'mlflow.db'}"


@contextmanager
def open_experiment(config: TrackConfig, output: Path, kept: str, times: Times | None = None) -> Iterator[Experiment]:
    """The experiment to log to; its files lie in `output`/mlartifacts, on a server where that wants them.

    Runs of a process on this machine that is gone are closed first: they would stay RUNNING for ever.

    Raises StageError if MLflow refuses, here or in the block; `kept` says in it where the results are all the same.
    """
    uri = tracking_uri(output)
    with open_mlflow(uri, kept) as client:
        with first_use(uri):
            found = _experiment(client, config.experiment, uri, output.resolve() / "mlartifacts")
        _close_orphans(client, found)
        yield Experiment(client, found, uri, times or Times.now())


@contextmanager
def open_mlflow(uri: str, kept: str) -> Iterator[Any]:
    """An MlflowClient. Raises StageError if MLflow refuses, here or in the block; `kept` is said in it."""
    with _quiet():
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with first_use(uri):
                client = MlflowClient(tracking_uri=uri)
            yield client
        except (MlflowException, SQLAlchemyError) as error:
            reason = str(error).partition("\n")[0]
            raise StageError(f"MLflow at {uri} refused: {reason}. {kept}") from error


@contextmanager
def together(experiment: Experiment) -> Iterator[Callable[[str, Mapping[str, str]], str]]:
    """Yields a function (name, tags) that begins a run. All end FINISHED, the first one last, or all FAILED after an error."""
    from mlflow.exceptions import MlflowException

    begun: list[str] = []

    def begin(name: str, tags: Mapping[str, str]) -> str:
        own = {**without_secrets(dict(tags)), PROCESS: this_process()}
        run = experiment.client.create_run(experiment.id, start_time=experiment.times.began_ms, run_name=name, tags=own)
        begun.append(run.info.run_id)
        return begun[-1]

    try:
        yield begin
        for run in reversed(begun):
            experiment.client.set_terminated(run, "FINISHED", end_time=experiment.times.ended_ms)
    except BaseException:
        for run in begun:
            with suppress(MlflowException):  # the first error is the one to report
                experiment.client.set_terminated(run, "FAILED")
        raise


def finished(experiment: Experiment, **tags: str) -> tuple[str, list[Any]] | None:
    """A finished run with all these fair_pruner tags, and the runs below it; None if there is none."""
    wanted = [f"tags.`fair_pruner.{name}` = '{value}'" for name, value in tags.items()]
    query = " and ".join((*wanted, "attributes.status = 'FINISHED'"))
    found = experiment.client.search_runs([experiment.id], query, max_results=1)
    if not found:
        return None
    parent = str(found[0].info.run_id)
    return parent, list(
        experiment.client.search_runs([experiment.id], f"tags.`mlflow.parentRunId` = '{parent}'", max_results=MOST)
    )


def log_values(
    experiment: Experiment,
    run: str,
    params: dict[str, str],
    metrics: dict[str, float],
    points: list[tuple[str, float, int]] | None = None,
) -> None:
    """Params, metrics at step 0, and `points` as (metric, value, step)."""
    from mlflow.entities import Metric, Param

    client, at = experiment.client, experiment.times.ended_ms
    entries = [Metric(key, float(value), at, 0) for key, value in metrics.items()]
    entries += [Metric(key, value, at, step) for key, value, step in points or []]
    settings = [Param(key, redacted(value)) for key, value in params.items()]
    for start in range(0, len(settings), PARAMS_A_BATCH):
        client.log_batch(run, params=settings[start : start + PARAMS_A_BATCH])
    for start in range(0, len(entries), METRICS_A_BATCH):
        client.log_batch(run, metrics=entries[start : start + METRICS_A_BATCH])


def this_process() -> str:
    """What tells this process from every other that there has been: machine, number, and the time it began."""
    own = psutil.Process()
    return f"{socket.gethostname()}:{own.pid}:{own.create_time():.2f}"


def _close_orphans(client: Any, experiment: str) -> None:
    """Mark runs FAILED whose process on this machine is gone: it was killed while it logged."""
    for run in client.search_runs([experiment], "attributes.status = 'RUNNING'", max_results=1000):
        host, _, process = run.data.tags.get(PROCESS, "").partition(":")
        if host == socket.gethostname() and not _is_running(process):
            client.set_terminated(run.info.run_id, "FAILED")


def _is_running(process: str) -> bool:
    number, _, began = process.partition(":")
    try:
        return f"{psutil.Process(int(number)).create_time():.2f}" == began
    except (psutil.Error, ValueError):
        return False


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


@contextmanager
def first_use(uri: str) -> Iterator[None]:
    """One process at a time opens an SQLite file: several that create its tables together destroy it for good.

    The block may do so. Waits for whoever does it at the moment.
    """
    if not uri.startswith(SQLITE):
        yield
        return
    with locked(Path(uri.removeprefix(SQLITE)).resolve()):
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
