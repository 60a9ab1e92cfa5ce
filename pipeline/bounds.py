"""The bounds of a gate, each held against every measured file: the one place that decides what may be shipped."""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

from pipeline.config import GateConfig
from pipeline.exported import OnnxRecord
from pipeline.findings import batch_sizes, runtimes
from pipeline.latency import LatencyReport, LatencySeries, Runtime
from pipeline.measurements import Candidate
from pipeline.records import Value

Outcome = Literal["passed", "refused", "too noisy to tell", "not comparable"]

ROUNDING = 1e-9  # shares of counted images are compared, whose difference need not be exact
ABOVE_ONE = math.nextafter(1, 2)


class Check(Value):
    """One bound held against one file: what was found, what is allowed, what came of it.

    `objection` is what speaks against the file in words, empty if it passed.
    """

    name: str
    found: str
    allowed: str
    outcome: Outcome = "passed"
    objection: str = ""


class JudgedFile(NamedTuple):
    """A measured file with all its checks. `drop` is the share of validation top-1 that it loses against the dense fp32 file."""

    candidate: Candidate
    onnx: OnnxRecord
    series: LatencySeries
    drop: float
    checks: tuple[Check, ...]

    @property
    def name(self) -> str:
        """Candidate and precision."""
        return f"{self.candidate.name} {self.onnx.precision}"

    @property
    def objections(self) -> tuple[str, ...]:
        """What speaks against the file; nothing: it may be shipped."""
        return tuple(check.objection for check in self.checks if check.outcome != "passed")


def judge(
    candidates: tuple[Candidate, ...], latency: LatencyReport, gate: GateConfig, batch_size: int | None = None
) -> tuple[JudgedFile, ...]:
    """Every file that was measured at `batch_size` (default: the first) in the first runtime, but the dense fp32 file.

    candidates[0] is the dense model, whose fp32 file is the reference. Accuracy is that on the validation images: the test
    images choose nothing.
    """
    size, runtime = batch_size or batch_sizes(latency)[0], runtimes(latency)[0]
    files: dict[tuple[str, str], tuple[Candidate, OnnxRecord]] = {
        (candidate.name, file.onnx.precision): (candidate, file.onnx) for candidate in candidates for file in candidate.files
    }
    judged = []
    for series in latency.series:
        if (series.batch_size, series.runtime) == (size, runtime) and series.verdict != "reference":
            candidate, onnx = files[series.candidate, series.precision]
            drop = candidates[0].onnx_validation.top1 - validation_top1(candidate, onnx, runtime)
            checks = tuple(_checks(candidate, onnx, series, drop, gate, latency.widest_interval))
            judged.append(JudgedFile(candidate, onnx, series, drop, checks))
    return tuple(judged)


def best(files: tuple[JudgedFile, ...]) -> JudgedFile | None:
    """Of those that may be shipped, the one with the largest speed-up, by the lower end of its interval."""
    return max((file for file in files if not file.objections), key=lambda file: file.series.speedup_low, default=None)


def validation_top1(candidate: Candidate, onnx: OnnxRecord, runtime: Runtime) -> float:
    """Top-1 on the validation images of one of a candidate's files, for the runtime `tensorrt` of the engine built from it."""
    file = next(each for each in candidate.files if each.onnx.precision == onnx.precision)
    return (file.engine_validation or file.validation if runtime == "tensorrt" else file.validation).top1


def bound_check(name: str, holds: bool, found: str, allowed: str, objection: str) -> Check:
    """A bound on a number that either holds or does not."""
    if holds:
        return Check(name=name, found=found, allowed=allowed)
    return Check(name=name, found=found, allowed=allowed, outcome="refused", objection=objection)


def interval_outcome(low: float, high: float, least: float, widest_interval: float) -> Outcome:
    """Whether a ratio known to lie between `low` and `high` surely reaches `least`.

    If `least` lies inside of an interval with `high` / `low` - 1 above `widest_interval`, nobody can tell.
    """
    if low >= least:
        return "passed"
    return "too noisy to tell" if high >= least and high / low - 1 > widest_interval else "refused"


