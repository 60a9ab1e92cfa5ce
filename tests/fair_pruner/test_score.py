import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fair_pruner import CalibrationError, ScoreTable, SettingError, UnsupportedModelError, find_groups, score
from fair_pruner.attention import heads_open
from fair_pruner.structure import Group, Point
from fair_pruner.u_score import project, u_score

Family = tuple[nn.Module, Tensor]
MakeBatches = Callable[..., list[tuple[Tensor, Tensor]]]


def state_of(model: nn.Module) -> dict[str, Any]:
    """Everything about a model and the process that scoring must leave alone."""
    modules = list(model.modules())
    return {
        "tensors": {name: value.clone() for name, value in model.state_dict().items()},
        "identity": [id(tensor) for tensor in (*model.parameters(), *model.buffers())],
        "versions": [tensor._version for tensor in (*model.parameters(), *model.buffers())],
        "flags": [parameter.requires_grad for parameter in model.parameters()],
        "grads": [parameter.grad for parameter in model.parameters()],
        "modes": [module.training for module in modules],
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in modules],
        "rng": (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()),
        "grad mode": torch.is_grad_enabled(),
    }


def assert_same(before: Any, after: Any) -> None:
    if isinstance(before, Tensor):
        assert torch.equal(before, after)
    elif isinstance(before, dict):
        assert before.keys() == after.keys()
        for key in before:
            assert_same(before[key], after[key])
    elif isinstance(before, list | tuple):
        assert len(before) == len(after)
        for one, other in zip(before, after, strict=True):
            assert_same(one, other)
    else:
        assert before == after


def test_the_model_comes_back_bit_identical(family: Family, make_batches: MakeBatches) -> None:
    model, example = family
    next(model.parameters()).requires_grad_(False)
    list(model.parameters())[1].grad = torch.ones_like(list(model.parameters())[1])
    model.train()
    list(model.modules())[-1].eval()
    before = state_of(model)
    score(model, make_batches(example, 10), example_input=example, projections=4)
    assert_same(before, state_of(model))


def test_two_calls_give_equal_scores_and_another_seed_does_not(small: Family, make_batches: MakeBatches) -> None:
    model, example = small
    batches = make_batches(example, 4)
    first = score(model, batches, example_input=example, projections=8, seed=1)
    torch.rand(7)
    assert first == score(model, batches, example_input=example, projections=8, seed=1)
    assert first != score(model, batches, example_input=example, projections=8, seed=2)


def test_scores_do_not_depend_on_how_the_data_is_batched(small: Family, make_batches: MakeBatches) -> None:
    model, example = small
    (x, y), *_ = make_batches(example, 4, count=1, size=24)
    model, x = model.double(), x.double()
    whole = score(model, [(x, y)], example_input=example.double())
    parts = score(model, zip(x.split(7), y.split(7), strict=True), example_input=example.double())
    for one, other in zip(whole.groups, parts.groups, strict=True):
        np.testing.assert_allclose(one.u_score, other.u_score, rtol=1e-12)
        np.testing.assert_allclose(one.r_score, other.r_score, rtol=1e-9, atol=1e-12)


def test_the_data_is_passed_over_once(small: Family, make_batches: MakeBatches) -> None:
    model, example = small
    runs = []
    model.register_forward_hook(lambda module, *_: runs.append(1) if module is model else None)

    def once() -> Iterator[tuple[Tensor, Tensor]]:
        yield from make_batches(example, 4, count=3)

    score(model, once(), example_input=example, projections=2)
    assert len(runs) == 1 + 3  # the example to see how much memory a step takes, and every batch once


def loss_with_gate(model: nn.Module, group: Group, unit: int, gate: float, batches: list[tuple[Tensor, Tensor]]) -> float:
    """Mean loss with unit `unit` of `group` multiplied by `gate` behind every producer."""

    def scaled(output: Any, point: Point) -> Any:
        if isinstance(output, tuple) and len(output) == 2:  # steps and state of a recurrent layer
            steps, state = output
            cells = replace(point, unit_of=point.unit_of[: len(set(point.unit_of))])
            last = (scaled(state[0], cells), state[1]) if isinstance(state, tuple) else scaled(state, cells)
            return scaled(steps, point), last
        if isinstance(output, tuple):
            return (scaled(output[0], point),)
        shape = [1] * output.dim()
        shape[point.dim] = -1
        factors = torch.ones(len(point.unit_of), dtype=torch.float64)
        return output * factors.masked_fill(torch.tensor(point.unit_of) == unit, gate).view(shape)

    with heads_open(model), torch.no_grad():
        hooks: list[Any] = []
        for point in (producer.gate for producer in group.producers):
            layer = model.get_submodule(point.layer)
            if point.side == "in":
                hooks.append(layer.register_forward_pre_hook(lambda _, inputs, point=point: scaled(inputs, point)))
            else:
                hooks.append(layer.register_forward_hook(lambda _, __, output, point=point: scaled(output, point)))
        losses = [F.cross_entropy(model(x), y, reduction="sum").item() for x, y in batches]
        for hook in hooks:
            hook.remove()
    return sum(losses) / sum(len(y) for _, y in batches)


