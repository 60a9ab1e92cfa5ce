"""The bound on the removed R-mass, and the uniform plan that a plan is compared with."""

import math
from random import Random

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fair_pruner import ScoreTable, allocate
from fair_pruner.guarantee import mass_bound, uniform_depths
from fair_pruner.types import Rule

from .tables import numbers, scores, table_of, tables

rules = st.sampled_from(["tod", "uniform", "global"])


@given(st.lists(scores, min_size=1, max_size=30), st.randoms(use_true_random=False))
@settings(max_examples=520, deadline=None)
def test_the_removed_mass_never_exceeds_the_bound_at_any_depth(masses: list[float], random: Random) -> None:
    """In floats, without an epsilon, and whichever way ties of R are broken."""
    n = len(masses)
    removal, falling = random.sample(range(n), n), sorted(range(n), key=lambda j: (-masses[j], random.random()))
    descending = [masses[j] for j in falling]
    for depth in range(n + 1):
        removed, tail = removal[:depth], falling[:depth]
        overlap = len(set(removed) & set(tail))
        assert math.fsum(masses[j] for j in removed) <= mass_bound(descending, depth, overlap)


@given(st.lists(scores, min_size=1, max_size=12), st.data())
@settings(max_examples=500, deadline=None)
def test_the_bound_is_attained_and_grows_with_the_overlap(masses: list[float], data: st.DataObject) -> None:
    n, descending = len(masses), sorted(masses, reverse=True)
    depth = data.draw(st.integers(0, n))
    overlap = data.draw(st.integers(max(0, 2 * depth - n), depth))
    worst = [*range(overlap), *range(depth, 2 * depth - overlap)]  # ranks of units with that overlap
    assert len(worst) == depth and len(set(worst) & set(range(depth))) == overlap
    assert math.fsum(descending[rank] for rank in worst) == mass_bound(descending, depth, overlap)
    if overlap < depth:
        assert mass_bound(descending, depth, overlap) <= mass_bound(descending, depth, overlap + 1)


@given(tables, numbers, rules, st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=150, deadline=None)
def test_every_plan_keeps_its_bound_and_states_its_margin(
    table: ScoreTable, number: float, rule: Rule, round_to: int, min_units: int
) -> None:
    plan = allocate(table, tolerance=number, rule=rule, round_to=round_to, min_units=min_units)
    for group in plan.groups:
        assert group.removed_mass <= group.mass_bound <= group.total_mass
    assert plan.removed_mass <= plan.mass_bound
    depths = uniform_depths([group.units for group in plan.groups], plan.units_removed, min_units)
    assert sum(depths) == plan.units_removed
    uniform = 0.0
    for group, depth in zip(table.groups, depths, strict=True):
        lowest = sorted(range(group.units), key=lambda j: (group.u_score[j], j))[:depth]
        uniform += sum(group.r_score[j] for j in lowest)
    assert math.isclose(plan.uniform_mass, uniform, abs_tol=1e-9)
    assert plan.exchange_margin == plan.uniform_mass - plan.removed_mass
    if depths == [group.depth for group in plan.groups]:
        assert plan.exchange_margin == 0


def test_random_mass_is_the_mean_over_draws() -> None:
    r = torch.rand(20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plan = allocate(table_of((list(map(float, range(20))), r.tolist())), tolerance=0.4, rule="uniform")
    generator = torch.Generator().manual_seed(1)
    draws = [r[torch.randperm(20, generator=generator)[:8]].sum() for _ in range(4000)]
    assert plan.units_removed == 8
    assert math.isclose(plan.random_mass, torch.stack(draws).mean(), rel_tol=0.01)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.data(), st.integers(1, 20))
@settings(max_examples=1000, deadline=None)
def test_uniform_depths_are_the_shares_to_the_unit(sizes: list[int], data: st.DataObject, min_units: int) -> None:
    caps = [max(0, size - min_units) for size in sizes]
    total = data.draw(st.integers(0, sum(caps)))
    depths = uniform_depths(sizes, total, min_units)
    assert sum(depths) == total
    assert all(0 <= depth <= cap for depth, cap in zip(depths, caps, strict=True))
    free = [i for i, (depth, cap) in enumerate(zip(depths, caps, strict=True)) if depth < cap]
    for i in free:  # whoever could lose more has lost the same share as every other such group, and no less than a full one
        assert all(abs(depths[i] / sizes[i] - depths[j] / sizes[j]) < 1 / sizes[i] + 1 / sizes[j] for j in free)
        assert all(depths[i] + 1 > depths[j] / sizes[j] * sizes[i] - sizes[i] / sizes[j] for j in range(len(sizes)))


def test_uniform_golden() -> None:
    assert uniform_depths([10, 10, 10], 10, 1) == [4, 3, 3]
    assert uniform_depths([64, 16, 8], 22, 1) == [16, 4, 2]
    assert uniform_depths([64, 16, 8], 60, 8) == [52, 8, 0]  # the caps are 56, 8 and 0
    assert uniform_depths([], 0, 1) == []
