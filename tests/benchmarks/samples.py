"""How many images and directions a ranking needs: python tests/benchmarks/samples.py [--figure PATH.png]

Kendall's tau between the ranking of a group's units and the ranking of a large run (LARGE_SAMPLES images a class,
LARGE_DIRECTIONS directions), as mean over the groups of the trained ResNet-20 in tests/data and over SEEDS. The small runs
draw their Fashion-MNIST training images from those that the large run does not use, and other directions.
"""

import argparse
import statistics
from pathlib import Path

import torch
from matplotlib.figure import Figure
from scipy.stats import kendalltau
from torch import Tensor
from trained import load_trained

from fair_pruner import ScoreTable, score
from pipeline.data import batches
from pipeline.datasets import per_class
from pipeline.drawing import CANDIDATE, DENSE, INK, plain, png, title

LARGE_SAMPLES, LARGE_DIRECTIONS = 1024, 512
SAMPLES, DIRECTIONS = (4, 8, 16, 32, 64, 128, 256), (1, 4, 16, 64, 256)
DEFAULT_SAMPLES, DEFAULT_DIRECTIONS, SEEDS = 64, 64, (1, 2, 3)
Taus = dict[int, tuple[float, float]]


def agreement(small: ScoreTable, large: ScoreTable) -> tuple[float, float]:
    """Mean over groups of Kendall's tau, of U and of R."""
    pairs = list(zip(small.groups, large.groups, strict=True))
    u = statistics.mean(kendalltau(one.u_score, other.u_score).statistic for one, other in pairs)
    r = statistics.mean(kendalltau(one.r_score, other.r_score).statistic for one, other in pairs)
    return u, r


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", type=Path)
    figure = parser.parse_args().figure
    model, data = load_trained()
    fit = torch.tensor(data.fit_indices)

    def scored(pool: Tensor, samples: int, directions: int, seed: int) -> ScoreTable:
        chosen = pool[list(per_class(data.train.labels[pool], data.num_classes, samples, seed))].tolist()
        images = list(batches(data.train, chosen, 256))
        return score(model, images, example_input=images[0][0][:2], projections=directions, seed=seed, memory_mb=8192)

    used = set(per_class(data.train.labels[fit], data.num_classes, LARGE_SAMPLES, 0))
    large = scored(fit[sorted(used)], LARGE_SAMPLES, LARGE_DIRECTIONS, 0)
    rest = fit[[place for place in range(len(fit)) if place not in used]]

    def mean_agreement(samples: int, directions: int) -> tuple[float, float]:
        found = [agreement(scored(rest, samples, directions, seed), large) for seed in SEEDS]
        return statistics.mean(u for u, _ in found), statistics.mean(r for _, r in found)

    by_samples: Taus = {samples: mean_agreement(samples, DEFAULT_DIRECTIONS) for samples in SAMPLES}
    by_directions: Taus = {directions: mean_agreement(DEFAULT_SAMPLES, directions) for directions in DIRECTIONS}
    for what, taus in (("images a class", by_samples), ("directions", by_directions)):
        print(f"\n| {what} | {' | '.join(map(str, taus))} |\n|{'---|' * (len(taus) + 1)}")  # noqa: T201
        for place, score_name in enumerate(("U", "R")):
            print(f"| tau of {score_name} | {' | '.join(f'{tau[place]:.3f}' for tau in taus.values())} |")  # noqa: T201
    if figure:
        figure.write_bytes(drawn(by_samples, by_directions))


def drawn(by_samples: Taus, by_directions: Taus) -> bytes:
    """PNG of both tables, side by side."""
    canvas = Figure(figsize=(9, 3.8), layout="constrained", dpi=150)
    left, right = canvas.subplots(1, 2, sharey=True)
    for axes, taus, default in ((left, by_samples, DEFAULT_SAMPLES), (right, by_directions, DEFAULT_DIRECTIONS)):
        for place, (name, colour) in enumerate((("U-Score", CANDIDATE), ("R-Score", DENSE))):
            axes.plot(list(taus), [tau[place] for tau in taus.values()], "o-", color=colour, label=name)
        axes.axvline(default, color=INK, linewidth=0.8, linestyle=":")
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(taus), list(map(str, taus)))
        axes.set_ylim(0, 1)
        plain(axes)
    title(left, "Images a class", f"{DEFAULT_DIRECTIONS} directions; dotted: the default")
    title(right, "Random directions", f"{DEFAULT_SAMPLES} images a class; dotted: the default")
    left.set_ylabel("Kendall's tau against the large run", color=INK)
    left.legend(frameon=False, loc="lower right")
    return png(canvas)


if __name__ == "__main__":
    main()
