"""What the U-Score of one layer costs by number of classes: python tests/benchmarks/class_pairs.py

Compares `class_diameter` with brute force (torch's sort, then one distance after the other), per layer of UNITS units.
Features: outputs of the trained ResNet-20 in tests/data on training images of Fashion-MNIST (Debian's
dataset-fashion-mnist). With 10 classes these are its classes. 100 and 1000 are pseudo-classes: the images of a class, in
order of their first principal component, are cut into 10 equal parts, and each part again into 10 by its own; parts differ
truly, though less than classes of another data set would, and the network was not trained to tell them apart. Noise:
Gaussian values, all classes of one distribution, the worst case: all distances are nearly equal.
Time is the median of the repeats, for brute force of one run; where that would take more than a minute it is estimated from
a part of the pairs and marked with ~. Needs a machine with nothing else to do.
"""

import statistics
import time
from collections.abc import Callable
from itertools import combinations, islice
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from fair_pruner.u_score import class_diameter, project
from pipeline.config import DataConfig
from pipeline.data import load_data
from pipeline.datasets import Split
from pipeline.models import build_model, load_checkpoint
from pipeline.records import Architecture

TRAINED = Path(__file__).parents[1] / "data" / "fashion_mnist_resnet20.safetensors"
LAYERS = ("conv1", "layer2.1.conv1", "layer3.2.conv2")
CASES = (
    (10, 64, 32),
    (10, 64, 128),
    (100, 16, 128),
    (100, 64, 32),
    (100, 64, 128),
    (1000, 10, 32),
    (1000, 10, 128),
    (1000, 50, 32),
)
UNITS, REPEATS, PATIENCE, SAMPLE = 16, 3, 60, 2000


def parts_of(pixels: Tensor, cuts: int) -> list[Tensor]:
    """Rows of `pixels` (n, features) in 10 ** cuts parts of equal size, cut along first principal components."""
    if not cuts:
        return [torch.arange(len(pixels))]
    along = pixels @ torch.linalg.svd(pixels[:2000] - pixels.mean(0), full_matrices=False)[2][0]
    return [part[inner] for part in along.argsort().tensor_split(10) for inner in parts_of(pixels[part], cuts - 1)]


def chosen_images(data: Split, classes: int, samples: int) -> list[int]:
    """`samples` random training images of each of 10, 100 or 1000 (pseudo-)classes, class by class."""
    torch.manual_seed(0)
    chosen: list[int] = []
    for label in range(10):
        members = torch.nonzero(data.labels == label).flatten()
        for part in parts_of(data.load(members.tolist())[0].flatten(1), len(str(classes)) - 2):
            chosen += members[part[torch.randperm(len(part))[:samples]]].tolist()
    return chosen


def features(model: torch.nn.Module, data: Split, chosen: list[int], projections: int) -> dict[str, Tensor]:
    """Projected outputs (n, UNITS, P) of the layers."""
    seen: dict[str, list[Tensor]] = {name: [] for name in LAYERS}
    hooks = [
        model.get_submodule(name).register_forward_hook(
            lambda _m, _i, out, to=values: to.append(project(out[:, :UNITS], 1, projections, 0))
        )
        for name, values in seen.items()
    ]
    for start in range(0, len(chosen), 250):
        model(data.load(chosen[start : start + 250])[0])
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(batches) for name, batches in seen.items()}


def brute_force(values: Tensor, labels: Tensor) -> tuple[float, bool]:
    """Seconds for all pairs, and whether that is an estimate from the first `SAMPLE` pairs."""
    start = time.perf_counter()
    ordered = [values[labels == label].sort(dim=0).values for label in labels.unique()]
    sorting, best = time.perf_counter() - start, torch.zeros(values.shape[1])
    pairs, done = len(ordered) * (len(ordered) - 1) // 2, 0
    remaining = combinations(ordered, 2)
    start = time.perf_counter()
    while batch := list(islice(remaining, SAMPLE)):
        for first, second in batch:
            best = torch.maximum(best, (first - second).abs().mean(dim=0).mean(dim=-1))
        done += len(batch)
        expected = sorting + (time.perf_counter() - start) / done * pairs
        if expected > PATIENCE:
            return expected, True
    return sorting + time.perf_counter() - start, False


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def report(what: str, values: Tensor, classes: int, samples: int) -> None:
    labels = torch.arange(classes).repeat_interleave(samples)
    found = class_diameter(values, labels)
    ours = statistics.median(seconds(lambda: class_diameter(values, labels)) for _ in range(REPEATS))
    brute, estimated = brute_force(values, labels)
    print(  # noqa: T201
        f"{classes:7} {samples:7} {values.shape[2]:10} {what:15} {'~' if estimated else ' '}{brute:9.3f} {ours:8.3f} "
        f"{brute / ours:7.1f} {100 * (1 - found.evaluated / found.pairs):9.2f} %",
        flush=True,
    )


def main() -> None:
    with safe_open(TRAINED, "pt") as file:
        model = build_model(Architecture.model_validate_json(file.metadata()["architecture"]))
    load_checkpoint(model, TRAINED)
    model.eval().requires_grad_(False)
    data = load_data(DataConfig(name="fashion_mnist"), 0).train
    print(f"{UNITS} units, torch {torch.__version__}, {torch.get_num_threads()} threads, {REPEATS} repeats")  # noqa: T201
    print("classes samples directions features          brute s   ours s   ratio  avoided")  # noqa: T201
    for classes, samples, projections in CASES:
        layers = features(model, data, chosen_images(data, classes, samples), projections)
        for name, values in (*layers.items(), ("noise", torch.randn_like(layers[LAYERS[0]]))):
            report(name, values, classes, samples)


if __name__ == "__main__":
    main()
