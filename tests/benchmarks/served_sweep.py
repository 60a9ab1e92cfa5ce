"""A sweep that a worker of `fair-pruner up` runs, and that loses its worker."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from pipeline.config import RunConfig

if __package__:
    from .disturbed import PATIENCE_SECONDS, ROOT, SETTINGS
else:
    from disturbed import PATIENCE_SECONDS, ROOT, SETTINGS

GRACE_SECONDS = 120
ENDED = ("Completed", "Failed", "Crashed", "Cancelled")


def served_sweep(output: Path) -> str:
    """Start a run, kill -9 its worker in the fine-tuning, start the run again if it does not go on; what happened."""
    output.mkdir(parents=True)
    said = output.with_name(f"{output.name}.log")
    with said.open("w") as log:
        command = [sys.executable, "-m", "flows", "up", "--output", str(output)]
        up = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait(lambda: "Ctrl-C ends everything" in said.read_text(), said)
        address = next(line.split()[1] for line in said.read_text().splitlines() if line.startswith("Prefect  "))
        with temporary_settings({PREFECT_API_URL: f"{address}/api"}), get_client(sync_client=True) as client:
            run = _start(client, output)
            _wait(lambda: any((output / "cache").glob("recalibrate-*")), said)
            _wait(lambda: any((output / "unfinished").glob("[!.]*")), said)
            os.kill(_worker(up.pid), signal.SIGKILL)
            deadline = time.monotonic() + GRACE_SECONDS
            while (state := _state(client, run)) not in ENDED and time.monotonic() < deadline:
                time.sleep(0.5)
            if state == "Completed":
                return "the run went on without its worker, which was started again, and ended well"
            again = _start(client, output)
            _wait(lambda: _state(client, again) in ENDED, said)
            if (ended := _state(client, again)) != "Completed":
                raise RuntimeError(f"the second run ended as {ended}, see {said}")
            return f"the run was {state.lower()} {GRACE_SECONDS} s later at most; started again it went on from the cache"
    finally:
        up.terminate()
        up.wait(60)


def _start(client: SyncPrefectClient, output: Path) -> Any:
    config = RunConfig.model_validate(SETTINGS | {"output": output}).model_dump(mode="json")
    deployment = client.read_deployment_by_name("sweep/sweep").id
    return client.create_flow_run_from_deployment(deployment, parameters={"config": config}).id


def _state(client: SyncPrefectClient, run: Any) -> str:
    state = client.read_flow_run(run).state
    return state.name if state else "nothing"


def _worker(up: int) -> int:
    return next(child.pid for child in psutil.Process(up).children() if "worker" in child.cmdline())


def _wait(until: Callable[[], object], said: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not until():
        if time.monotonic() > deadline:
            raise RuntimeError(f"nothing happened, see {said}")
        time.sleep(0.05)
