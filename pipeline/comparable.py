"""Which runs' numbers may be held against each other: latencies of one machine, accuracies on the same images."""

import json
from typing import Any

from pipeline.measurements import RunReport

ONLY_A_PLACE = ("digits", "fashion_mnist", "cifar10", "cifar100", "svhn")  # the same images wherever data.root is


def comparable_key(report: RunReport) -> str:
    """Equal for runs that compare."""
    return json.dumps([_machine(report), _images(report)], sort_keys=True)


def why_apart(first: RunReport, second: RunReport, here: str, there: str) -> tuple[str, ...]:
    """What differs in sentences: one for the machines, one for the images. The two runs are called `here` and `there`."""
    return tuple(filter(None, (other_machine(first, second, here, there), other_images(first, second, here, there))))


def other_machine(first: RunReport, second: RunReport, here: str, there: str) -> str:
    """Why latencies must not be compared; empty if they may be."""
    return _apart("latencies of different machines", _machine(first), _machine(second), here, there)


def other_images(first: RunReport, second: RunReport, here: str, there: str) -> str:
    """Why accuracies must not be compared; empty if they may be."""
    return _apart("accuracies on different images", _images(first), _images(second), here, there)


def other_split(first: RunReport, second: RunReport, here: str, there: str) -> str:
    """Why accuracies on the validation images must not be compared: the seed draws these; empty if it is the same."""
    one, other = first.config.get("seed", 0), second.config.get("seed", 0)
    return f"the validation images are others: the seed is {one} in {here} and {other} in {there}" if one != other else ""


def _apart(subject: str, one: dict[str, Any], other: dict[str, Any], here: str, there: str) -> str:
    what = ", ".join(
        f"{key} is {_word(one.get(key))} in {here} and {_word(other.get(key))} in {there}"
        for key in sorted(one | other)
        if one.get(key) != other.get(key)
    )
    return f"{subject} are not compared: {what}" if what else ""


def _machine(report: RunReport) -> dict[str, Any]:
    return report.latency.machine.identity | {"threads": report.latency.threads}


def _images(report: RunReport) -> dict[str, Any]:
    data = dict(report.config.get("data", {}))
    data.pop("download", None)
    if data.get("name") in ONLY_A_PLACE:
        data.pop("root", None)
    return {f"data.{key}": value for key, value in data.items()} | {"test images": report.candidates[0].onnx_test.samples}


def _word(value: Any) -> str:
    return "none" if value in (None, "") else str(value)
