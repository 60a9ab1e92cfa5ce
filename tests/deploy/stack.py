"""The servers and the workers of the compose file, with their commands and environments, as processes of this machine."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from .composed import DEPLOY, composed
from .postgresql import PostgreSQL

SECONDS = 900.0  # two databases are made from nothing, and a machine may be busy
INHERITED = ("PYTHONPATH", "LANG")


@dataclass(frozen=True)
class Stack:
    """`worker` is the environment of both workers and of a person's commands, `client` one of Prefect's server."""

    worker: dict[str, str]
    client: SyncPrefectClient
    folder: Path
    processes: list["subprocess.Popen[bytes]"]

    def wait(self, until: Callable[[], object]) -> None:
        """Fails with the ends of the logs if a process ends before, or it takes too long."""
        deadline = time.monotonic() + SECONDS
        while not until():
            ends = "\n".join(f"{log}\n{log.read_text()[-2000:]}" for log in self.folder.glob("*.log"))
            assert all(process.poll() is None for process in self.processes), ends
            assert time.monotonic() < deadline, ends
            time.sleep(0.5)

    def said(self, name: str) -> str:
        """What a service has said so far."""
        return (self.folder / f"{name}.log").read_text()

    def kill(self) -> None:
        """Everything at once, as when a machine loses its power."""
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def stack(folder: Path, database: PostgreSQL, object_store: str) -> Iterator[Stack]:
    """The services, each started when the one before it is healthy.

    Args:
        folder: For logs, and for what the services keep beside databases and objects.
        database: With the two databases.
        object_store: One that has the bucket, as host:port.
    """
    folder.mkdir()
    places = {
        r"(?<=@)postgres\b|^postgres$|\b0\.0\.0\.0\b|(?<=//)(prefect|mlflow)(?=:)": "127.0.0.1",
        "object-store:8333": object_store,
        "^5432$": str(database.port),
        r"\b4200\b": str(_free_port()),
        r"\b5000\b": str(_free_port()),
        "/etc/mlflow-auth.ini": str(folder / "mlflow-auth.ini"),
        "^/data(?=$|/)": str(folder),
    }
    at_home = partial(_at_home, places=places)
    (folder / "mlflow-auth.ini").write_text(at_home((DEPLOY / "docker" / "mlflow-auth.ini").read_text()))
    services = composed()["services"]
    environments = {
        name: {
            **{each: os.environ[each] for each in INHERITED if each in os.environ},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "OMP_NUM_THREADS": "1",
            "PGPORT": str(database.port),  # for MLflow, which looks at the usual one in a container
            **{key: at_home(value) for key, value in services[name]["environment"].items()},
        }
        for name in ("prefect", "mlflow", "worker", "branch-worker")
    }
    worker = environments["worker"]
    login = {PREFECT_API_URL: worker["PREFECT_API_URL"], PREFECT_API_AUTH_STRING: worker["PREFECT_API_AUTH_STRING"]}
    with ExitStack() as ending:
        ending.enter_context(temporary_settings(login))
        made = Stack(worker, ending.enter_context(get_client(sync_client=True)), folder, [])
        ending.callback(made.kill)
        for name, environment in environments.items():
            log = ending.enter_context((folder / f"{name}.log").open("wb"))
            command = [at_home(word) for word in services[name]["command"]]
            made.processes.append(
                subprocess.Popen(
                    command, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )
            )
            check = [at_home(word) for word in services[name].get("healthcheck", {"test": ["CMD", "true"]})["test"][1:]]
            made.wait(partial(_succeeds, check, environment))
        made.wait(lambda: all(" started!" in log.read_text() for log in folder.glob("*worker.log")))
        yield made


def _at_home(value: object, places: dict[str, str]) -> str:
    """A word of the compose file, with this machine's places instead of a container's."""
    text = str(value)
    for pattern, place in places.items():
        text = re.sub(pattern, place, text)
    return text


def _succeeds(command: list[str], environment: dict[str, str]) -> bool:
    return subprocess.run(command, env=environment, stderr=subprocess.DEVNULL, check=False).returncode == 0


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
