"""What a comparison of ways to prune says of the first method beside each other one, in words."""

import statistics
from collections import Counter
from collections.abc import Iterator
from typing import Literal, get_args

from pipeline.ablation import AblationReport, Cell, Difference, Reading, difference
from pipeline.records import Goal

Verdict = Literal["better", "worse", "unsure", "one seed"]
READINGS: dict[Reading, str] = {"recalibrated": "recalibrated", "validation": "fine-tuned", "test": "test"}
MATCHED = 1.01  # a cost that is more than this times another is not the same


def readings(report: AblationReport) -> dict[Reading, str]:
    """The accuracies to show, by what they are called: without fine-tuning the two of the validation images are one."""
    tuned = report.config["finetune"]["epochs"] > 0
    return {reading: name for reading, name in READINGS.items() if tuned or reading != "validation"}


def verdict(found: Difference) -> Verdict:
    """Whether the first method is better, as far as the seeds can tell."""
    if found.low is None:
        return "one seed"
    if not found.sure:
        return "unsure"
    return "better" if found.mean > 0 else "worse"


def difference_text(found: Difference) -> str:
    """In points, with the interval if there is one."""
    if found.low is None:
        return f"{found.mean:+.2f}"
    interval = f"[{found.low:+.2f}, {found.high:+.2f}]" if found.low != found.high else "(the same for every seed)"
    return f"{found.mean:+.2f} {interval}"


def summary(report: AblationReport) -> list[tuple[str, ...]]:
    """A row a rival: its name, and for each reading at how many of the budgets the first method is better, worse, or neither."""
    return [(other, *(_counts(report, other, reading) for reading in readings(report))) for other in report.methods[1:]]


def verdicts(report: AblationReport, goal: Goal) -> list[str]:
    """The sentences on one budget: for each rival one a reading that differs, and one for those that do not."""
    lines = [_unmatched(report, goal)] if _unmatched(report, goal) else []
    for other in report.methods[1:]:
        lines += _against(report, goal, other)
    return lines


def comparable(report: AblationReport, goal: Goal, other: str, reading: Reading) -> bool:
    """Whether a difference says anything: before the last fine-tuning one may have had some of it already, and the other none."""
    before = [{cell.epochs_before for cell in report.of(name, goal)} for name in (report.methods[0], other)]
    return reading != "recalibrated" or before[0] == before[1]


def _counts(report: AblationReport, other: str, reading: Reading) -> str:
    goals = [goal for goal in report.goals if comparable(report, goal, other, reading)]
    found = Counter(verdict(_of(report, goal, other, reading)) for goal in goals)
    return ", ".join(f"{found[word]} {word}" for word in get_args(Verdict) if found[word]) or "-"


def _against(report: AblationReport, goal: Goal, other: str) -> Iterator[str]:
    first, open_ = report.methods[0], list[str]()
    for reading, what in readings(report).items():
        if not comparable(report, goal, other, reading):
            continue
        found = _of(report, goal, other, reading)
        if found.sure:
            yield f"{what}: {first} is {verdict(found)} than {other} by {_size(found)}"
        else:
            open_.append(f"{what} {difference_text(found)}")
    if open_:
        why = "one seed, which cannot tell" if len(report.seeds) == 1 else "no sure difference"
        yield f"{first} minus {other}, {why}: {', '.join(open_)}"


def _size(found: Difference) -> str:
    """A sure difference without its sign, which the word has."""
    low, high = sorted((abs(found.low or 0), abs(found.high or 0)))
    return f"{abs(found.mean):.2f} points [{low:.2f}, {high:.2f}]"


def _of(report: AblationReport, goal: Goal, other: str, reading: Reading) -> Difference:
    """The first method minus another."""
    return difference(*([cell.top1(reading) for cell in report.of(name, goal)] for name in (report.methods[0], other)))


def _unmatched(report: AblationReport, goal: Goal) -> str:
    """A warning if the methods do not cost the same; empty if they do."""
    costs = sorted((statistics.mean(map(_cost, report.of(method, goal))), method) for method in report.methods)
    (least, cheap), (most, dear) = costs[0], costs[-1]
    if most <= MATCHED * least:
        return ""
    what = f"{dear} keeps {most / least - 1:.1%} more {goal.quantity} than {cheap}"
    return f"the costs are not the same: {what}, so accuracies do not compare"


def _cost(cell: Cell) -> int:
    """What the budget limits."""
    return {"macs": cell.macs, "params": cell.params, "bytes": cell.plan.weights_bytes}[cell.goal.quantity]
