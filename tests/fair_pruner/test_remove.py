import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fair_pruner import CostModel, GroupPlan, PlanError, PruningPlan, allocate, find_groups, measure, remove, score
from fair_pruner.groups import cuttable_copy
from fair_pruner.layers import Convolution

from .conftest import random_plan, silence

Family = tuple[nn.Module, Tensor]


def test_widths_cost_and_output_are_as_planned(family: Family) -> None:
    model, example = family
    plan = random_plan(model, example)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    small = remove(model, plan, example_input=example)
    left = {group.name: group.units for group in find_groups(small, example)}
    assert left == {group.name: group.units - group.depth for group in plan.groups}
    assert small(example).shape == model(example).shape
    costs, cut = CostModel(model, example), cuttable_copy(small)
    assert measure(small, example) == costs.after(plan)
    shapes = costs.shapes_after(plan)
    assert shapes == {name: tuple(cut.get_submodule(name).weight.shape) for name in shapes}
    working = {name for name, layer in cut.named_modules() if isinstance(layer, (*Convolution, nn.Linear))}
    assert set(shapes) == working
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_removing_units_without_effect_leaves_the_output(family: Family) -> None:
    """Units whose outgoing weights are zero can go, and the output does not move."""
    model, example = family
    plan, before = random_plan(model, example), model(example)
    silence(model, example, plan)
    small = remove(model, plan, example_input=example)
    assert not torch.allclose(model(example), before, atol=1e-4, rtol=1e-3)  # they did count before
    torch.testing.assert_close(small(example), model(example), atol=1e-5, rtol=1e-4)


def test_replaying_the_plan_and_loading_the_weights_gives_the_same_network(family: Family) -> None:
    model, example = family
    plan = random_plan(model, example)
    small = remove(model, plan, example_input=example)
    for value in model.state_dict().values():
        value.zero_()
    again = remove(model, PruningPlan.from_json(plan.to_json()), example_input=example)
    again.load_state_dict(small.state_dict())
    assert torch.equal(again(example), small(example))


def test_modes_flags_and_an_empty_plan(small: Family) -> None:
    model, example = small
    model.train()
    next(model.parameters()).requires_grad_(False)
    nothing = PruningPlan((), 0.1, "tod", 1, 1)
    for plan in (nothing, random_plan(model, example)):
        cut = remove(model, plan, example_input=example)
        assert [m.training for m in cut.modules()] == [m.training for m in model.modules()]
        assert [p.requires_grad for p in cut.parameters()] == [p.requires_grad for p in model.parameters()]
    same = remove(model, nothing, example_input=example)
    assert all(torch.equal(a, b) for a, b in zip(same.state_dict().values(), model.state_dict().values(), strict=True))


def test_a_cut_model_trains(small: Family) -> None:
    model, example = small
    cut = remove(model, random_plan(model, example), example_input=example).train()
    cut(example).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.shape == parameter.shape for parameter in cut.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "elsewhere"}, "no group of this model"),
        ({"units": 5}, "expects 5 units in features.0, which has 6"),
        ({"pruned": (0, 1, 2, 3, 4, 5)}, "one at least must stay"),
        ({"pruned": (6,)}, "removes units"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(small: Family, change: dict[str, object], message: str) -> None:
    model, example = small
    plan = random_plan(model, example)
    wrong = dataclasses.replace(plan, groups=(dataclasses.replace(plan.groups[0], **change),))
    with pytest.raises(PlanError, match=message):
        remove(model, wrong, example_input=example)


def test_the_output_cannot_be_cut(small: Family) -> None:
    model, example = small
    plan = PruningPlan((GroupPlan("classifier", 4, (0,), 0.0, 0.0, 0.0, 0.0, 1),), 0.1, "tod", 1, 1)
    with pytest.raises(PlanError, match="cuts classifier, which is no group"):
        remove(model, plan, example_input=example)


def test_the_whole_way(small: Family, make_batches: Callable[..., list[tuple[Tensor, Tensor]]]) -> None:
    model, example = small
    table = score(model, make_batches(example, 4), example_input=example, projections=4)
    plan = allocate(table, tolerance=0.6)
    assert plan.units_removed > 0
    assert measure(remove(model, plan, example_input=example), example).macs < measure(model, example).macs
