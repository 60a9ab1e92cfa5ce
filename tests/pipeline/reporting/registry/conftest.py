"""A real MLflow over SQLite with some sweeps in it, made once: creating its tables takes seconds."""

import pytest

from pipeline.config import GateConfig, TrackConfig
from pipeline.store import Store
from pipeline.track import track

from ....local_mlflow import local_mlflow
from ..conftest import ROWS
from ..finished import finished, save

BOUNDS = GateConfig(max_accuracy_drop=0.02)
SHARED = TrackConfig(experiment="tests")


@pytest.fixture(autouse=True)
def environment():
    with local_mlflow():
        yield


@pytest.fixture(scope="session")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("output")


def pruned(tolerance, p50):
    """A model of its own, with a median of its own at batch 1; the tolerance names it."""
    latency = {1: (p50, 1.25, 1.20, 1.31), 8: (1.8, 1.33, 1.3, 1.36)}
    return ROWS["quick"]._replace(tolerance=tolerance, latency=latency)


def a_report(folder, *rows, **changes):
    """A run named digits, with the bounds in its configuration."""
    found = finished(folder, "dense", *rows, name="digits", **changes)
    found = found.model_copy(update={"config": found.config | {"gate": BOUNDS.model_dump(mode="json")}})
    save(found)
    (folder / "report.md").write_text("a report")
    return found


def tracked(output, folder, *rows, **changes):
    found = a_report(output / folder, *rows, **changes)
    with local_mlflow():
        return found, track(found, SHARED, output, Store(output / "store"))


def into(name, promote=True):
    return TrackConfig(experiment="tests", registered_model=name, promote=promote)


def aliases(client, name):
    return {alias: int(version) for alias, version in client.get_registered_model(name).aliases.items()}


@pytest.fixture(scope="session")
def first(output):
    return tracked(output, "first", pruned(0.2, 0.4))


@pytest.fixture(scope="session")
def better(output):
    return tracked(output, "better", pruned(0.3, 0.3))


@pytest.fixture(scope="session")
def no_faster(output):
    return tracked(output, "no_faster", pruned(0.25, 0.39))


@pytest.fixture(scope="session")
def in_int8(output):
    return tracked(output, "in_int8", pruned(0.35, 0.2), int8=True)


@pytest.fixture(scope="session")
def client(first):
    from mlflow import MlflowClient

    return MlflowClient(first[1].tracking_uri)
