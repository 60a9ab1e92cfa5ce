import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from pipeline.measurements import RunReport

from .conftest import tiny

COMMAND = [sys.executable, "-m", "flows", "run"]


def start(folder: Path) -> "subprocess.Popen[str]":
    config = tiny(folder / "runs", finetune={"epochs": 40, "batch_size": 64})
    (folder / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return subprocess.Popen([*COMMAND, str(folder / "config.yaml")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def digests(folder: Path) -> dict[str, tuple[str, ...]]:
    report = RunReport.model_validate_json((folder / "runs" / "tiny" / "report.json").read_text())
    return {
        c.name: (c.model.digest, c.onnx.digest, c.engine.digest, c.onnx_test.digest, c.plan.digest if c.plan else "")
        for c in report.candidates
    }


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_stopped_and_ends_with_the_same_digests(tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    for folder in (undisturbed, killed):
        folder.mkdir()
    with start(undisturbed) as process:
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    with start(killed) as process:
        assert process.stdout
        for line in process.stdout:
            if "recalibrate · tolerance 0.6" in line:  # the second branch is under way: fine-tuning comes next
                break
        time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (killed / "runs" / "tiny").exists()
    with start(killed) as process:
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert "finetune · tolerance 0.3' - Finished in state Cached" in output
    assert "recalibrate · tolerance 0.6' - Finished in state Cached" in output
    assert "finetune · tolerance 0.6' - Finished in state Completed" in output
    assert digests(killed) == digests(undisturbed)
