"""The children of `fair-pruner up`: a Prefect server, an MLflow server, and workers that run what is started there."""

import base64
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import ProxyHandler, Request, build_opener

from flows.logins import LOOPBACK, PREFECT, ask_login
from flows.services import Service

POOL = "fair-pruner"
BRANCH_POOL = "fair-pruner-branches"  # of its own: a sweep that waits for its branches holds a place in the other one
ANSWER_SECONDS = 2.0
PREFECT_SETTINGS = {
    "PREFECT_SERVER_UI_API_URL": "/api",  # by default the page looks for the API at port 4200
    "PREFECT_SERVER_UI_V2_ENABLED": "false",  # the newer pages ask a server outside for their settings
    # kept in memory, the limits that a run holds would be taken for ever after a restart
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_WORKER_QUERY_SECONDS": "2",
}
NOT_INHERITED = ("PREFECT_PROFILE", "PREFECT_PROFILES_PATH", "PREFECT_API_KEY")  # they speak of another server


@dataclass(frozen=True)
class Servers:
    """Where they listen, the absolute folder of all data, how many runs go on at a time, and how many workers for branches."""

    output: Path
    host: str
    prefect_port: int
    mlflow_port: int
    limit: int
    workers: int = 0

    @property
    def folder(self) -> Path:
        """Database, home and logs of the servers."""
        return self.output / "server"

    @property
    def prefect_url(self) -> str:
        """The Prefect UI."""
        return f"http://{self.host}:{self.prefect_port}"

    @property
    def mlflow_url(self) -> str:
        """The MLflow UI and its API."""
        return f"http://{self.host}:{self.mlflow_port}"

    @property
    def mlflow_database(self) -> str:
        """The same that runs without a server log to."""
        return f"sqlite:///{self.output / 'mlflow.db'}"

    def services(self) -> tuple[Service, ...]:
        """The children in the order to start them in. Workers come last, so that they end first and can still report."""
        python, environment, began = (sys.executable, "-m"), self._environment(), datetime.now(UTC)
        prefect = (*python, "prefect", "server", "start", "--host", self.host, "--port", str(self.prefect_port))
        mlflow = (
            *(*python, "mlflow", "server", "--host", self.host, "--port", str(self.mlflow_port), "--workers", "1"),
            *("--backend-store-uri", self.mlflow_database),
            # paths of files, not of the server: a later run without a server must find them too
            *(() if self.host in LOOPBACK else ("--app-name", "basic-auth")),
            *("--no-serve-artifacts", "--default-artifact-root", (self.output / "mlartifacts").as_uri()),
        )
        worker = (*python, "flows.worker", str(self.output), str(self.limit))

        def service(name: str, command: tuple[str, ...], ready: Callable[[], bool]) -> Service:
            return Service(name, command, environment, self.folder / "logs" / f"{name.lower()}.log", ready)

        return (
            service("Prefect", prefect, lambda: _get(f"{self.prefect_url}/api/health") is not None),
            service("MLflow", mlflow, lambda: _get(f"{self.mlflow_url}/health") is not None),
            service("worker", worker, lambda: self._workers_poll(POOL, began) >= 1),
            *(
                service(
                    f"branch-worker-{number}",
                    (*python, "flows.branch_worker", str(number), began.isoformat()),
                    lambda: self._workers_poll(BRANCH_POOL, began) >= self.workers,
                )
                for number in range(1, self.workers + 1)
            ),
        )

    def _environment(self) -> dict[str, str]:
        loopback = ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1", "localhost", self.host)))
        return {
            **{name: value for name, value in os.environ.items() if name not in NOT_INHERITED},
            **({"PREFECT_API_AUTH_STRING": secret} if (secret := os.environ.get(PREFECT)) else {}),
            **({} if self.host in LOOPBACK else ask_login(self.folder)),
            **PREFECT_SETTINGS,
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{self.folder / 'prefect.db'}",
            "PREFECT_API_URL": f"{self.prefect_url}/api",
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": self.prefect_url,  # by default, pages of anybody may start runs
            "MLFLOW_TRACKING_URI": self.mlflow_url,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # seven processes that nothing here gives work to
            "NO_PROXY": loopback,
            "no_proxy": loopback,
            "PYTHONSAFEPATH": "1",  # the installed package, whatever lies in the current folder
        }

    def _workers_poll(self, pool: str, since: datetime) -> int:
        answer = _get(f"{self.prefect_url}/api/work_pools/{pool}/workers/filter", b"{}") or b"[]"
        return sum(datetime.fromisoformat(worker["last_heartbeat_time"]) > since for worker in json.loads(answer))


def _get(url: str, content: bytes | None = None) -> bytes | None:
    """What a server on this machine answers, None while it does not."""
    request = Request(url, content, {"Content-Type": "application/json"})  # noqa: S310  # http, on this machine
    if secret := os.environ.get(PREFECT):
        request.add_header("Authorization", f"Basic {base64.b64encode(secret.encode()).decode()}")
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=ANSWER_SECONDS) as response:
            return bytes(response.read())
    except OSError:  # refused, too slow, or an error of the server
        return None
