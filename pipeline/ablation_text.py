"""A comparison of ways to prune, in words and tables of Markdown that a terminal shows as well."""

import statistics
from collections.abc import Iterator
from itertools import product
from textwrap import fill

from pipeline.ablation import AblationReport, Spread, course, recovered_after
from pipeline.ablation_verdicts import comparable, readings, summary, verdicts
from pipeline.latency import LatencyReport
from pipeline.markdown import section
from pipeline.records import Goal

WIDTH = 100
ONE_SEED = "One seed, which tells nothing of the spread: every difference here may be chance."
COSTS = ("MACs left", "params left", "units removed")
FEW = (1, 3, 10, 30, 100, 300)  # the whole epochs that a table shows beside the last one


def ablation_text(report: AblationReport) -> str:
    """What was compared, at how many budgets it differs, two tables a budget, latencies, and what the words mean."""
    first, others, dense = report.methods[0], report.methods[1:], report.dense
    parts = [
        f"# {report.name}: {first} against {', '.join(others) or 'nothing'}",
        _filled(
            f"{dense.architecture.name}, {dense.macs / 1e6:.3g} M MACs, {dense.params / 1e3:.4g} k parameters. Dense top-1: "
            f"{report.top1_validation:.2%} of {report.validation_samples} validation images, {report.top1_test:.2%} of "
            f"{report.test_samples} test images. {_recipe(report)}"
        ),
    ]
    if others and len(report.goals) > 1 and len(report.seeds) > 1:
        note = f"What {first} is, against each other method, and at how many of the {len(report.goals)} budgets."
        parts.append(section("In short", note, ("against", *readings(report).values()), summary(report), WIDTH))
    for goal in report.goals:
        parts += _budget(report, goal)
    if report.latency:
        parts.append(_latency(report, report.latency))
    parts.append("\n".join(("## What the words mean", "", *(_item(text) for text in _legend(report)))))
    return "\n\n".join(parts) + "\n"


def spread_text(spread: Spread) -> str:
    """In percent."""
    return f"{100 * spread.mean:.2f}" + (f" ± {100 * spread.sd:.2f}" if spread.sd is not None else "")


def _recipe(report: AblationReport) -> str:
    recipe = report.config["finetune"]
    teacher, seeds = recipe["distillation"], len(report.seeds)
    taught = f"distilled from the dense model (weight {teacher['weight']}, T {teacher['temperature']})"
    trained = f"{_epochs(recipe['epochs'])}, lr {recipe['lr']}, {taught if teacher['weight'] else 'no distillation'}"
    return (
        f"Same data and recipe for every method: {trained if recipe['epochs'] else 'no fine-tuning'}. "
        f"{f'{seeds} seeds.' if seeds > 1 else ONE_SEED}"
    )


def _budget(report: AblationReport, goal: Goal) -> Iterator[str]:
    """The accuracies of all methods at one budget, what differs, and the course of the fine-tuning."""
    spread = ", mean ± standard deviation over the seeds" if len(report.seeds) > 1 else ""
    rows = [_row(report, goal, method) for method in report.methods]
    names = readings(report).values()
    yield section(str(goal), f"Top-1 in %{spread}.", ("method", *COSTS, *names), rows, WIDTH)
    if found := verdicts(report, goal):
        yield "\n".join(_item(text) for text in found)
    if len(marks := _marks(report, goal)) > 1:
        note = f"Validation top-1 in % after so many epochs of fine-tuning{spread}."
        titles = ("method", *(f"{mark:.3g}" for mark in marks), "recovered after")
        curves = [_curve(report, goal, method, marks) for method in report.methods]
        yield section(f"{goal}, recovery", note, titles, curves, WIDTH)


def _row(report: AblationReport, goal: Goal, method: str) -> tuple[str, ...]:
    cells = report.of(method, goal)
    macs = statistics.mean(cell.macs / report.dense.macs for cell in cells)
    params = statistics.mean(cell.params / report.dense.params for cell in cells)
    removed = statistics.mean(cell.plan.units_removed / cell.plan.units for cell in cells)
    accuracies = (spread_text(Spread.of(cell.top1(reading) for cell in cells)) for reading in readings(report))
    return method, f"{macs:.1%}", f"{params:.1%}", f"{removed:.1%}", *accuracies


