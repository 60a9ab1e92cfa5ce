"""A file beside the same candidate's in an earlier run: has it become less accurate, or slower?"""

from collections.abc import Iterator

from pydantic import Field

from pipeline.bounds import ROUNDING, Check, JudgedFile, bound_check, interval_outcome, points, validation_top1
from pipeline.comparable import other_images, other_machine, other_split
from pipeline.findings import measured
from pipeline.measurements import RunReport
from pipeline.sections import Section

ACCURACY, LATENCY = "accuracy against the baseline", "latency against the baseline"
NAMES = "the baseline", "this run"


class RegressionConfig(Section):
    """How much worse than the baseline a file may be; None: that is not looked at."""

    max_regression: float | None = Field(None, ge=0, le=1, description="Share of validation top-1 that may be lost.")
    max_slowdown: float | None = Field(
        None, gt=0, le=1000, description="Median latency over the baseline's that the upper end of its interval may reach."
    )


def regression_checks(file: JudgedFile, run: RunReport, baseline: RunReport, config: RegressionConfig) -> Iterator[Check]:
    """The bounds of `config`, held against `file` of `run` and the candidate of its name and precision in `baseline`.

    Where the two must not be compared, or the baseline lacks the file, the outcome is "not comparable": a bound that somebody
    asked for and nobody has checked must not let a file pass.
    """
    if config.max_regression is not None:
        yield _accuracy(file, run, baseline, config.max_regression)
    if config.max_slowdown is not None:
        yield _latency(file, run, baseline, config.max_slowdown)


def _accuracy(file: JudgedFile, run: RunReport, baseline: RunReport, most: float) -> Check:
    allowed = f"at most {100 * most:g} points lost"
    then = _validation_top1(file, baseline)
    if then is None:
        return _not_comparable(ACCURACY, allowed, f"the baseline has no {file.name}")
    if apart := other_images(baseline, run, *NAMES) or other_split(baseline, run, *NAMES):
        return _not_comparable(ACCURACY, allowed, apart)
    drop = then - validation_top1(file.candidate, file.onnx, file.series.runtime)
    objection = f"loses {100 * drop:.2f} points on the validation images against the baseline, {100 * most:g} are allowed"
    return bound_check(ACCURACY, drop <= most + ROUNDING, points(drop), allowed, objection)


def _latency(file: JudgedFile, run: RunReport, baseline: RunReport, most: float) -> Check:
    """`low` and `high` are the ends that the medians' own intervals allow: the runs were not measured interleaved."""
    allowed = f"at most {most:g} times at the upper end"
    now = file.series
    then = measured(baseline.latency, now.candidate, now.batch_size, now.precision, now.runtime)
    if then is None:
        why = f"the baseline has not measured {file.name} in {now.runtime} at batch {now.batch_size}"
        return _not_comparable(LATENCY, allowed, why)
    if apart := other_machine(baseline, run, *NAMES):
        return _not_comparable(LATENCY, allowed, apart)
    slowdown, low, high = now.p50_ms / then.p50_ms, now.p50_low_ms / then.p50_high_ms, now.p50_high_ms / then.p50_low_ms
    ratio = f"{slowdown:.2f} times [{low:.2f}, {high:.2f}]"
    outcome = interval_outcome(1 / high, 1 / low, 1 / most, run.latency.widest_interval)
    words = {
        "passed": "",
        "too noisy to tell": f"too noisy to tell whether it takes more than {most:g} times the baseline's median: {ratio}",
        "refused": f"takes {ratio} the baseline's median of {then.p50_ms:.3f} ms, {most:g} are allowed",
    }
    return Check(name=LATENCY, found=ratio, allowed=allowed, outcome=outcome, objection=words[outcome])


def _validation_top1(file: JudgedFile, baseline: RunReport) -> float | None:
    for candidate in baseline.candidates:
        for each in candidate.files:
            if (candidate.name, each.onnx.precision) == (file.candidate.name, file.onnx.precision):
                return validation_top1(candidate, each.onnx, file.series.runtime)
    return None


def _not_comparable(name: str, allowed: str, why: str) -> Check:
    return Check(name=name, found="not comparable", allowed=allowed, outcome="not comparable", objection=why)
