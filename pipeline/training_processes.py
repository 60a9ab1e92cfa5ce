"""A training in one process or in several that accelerate launches; this file is also what each of them runs."""

import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pipeline.errors import StageError
from pipeline.progress import log
from pipeline.store import Store
from pipeline.training_job import Trained, TrainingJob


def trained(job: TrainingJob, store: Store) -> Trained:
    """Run the job in as many processes as its recipe says. Raises StageError if one of several fails."""
    processes = job.recipe.processes
    if processes == 1:
        return job.run(store)
    with tempfile.TemporaryDirectory(prefix="fair-pruner-") as folder:
        order, result = Path(folder, "job.json"), Path(folder, "trained.json")
        order.write_text(job.model_dump_json())
        command = [*_launch(processes), "-m", __name__, str(order), str(store.root), str(result)]
        log.info("%s: %d processes train together", job.label, processes)
        finished = subprocess.run(command, env=_environment(processes), check=False)  # noqa: S603  # our own module and paths
        if finished.returncode or not result.is_file():
            raise StageError(
                f"{job.label}: one of {processes} training processes ended with {finished.returncode}; its message stands above"
            )
        return Trained.model_validate_json(result.read_text())


def _launch(processes: int) -> list[str]:
    several = ["--multi_gpu"]  # on CPUs too: with --cpu accelerate starts one process only
    numbers = ["--num_processes", str(processes), "--num_machines", "1", "--main_process_port", "0"]
    quiet = ["--mixed_precision", "no", "--dynamo_backend", "no"]  # the recipe has its own precision
    return [sys.executable, "-m", "accelerate.commands.launch", *several, *numbers, *quiet]


def _environment(processes: int) -> dict[str, str]:
    import torch

    return os.environ | {"ACCELERATE_USE_CPU": str(torch.cuda.device_count() < processes).lower()}


def main(order: Path, root: Path, result: Path) -> None:
    """One of the processes: the first writes what came out, and only its log lines are shown."""
    from accelerate import Accelerator

    job, together = TrainingJob.model_validate_json(order.read_text()), Accelerator()
    logging.basicConfig(format="%(message)s")
    log.setLevel(logging.INFO if together.is_main_process else logging.WARNING)
    finished = job.run(Store(root))
    if together.is_main_process:
        result.write_text(finished.model_dump_json())
    together.wait_for_everyone()
    together.end_training()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
