"""A round of a latency measurement as seen from outside: the process is started, heard, and its end explained."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.latency_round import Round
from pipeline.runners import Timings
from pipeline.watched_process import Limits, WatchedProcess

TurnTimings = tuple[Timings, ...]  # of one file, by batch size
USUAL = Limits()
THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def run_round(asked: Round, names: Sequence[str], limits: Limits = USUAL) -> list[TurnTimings]:
    """Take a round's turns in a new process and return the times of each; it is killed if this one is interrupted.

    `names` call the turns in messages. Raises InputError or StageError as the process says, StageError if it dies or the round
    takes more than its limits.
    """
    with WatchedProcess("pipeline.latency_round", limits, dict.fromkeys(THREAD_SETTINGS, str(asked.threads))) as process:

        def hear(said: dict[str, Any]) -> None:
            process.doing = f"measuring {names[said['started']]}"

        answer, _ = process.ask(f"measuring {names[0] if names else 'nothing'}", asked.to_values(), hear=hear)
    return [_timings(turn) for turn in answer["turns"]]


def _timings(turn: dict[str, Any]) -> TurnTimings:
    return tuple(
        Timings(np.array(wall), None if cpu is None else np.array(cpu))
        for wall, cpu in zip(turn["wall_ms"], turn["cpu_ms"], strict=True)
    )
