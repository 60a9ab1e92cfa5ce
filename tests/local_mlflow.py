"""A real MLflow over SQLite for tests: no server of the person who runs them, and nothing left behind in the environment."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipeline import mlflow_runs

QUIET = [
    # MLflow and what it imports warn of their own deprecations; the stages silence them, reading back in tests must too
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
]


@contextmanager
def local_mlflow() -> Iterator[None]:
    """In the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for name, value in mlflow_runs.SETTINGS.items():
            patch.setenv(name, value)
        yield
