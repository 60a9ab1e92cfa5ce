"""Score tables for tests: drawn by hypothesis, and one like a ResNet-50's."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from hypothesis import strategies as st

from fair_pruner import Cost, Group, PruningPlan, ScoreTable, UnitScores
from fair_pruner.types import Removal

# few whole numbers, so that ties are common, beside arbitrary ones
scores = st.one_of(st.integers(0, 8).map(float), st.floats(0, 100, allow_subnormal=False))
numbers = st.floats(0.001, 1.0)  # tolerances or ratios


def table_of(*groups: tuple[list[float], list[float]], removal: Removal = "wasserstein") -> ScoreTable:
    """A table of groups g0, g1, ... from (u, r) each."""
    units = (UnitScores(f"g{i}", tuple(u), tuple(r), (f"g{i}",)) for i, (u, r) in enumerate(groups))
    return ScoreTable(tuple(units), removal, 1, 0, 1, 2)


def group_of(n: int) -> st.SearchStrategy[tuple[list[float], list[float]]]:
    return st.tuples(*[st.lists(scores, min_size=n, max_size=n)] * 2)


tables = st.lists(st.integers(1, 30).flatmap(group_of), min_size=1, max_size=4).map(lambda groups: table_of(*groups))


def scores_for(groups: Sequence[Group], seed: int, agreement: float) -> ScoreTable:
    """Seeded random scores of a model's groups; the R-Scores agree with the signal (1), contradict it (-1) or in between."""
    generator = torch.Generator().manual_seed(seed)
    scored = []
    for group in groups:
        u, noise = torch.rand(2, group.units, generator=generator, dtype=torch.float64)
        r = torch.lerp(noise, u if agreement > 0 else 1 - u, abs(agreement))
        scored.append(UnitScores(group.name, tuple(u.tolist()), tuple(r.tolist()), (group.name,)))
    return ScoreTable(tuple(scored), "random", 1, seed, 1, 2)


class Counting(NamedTuple):
    """The costs of a model that spends one on each unit, and twice that on the last group's."""

    table: ScoreTable

    @property
    def dense(self) -> Cost:
        return self.after(PruningPlan((), 0.1, "tod", 1, 1))

    def after(self, plan: PruningPlan) -> Cost:
        units = {group.name: group.units for group in self.table.groups}
        units |= {group.name: group.units - len(group.pruned) for group in plan.groups}
        params = sum(units.values()) + units[self.table.groups[-1].name]
        return Cost(params=params, macs=params, bytes=params)


def like_resnet50() -> ScoreTable:
    """53 groups of 64 to 2048 units with seeded random scores."""
    generator = torch.Generator().manual_seed(0)
    sizes = [64] * 13 + [128] * 12 + [256] * 16 + [512] * 7 + [1024] * 3 + [2048] * 2
    drawn = [torch.rand(2, size, generator=generator, dtype=torch.float64).tolist() for size in sizes]
    return table_of(*((u, r) for u, r in drawn))
