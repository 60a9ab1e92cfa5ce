"""A backup taken while a run goes on, by the runbook's lines, and put into an empty folder: the run goes on from there."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from ..flows.test_resume import digests, start
from .runbook import block, typed


def ended(process: "subprocess.Popen[str]") -> str:
    with process:
        output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return output


@pytest.mark.slow
def test_a_run_goes_on_from_a_backup_that_was_taken_during_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    undisturbed, lost = tmp_path / "undisturbed", tmp_path / "lost"
    for folder in (undisturbed, lost):
        folder.mkdir()
    ended(start(undisturbed))
    (lost / "backup").mkdir()
    with start(lost) as process:
        assert process.stdout
        for line in process.stdout:
            if "recalibrate · tolerance 0.6" in line:  # the second branch is under way: fine-tuning comes next
                break
        typed(block("Back up", "backup.sh"), lost, dict(os.environ))
        assert process.poll() is None
        time.sleep(2)  # what is done after the backup is lost
        process.send_signal(signal.SIGKILL)
    shutil.rmtree(lost / "runs")
    typed(block("Restore", "mkdir"), lost, dict(os.environ))
    output = ended(start(lost))
    assert "finetune · tolerance 0.3' - Finished in state Cached" in output
    assert "finetune · tolerance 0.6' - Finished in state Completed" in output
    assert digests(lost) == digests(undisturbed)
