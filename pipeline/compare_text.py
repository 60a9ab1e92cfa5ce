"""The words and figures of a comparison, the same on the terminal and in the HTML report."""

from pipeline.compare import Block, Row
from pipeline.findings import RUNTIME_NAMES, wilson

STAR_NOTE = "star: no other file here is both more accurate on the test images and faster"
VALIDATION_NOTE = (
    "validation: top-1 on the validation images, where alone it was measured, and points against the candidate's fp32"
)


def accuracy(row: Row) -> tuple[str, str]:
    """Top-1 and its 95 % interval; without a test accuracy the one on the validation images and its points against fp32 there."""
    if row.test:
        low, high = wilson(row.test.top1, row.test.samples)
        return f"{row.test.top1:.2%}", f"{low:.2%} to {high:.2%}"
    return f"{row.validation.top1:.2%}", "validation" + (f", {row.against.points:+.2f}" if row.against else "")


def median(row: Row) -> tuple[str, str]:
    """The median latency and its 95 % interval."""
    series = row.series
    return f"{series.p50_ms:.3f} ms", f"{series.p50_low_ms:.3f} to {series.p50_high_ms:.3f}"


def speedup(row: Row) -> tuple[str, str]:
    """The speed-up against the same run's dense model in the same runtime, and its 95 % interval."""
    series = row.series
    if series.verdict == "reference":
        return "1", ""
    return f"{series.speedup:.2f}", f"{series.speedup_low:.2f} to {series.speedup_high:.2f}"


def units_removed(row: Row) -> str:
    """The share of units that the plan removes."""
    plan = row.candidate.plan
    return f"{plan.units_removed / plan.units:.1%}" if plan else "-"


def conditions_of(block: Block, batch_size: int) -> str:
    """The block in a line: what was measured where."""
    report = block.runs[0].report
    runtimes = dict.fromkeys(RUNTIME_NAMES[row.series.runtime] for row in block.rows)
    threads = report.latency.threads
    return (
        f"batch {batch_size}, {report.candidates[0].onnx_test.samples} test images, {' and '.join(runtimes)} with {threads} "
        f"thread{'s' * (threads != 1)} on {report.latency.machine.gpu or report.latency.machine.cpu}"
    )


def drift(block: Block) -> str:
    """How far latencies of different runs may be trusted; empty for one run."""
    if len(block.runs) == 1:
        return ""
    begin = "These runs were measured at different times, and each speed-up is against the run's own dense model. "
    if block.drift is None:
        return begin + "No file was measured in two of them, so how much the machine drifted between them is not known."
    return begin + (
        f"The same file's median differs by up to {block.drift - 1:.1%} from run to run: smaller differences between runs "
        "say nothing."
    )
