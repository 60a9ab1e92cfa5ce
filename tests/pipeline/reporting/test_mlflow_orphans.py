import subprocess
import sys
from pathlib import Path

from mlflow import MlflowClient

from pipeline.config import TrackConfig
from pipeline.mlflow_runs import PROCESS, open_experiment, this_process, together


def begun(client: MlflowClient, experiment: str, process: str) -> str:
    return str(client.create_run(experiment, tags={PROCESS: process} if process else {}).info.run_id)


def test_runs_of_a_process_that_is_gone_are_closed_and_no_others(tmp_path: Path) -> None:
    host = this_process().partition(":")[0]
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True)
    with open_experiment(TrackConfig(), tmp_path, "kept") as experiment:
        runs = {
            "gone": begun(experiment.client, experiment.id, f"{host}:{gone.stdout.strip()}:1.00"),
            "number used again": begun(experiment.client, experiment.id, this_process().rpartition(":")[0] + ":1.00"),
            "torn": begun(experiment.client, experiment.id, f"{host}:x"),
            "own": begun(experiment.client, experiment.id, this_process()),
            "elsewhere": begun(experiment.client, experiment.id, f"another-{host}:1:1.00"),
            "somebody's": begun(experiment.client, experiment.id, ""),
        }
    with open_experiment(TrackConfig(), tmp_path, "kept") as experiment:
        found = {name: experiment.client.get_run(run).info.status for name, run in runs.items()}
    closed = {"gone", "number used again", "torn"}
    assert found == {name: "FAILED" if name in closed else "RUNNING" for name in runs}


def test_what_is_begun_together_says_whose_it_is(tmp_path: Path) -> None:
    with open_experiment(TrackConfig(), tmp_path, "kept") as experiment, together(experiment) as begin:
        run = begin("run", {"mine": "1"})
        assert experiment.client.get_run(run).data.tags[PROCESS] == this_process()
