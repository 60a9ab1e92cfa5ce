"""The rule by which a registered file becomes the champion."""

from typing import NamedTuple

from pipeline.bounds import ROUNDING, validation_top1
from pipeline.comparable import other_images, other_machine, other_split
from pipeline.config import GateConfig
from pipeline.errors import InputError
from pipeline.exported import OnnxRecord
from pipeline.findings import measured
from pipeline.gate import gate, reason
from pipeline.latency import LatencySeries, Runtime
from pipeline.latency_change import change
from pipeline.measurements import Candidate, RunReport
from pipeline.saved_report import candidate_named

NAMES = "the champion's run", "this run"


class Contender(NamedTuple):
    """A file in the runtime that it ships in, and the run that measured it."""

    report: RunReport
    candidate: Candidate
    onnx: OnnxRecord
    runtime: Runtime

    def series(self, batch_size: int) -> LatencySeries | None:
        """Its latency, None if that was not measured."""
        return measured(self.report.latency, self.candidate.name, batch_size, self.onnx.precision, self.runtime)


def contender(report: RunReport, candidate: str, precision: str, runtime: Runtime) -> Contender:
    """A file of a run. Raises InputError if the run has none of that name."""
    found = candidate_named(report, candidate)
    for file in found.files:
        if file.onnx.precision == precision:
            return Contender(report, found, file.onnx, runtime)
    raise InputError(f"{report.name} has no file of {candidate} in {precision}")


def objection(challenger: Contender, champion: Contender | None, bounds: GateConfig) -> str:
    """Why `challenger` must not become champion in place of `champion` (None: there is none); empty if it may.

    It may if it passes the gate, as the first one must, too, and if against the champion

    - it loses no more than `bounds.max_accuracy_drop` of top-1, on the same validation images, and
    - it is surely faster: on the same machine with as many threads and at the same batch size, each in the runtime that it
      ships in, the intervals of the two medians lie further apart than two measurements of one file do.

    What cannot be compared does not win. The two are compared across runs: they were not measured interleaved.
    """
    judged = gate(challenger.report, bounds, challenger.candidate.name, challenger.onnx.precision)
    if not judged.passes:
        return f"it does not pass the gate: {'; '.join(reason(check) for check in judged.checks if check.outcome != 'passed')}"
    if champion is None:
        return ""
    against = _less_accurate(challenger, champion, bounds), _not_faster(challenger, champion, judged.batch_size)
    return "; ".join(filter(None, against))


def _less_accurate(challenger: Contender, champion: Contender, bounds: GateConfig) -> str:
    runs = champion.report, challenger.report
    if apart := other_images(*runs, *NAMES) or other_split(*runs, *NAMES):
        return apart
    before, now = (validation_top1(each.candidate, each.onnx, each.runtime) for each in (champion, challenger))
    if before - now <= bounds.max_accuracy_drop + ROUNDING:
        return ""
    return (
        f"it loses {100 * (before - now):.2f} points on the validation images against the champion, "
        f"{100 * bounds.max_accuracy_drop:g} are allowed"
    )


def _not_faster(challenger: Contender, champion: Contender, batch_size: int) -> str:
    if apart := other_machine(champion.report, challenger.report, *NAMES):
        return apart
    then, now = champion.series(batch_size), challenger.series(batch_size)
    if then is None or now is None:
        which = champion if then is None else challenger
        return f"{which.candidate.name} in {which.onnx.precision} was not measured in {which.runtime} at batch {batch_size}"
    found = change(then, now)
    if found.verdict == "faster":
        return ""
    times = f"{found.speedup:.2f} times [{found.low:.2f}, {found.high:.2f}]"
    return f"it is not surely faster than the champion: {times} as fast at batch {batch_size}"