def test_r_equals_the_central_finite_difference_of_the_shared_gate(family: Family, make_batches: MakeBatches) -> None:
    model, example = copy.deepcopy(family[0]).double(), family[1].double()
    batches = [(x.double(), y) for x, y in make_batches(example, 10, count=2, size=10)]
    table = score(model, batches, example_input=example, projections=2, protection="signed")
    step = 1e-6  # small, so that few ReLUs switch in between
    for group, scores in zip(find_groups(model, example), table.groups, strict=True):
        largest = max(scores.r_score)
        for unit in (0, group.units - 1):
            up, down = (loss_with_gate(model, group, unit, 1 + s, batches) for s in (step, -step))
            assert abs(up - down) / (2 * step) == pytest.approx(scores.r_score[unit], rel=1e-4, abs=1e-6 * largest)


def test_u_is_read_at_the_producers_own_output(small: Family, make_batches: MakeBatches) -> None:
    model, example = small
    batches = make_batches(example, 4)
    seen: list[Tensor] = []
    hook = model.get_submodule("features.0").register_forward_hook(lambda _m, _i, out: seen.append(out.detach()))
    with torch.no_grad():
        for x, _ in batches:
            model(x)
    hook.remove()
    expected = u_score(project(torch.cat(seen), 1, 6, seed=0), torch.cat([y for _, y in batches]))
    table = score(model, batches, example_input=example, projections=6, observe="producer", aggregate="max")
    assert table.groups[0].name == "features.0"
    np.testing.assert_allclose(table.groups[0].u_score, expected, rtol=1e-6)


def test_frozen_models_and_callers_without_gradients_are_scored_alike(small: Family, make_batches: MakeBatches) -> None:
    model, example = small
    batches = make_batches(example, 4)
    expected = score(model, batches, example_input=example, projections=2)
    model.requires_grad_(False)
    with torch.no_grad():
        assert score(model, batches, example_input=example, projections=2) == expected


def test_ignored_layers_are_not_scored(small: Family, make_batches: MakeBatches) -> None:
    model, example = small
    table = score(model, make_batches(example, 4), example_input=example, projections=2, ignore=["features.0"])
    assert [group.name for group in table.groups] == ["features.4"]
    with pytest.raises(UnsupportedModelError, match="no_such_layer"):
        score(model, [], example_input=example, ignore=["no_such_layer"])


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "no calibration batches"),
        ([(torch.zeros(4, 1, 6, 6), torch.zeros(4, dtype=torch.long))], r"1 class\(es\)"),
        ([(torch.zeros(4, 1, 6, 6), torch.tensor([0, 1, 2, 9]))], "0 to 9, the model has 4 classes"),
        ([(torch.zeros(4, 1, 6, 6), torch.tensor([0, 1]))], r"labels of shape \(2,\)"),
    ],
)
def test_unusable_batches_are_refused(small: Family, batches: list[Any], message: str) -> None:
    model, example = small
    before = state_of(model)
    with pytest.raises(CalibrationError, match=message):
        score(model, batches, example_input=example)
    assert_same(before, state_of(model))


def test_bad_settings_are_refused(small: Family) -> None:
    model, example = small
    with pytest.raises(SettingError, match="removal"):
        score(model, [], example_input=example, removal="magic")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="projections"):
        score(model, [], example_input=example, projections=0)


def test_a_table_goes_to_json_and_back(small: Family, make_batches: MakeBatches) -> None:
    model, example = small
    table = score(model, make_batches(example, 4), example_input=example, projections=2)
    assert ScoreTable.from_json(table.to_json()) == table
    with pytest.raises(ValueError, match="ScoreTable"):
        ScoreTable.from_json('{"kind": "PruningPlan"}')