def _marks(report: AblationReport, goal: Goal) -> list[float]:
    """Epochs worth a column: those before the first whole one, a few whole ones, and the last."""
    found = sorted({mark for method in report.methods for mark in course(report.of(method, goal))})
    return [mark for mark in found if mark < 1 or mark in (*FEW, found[-1])]


def _curve(report: AblationReport, goal: Goal, method: str, marks: list[float]) -> tuple[str, ...]:
    cells = report.of(method, goal)
    found, reached = course(cells), recovered_after(cells, report.top1_validation)
    shown = (spread_text(Spread.of(found[mark])) if mark in found else "-" for mark in marks)
    return method, *shown, "not reached" if reached is None else _epochs(reached)


def _epochs(count: float) -> str:
    return f"{count:.3g} epoch{'s' * (count != 1)}"


def _latency(report: AblationReport, latency: LatencyReport) -> str:
    named = {cell.candidate: (str(cell.goal), cell.method) for cell in report.cells}
    rows = [
        (
            *named.get(series.candidate, (series.candidate, "")),
            str(series.batch_size),
            f"{series.p50_ms:.3f}",
            f"{series.speedup:.2f} [{series.speedup_low:.2f}, {series.speedup_high:.2f}]",
            series.verdict,
        )
        for series in latency.series
    ]
    machine = latency.machine
    note = (
        f"Of the files of seed {report.seeds[0]} alone, beside the dense model's: the median of a batch, and the speed-up over "
        f"dense with its 95 % interval. ONNX Runtime, {latency.threads} thread{'s' * (latency.threads > 1)}, {machine.cpu}, "
        f"{latency.rounds} rounds; other work kept {machine.busy_cores:.1f} of {machine.cores} cores busy when it began."
    )
    return section("Latency", note, ("budget", "method", "batch", "median [ms]", "speed-up", "verdict"), rows, WIDTH)


def _legend(report: AblationReport) -> Iterator[str]:
    seeds = len(report.seeds)
    yield (
        "A method is a signal that proposes units for removal and a rule that decides how deep each group is cut, as in "
        "l1-uniform; fair is wasserstein-tod. All cut as little as meets the budget, such as macs 0.5: half of the dense MACs."
    )
    yield ("recalibrated: after the cut, BatchNorm statistics measured anew, not yet fine-tuned; on the validation images.")
    if any("@" in method for method in report.methods):
        yield (
            "@3: cut in three rounds, each with its own scores, recalibration and a share of the same epochs; recalibrated is "
            "then before the last share, and not to be compared with a single cut."
        )
    if "validation" in readings(report):
        yield "fine-tuned: on the validation images, which also choose the epoch that is kept, so this figure flatters a little."
    yield "test: the ONNX file on the test images, which choose nothing."
    if "validation" in readings(report):
        yield "recovered after: the first measurement on the validation images whose mean is at most 0.5 points below dense."
    if seeds > 1 and report.methods[1:]:
        every = product(report.goals, report.methods[1:], readings(report))
        intervals = sum(comparable(report, goal, other, reading) for goal, other, reading in every)
        yield (
            "better, worse: the 95 % interval of the difference, in points and seed by seed (Student's t), leaves out 0. "
            f"{intervals} such intervals were looked at; if nothing differed, about one in twenty would leave out 0 all the same."
        )
        yield (
            "unsure, no sure difference: these seeds do not tell the methods apart, which does not make them equal. More seeds "
            "narrow the interval: on either side it has 12.7 standard errors with 2 seeds, 4.3 with 3, 2.8 with 5."
        )
    yield (
        "A seed draws calibration images, random directions and scores, and the batches of the fine-tuning. The dense model and "
        "the split of the images are the same for all, so nothing here tells how another dense model would fare."
    )


def _item(text: str) -> str:
    return _filled(f"- {text}", "  ")


def _filled(text: str, indent: str = "") -> str:
    """In lines of WIDTH that do not break a method's name."""
    return fill(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)
