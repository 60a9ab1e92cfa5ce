"""Rounds: laws of composing plans, and of what is left to do."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fair_pruner import GroupPlan, PlanError, PruningPlan, allocate, compose, remainder

from .tables import group_of, scores, table_of

masses = st.integers(0, 64).map(lambda eighths: eighths / 8)  # their sums are exact, so that sums associate


@st.composite
def plans_for(draw: st.DrawFn, sizes: dict[str, int]) -> PruningPlan:
    """Any plan for some of the groups, in any order, with measures such as a plan can have."""
    groups = []
    for name in draw(st.lists(st.sampled_from(sorted(sizes)), unique=True)):
        pruned = draw(st.sets(st.integers(0, sizes[name] - 1), max_size=sizes[name] - 1))
        overlap, more = draw(st.integers(0, len(pruned))), draw(st.integers(0, 3))
        removed, bound, total = sorted(draw(st.tuples(masses, masses, masses)))
        tod = overlap / max(len(pruned), 1)
        unrounded, multiple = len(pruned) + more, draw(st.sampled_from([1, 4, 8]))
        groups.append(GroupPlan(name, sizes[name], tuple(sorted(pruned)), tod, removed, bound, total, unrounded, multiple))
    rule = draw(st.sampled_from(["tod", "uniform", "global"]))
    tolerance, uniform, rounds = draw(st.sampled_from([0.1, 0.2, 0.5])), draw(masses), draw(st.integers(1, 3))
    return PruningPlan(tuple(groups), tolerance, rule, draw(st.integers(1, 8)), draw(st.integers(1, 8)), uniform, rounds)


def after(sizes: dict[str, int], plan: PruningPlan) -> dict[str, int]:
    return sizes | {group.name: group.units - group.depth for group in plan.groups}


@st.composite
def rounds(draw: st.DrawFn, count: int) -> tuple[PruningPlan, ...]:
    """Plans each made for what the ones before have left."""
    sizes = {f"g{i}": draw(st.integers(1, 12)) for i in range(4)}
    plans = []
    for _ in range(count):
        plans.append(draw(plans_for(sizes)))
        sizes = after(sizes, plans[-1])
    return tuple(plans)


def cut(model: dict[str, list[str]], plan: PruningPlan) -> dict[str, list[str]]:
    """The oracle: delete by position, in a model that is lists of named units."""
    pruned = {group.name: set(group.pruned) for group in plan.groups}
    return {name: [unit for j, unit in enumerate(units) if j not in pruned.get(name, ())] for name, units in model.items()}


def dense(*plans: PruningPlan) -> dict[str, list[str]]:
    sizes = {group.name: group.units for plan in reversed(plans) for group in plan.groups}
    return {name: [f"{name}.{j}" for j in range(size)] for name, size in sizes.items()}


@given(rounds(2))
@settings(max_examples=310, deadline=None)
def test_the_composed_plan_cuts_what_the_two_cut_in_turn(plans: tuple[PruningPlan, PruningPlan]) -> None:
    first, second = plans
    both, model = compose(first, second), dense(first, second)
    assert cut(model, both) == cut(cut(model, first), second)
    assert both.units_removed == first.units_removed + second.units_removed
    assert both.rounds == first.rounds + second.rounds
    assert both.removed_mass == first.removed_mass + second.removed_mass
    assert both.mass_bound == first.mass_bound + second.mass_bound
    assert both.uniform_mass == first.uniform_mass + second.uniform_mass
    for group in both.groups:
        assert group.round_to == [each.round_to for plan in plans for each in plan.groups if each.name == group.name][-1]
        assert group.pruned == tuple(sorted(set(group.pruned)))
        assert group.depth <= group.unrounded_depth
        assert group.tod <= max(each.tod for plan in plans for each in plan.groups if each.name == group.name)


@given(rounds(3))
@settings(max_examples=220, deadline=None)
def test_composing_is_associative(plans: tuple[PruningPlan, PruningPlan, PruningPlan]) -> None:
    first, second, third = plans
    assert compose(compose(first, second), third) == compose(first, compose(second, third))


def pruned(plan: PruningPlan) -> dict[str, tuple[int, ...]]:
    return {group.name: group.pruned for group in plan.groups if group.pruned}


@given(rounds(2))
@settings(max_examples=360, deadline=None)
def test_the_remainder_of_a_composed_plan_is_its_second_round(plans: tuple[PruningPlan, PruningPlan]) -> None:
    first, second = plans
    whole = compose(first, second)
    left = remainder(whole, first)
    assert pruned(left) == pruned(second)
    assert pruned(compose(first, left)) == pruned(whole)
    assert (left.removed_mass, left.rounds) == (second.removed_mass, second.rounds)
    again = {group.name: group for group in compose(first, left).groups}
    assert all(again[group.name] == group for group in whole.groups)


sizes_and_scores = st.lists(st.integers(1, 20).flatmap(group_of), min_size=1, max_size=4)


@given(sizes_and_scores, st.data())
@settings(max_examples=170, deadline=None)
def test_doing_a_part_and_then_the_remainder_does_the_whole(
    groups: list[tuple[list[float], list[float]]], data: st.DataObject
) -> None:
    """The part is any subset of the whole: also one that no rule would take, with measures that do not subtract."""
    whole = allocate(table_of(*groups), tolerance=0.9)
    part = []
    for group in whole.groups:
        if data.draw(st.booleans()):
            chosen = tuple(unit for unit in group.pruned if data.draw(st.booleans()))
            part.append(dataclasses.replace(group, pruned=chosen, removed_mass=data.draw(scores), mass_bound=200.0, tod=1.0))
    done = dataclasses.replace(whole, groups=tuple(part))
    left = remainder(whole, done)
    assert {group.name: group.pruned for group in compose(done, left).groups} == {g.name: g.pruned for g in whole.groups}
    for group in left.groups:
        assert 0 <= group.removed_mass <= group.mass_bound
        assert group.removed_mass <= group.total_mass
        assert 0 <= group.tod <= 1 and group.depth <= group.unrounded_depth


def plan_of(*groups: tuple[str, int, tuple[int, ...]]) -> PruningPlan:
    return PruningPlan(tuple(GroupPlan(n, u, p, 0.0, 0.0, 0.0, 0.0, len(p)) for n, u, p in groups), 0.1, "tod", 1, 1)


def test_golden() -> None:
    first, second = plan_of(("a", 6, (1, 4)), ("b", 3, (0,))), plan_of(("a", 4, (0, 2)), ("c", 2, (1,)))
    both = compose(first, second)
    assert pruned(both) == {"a": (0, 1, 3, 4), "b": (0,), "c": (1,)}
    assert pruned(remainder(both, first)) == {"a": (0, 2), "c": (1,)}


def test_plans_that_do_not_fit_are_refused() -> None:
    first = plan_of(("a", 6, (1, 4)))
    with pytest.raises(PlanError, match="a has 4 units after the first plan, but the second was made for 6"):
        compose(first, first)
    with pytest.raises(PlanError, match="unit 4 of a has been cut already"):
        remainder(plan_of(("a", 6, (1, 2, 3))), first)
    with pytest.raises(PlanError, match="a has been cut already"):
        remainder(plan_of(), first)
    with pytest.raises(PlanError, match="6 units in the whole plan and 5"):
        remainder(first, plan_of(("a", 5, (1,))))
    with pytest.raises(PlanError, match="names one that it has not"):
        compose(plan_of(("a", 3, (3,))), plan_of(("a", 2, ())))
    with pytest.raises(PlanError, match="no unit left"):
        compose(plan_of(("a", 2, (0, 1))), plan_of(("a", 0, ())))
