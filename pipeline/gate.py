"""A finished run under bounds: does it have a file that may be shipped, and if not, why?"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import ValidationError

from pipeline.bounds import Check, JudgedFile, best, judge
from pipeline.config import GateConfig, override_config
from pipeline.errors import InputError
from pipeline.exported import Precision
from pipeline.findings import batch_sizes
from pipeline.latency import Runtime
from pipeline.measurements import Recommendation, RunReport
from pipeline.recommend import recommend
from pipeline.records import Value
from pipeline.regression import RegressionConfig, regression_checks
from pipeline.saved_report import candidate_named, read_report_file
from pipeline.sections import Section

S = TypeVar("S", bound=Section)

MEND = {
    "too noisy to tell": "measure again on a quieter machine, or with more rounds",
    "not comparable": "measure the baseline anew under the same conditions, or leave this bound out",
}


class Baseline(NamedTuple):
    """An earlier run, and how much worse than it a file may be."""

    report: RunReport
    config: RegressionConfig


class GateResult(Value):
    """The file that was judged, with every bound held against it. `recommendation` is what ships under the same bounds."""

    run: str
    candidate: str
    precision: Precision
    runtime: Runtime
    batch_size: int
    checks: tuple[Check, ...]
    recommendation: Recommendation

    @property
    def passes(self) -> bool:
        """Whether every bound was checked and holds."""
        return all(check.outcome == "passed" for check in self.checks)

    @property
    def sentence(self) -> str:
        """The result in words."""
        file = f"{self.candidate} in {self.precision}"
        if self.passes:
            return f"{self.run} passes the gate with {file}"
        reasons = "; ".join(reason(check) for check in self.checks if check.outcome != "passed")
        return f"{self.run} does not pass the gate with {file}: {reasons}"


def gate(
    report: RunReport,
    bounds: GateConfig,
    candidate: str | None = None,
    precision: str | None = None,
    batch_size: int | None = None,
    baseline: Baseline | None = None,
) -> GateResult:
    """Judge the file that `recommend` would ship under `bounds`, or if it would ship none, the one with fewest objections.

    `candidate` and `precision` restrict it to some files, `batch_size` is the one to judge at (default: the first that was
    measured). With `baseline` the file is compared with the same one of an earlier run, too. Raises InputError if no measured
    file is left to judge.
    """
    size = _measured_size(report, batch_size)
    files = judge(report.candidates, report.latency, bounds, size)
    chosen = _restricted(report, files, candidate, precision)
    file = best(chosen) or min(chosen, key=lambda each: (len(each.objections), -each.series.speedup_low))
    beside = tuple(regression_checks(file, report, *baseline)) if baseline else ()
    return GateResult(
        run=report.name,
        candidate=file.candidate.name,
        precision=file.onnx.precision,
        runtime=file.series.runtime,
        batch_size=size,
        checks=file.checks + beside,
        recommendation=recommend(report.candidates, report.latency, bounds, size),
    )


def gate_config(report: RunReport, options: Mapping[str, object]) -> GateConfig:
    """The bounds of the run's own configuration, changed by those `options` that are not None. Raises InputError."""
    return _with_options(GateConfig, override_config(report.config, ()).gate.model_dump(), options)


def baseline_of(file: Path | None, options: Mapping[str, object]) -> Baseline | None:
    """The earlier run whose report.json is `file`, with the bounds in `options` that are not None.

    Raises InputError if the file is no report, a bound is out of range, or one of the two is given without the other.
    """
    config = _with_options(RegressionConfig, {}, options)
    bounded = config != RegressionConfig()
    if file is None:
        if bounded:
            raise InputError(
                "--max-regression and --max-slowdown compare with an earlier run; give its report.json as --baseline"
            )
        return None
    if not bounded:
        raise InputError("--baseline alone bounds nothing; give --max-regression, --max-slowdown or both with it")
    return Baseline(read_report_file(file), config)


def reason(check: Check) -> str:
    """What speaks against the file, and what to do where another measurement can help."""
    return "; ".join(filter(None, (check.objection, MEND.get(check.outcome))))


def _with_options(section: type[S], settings: Mapping[str, object], options: Mapping[str, object]) -> S:
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return section.model_validate({**settings, **given})
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_", "-")
        raise InputError(f"--{option} {first['input']} is refused: {first['msg']}") from error


def _measured_size(report: RunReport, batch_size: int | None) -> int:
    sizes = batch_sizes(report.latency)
    if batch_size is None:
        return sizes[0]
    if batch_size not in sizes:
        raise InputError(
            f"{report.name} was not measured at batch {batch_size}; choose with --batch one of {', '.join(map(str, sizes))}"
        )
    return batch_size


def _restricted(
    report: RunReport, files: tuple[JudgedFile, ...], candidate: str | None, precision: str | None
) -> tuple[JudgedFile, ...]:
    if candidate is not None:
        candidate_named(report, candidate)
    chosen = tuple(
        file for file in files if candidate in (None, file.candidate.name) and precision in (None, file.onnx.precision)
    )
    if not chosen:
        wanted = " ".join(filter(None, (candidate, precision))) or "any file but the dense one"
        there = ", ".join(file.name for file in files) or "none"
        raise InputError(f"{report.name} has not measured {wanted} beside the dense fp32 file; measured were: {there}")
    return chosen
