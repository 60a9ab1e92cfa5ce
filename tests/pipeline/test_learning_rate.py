import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.config import TrainConfig
from pipeline.data import batches
from pipeline.errors import InputError
from pipeline.learning_rate import TEST_STEPS, Step, WarmupCosine, find_lr, make_optimizer

from .trainings import RECIPE, changed, images, network, same


def one_weight() -> nn.Module:
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    return model


def bowl(curvature: float) -> Step:
    """A loss whose descent diverges at rates above 2 / curvature."""
    return lambda model, *_: curvature / 2 * model.get_parameter("weight").square().sum()


def nothing() -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        yield torch.zeros(1), torch.zeros(1)


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(1, 12), st.floats(0, 6), st.floats(1e-5, 5))
def test_the_rate_rises_linearly_and_falls_in_half_a_cosine(epochs: int, steps: int, warmup_epochs: float, lr: float) -> None:
    recipe = TrainConfig(epochs=epochs, warmup_epochs=warmup_epochs)
    optimizer = torch.optim.SGD(one_weight().parameters(), lr=0.7)
    schedule = WarmupCosine(optimizer, recipe, lr, steps)
    total = epochs * steps
    warmup = max(0, min(total - 2, round(warmup_epochs * steps)))
    for step in range(total):
        turn = math.pi * (step - warmup) / (total - warmup)
        wanted = lr * (step + 1) / (warmup + 1) if step < warmup else lr / 2 * (1 + math.cos(turn))
        schedule.set(step)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(wanted, rel=1e-9)
        assert schedule.at(step) == optimizer.param_groups[0]["lr"]
    assert schedule.at(total) == 0


def test_the_rate_of_a_step_does_not_depend_on_the_steps_before() -> None:
    recipe, optimizer = changed(warmup_epochs=1), torch.optim.SGD(one_weight().parameters(), lr=0.7)
    first = WarmupCosine(optimizer, recipe, 0.1, 5)
    rates = [first.at(step) for step in range(10)]
    first.set(7)
    again = WarmupCosine(optimizer, recipe, 0.1, 5)  # as a training that goes on makes it
    assert [again.at(step) for step in range(10)] == rates


@pytest.mark.parametrize("curvature", [20.0, 200.0, 2000.0])
def test_a_rate_is_found_that_suits_the_curvature(curvature: float) -> None:
    recipe = TrainConfig(momentum=0, weight_decay=0)
    found = find_lr(one_weight(), recipe, nothing(), bowl(curvature))
    assert 0.02 / curvature < found < 2 / curvature


def test_a_rate_that_was_found_trains_a_network_and_the_test_leaves_it_alone() -> None:
    data, model = images(), network().eval()

    def loss_of(net: nn.Module, shown: Tensor, labels: Tensor) -> Tensor:
        assert net is not model
        assert net.training
        return F.cross_entropy(net(shown), labels)

    def endless() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from batches(data.train, data.fit_indices, 64)

    lr = find_lr(model, RECIPE, endless(), loss_of)
    assert same(model, network())
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    optimizer, losses = make_optimizer(model.train(), RECIPE, lr), []
    for _, (shown, labels) in zip(range(40), endless(), strict=False):
        loss = F.cross_entropy(model(shown), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_the_range_test_ends_where_the_loss_explodes() -> None:
    def steps(curvature: float) -> int:
        asked = []

        def loss_of(*step: Any) -> Tensor:
            asked.append(step)
            return bowl(curvature)(*step)

        find_lr(one_weight(), TrainConfig(momentum=0, weight_decay=0), nothing(), loss_of)
        return len(asked)

    assert 2 < steps(1000.0) < TEST_STEPS
    assert steps(0.1) == TEST_STEPS


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_no_rate_is_found_where_the_loss_is_not_finite(value: float) -> None:
    with pytest.raises(InputError, match="the loss is not finite at the lowest; check data and weights"):
        find_lr(one_weight(), RECIPE, nothing(), bowl(value))


@pytest.mark.parametrize("name", ["sgd", "adamw", "lamb", "lion", "rmsprop", "madgrad", "sgdc"])
def test_optimisers_of_timm_take_a_step(name: str) -> None:
    model = network().train()
    optimizer = make_optimizer(model, changed(optimizer=name), 0.01)
    F.cross_entropy(model(torch.randn(8, 1, 8, 8)), torch.arange(8)).backward()
    optimizer.step()
    assert not same(model, network())


def test_sgd_may_be_without_momentum() -> None:
    optimizer = make_optimizer(network(), changed(momentum=0), 0.1)
    assert {group["momentum"] for group in optimizer.param_groups} == {0}


def test_biases_and_norms_have_no_weight_decay() -> None:
    model = network()
    names = {parameter: name for name, parameter in model.named_parameters()}
    for group in make_optimizer(model, changed(weight_decay=0.01), 0.1).param_groups:
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.01 if parameter.ndim > 1 else 0), names[parameter]
        assert (group["momentum"], group["nesterov"]) == (0.9, True)


@pytest.mark.parametrize("name", ["nonsense", "fusednonsense"])
def test_an_unknown_optimiser_is_refused_in_one_sentence(name: str) -> None:
    with pytest.raises(InputError) as caught:
        make_optimizer(network(), changed(optimizer=name), 0.1)
    message = str(caught.value)
    assert message.startswith(f"optimizer {name} cannot be made by timm (")
    assert message.endswith("); use sgd, adamw, lamb, lion, rmsprop or another that it lists")
    assert "\n" not in message
