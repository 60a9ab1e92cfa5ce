"""One round of a latency measurement, in a process of its own: `python -m pipeline.latency_round`.

Reads a Round as JSON from stdin. Writes a line of JSON to stdout when a turn starts, {"started": place}, and one when it is
finished: its wall and CPU times by batch size, in ms. A file that cannot be run ends the round with {"refused": why}.
Imports no more than it must, since it is started anew for every round.
"""

import gc
import json
import os
import signal
import sys
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

import numpy as np

from pipeline.errors import InputError, PipelineError
from pipeline.runners import Images, Runner, Timings, open_file

if TYPE_CHECKING:
    from pipeline.latency import Runtime

SEED = 0
LEAST_WARMUP_RUNS = 2
PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's prctl


class Turn(NamedTuple):
    """What one file does in a round. `runs[i]` batches of `batch_sizes[i]` images of `input_shape` are measured."""

    path: str
    runtime: "Runtime"
    input_name: str
    output_name: str
    input_shape: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    runs: tuple[int, ...]


class Round(NamedTuple):
    """The turns in their order; `cores` is where the process is held, empty: anywhere."""

    turns: tuple[Turn, ...]
    threads: int
    cores: tuple[int, ...]
    warmup_seconds: float

    def to_json(self) -> str:
        """As the process reads it."""
        return json.dumps(self._asdict() | {"turns": [turn._asdict() for turn in self.turns]})

    @classmethod
    def from_json(cls, text: str) -> "Round":
        """The inverse of `to_json`, with lists for tuples."""
        values = json.loads(text)
        return cls(**(values | {"turns": tuple(Turn(**turn) for turn in values["turns"])}))


def measure(asked: Round, output: TextIO) -> None:
    """Take all turns with garbage collection off, writing to `output`. The file is opened anew in each turn.

    A turn goes through its batch sizes. Before each the file runs unmeasured for an equal share of `warmup_seconds`, twice
    at least: memory is allocated, weights come into the cache, clocks rise. The first file takes a short turn beforehand
    that does not count: whatever ran first in a new process was 1 % faster than the same file in later places.
    """
    gc.collect()
    gc.disable()
    try:
        for turn in asked.turns[:1]:
            _take(turn._replace(batch_sizes=turn.batch_sizes[:1], runs=(1,)), asked.threads, warmup_seconds=0.0)
        for place, turn in enumerate(asked.turns):
            _say(output, {"started": place})
            timings = _take(turn, asked.threads, asked.warmup_seconds)
            wall = [each.wall_ms.tolist() for each in timings]
            cpu = [None if each.cpu_ms is None else each.cpu_ms.tolist() for each in timings]
            _say(output, {"finished": place, "wall_ms": wall, "cpu_ms": cpu})
    finally:
        gc.enable()


def main() -> None:
    """The process: reads stdin, writes stdout, ends with 0 unless something unforeseen happens."""
    _die_with_the_parent()
    asked = Round.from_json(sys.stdin.read())
    if asked.cores:
        os.sched_setaffinity(0, asked.cores)
    # what the libraries print must not come between the lines
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as output:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        try:
            measure(asked, output)
        except PipelineError as error:
            _say(output, {"refused": str(error), "input": isinstance(error, InputError)})


def _take(turn: Turn, threads: int, warmup_seconds: float) -> list[Timings]:
    runner = open_file(Path(turn.path), turn.runtime, turn.input_name, turn.output_name, threads)
    timings = []
    for batch_size, runs in zip(turn.batch_sizes, turn.runs, strict=True):
        images = np.random.default_rng(SEED).standard_normal((batch_size, *turn.input_shape), dtype=np.float32)
        _warm_up(runner, images, warmup_seconds / len(turn.batch_sizes))
        timings.append(runner.time(images, runs))
    return timings


def _warm_up(runner: Runner, images: Images, seconds: float) -> None:
    end = time.perf_counter() + seconds
    for index in count():
        if index >= LEAST_WARMUP_RUNS and time.perf_counter() >= end:
            return
        runner.time(images, 1)


def _say(output: TextIO, line: dict[str, object]) -> None:
    output.write(json.dumps(line) + "\n")
    output.flush()


def _die_with_the_parent() -> None:
    """A parent that is killed cannot end this process any more; the kernel can."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)


if __name__ == "__main__":
    main()
