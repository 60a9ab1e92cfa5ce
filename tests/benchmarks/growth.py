"""How time and memory of scoring grow: python tests/benchmarks/growth.py

`score` by number of images, classes and directions on the trained ResNet-20 in tests/data with training images of Fashion-MNIST
(more than 10 classes: consecutive runs of the images sorted by class, with a random output layer, for which the time of R does
not care), and on ResNet-50 with 640 random images of 224x224. Every case runs in a process of its own; the memory is the
peak resident memory of that process, less what it had before scoring. Needs a machine with nothing else to do.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models import resnet50
from trained import load_trained

from fair_pruner import score

BATCH, KIB = 64, 2**10


class Case(NamedTuple):
    """What is scored: 28 pixels: ResNet-20; 224: ResNet-50."""

    pixels: int
    images: int
    classes: int
    projections: int


CASES = (
    *(Case(28, images, 10, 64) for images in (160, 640, 2560, 10000)),
    *(Case(28, 10000, classes, 64) for classes in (100, 1000)),
    *(Case(28, 640, 10, projections) for projections in (16, 256, 1024)),
    Case(224, 640, 10, 64),
)


class Drawn:
    """Batches of random images that are drawn anew each time, so that the images themselves take no memory."""

    def __init__(self, case: Case) -> None:
        self.case = case

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(0)
        for labels in (torch.arange(self.case.images) % self.case.classes).split(BATCH):
            yield torch.randn(len(labels), 3, self.case.pixels, self.case.pixels, generator=generator), labels


def run(case: Case) -> tuple[float, float]:
    """Seconds and MiB of one scoring in this process."""
    torch.manual_seed(0)
    if case.pixels == 28:
        model, data = load_trained()
        model.fc = nn.Linear(64, case.classes)
        fit = torch.tensor(data.fit_indices)
        chosen = fit[torch.randperm(len(fit))[: case.images]]
        images, _ = data.train.load(chosen[data.train.labels[chosen].argsort()].tolist())
        labels = torch.arange(case.images) * case.classes // case.images
        mixed = torch.randperm(case.images)
        batches = list(zip(images[mixed].split(BATCH), labels[mixed].split(BATCH), strict=True))
        example = images[:2]
    else:
        model, batches, example = resnet50(num_classes=case.classes).eval(), Drawn(case), torch.randn(2, 3, 224, 224)
    before, start = _peak(), time.perf_counter()
    score(model, batches, example_input=example, projections=case.projections)
    return time.perf_counter() - start, _peak() - before


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB


def main() -> None:
    heads = ("network", "images", "classes", "directions", "seconds", "memory, MiB", "whole process, MiB")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads\n")  # noqa: T201
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")  # noqa: T201
    for case in CASES:
        command = [sys.executable, str(Path(__file__)), json.dumps(case)]
        spent, memory, whole = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        name = "ResNet-20, 28x28" if case.pixels == 28 else "ResNet-50, 224x224"
        row = (name, case.images, case.classes, case.projections, f"{spent:.1f}", f"{memory:.0f}", f"{whole:.0f}")
        print(f"| {' | '.join(map(str, row))} |", flush=True)  # noqa: T201


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps([*run(Case(*json.loads(sys.argv[1]))), _peak()]))  # noqa: T201
    else:
        main()
