"""report.md: what a sweep found, in words and tables for somebody who sees it for the first time."""

from collections.abc import Sequence

from fair_pruner.ranking import number_name
from pipeline.curve_figure import CURVES
from pipeline.device_text import conditions, engines, latency, precisions, prediction, recommendation
from pipeline.findings import batch_sizes, wilson
from pipeline.headline import headline, points
from pipeline.markdown import section
from pipeline.measurements import RunReport
from pipeline.records import PlanRecord
from pipeline.search_text import search_section

DIGITS = 12  # of a digest, as many as tell records apart; report.json has all 64
NUMBER_NOTES = {
    "tod": "The tolerance is the one setting: the larger, the deeper the cut.",
    "uniform": "This is a baseline: the pruning ratio is the share of units that every group loses.",
    "global": "This is a baseline: the pruning ratio is the share of all units that goes, those of lowest signal first.",
}
BUDGET_NOTE = (
    " Each candidate is cut at the smallest {number} that keeps it within its budget; of what that removes, units are put back "
    "as long as MACs, parameters or bytes stay within (not for a budget of latency or `round_to: auto`)."
)
ROUNDS_NOTE = """ Candidates were cut in up to {rounds} rounds, with scores, recalibration and fine-tuning in each; the
{number} is the largest of the rounds."""
SIZE_NOTE = """\
{setting} MACs are multiply-accumulates for one image; shares in
brackets are of the dense model. 1 MB is 1,000,000 bytes. A star marks what no other candidate beats in both accuracy and
median latency at batch {batch_size}."""
ACCURACY_NOTE = """\
Measured on {samples} test images, with the exported file itself. One image is {image:.2f} points, and the dense model's 95%
interval is {low:.2%} to {high:.2%}: small differences may be chance, and choosing the best of several candidates by the same
images flatters it a little. The {validation} validation images steered the run; "recalibrated only" is the accuracy after
the cut with new BatchNorm statistics, "final" the one after fine-tuning."""
GUARANTEE_NOTE = """\
The R-Score of a unit estimates how much the loss changes without it; the R-mass is their sum, here over all groups. By the
ranks alone the removed mass cannot exceed the bound. "At random" is what removing as many units of each group would take on
average, "uniform" what cutting every group by the same share would take for as many units in all. The margin is uniform minus
removed: with a plus the plan takes less of what the loss notices than uniform pruning, with a minus it takes more. plan.json
and report.json have all of it group by group."""
SEVERAL_ROUNDS_NOTE = " Masses are summed over the rounds, each by its own scores; the share is of the first round's."
RECALL_NOTE = """\
An unchanged mean can hide a class that suffers. Recall is the share of a class's test images that are recognised; classes
count from 0. The weakest class of the dense model is {worst} with {recall:.2%}. All values are in report.json."""
ABOUT = {CURVES: "ToD at every depth of every group, and where it was cut"}
LINEAGE_NOTE = """\
The first {digits} digits of each record's digest: the same inputs give the same digests. This report: `{report}`, the
measurement: `{latency}`."""


def report_text(report: RunReport, figures: Sequence[str]) -> str:
    """The report as Markdown; `figures` are the file names of its images, the Pareto figure first."""
    sections = (
        f"# {report.name}",
        f"**{headline(report)}**",
        recommendation(report),
        *([search_section(report.search)] if report.search else []),
        f"![accuracy against latency]({figures[0]})",
        _sizes(report),
        _accuracy(report),
        latency(report),
        *prediction(report),
        *precisions(report),
        _conditions(report),
        engines(report),
        _guarantee(report),
        *(f"![{ABOUT.get(name, 'units kept and removed per group')}]({name})" for name in figures[1:]),
        _recall(report),
        _lineage(report),
    )
    return "\n\n".join(sections) + "\n"


def _sizes(report: RunReport) -> str:
    dense, rows = report.candidates[0].model, []
    for c in report.candidates:
        row = (
            c.name + (" *" if c.name in report.pareto else ""),
            f"{c.tolerance:.4g}" if c.tolerance is not None else "-",
            f"{c.plan.units_removed / c.plan.units:.1%} ({c.plan.units_removed} of {c.plan.units})" if c.plan else "-",
            f"{c.model.params:,} ({c.model.params / dense.params:.0%})",
            f"{c.model.macs:,} ({c.model.macs / dense.macs:.0%})",
            f"{c.onnx.file.size_bytes / 1e6:.3f}",
        )
        rows.append(row)
    plans = [c.plan for c in report.candidates if c.plan]
    rule = plans[0].rule if plans else "tod"
    rounds, number = max((plan.rounds for plan in plans), default=1), number_name(rule)
    setting = NUMBER_NOTES[rule]
    setting += BUDGET_NOTE.format(number=number) if any(plan.goal.is_budget for plan in plans) else ""
    setting += ROUNDS_NOTE.format(rounds=rounds, number=number) if rounds > 1 else ""
    titles = ("candidate", number, "units removed", "params", "MACs", "ONNX [MB]")
    return section("Size", SIZE_NOTE.format(setting=setting, batch_size=batch_sizes(report.latency)[0]), titles, rows)


