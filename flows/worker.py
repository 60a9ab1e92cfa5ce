"""The program that tells the server at PREFECT_API_URL what there is to run, and then becomes the worker that runs it.

It leaves nothing else in the worker's process: the flows, imported for their forms, would take some hundred megabytes.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from socket import gethostname
from typing import NoReturn

from prefect.client.orchestration import get_client

from flows.servers import POOL
from pipeline.output import place

SERVER_SECONDS = 150.0


def main(output: str, limit: str) -> None:
    """Wait for the server, apply the deployments, and replace this process. Runs start in the current folder."""
    with get_client(sync_client=True) as client:
        wait(lambda: client.api_healthcheck() is None, f"{client.api_url} does not answer")
        from flows.deployments import apply  # seconds of work, which the servers need more while they start

        apply(client, place(output), Path.cwd(), int(limit))
    become_worker(POOL, gethostname())


def wait(until: Callable[[], bool], complaint: str) -> None:
    """Return as soon as that is so; end the program with a complaint if it is not so within SERVER_SECONDS."""
    deadline = time.monotonic() + SERVER_SECONDS
    while not until():
        if time.monotonic() > deadline:
            sys.exit(f"{complaint} after {SERVER_SECONDS:.0f} s")
        time.sleep(0.2)


def become_worker(pool: str, name: str, *options: str) -> NoReturn:
    """Replace this process by a worker for a pool."""
    worker = ("-m", "prefect", "worker", "start", "--pool", pool, "--name", name, "--type", "process", *options)
    os.execv(sys.executable, (sys.executable, *worker))  # noqa: S606  # nosec B606  # fixed words, no shell


if __name__ == "__main__":
    main(*sys.argv[1:])
