"""The program that tells the server at PREFECT_API_URL what there is to run, and then becomes the worker that runs it.

It leaves nothing else in the worker's process: the flows, imported for their forms, would take some hundred megabytes.
"""

import os
import sys
import time
from pathlib import Path
from socket import gethostname

from prefect.client.orchestration import get_client

from flows.servers import POOL

SERVER_SECONDS = 150.0


def main(output: str, limit: str) -> None:
    """Wait for the server, apply the deployments, and replace this process. Runs start in the current folder."""
    with get_client(sync_client=True) as client:
        deadline = time.monotonic() + SERVER_SECONDS
        while error := client.api_healthcheck():
            if time.monotonic() > deadline:
                sys.exit(f"{client.api_url} does not answer: {error}")
            time.sleep(0.2)
        from flows.deployments import apply  # seconds of work, which the servers need more while they start

        apply(client, Path(output), Path.cwd(), int(limit))
    worker = ("-m", "prefect", "worker", "start", "--pool", POOL, "--name", gethostname(), "--type", "process")
    os.execv(sys.executable, (sys.executable, *worker))  # noqa: S606  # nosec B606  # fixed words, no shell


if __name__ == "__main__":
    main(*sys.argv[1:])
