"""A round of a latency measurement as seen from outside: the process is started, heard, and its end explained."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import InputError, StageError
from pipeline.latency_round import Round
from pipeline.runners import Timings

TurnTimings = tuple[Timings, ...]  # of one file, by batch size
THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def run_round(asked: Round, names: Sequence[str]) -> list[TurnTimings]:
    """Take a round's turns in a new process and return the times of each; it is killed if this one is interrupted.

    `names` call the turns in messages. Raises InputError or StageError as the process says, StageError if it dies.
    """
    folder = str(Path(__file__).resolve().parents[1])
    environment = os.environ | dict.fromkeys(THREAD_SETTINGS, str(asked.threads)) | {"PYTHONPATH": _path_with(folder)}
    command = [sys.executable, "-P", "-m", "pipeline.latency_round"]
    result = subprocess.run(  # noqa: S603
        command, input=asked.to_json(), capture_output=True, encoding="utf-8", errors="replace", env=environment, check=False
    )
    lines = [json.loads(line) for line in result.stdout.splitlines() if line.endswith("}")]
    for line in lines:
        if "refused" in line:
            raise (InputError if line["input"] else StageError)(line["refused"])
    finished = [line for line in lines if "finished" in line]
    if result.returncode != 0 or len(finished) < len(names):
        started = sum("started" in line for line in lines)
        name = names[max(0, started - 1)]
        raise StageError(f"the process that measured {name} {_end(result)}; run the file alone to see what is wrong with it")
    return [_timings(line) for line in finished]


def _timings(line: dict[str, Any]) -> TurnTimings:
    return tuple(
        Timings(np.array(wall), None if cpu is None else np.array(cpu))
        for wall, cpu in zip(line["wall_ms"], line["cpu_ms"], strict=True)
    )


def _end(result: "subprocess.CompletedProcess[str]") -> str:
    said = result.stderr.strip().splitlines()
    last = f", it said: {said[-1]}" if said else ""
    if result.returncode == -signal.SIGKILL:
        return f"was killed, as the system does where memory runs out{last}"
    if result.returncode < 0:
        return f"died of {signal.Signals(-result.returncode).name}{last}"
    return f"ended with exit code {result.returncode}{last or ' and said nothing'}"


def _path_with(folder: str) -> str:
    return os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH", ""))))
