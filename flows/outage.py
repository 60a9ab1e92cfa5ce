"""Runs that outlive their Prefect server, whether it is away before them, during them, or for good."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from threading import Event
from typing import Any, ParamSpec, TypeVar

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.context import SettingsContext, get_settings_context
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from pipeline.progress import log

P = ParamSpec("P")
R = TypeVar("R")

ANSWER_SECONDS = 5.0  # for one request
RETURN_SECONDS = 60.0  # a server that was only started again is back by then
POLL_SECONDS = 1.0

_ended: ContextVar[Future[Any]] = ContextVar("_ended")  # how the body of the flow in `outlive_server` has ended
_given_up = Event()


@contextmanager
def briefly() -> Iterator[None]:
    """Requests in the block are made once, those of a client made in it for ANSWER_SECONDS at most."""
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0, PREFECT_API_REQUEST_TIMEOUT: ANSWER_SECONDS}):
        yield


def server_answers() -> bool:
    """Whether the server at PREFECT_API_URL is there; one that a run starts for itself always is."""
    if not PREFECT_API_URL.value():
        return True
    with briefly(), get_client(sync_client=True) as client:
        return client.api_healthcheck() is None


def outliving(body: Callable[P, R]) -> Callable[P, R]:
    """The same body of a flow, which at its end waits for a server that is away for RETURN_SECONDS, and then gives it up."""

    @wraps(body)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        ended: Future[R] = _ended.get(Future())
        try:
            ended.set_result(body(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # it is raised again below
            ended.set_exception(error)
        _await_server()
        return ended.result()

    return run


def outlive_server(flow: Flow[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a flow whose body is `outliving`, and end as the body does, whether or not the server can be told.

    If the server is away before the body begins, the flow runs with a server of its own.
    """
    ended: Future[R] = Future()
    token = _ended.set(ended)
    try:
        if server_answers():
            try:
                with temporary_settings():  # where those that the body leaves behind end
                    return flow(*args, **kwargs)
            except Exception:
                if ended.done():
                    return ended.result()
                if server_answers():
                    raise
        log.warning(
            "the Prefect server at %s is away; this run is not shown there, and has one of its own", PREFECT_API_URL.value()
        )
        _ended.set(Future())
        with temporary_settings(restore_defaults={PREFECT_API_URL}):
            return flow(*args, **kwargs)
    finally:
        _ended.reset(token)


def leave_server_behind() -> None:
    """End this process, successfully, if the server was given up: Prefect would go on for minutes to tell it what happened."""
    if _given_up.is_set():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _await_server() -> None:
    if server_answers():
        return
    url, deadline = PREFECT_API_URL.value(), time.monotonic() + RETURN_SECONDS
    log.warning(
        "the Prefect server at %s is away; it has %.0f s to come back and be told how this run ended", url, RETURN_SECONDS
    )
    while time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        if server_answers():
            return
    log.warning("the Prefect server at %s is still away, and is not told how this run ended; nothing else is lost", url)
    _given_up.set()
    settings = get_settings_context()
    once = settings.settings.copy_with_update(updates={PREFECT_CLIENT_MAX_RETRIES: 0})
    SettingsContext(profile=settings.profile, settings=once).__enter__()  # until the flow is over, which this is the end of