def _checks(
    candidate: Candidate, onnx: OnnxRecord, series: LatencySeries, drop: float, gate: GateConfig, widest_interval: float
) -> Iterator[Check]:
    yield _speedup(series, gate.min_speedup, widest_interval)
    if series.fp32_speedup is not None:
        yield _fp32_speedup(series, widest_interval)
    yield bound_check(
        "accuracy",
        drop <= gate.max_accuracy_drop + ROUNDING,
        points(drop),
        f"at most {100 * gate.max_accuracy_drop:g} points lost",
        f"loses {100 * drop:.2f} points on the validation images, {100 * gate.max_accuracy_drop:g} are allowed",
    )
    if gate.max_p99_ms is not None:
        found, allowed = f"{series.p99_ms:.3f} ms", f"{gate.max_p99_ms:g}"
        objection = f"its 99th percentile is {found}, {allowed} are allowed"
        yield bound_check("p99 latency", series.p99_ms <= gate.max_p99_ms, found, f"at most {allowed} ms", objection)
    if gate.max_bytes is not None:
        found, allowed = f"{onnx.file.size_bytes} bytes", f"{gate.max_bytes}"
        objection = f"its file has {found}, {allowed} are allowed"
        yield bound_check("file size", onnx.file.size_bytes <= gate.max_bytes, found, f"at most {allowed} bytes", objection)
    if gate.max_parity is not None:
        difference = candidate.onnx.parity.max_relative_diff
        found, allowed = f"{difference:.1e}", f"{gate.max_parity:g}"
        objection = f"its fp32 file differs from torch by {found} of the largest logit, {allowed} are allowed"
        yield bound_check("parity", difference <= gate.max_parity, found, f"at most {allowed}", objection)


def points(drop: float) -> str:
    """A share of top-1 that is lost, or if negative gained, in percentage points."""
    return f"{abs(100 * drop):.2f} points {'gained' if drop < 0 else 'lost'}"


def _speedup(series: LatencySeries, least: float, widest_interval: float) -> Check:
    low, high = series.speedup_low, series.speedup_high
    found = f"{series.speedup:.2f} [{low:.2f}, {high:.2f}]"
    allowed = f"at least {least:g} at the lower end" if least > 1 else "more than 1 at the lower end"
    outcome = interval_outcome(low, high, max(least, ABOVE_ONE), widest_interval)
    if outcome == "passed":
        objection = ""
    elif outcome == "too noisy to tell":
        objection = f"{outcome} whether its speed-up {found} reaches {least:g}" if least > 1 else f"{outcome}: {found}"
    elif series.verdict in ("slower", "not faster"):
        objection = f"{series.verdict}: {found}"
    else:
        objection = f"its speed-up {found} does not {'surely ' if high >= least else ''}reach {least:g}"
    return Check(name="speed-up", found=found, allowed=allowed, outcome=outcome, objection=objection)


def _fp32_speedup(series: LatencySeries, widest_interval: float) -> Check:
    assert series.fp32_speedup is not None and series.fp32_speedup_low is not None and series.fp32_speedup_high is not None
    low, high = series.fp32_speedup_low, series.fp32_speedup_high
    found = f"{series.fp32_speedup:.2f} [{low:.2f}, {high:.2f}]"
    outcome = interval_outcome(low, high, ABOVE_ONE, widest_interval)
    words = {
        "passed": "",
        "too noisy to tell": f"too noisy to tell whether it is faster than its own fp32 file: {found}",
        "refused": f"not surely faster than its own fp32 file: {series.fp32_speedup:.2f} times",
    }
    return Check(
        name="speed-up over its fp32 file",
        found=found,
        allowed="more than 1 at the lower end",
        outcome=outcome,
        objection=words[outcome],
    )
