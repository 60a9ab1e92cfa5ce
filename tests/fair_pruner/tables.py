"""Score tables for tests: drawn by hypothesis, and one like a ResNet-50's."""

import torch
from hypothesis import strategies as st

from fair_pruner import ScoreTable, UnitScores
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


def like_resnet50() -> ScoreTable:
    """53 groups of 64 to 2048 units with seeded random scores."""
    generator = torch.Generator().manual_seed(0)
    sizes = [64] * 13 + [128] * 12 + [256] * 16 + [512] * 7 + [1024] * 3 + [2048] * 2
    drawn = [torch.rand(2, size, generator=generator, dtype=torch.float64).tolist() for size in sizes]
    return table_of(*((u, r) for u, r in drawn))
