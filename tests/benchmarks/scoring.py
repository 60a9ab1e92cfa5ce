"""How much scoring costs, in passes over the calibration data: python tests/benchmarks/scoring.py

Prints the time of `fair_pruner.score` on ResNet-20 (640 images of 28x28, 128 directions) as a multiple of one forward and
backward pass over the same images, measured in the same run. Needs a machine with nothing else to do.
"""

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from fair_pruner import score
from pipeline.builtin_models import CifarResNet

IMAGES, BATCH, REPEATS = 640, 64, 5


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    torch.manual_seed(0)
    model = CifarResNet(20, 1, 10).eval()
    images, labels = torch.randn(IMAGES, 1, 28, 28), torch.arange(IMAGES) % 10
    batches = list(zip(images.split(BATCH), labels.split(BATCH), strict=True))

    def one_pass() -> None:
        for x, y in batches:
            torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters()))

    one_pass()
    pairs = [(seconds(one_pass), seconds(lambda: score(model, batches, example_input=images[:2]))) for _ in range(REPEATS)]
    ratios = sorted(scoring / passing for passing, scoring in pairs)
    print(  # noqa: T201
        f"score / (forward + backward pass): median {statistics.median(ratios):.2f}, {ratios[0]:.2f} to {ratios[-1]:.2f} "
        f"in {REPEATS} repeats; one pass {statistics.median(p for p, _ in pairs):.2f} s, "
        f"score {statistics.median(s for _, s in pairs):.2f} s; torch {torch.__version__}, {torch.get_num_threads()} threads"
    )


if __name__ == "__main__":
    main()
