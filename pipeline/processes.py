"""A job in several processes that accelerate launches; this file is also what each of them runs."""

import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from pkgutil import resolve_name
from typing import Protocol

from pydantic import BaseModel

from pipeline.errors import StageError
from pipeline.progress import log
from pipeline.redact import hide_secrets
from pipeline.store import Store


class Job(Protocol):
    """Work as a value that another process can be given. All processes run it; what the first one returns counts."""

    @property
    def label(self) -> str:
        """What it is called in log lines and errors."""
        ...

    def run(self, store: Store) -> BaseModel:
        """Do it: alone, or as one of the processes that accelerate has launched."""
        ...

    def model_dump_json(self) -> str:
        """The job as text, which its class reads back."""
        ...


def run_together(job: Job, processes: int, store: Store) -> str:
    """Run the job in so many processes; returns its result as JSON. Raises StageError if one of them fails."""
    with tempfile.TemporaryDirectory(prefix="fair-pruner-") as folder:
        order, result = Path(folder, "job.json"), Path(folder, "result.json")
        order.write_text(job.model_dump_json())
        kind = f"{type(job).__module__}:{type(job).__name__}"
        command = [*_launch(processes), "-m", __name__, kind, str(order), str(store.root), str(result)]
        log.info("%s: %d processes together", job.label, processes)
        finished = subprocess.run(command, env=_environment(processes), check=False)  # noqa: S603  # our own module and paths
        if finished.returncode or not result.is_file():
            raise StageError(
                f"{job.label}: one of {processes} processes ended with {finished.returncode}; its message stands above"
            )
        return result.read_text()


def _launch(processes: int) -> list[str]:
    several = ["--multi_gpu"]  # on CPUs too: with --cpu accelerate starts one process only
    numbers = ["--num_processes", str(processes), "--num_machines", "1", "--main_process_port", "0"]
    quiet = ["--mixed_precision", "no", "--dynamo_backend", "no"]  # the recipe has its own precision
    return [sys.executable, "-m", "accelerate.commands.launch", *several, *numbers, *quiet]


def _environment(processes: int) -> dict[str, str]:
    import torch

    return os.environ | {"ACCELERATE_USE_CPU": str(torch.cuda.device_count() < processes).lower()}


def main(kind: str, order: Path, root: Path, result: Path) -> None:
    """One of the processes: the first writes what came out, and only its log lines are shown."""
    from accelerate import Accelerator

    job, together = resolve_name(kind).model_validate_json(order.read_text()), Accelerator()
    hide_secrets()
    logging.basicConfig(format="%(message)s")
    log.setLevel(logging.INFO if together.is_main_process else logging.WARNING)
    finished = job.run(Store(root))
    if together.is_main_process:
        result.write_text(finished.model_dump_json())
    together.wait_for_everyone()
    together.end_training()


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))
