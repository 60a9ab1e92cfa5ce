"""A Prefect server for the session, and the smallest sweep that goes through every stage."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from pipeline.config import RunConfig


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A temporary server with a database of its own."""
    with (
        prefect_test_harness(server_startup_timeout=300),
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),  # closing a flow waits a second for it
    ):
        yield


@pytest.fixture(scope="session")
def client(prefect_server: None) -> Iterator[SyncPrefectClient]:
    """Talks to that server."""
    with get_client(sync_client=True) as client:
        yield client


def tiny(output: Path | str, **changes: object) -> RunConfig:
    """Seconds in all: a two-layer VGG on digits, two tolerances, fp32 only."""
    sections = {
        "name": "tiny",
        "output": output,
        "model": {"name": "vgg", "kwargs": {"widths": [8, "M", 16]}},
        "train": {"epochs": 1, "batch_size": 64, "lr": 0.05},
        "calibrate": {"per_class": 8},
        "score": {"projections": 8},
        "allocate": {"tolerances": [0.3, 0.6]},
        "finetune": {"epochs": 1, "batch_size": 64},
        "quantize": {"precisions": []},
        "benchmark": {"batch_sizes": [1], "rounds": 5, "min_runs": 50, "min_seconds": 0.05, "warmup_seconds": 0},
        "track": {"enabled": False},
    }
    return RunConfig.model_validate(sections | changes)
