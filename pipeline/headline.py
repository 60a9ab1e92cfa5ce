"""The finding of a sweep in one or two plain sentences, and the turns of phrase that go with it."""

from pipeline.findings import RUNTIME_NAMES, batch_sizes, faster, runtimes, series_of
from pipeline.latency import LatencySeries
from pipeline.measurements import Candidate, RunReport

ON_CPU = ("onnxruntime", "openvino")
SAME_POINTS = 0.005  # what rounds to 0.00


def headline(report: RunReport) -> str:
    """The most accurate candidate that is really faster and, if another is, the quickest; or plainly that none is faster.

    Only the verdict "faster" of an fp32 file counts, at the first batch size and in the first runtime that were measured.
    """
    first, *others = batch_sizes(report.latency)
    runtime = runtimes(report.latency)[0]
    machine = report.latency.machine
    conditions = f"{RUNTIME_NAMES[runtime]} on {machine.cpu if runtime in ON_CPU else machine.gpu}, batch {first}"
    found = faster(report, first)
    if found:
        samples = report.candidates[0].onnx_test.samples
        text = f"{_claim(report, found[0], first)} ({samples} test images, {conditions})."
        quickest = max(found, key=lambda candidate: series_of(report.latency, candidate.name, first).speedup)
        return text if quickest is found[0] else f"{text} The quickest: {_claim(report, quickest, first)}."
    dense, *pruned = report.candidates
    if not pruned:
        return f"Only the dense model was measured ({conditions})."
    share = min(candidate.model.macs for candidate in pruned) / dense.model.macs
    who = f"None of the {len(pruned)} candidates is" if len(pruned) > 1 else f"{pruned[0].name} is not"
    which = "the smallest needs" if len(pruned) > 1 else "it needs"
    text = f"{who} faster than the dense model ({conditions}), although {which} {share:.0%} of its MACs."
    noisy = sum(series_of(report.latency, c.name, first).verdict == "too noisy to tell" for c in pruned)
    if noisy:
        text += f" Of {noisy} the measurement was too noisy to tell."
    for batch_size in others:
        if elsewhere := faster(report, batch_size):
            return f"{text} At batch {batch_size}, {_claim(report, elsewhere[0], batch_size)}."
    return text


def points(report: RunReport, candidate: Candidate) -> float:
    """Percentage points of test top-1 of the ONNX file against dense; positive is better."""
    return 100 * (candidate.onnx_test.top1 - report.candidates[0].onnx_test.top1)


def interval(series: LatencySeries) -> str:
    """The speed-up and its 95% interval in brackets."""
    return f"{series.speedup:.2f} ({series.speedup_low:.2f} to {series.speedup_high:.2f})"


def _claim(report: RunReport, candidate: Candidate, batch_size: int) -> str:
    series = series_of(report.latency, candidate.name, batch_size)
    difference = points(report, candidate)
    images = round(abs(difference) * candidate.onnx_test.samples / 100)
    against = f"{abs(difference):.2f} points ({images} image{'s' * (images != 1)}) {'above' if difference > 0 else 'below'} dense"
    if abs(difference) < SAME_POINTS:
        against = "the same as dense"
    return (
        f"{candidate.name} is {series.speedup:.2f} times as fast as the dense model (95% interval {series.speedup_low:.2f} to "
        f"{series.speedup_high:.2f}) at {candidate.onnx_test.top1:.2%} top-1, {against}"
    )
