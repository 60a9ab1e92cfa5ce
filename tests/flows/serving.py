"""Servers in processes of their own: `fair-pruner up` with a client of its Prefect server, and a Prefect server alone."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from .conftest import tiny


class Served:
    """`fair-pruner up` in a process of its own, and what it has said so far."""

    def __init__(self, output: Path, *options: str) -> None:
        self.output, self.said = output, output.with_name("said.txt")
        with self.said.open("w") as said:
            command = [sys.executable, "-m", "flows", "up", "--output", str(output), *options]
            self.process = subprocess.Popen(command, cwd=output.parent, stdout=said, stderr=subprocess.STDOUT)
        self.wait(lambda: "Ctrl-C ends everything" in self.said.read_text())
        lines = self.said.read_text().splitlines()
        self.prefect, self.mlflow = (
            next(line.split()[1] for line in lines if line.startswith(f"{name} ") and "http" in line)
            for name in ("Prefect", "MLflow")
        )

    def wait(self, until: Callable[[], object], seconds: float = 300) -> None:
        deadline = time.monotonic() + seconds
        while not until():
            assert self.process.poll() is None, self.said.read_text()
            assert time.monotonic() < deadline, self.said.read_text()
            time.sleep(0.2)

    def answers(self) -> bool:
        try:
            with urlopen(f"{self.prefect}/api/health") as prefect, urlopen(f"{self.mlflow}/health") as mlflow:  # noqa: S310
                return bool(prefect.status == mlflow.status == 200)
        except OSError:
            return False

    def servers(self) -> list[int]:
        """Prefect's and MLflow's process."""
        children = psutil.Process(self.process.pid).children()
        return [child.pid for child in children if "server" in child.cmdline()]

    @contextmanager
    def ending_all(self) -> Iterator[None]:
        """After the block, which ends the process: none of its family is left, and the ports are free."""
        family = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        assert len(family) >= 6  # itself, the orphans' end, two servers with MLflow's own child, and the worker
        yield
        self.process.wait(60)
        _, alive = psutil.wait_procs(family, 20)
        assert alive == []
        for url in (self.prefect, self.mlflow):
            socket.create_server(("127.0.0.1", int(url.rpartition(":")[2]))).close()


@contextmanager
def serving(output: Path, *options: str) -> Iterator[tuple[Served, SyncPrefectClient]]:
    served = Served(output, *options)
    try:
        with temporary_settings({PREFECT_API_URL: f"{served.prefect}/api"}), get_client(sync_client=True) as client:
            yield served, client
    finally:
        served.process.terminate()
        served.process.wait(60)


class PrefectServer:
    """A Prefect server alone, which may be held up, killed, and started again with what it knew."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Of a process that uses it."""
        return {**os.environ, "PREFECT_API_URL": self.url, "PREFECT_HOME": str(self.folder / "home")}

    def start(self) -> None:
        database = f"sqlite+aiosqlite:///{self.folder / 'prefect.db'}"
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        with (self.folder / "prefect.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                env={**self.environment, "PREFECT_SERVER_DATABASE_CONNECTION_URL": database},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + 300
        while not self.answers():
            assert time.monotonic() < deadline, (self.folder / "prefect.log").read_text()
            time.sleep(0.2)

    def answers(self) -> bool:
        try:
            with urlopen(f"{self.url}/health", timeout=2) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except OSError:
            return False

    def send(self, number: signal.Signals) -> None:
        """A signal to all its processes; after SIGKILL they are gone."""
        assert self.process
        os.killpg(self.process.pid, number)
        if number == signal.SIGKILL:
            self.process.wait(60)


def start_sweep(client: SyncPrefectClient, output: Path | str, **changes: Any) -> Callable[[], str]:
    """Starts a run; returns the function that tells its state."""
    config = tiny(output, **changes).model_dump(mode="json")
    deployment = client.read_deployment_by_name("sweep/sweep").id
    run = client.create_flow_run_from_deployment(deployment, parameters={"config": config}).id

    def state() -> str:
        found = client.read_flow_run(run).state
        assert found
        assert found.name != "Failed", found.message
        return str(found.name)

    return state
