"""The limits of a Prefect server that keep runs apart."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import httpx
from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.context import TaskRunContext
from prefect.exceptions import ObjectNotFound

from flows.outage import briefly
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
    """Hold the limit for the length of the block, as far as the server can be reached: no measurement fails for that."""
    name = benchmark_limit_name()
    with ExitStack() as held:
        with _unreachable_is_warned(name):
            if _is_limited(name):
                # to lose the limit for a moment is no reason to lose the measurement
                held.enter_context(concurrency(name, occupy=1, raise_on_lease_renewal_failure=False))
        yield
        with _unreachable_is_warned(name):
            held.close()


@contextmanager
def _unreachable_is_warned(name: str) -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        log.warning("another run may measure on this machine meanwhile: the limit %s is out of reach: %s", name, error)


def _is_limited(name: str) -> bool:
    if TaskRunContext.get() is None:
        return False
    with briefly(), get_client(sync_client=True) as client:
        try:
            limit = client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            return False
    if limit.active_slots >= limit.limit:
        log.info("another run measures on this machine; waiting for its end (global concurrency limit %s)", name)
    return True
