"""The limits of a Prefect server that keep runs apart."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.context import TaskRunContext
from prefect.exceptions import ObjectNotFound

from pipeline.progress import log

P = ParamSpec("P")
R = TypeVar("R")


def benchmark_limit_name() -> str:
    """The global concurrency limit that whoever measures latency on this machine holds, so that nobody else does meanwhile."""
    return f"benchmark-{socket.gethostname()}"


def alone(stage: Callable[P, R]) -> Callable[P, R]:
    """The same stage, which as a task waits for this machine's limit and holds it while it runs.

    Without a task, and on a server that has no such limit (one that lives for a single run), it just runs.
    """

    @wraps(stage)
    def measuring(*args: P.args, **kwargs: P.kwargs) -> R:
        with _limit_held():
            return stage(*args, **kwargs)

    return measuring


@contextmanager
def _limit_held() -> Iterator[None]:
    name = benchmark_limit_name()
    if not _is_limited(name):
        yield
        return
    # to lose the limit for a moment is no reason to lose the measurement
    with concurrency(name, occupy=1, raise_on_lease_renewal_failure=False):
        yield


def _is_limited(name: str) -> bool:
    if TaskRunContext.get() is None:
        return False
    with get_client(sync_client=True) as client:
        try:
            limit = client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            return False
    if limit.active_slots >= limit.limit:
        log.info("another run measures on this machine; waiting for its end (global concurrency limit %s)", name)
    return True
