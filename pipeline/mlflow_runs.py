"""MLflow: an experiment to log to, runs that are finished together or failed together, and values in batches."""

import fcntl
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.config import TrackConfig
from pipeline.errors import InputError, StageError
from pipeline.quiet import quiet_loggers
from pipeline.store import make_folder

SQLITE = "sqlite:///"
PARAMS_A_BATCH, METRICS_A_BATCH = 100, 1000  # MLflow takes no more at once
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # by default a server that is down holds the run up for minutes a call
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
TALKATIVE = ("mlflow", "alembic")


class Experiment(NamedTuple):
    """Where runs go: an MlflowClient, the experiment's id, and the tracking URI."""

    client: Any
    id: str
    uri: str


def tracking_uri(output: Path) -> str:
    """MLFLOW_TRACKING_URI if that is set, else `output`/mlflow.db."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{output.resolve() / 'mlflow.db'}"


@contextmanager
def open_experiment(config: TrackConfig, output: Path, kept: str) -> Iterator[Experiment]:
    """The experiment to log to; its files lie in `output`/mlartifacts, on a server where that wants them.

    Raises StageError if MLflow refuses, here or in the block; `kept` says in it where the results are all the same.
    """
    uri = tracking_uri(output)
    with open_mlflow(uri, kept) as client:
        with first_use(uri):
            found = _experiment(client, config.experiment, uri, output.resolve() / "mlartifacts")
        yield Experiment(client, found, uri)


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
        begun.append(experiment.client.create_run(experiment.id, run_name=name, tags=dict(tags)).info.run_id)
        return begun[-1]

    try:
        yield begin
        for run in reversed(begun):
            experiment.client.set_terminated(run, "FINISHED")
    except BaseException:
        for run in begun:
            with suppress(MlflowException):  # the first error is the one to report
                experiment.client.set_terminated(run, "FAILED")
        raise


def log_values(
    client: Any, run: str, params: dict[str, str], metrics: dict[str, float], points: list[tuple[str, float, int]] | None = None
) -> None:
    """Params, metrics at step 0, and `points` as (metric, value, step)."""
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    entries = [Metric(key, float(value), now, 0) for key, value in metrics.items()]
    entries += [Metric(key, value, now, step) for key, value, step in points or []]
    settings = [Param(key, value) for key, value in params.items()]
    for start in range(0, len(settings), PARAMS_A_BATCH):
        client.log_batch(run, params=settings[start : start + PARAMS_A_BATCH])
    for start in range(0, len(entries), METRICS_A_BATCH):
        client.log_batch(run, metrics=entries[start : start + METRICS_A_BATCH])


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
