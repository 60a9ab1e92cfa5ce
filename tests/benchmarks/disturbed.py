"""A sweep in a process of its own that is disturbed from outside, and what is left of it."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import yaml

from flows.environment import DEFAULTS
from pipeline.measurements import RunReport

ROOT = Path(__file__).resolve().parents[2]
EXECUTES = re.compile(r"Executing task '(\w+)' for task run '(.+)'\.\.\.")
FINISHED = re.compile(r"Task run '(.+)' - Finished in state (Completed|Cached)")
RESUMED = re.compile(r"goes on behind step (\d+) of (\d+)")
PATIENCE_SECONDS = 900
NEVER_CACHED = ("benchmark", "report", "track", "register", "verify_engine")
SETTINGS: dict[str, Any] = {
    "name": "faults",
    "model": {"name": "vgg", "kwargs": {"widths": [16, "M", 32]}},
    "train": {"epochs": 10, "batch_size": 64, "lr": 0.05, "checkpoint_seconds": 0.1},
    "calibrate": {"per_class": 16},
    "allocate": {"tolerances": [0.6]},
    "finetune": {"epochs": 20, "batch_size": 64, "checkpoint_seconds": 0.1},
    "quantize": {"precisions": ["int8-cpu"], "samples": 64},
    "benchmark": {"batch_sizes": [1], "rounds": 5, "min_runs": 50, "min_seconds": 0.05, "warmup_seconds": 0},
}


class Disturbed:
    """`fair-pruner run` on digits, some seconds long; what it says is read as it says it."""

    def __init__(self, output: Path, environment: dict[str, str] | None = None) -> None:
        output.mkdir(parents=True, exist_ok=True)
        config = output.with_name(f"{output.name}.yaml")
        config.write_text(yaml.safe_dump(SETTINGS | {"output": str(output)}))
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flows", "run", str(config)],
            cwd=ROOT,
            env=os.environ | {"PREFECT_LOGGING_LEVEL": "DEBUG", "COLUMNS": "400"} | (environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, found: "Callable[[], object] | re.Pattern[str]", what: str) -> None:
        """Until something is so, or a line is said. Raises RuntimeError if the run ends before."""
        seen = (lambda: any(found.search(line) for line in list(self.lines))) if isinstance(found, re.Pattern) else found
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not seen():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the run ended, or took too long, before {what}:\n" + "\n".join(self.lines[-30:]))
            time.sleep(0.001)

    def wait_for_task(self, stage: str, about: str = "") -> None:
        """Until a stage has begun and is not finished: its line is said when its function is called."""
        self.wait_for(re.compile(rf"Executing task '{stage}' for task run '[^']*{re.escape(about)}"), f"{stage} {about}")

    def end(self, how: signal.Signals | None = None) -> int:
        """Send a signal if one is given, and wait for the end; the exit code."""
        if how is not None:
            self.process.send_signal(how)
        self.process.wait(PATIENCE_SECONDS)
        self._reader.join()
        return self.process.returncode

    @property
    def interrupted(self) -> set[str]:
        """The stages that began and never ended."""
        begun = {match[2]: match[1] for match in map(EXECUTES.search, self.lines) if match}
        ended = {match[1] for match in map(FINISHED.search, self.lines) if match}
        return {stage for run, stage in begun.items() if run not in ended}

    def tasks(self, state: str) -> set[str]:
        """The task runs that ended so, without those that are never cached."""
        runs = {match[1] for match in map(FINISHED.search, self.lines) if match and match[2] == state}
        return {run for run in runs if not run.startswith(NEVER_CACHED)}

    @property
    def resumed_at(self) -> tuple[int, int] | None:
        """The step behind which a training went on, and of how many."""
        found = [match for match in map(RESUMED.search, self.lines) if match]
        return (int(found[-1][1]), int(found[-1][2])) if found else None

    def _read(self) -> None:
        assert self.process.stdout
        with self.process.stdout as said:
            for line in said:
                self.lines.append(line.rstrip())


def finish(run: Disturbed) -> Disturbed:
    """Wait for a run that must end well."""
    if run.end() != 0:
        raise RuntimeError("the run failed:\n" + "\n".join(run.lines[-40:]))
    return run


def digests(output: Path) -> dict[str, tuple[str, ...]]:
    """What is decided by the inputs alone, candidate by candidate: weights, plan, files, predictions. Latency is not."""
    report = RunReport.model_validate_json((output / SETTINGS["name"] / "report.json").read_text())
    return {
        each.name: (
            each.model.digest,
            each.plan.digest if each.plan else "",
            each.onnx.digest,
            each.engine.digest,
            *(record.digest for record in (each.torch_validation, each.torch_test, each.onnx_validation, each.onnx_test)),
            *(record.digest for variant in each.variants for record in (variant.onnx, variant.validation)),
        )
        for each in report.candidates
    }


def flaws(output: Path) -> tuple[str, ...]:
    """What `fair-pruner doctor RUN` finds wrong, files that were left half-written, and runs that MLflow still waits for."""
    command = [sys.executable, "-m", "flows", "doctor", str(output / SETTINGS["name"])]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "300"})
    wrong = (
        [] if checked.returncode == 0 else [line for line in checked.stdout.splitlines() if "broken" in line or "missing" in line]
    )
    return (*wrong, *(str(path) for path in output.rglob(".writing-*")), *_running(output / "mlflow.db"))


def _running(database: Path) -> list[str]:
    """Runs that MLflow takes for running though nobody does anything any more."""
    if not database.is_file():
        return []
    with closing(sqlite3.connect(database)) as opened:
        return [f"{name} is RUNNING in MLflow" for (name,) in opened.execute("SELECT name FROM runs WHERE status = 'RUNNING'")]


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


class Server:
    """A Prefect or MLflow server that can be stopped and started again at the same port."""

    def __init__(self, command: list[str], health: str, log: Path, environment: dict[str, str] | None = None) -> None:
        self.command, self.health, self.log, self.environment = command, health, log, os.environ | DEFAULTS | (environment or {})
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, env=self.environment, cwd=self.log.parent, start_new_session=True
            )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.command} does not start, see {self.log}")
            time.sleep(0.2)

    def stop(self) -> None:
        """With all its processes, and at once."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _answers(self) -> bool:
        try:
            with urlopen(self.health, timeout=5) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except OSError:
            return False


@contextmanager
def prefect_server(folder: Path) -> Iterator[tuple[Server, str]]:
    """A server with a database of its own, and the address of its API."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    server = Server(command, f"{url}/health", folder / "prefect.log", {"PREFECT_HOME": str(folder), "PREFECT_API_URL": url})
    server.start()
    try:
        yield server, url
    finally:
        server.stop()


@contextmanager
def mlflow_server(folder: Path) -> Iterator[tuple[Server, str]]:
    """The same for MLflow."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    where = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts")]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", *where]
    server = Server(command, f"{url}/health", folder / "mlflow.log")
    server.start()
    try:
        yield server, url
    finally:
        server.stop()


def cached(output: Path, stage: str) -> list[Path]:
    """The records of a stage."""
    return sorted((output / "cache").glob(f"{stage}-*"))


def file_of(output: Path, what: str) -> Path:
    """A candidate's file in the store, by the name of its field in the report."""
    report = json.loads((output / SETTINGS["name"] / "report.json").read_text())
    candidate = report["candidates"][-1]
    return output / "store" / str((candidate["model"]["weights"] if what == "weights" else candidate[what]["file"])["path"])
