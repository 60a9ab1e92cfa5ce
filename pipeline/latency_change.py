"""Two latency reports of one machine -> what has become faster or slower since the earlier one."""

from pathlib import Path
from typing import NamedTuple

from pipeline.errors import InputError
from pipeline.input_size import REPORT_MIB, read_limited
from pipeline.latency import LatencyReport, LatencySeries, Machine, Runtime
from pipeline.machine import refuse_other_machine
from pipeline.saved_record import record_in

Key = tuple[str, Runtime, int]  # a file's name, what runs it, the batch size
# between 30 measurements of one file on a machine with other work, the intervals lay up to 3 % apart, in 27 % of all pairs
DRIFT = 0.05


class Change(NamedTuple):
    """One file at one batch size, then and now: medians in ms, and how many times as fast it is now.

    `low` and `high` are the ends that the two medians' own 95 % intervals allow. They say nothing of what the machine was
    doing at the two times, since the reports were not measured interleaved.
    """

    candidate: str
    runtime: Runtime
    batch_size: int
    then_ms: float
    now_ms: float
    speedup: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """In words; what the intervals do not show, or what is no more than DRIFT beyond them, is no difference."""
        return "faster" if self.low > 1 + DRIFT else "slower" if self.high < 1 / (1 + DRIFT) else "no difference shown"


def read_latency(path: Path) -> LatencyReport:
    """A report as `fair-pruner bench --json` writes it. Raises InputError if it is missing or something else."""
    if not path.is_file():
        raise InputError(f"{path} does not exist; give a file that fair-pruner bench --json has written")
    try:
        return record_in(read_limited(path, REPORT_MIB), LatencyReport)
    except ValueError as error:
        raise InputError(
            f"{path} is no latency report ({error}); give a file that fair-pruner bench --json has written"
        ) from error


def changes(earlier: LatencyReport, now: LatencyReport) -> tuple[Change, ...]:
    """Every file that both reports measured, found by name, runtime and batch size, in the order of `now`."""
    then = {_key(series): series for series in earlier.series}
    return tuple(change(then[_key(series)], series) for series in now.series if _key(series) in then)


def change(then: LatencySeries, now: LatencySeries) -> Change:
    """What has come of one file, or of the file in whose place another is now, since an earlier measurement."""
    return Change(
        candidate=now.candidate,
        runtime=now.runtime,
        batch_size=now.batch_size,
        then_ms=then.p50_ms,
        now_ms=now.p50_ms,
        speedup=then.p50_ms / now.p50_ms,
        low=then.p50_low_ms / now.p50_high_ms,
        high=then.p50_high_ms / now.p50_low_ms,
    )


def refuse_incomparable(earlier: LatencyReport, machine: Machine, threads: int, asked: frozenset[Key]) -> None:
    """Raise InputError if what is `asked` to be measured on this `machine` could not be compared with `earlier`."""
    refuse_other_machine(earlier.machine, machine)
    if earlier.threads != threads:
        raise InputError(f"the earlier report was measured with {earlier.threads} threads, --threads is {threads}; take as many")
    measured = [_key(series) for series in earlier.series]
    if not asked & set(measured):
        there = "; ".join(f"{name} in {runtime} at batch {size}" for name, runtime, size in measured)
        raise InputError(f"the earlier report measured {there}, and nothing of that is asked for now; name the same files")


def _key(series: LatencySeries) -> Key:
    return series.candidate, series.runtime, series.batch_size
