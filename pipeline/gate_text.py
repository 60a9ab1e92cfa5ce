"""A gate's result as Markdown, for the page of a CI job."""

from pipeline.bounds import validation_top1
from pipeline.device_text import conditions
from pipeline.gate import GateResult, reason
from pipeline.markdown import section
from pipeline.measurements import RunReport
from pipeline.saved_report import candidate_named

NOTE = """\
A speed-up is judged by the lower end of its interval, a slowdown by the upper: where the interval is wide around what is asked
for, the measurement is too noisy to tell, and the file does not pass. Accuracy is judged on the validation images: the test
images choose nothing."""


def gate_text(report: RunReport, result: GateResult) -> str:
    """The verdict, every bound, the accuracy, what ships under these bounds and what does not, conditions of the measurement."""
    rows = [(check.name, check.found, check.allowed, check.outcome) for check in result.checks]
    title = f"{report.name}: {'passes the gate' if result.passes else 'does not pass the gate'}"
    parts = [
        section(title, NOTE, ("bound", "found", "allowed", "outcome"), rows),
        "\n".join(f"- {check.name}: {reason(check)}" for check in result.checks if check.outcome != "passed"),
        _judged(report, result),
        _recommended(result),
        _others(result),
        "Conditions of the measurement:\n\n" + "\n".join(f"- {line}" for line in conditions(report.latency)),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _recommended(result: GateResult) -> str:
    found = result.recommendation
    if not found.candidate:
        return f"{found.reason}."
    by_the_baseline = not result.passes and (found.candidate, found.precision) == (result.candidate, result.precision)
    return f"{'Without the baseline it would ship: ' if by_the_baseline else 'To ship: '}{found.reason}."


def _others(result: GateResult) -> str:
    """Every other file that these bounds refuse."""
    judged = f"{result.candidate} {result.precision}"
    lines = [f"- {name}: {why}" for name, why in result.recommendation.refused.items() if name != judged]
    return "\n".join(("Refused as well:", "", *lines)) if lines else ""


def _judged(report: RunReport, result: GateResult) -> str:
    """The accuracy of the judged file; only fp32 files are evaluated on the test images."""
    candidate, dense = candidate_named(report, result.candidate), report.candidates[0]
    files = {file.onnx.precision: file.onnx for file in candidate.files}
    validation = validation_top1(candidate, files[result.precision], result.runtime)
    tested = "on the test images" if result.precision == "fp32" else "of its fp32 file on the test images"
    return (
        f"Judged: {result.candidate} in {result.precision}, in {result.runtime} at batch {result.batch_size}. Top-1 on the "
        f"validation images {validation:.2%} (dense {dense.onnx_validation.top1:.2%}), {tested} {candidate.onnx_test.top1:.2%} "
        f"(dense {dense.onnx_test.top1:.2%})."
    )
