"""Stage: files of the dense model and its candidates -> latency, measured interleaved, with intervals."""

import math
from itertools import count, takewhile

import numpy as np

from pipeline.config import BenchmarkConfig
from pipeline.errors import InputError
from pipeline.latency import Contestant, LatencyReport, LatencySeries, Machine
from pipeline.latency_process import TurnTimings, run_round
from pipeline.latency_round import Round, Turn
from pipeline.latency_statistics import Measured, reference_of, summarise
from pipeline.machine import describe, throttle_count
from pipeline.pinning import choose_cores
from pipeline.progress import log, progress
from pipeline.records import timed
from pipeline.runners import Timings
from pipeline.store import Store

Runs = tuple[tuple[int, ...], ...]  # of each contestant, at each batch size

PILOT_RUNS = 5
NEGLIGIBLE_CORES = 0.2


@timed
def benchmark(contestants: tuple[Contestant, ...], config: BenchmarkConfig, store: Store) -> LatencyReport:
    """Latency of each contestant on this machine, beside the dense model in the same runtime (`reference_of`).

    Every round is a process of its own, since a process keeps the luck of its memory layout, and in it all contestants take
    turns at every batch size, so that a drift of the machine hits all alike. The order rotates from round to round and is
    reversed in every second one, so that nobody always runs behind the same neighbour. A first, unmeasured round finds how
    many runs a round needs to reach `config.min_runs` and `config.min_seconds` over `config.rounds`; more rounds follow
    only where the time is not reached. In each round a file warms up for `config.warmup_seconds`, all batch sizes together.

    Run it alone on the machine. Raises InputError if there is no contestant, their inputs differ in shape, or a file
    cannot run here; StageError if a runtime has no reference, or a round's process dies.
    """
    shapes = {contestant.input_shape for contestant in contestants}
    if len(shapes) != 1:
        raise InputError(f"a benchmark compares models of one input shape, found {sorted(shapes)}; give the dense model first")
    for place in range(len(contestants)):
        reference_of(place, contestants)
    cores = choose_cores(config.threads) if config.pin else ()
    runs = _pilot(contestants, config, store, cores)
    machine, before = _look(contestants, config, cores), throttle_count()
    rounds = _measure(contestants, config, store, cores, runs)
    after = throttle_count()
    series: list[LatencySeries] = []
    for which, batch_size in enumerate(config.batch_sizes):
        measured = [_joined(rounds, place, which) for place in range(len(contestants))]
        series += summarise(contestants, batch_size, measured, config.widest_interval)
    return LatencyReport(
        parents=tuple(contestant.subject for contestant in contestants if contestant.subject),
        machine=machine.model_copy(update={"throttled": None if before is None or after is None else after - before}),
        threads=config.threads,
        pinned=cores,
        rounds=len(rounds),
        warmup_seconds=config.warmup_seconds,
        widest_interval=config.widest_interval,
        series=tuple(series),
    )


def _look(contestants: tuple[Contestant, ...], config: BenchmarkConfig, cores: tuple[int, ...]) -> Machine:
    machine = describe(tuple(dict.fromkeys(each.runtime for each in contestants)), *cores[:1])
    if config.pin and not cores:
        log.warning("the measurement is not held to cores: %d free ones are not to be had or not told", config.threads)
    if machine.busy_cores + config.threads > machine.cores + NEGLIGIBLE_CORES:
        log.warning(
            "threads that are measured: %d, on %d cores of which other work keeps %.1f busy: latencies will be noisy",
            config.threads,
            machine.cores,
            machine.busy_cores,
        )
    return machine


def _pilot(contestants: tuple[Contestant, ...], config: BenchmarkConfig, store: Store, cores: tuple[int, ...]) -> Runs:
    """How often a round must run each file, found by running it a few times; what cannot run here is refused here."""
    few: Runs = ((PILOT_RUNS,) * len(config.batch_sizes),) * len(contestants)

    def needed(pilot: Timings) -> int:
        wanted = config.min_seconds * 1000 / float(pilot.wall_ms.min())
        return math.ceil(max(config.min_runs, wanted) / config.rounds)

    return tuple(tuple(map(needed, pilots)) for pilots in _round(contestants, config, store, cores, few, 0))


def _measure(
    contestants: tuple[Contestant, ...], config: BenchmarkConfig, store: Store, cores: tuple[int, ...], runs: Runs
) -> list[list[TurnTimings]]:
    """What each round says."""
    wanted_ms = config.min_seconds * 1000
    finished: list[list[TurnTimings]] = []
    spent_ms = np.zeros((len(contestants), len(config.batch_sizes)))
    turns = takewhile(lambda turn: turn < config.rounds or bool(spent_ms.min() < wanted_ms), count())
    for turn in progress(turns, "benchmark", config.rounds):
        finished.append(_round(contestants, config, store, cores, runs, turn))
        spent_ms += [[each.wall_ms.sum() for each in timings] for timings in finished[-1]]
    return finished


def _round(
    contestants: tuple[Contestant, ...],
    config: BenchmarkConfig,
    store: Store,
    cores: tuple[int, ...],
    runs: Runs,
    turn: int,
) -> list[TurnTimings]:
    """What each contestant took in a round, in their own order, whatever that of their turns was."""
    order = rotated(len(contestants), turn)
    turns = tuple(_turn(contestants[place], runs[place], config, store) for place in order)
    names = [_name(contestants[place]) for place in order]
    said = run_round(Round(turns, config.threads, cores, config.warmup_seconds), names, config.limits("benchmark"))
    return [said[order.index(place)] for place in range(len(contestants))]


def rotated(contestants: int, turn: int) -> list[int]:
    """The order in which places 0 .. `contestants` - 1 take their turns in round `turn`: each is first equally often."""
    order = [(turn // 2 + place) % contestants for place in range(contestants)]
    return order if turn % 2 == 0 else order[::-1]


def _turn(contestant: Contestant, runs: tuple[int, ...], config: BenchmarkConfig, store: Store) -> Turn:
    return Turn(
        path=str(store.path(contestant.file)),
        runtime=contestant.runtime,
        input_name=contestant.input_name,
        output_name=contestant.output_name,
        input_shape=contestant.input_shape,
        batch_sizes=config.batch_sizes,
        runs=runs,
    )


def _name(contestant: Contestant) -> str:
    return f"{contestant.name} ({contestant.precision or 'own precision'}, {contestant.file.path}) in {contestant.runtime}"


def _joined(rounds: list[list[TurnTimings]], place: int, batch: int) -> Measured:
    """The runs of one contestant at one batch size."""
    timings = [turns[place][batch] for turns in rounds]
    cpu_ms = [each.cpu_ms for each in timings if each.cpu_ms is not None]
    return Measured(np.stack([each.wall_ms for each in timings]), np.stack(cpu_ms) if cpu_ms else None)
