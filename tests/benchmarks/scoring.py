"""What scoring costs, beside the authors' package and beside one pass: python tests/benchmarks/scoring.py [--peer-seconds S]

For each network, on the same IMAGES images of 28x28, in one process with the same threads:

- `score` at its defaults, with the split by part, as a multiple of one plain forward and backward pass over the images;
- `get_metrics` of network-pruner 2.16 at its defaults (32 of the images of each class for the distances, 128 directions), if
  it is installed (pip install fair-pruner[bench]). It goes layer by layer: layers are measured, evenly spread, until
  --peer-seconds have passed, and if some are left over the sum is estimated from the mean and marked with ~.

Before that: 100 tolerances for ResNet-50 once its units are ranked, and a budget. Medians of REPEATS, for the peer of one run.
Needs a machine with nothing else to do. Weights are random: neither side's time depends on them much.
"""

import argparse
import contextlib
import functools
import importlib
import importlib.util
import io
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import resnet50

from fair_pruner import Budget, Ranking, allocate, score, tolerance_for
from fair_pruner.r_score import RScore
from fair_pruner.signals import Projections
from pipeline.builtin_models import VGG, CifarResNet

IMAGES, BATCH, REPEATS = 640, 64, 3
MODELS: dict[str, Callable[[], nn.Module]] = {
    "VGG, 10 convolutions": lambda: VGG(1, 10),
    "ResNet-20": lambda: CifarResNet(20, 1, 10),
    "ResNet-56": lambda: CifarResNet(56, 1, 10),
}
PARTS = {
    "find groups": (importlib.import_module("fair_pruner.score"), "find_groups"),
    "project outputs": (Projections, "add"),
    "distances": (Projections, "value"),
    "sum up R": (RScore, "add"),
}
Batches = list[tuple[Tensor, Tensor]]


def seconds(function: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


@contextlib.contextmanager
def stopwatch(spent: Counter[str]) -> Iterator[None]:
    """Add up in `spent` the seconds that go by inside each of PARTS."""

    def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[part] += time.perf_counter() - start

        return run

    originals = {part: getattr(owner, name) for part, (owner, name) in PARTS.items()}
    for part, (owner, name) in PARTS.items():
        setattr(owner, name, timed(part, originals[part]))
    try:
        yield
    finally:
        for part, (owner, name) in PARTS.items():
            setattr(owner, name, originals[part])


def ours(model: nn.Module, batches: Batches) -> tuple[float, float, dict[str, float]]:
    """Seconds of one plain pass and of `score`, and of each part of it (the rest is the pass with what is read off it)."""
    parameters = list(model.parameters())

    def one_pass() -> None:
        for x, y in batches:
            torch.autograd.grad(F.cross_entropy(model(x), y), parameters)

    one_pass()
    passes, totals, parts = [], [], []
    for _ in range(REPEATS):
        passes.append(seconds(one_pass))
        spent: Counter[str] = Counter()
        with stopwatch(spent):
            totals.append(seconds(lambda: score(model, batches, example_input=batches[0][0][:2])))
        parts.append({**spent, "forward and backward": totals[-1] - spent.total()})
    split = {part: statistics.median(one[part] for one in parts) for part in parts[0]}
    return statistics.median(passes), statistics.median(totals), split


def peer(model: nn.Module, batches: Batches, patience: float) -> tuple[float, int, int]:
    """Seconds of the peer for all layers but the last, of how many layers that was measured, and how many there are."""
    from Network_Pruner import get_metrics

    images, labels = (torch.cat(part) for part in zip(*batches, strict=True))
    loader = DataLoader(TensorDataset(images, labels), batch_size=BATCH)
    layers = [place for place, module in enumerate(model.modules()) if isinstance(module, nn.Conv2d | nn.Linear)][:-1]
    spread = sorted(range(len(layers)), key=lambda place: place * 0.618 % 1)  # any first few lie far apart
    spent: list[float] = []
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        while len(spent) < len(layers) and sum(spent) < patience:
            layer, target = layers[spread[len(spent)]], str(Path(folder) / "results.pkl")
            spent.append(seconds(lambda: get_metrics(model, loader, layers2prune=[layer], results_save_path=target)))  # noqa: B023
    return statistics.mean(spent) * len(layers), len(spent), len(layers)


def compare(patience: float) -> None:
    """Both sides, a row a network."""
    with_peer = importlib.util.find_spec("Network_Pruner") is not None
    print(f"\n{IMAGES} images of 28x28, torch {torch.__version__}, {torch.get_num_threads()} threads")  # noqa: T201
    if not with_peer:
        print("network-pruner is not installed, nothing to compare with: pip install fair-pruner[bench]")  # noqa: T201
    heads = ["network", "one pass, s", "score, s", "passes", *PARTS, "forward and backward", "network-pruner, s", "times faster"]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")  # noqa: T201
    for name, make in MODELS.items():
        torch.manual_seed(0)
        model, images = make().eval(), torch.randn(IMAGES, 1, 28, 28)
        batches = list(zip(images.split(BATCH), (torch.arange(IMAGES) % 10).split(BATCH), strict=True))
        one_pass, total, parts = ours(model, batches)
        cells = [f"{one_pass:.2f}", f"{total:.2f}", f"{total / one_pass:.2f}"]
        cells += [f"{100 * parts[part] / total:.0f} %" for part in (*PARTS, "forward and backward")]
        if with_peer:
            expected, measured, layers = peer(model, batches, patience)
            mark = f"~{expected:.0f} ({measured} of {layers} layers)" if measured < layers else f"{expected:.1f}"
            cells += [mark, f"{expected / total:.0f}"]
        else:
            cells += ["not run", "not known"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)  # noqa: T201


def allocation() -> None:
    """100 tolerances and a budget for ResNet-50; few images and directions, as these times do not depend on them."""
    torch.manual_seed(0)
    model, images = resnet50(num_classes=10).eval(), torch.randn(20, 3, 64, 64)
    table = score(model, [(images, torch.arange(20) % 10)], example_input=images[:2], projections=4)
    ranking, tolerances = Ranking(table), [(step + 1) / 100 for step in range(100)]
    together = statistics.median(seconds(lambda: ranking.depths(tolerances)) for _ in range(20))
    singly = statistics.median(seconds(lambda: [allocate(ranking, tolerance=one) for one in tolerances]) for _ in range(5))
    print(  # noqa: T201
        f"\nResNet-50, {len(table.groups)} groups: depths at 100 tolerances in {1000 * together:.2f} ms; "
        f"100 whole plans with units, masses and bounds in {1000 * singly:.0f} ms; "
        f"ranking {1000 * seconds(lambda: Ranking(table)):.0f} ms"
    )
    budget = seconds(lambda: tolerance_for(table, model, example_input=images[:2], budget=Budget(macs=0.5)))
    print(f"ResNet-50, half of the MACs: tolerance found in {budget:.2f} s after scoring, groups and costs included")  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-seconds", type=float, default=1200.0)
    allocation()
    compare(parser.parse_args().peer_seconds)