def _accuracy(report: RunReport) -> str:
    dense, rows = report.candidates[0], []
    for c in report.candidates:
        row = (
            c.name,
            f"{c.onnx_test.top1:.2%}",
            f"{points(report, c):+.2f}" if c.plan else "-",
            f"{c.torch_test.top1:.2%}",
            f"{c.recalibrated_validation.top1:.2%}" if c.recalibrated_validation else "-",
            f"{c.torch_validation.top1:.2%}",
            f"{c.onnx.parity.max_abs_diff:.1e}",
            f"{c.onnx.parity.top1_agreement:.2%}",
        )
        rows.append(row)
    titles = (
        "candidate",
        "top-1 test, ONNX",
        "points against dense",
        "top-1 test, torch",
        "validation, recalibrated only",
        "validation, final",
        "ONNX and torch: largest difference",
        "same top-1",
    )
    samples = dense.onnx_test.samples
    low, high = wilson(dense.onnx_test.top1, samples)
    validation = dense.torch_validation.samples
    note = ACCURACY_NOTE.format(samples=samples, image=100 / samples, low=low, high=high, validation=validation)
    return section("Accuracy", note, titles, rows)


def _conditions(report: RunReport) -> str:
    dense = report.candidates[0]
    lines = (
        *conditions(report.latency),
        f"images: {dense.onnx_test.samples} test, {dense.torch_validation.samples} validation, "
        f"{dense.onnx.parity.samples} to compare ONNX with torch",
        f"scores: {report.scores.removal}, read at the {report.scores.observe}, {report.scores.aggregate} over the layers of a "
        f"group; {report.scores.protection} R-Score; {report.scores.samples} images of {report.scores.classes} classes",
        f"code: git commit {report.git_commit or 'unknown'}, config {report.config_digest[:DIGITS]}, "
        f"Prefect flow run {report.flow_run_id or 'none'}",
    )
    return "\n".join(("## Conditions of the measurement", "", *(f"- {line}" for line in lines)))


def _guarantee(report: RunReport) -> str:
    plans = [(c.name, c.plan) for c in report.candidates if c.plan]
    note = GUARANTEE_NOTE + (SEVERAL_ROUNDS_NOTE if any(plan.rounds > 1 for _, plan in plans) else "")
    titles = ("candidate", "R-mass removed", "share of all", "bound", "at random", "uniform", "margin against uniform")
    return section("What the plan guarantees", note, titles, [_mass(name, plan) for name, plan in plans])


def _mass(name: str, plan: PlanRecord) -> tuple[str, ...]:
    total, margin = sum(depth.total_mass for depth in plan.depths), plan.exchange_margin
    words = "removes less" if margin > 0 else "removes more" if margin < 0 else "the same"
    return (
        name,
        f"{plan.removed_mass:.4g}",
        f"{plan.removed_mass / total:.1%}" if total else "-",
        f"{plan.mass_bound:.4g}",
        f"{plan.random_mass:.4g}",
        f"{plan.uniform_mass:.4g}",
        f"{margin:+.4g} ({words})",
    )


def _recall(report: RunReport) -> str:
    dense, rows = report.candidates[0].onnx_test.recall, []
    for c in report.candidates[1:]:
        recall = c.onnx_test.recall
        gains = [after - before for before, after in zip(dense, recall, strict=True)]
        most = gains.index(min(gains))
        lost = (str(most), f"{dense[most]:.2%}", f"{recall[most]:.2%}", f"{100 * gains[most]:+.2f}")
        rows.append((c.name, *(lost if gains[most] < 0 else ("none", "-", "-", "-")), f"{min(recall):.2%}"))
    titles = ("candidate", "class that loses most", "recall of it, dense", "candidate", "points", "lowest recall of any class")
    return section("Recall per class", RECALL_NOTE.format(worst=dense.index(min(dense)), recall=min(dense)), titles, rows)


def _lineage(report: RunReport) -> str:
    rows = []
    for c in report.candidates:
        records = (c.plan, c.model, c.onnx, c.onnx_test, c.engine)
        rows.append((c.name, *(f"`{record.digest[:DIGITS]}`" if record else "-" for record in records)))
    note = LINEAGE_NOTE.format(digits=DIGITS, report=report.digest[:DIGITS], latency=report.latency.digest[:DIGITS])
    return section("Lineage", note, ("candidate", "plan", "model", "ONNX", "evaluation", "engine"), rows)
