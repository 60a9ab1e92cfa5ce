from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pipeline.config import TrainConfig
from pipeline.records import Curve, Epoch
from pipeline.training import SMALLEST_BATCH, hopeless, steps_an_epoch, top1_of

from .trainings import STEPS, changed, dropping, images, network, pruned, same, teacher, trained

WAYS: dict[str, dict[str, Any]] = {
    "fp32": {"crop_padding": 1, "flip": True},
    "bf16": {"precision": "bf16"},
    "mixed": {"mixup": 0.8, "cutmix": 1.0, "label_smoothing": 0.1},
    "averaged": {"ema_decay": 0.9},
    "another optimiser": {"optimizer": "adamw", "lr": 0.01},
    "dropout": {},
    "distilled": {},
}


@pytest.mark.parametrize("way", WAYS)
def test_equal_seeds_give_equal_weights_and_other_seeds_others(way: str) -> None:
    recipe, runs = changed(**WAYS[way]), []
    for seed in (0, 0, 1):
        torch.rand(len(runs))  # what was drawn before does not matter
        model = {"distilled": pruned, "dropout": dropping}.get(way, network)()
        runs.append(trained(recipe, seed, model, teacher=teacher() if way == "distilled" else None))
    (model, curve), (again, same_curve), (other, _) = runs
    assert curve == same_curve
    assert same(model, again)
    assert not same(model, other)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_learns(precision: str) -> None:
    model, curve = trained(changed(epochs=6, batch_size=32, precision=precision))
    assert curve.epochs[-1].loss < curve.epochs[2].loss < curve.epochs[0].loss
    assert curve.epochs[-1].top1_validation > 0.4  # chance is 0.1
    assert curve.stopped == ""
    assert not model.training
    assert all(value.is_contiguous() for value in model.state_dict().values())


def test_training_leaves_the_random_numbers_of_others_alone() -> None:
    before = torch.get_rng_state()
    trained()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("way", ["fp32", "bf16", "averaged"])
def test_the_accuracy_of_the_curve_is_that_of_the_weights_that_are_kept(way: str) -> None:
    model, curve = trained(changed(**WAYS[way]))
    data = images()
    best = max(point.top1_validation for point in curve.epochs)
    assert top1_of(model, data.train, data.validation_indices) == best


def test_accuracy_is_measured_in_full_precision() -> None:
    seen, model = set(), network()
    layer = model.get_submodule("features.0")
    layer.register_forward_hook(lambda _, __, output: seen.add((model.training, output.dtype)))
    trained(changed(precision="bf16"), model=model)
    assert seen == {(True, torch.bfloat16), (False, torch.float32)}


def scripted(monkeypatch: pytest.MonkeyPatch, *scores: float) -> list[nn.Module]:
    """Validation accuracies by script; returns copies of the networks they were asked of."""
    seen, left = [], iter(scores)

    def top1(model: nn.Module, *_: object) -> float:
        copy = network()
        copy.load_state_dict(model.state_dict())
        seen.append(copy)
        return next(left)

    monkeypatch.setattr("pipeline.training.top1_of", top1)
    return seen


def test_the_best_whole_epoch_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = scripted(monkeypatch, 0.2, 0.9, 1.0, 0.9, 0.5)
    model, curve = trained(changed(epochs=4, measure_at=(2.6,)))
    assert [point.top1_validation for point in curve.epochs] == [0.2, 0.9, 1.0, 0.9, 0.5]
    assert [same(model, each) for each in seen] == [False, False, False, True, False]  # the later one of equals


def test_patience_stops_and_the_best_epoch_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = scripted(monkeypatch, 0.2, 0.5, 0.4, 0.5, 0.3, 0.3, 0.3)
    model, curve = trained(changed(epochs=9, patience=2))
    assert [point.epoch for point in curve.epochs] == [1, 2, 3, 4, 5, 6]
    assert curve.stopped == "no better validation accuracy in 2 epochs"
    assert same(model, seen[3])


def test_a_training_that_cannot_reach_what_is_wanted_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, 0.5, 0.6, 0.61)
    _, curve = trained(changed(epochs=4), wanted=0.75)
    assert len(curve.epochs) == 3
    assert curve.stopped == "a validation accuracy of 0.7500 is out of reach"
    scripted(monkeypatch, 0.5, 0.6, 0.61, 0.62)
    assert trained(changed(epochs=4), wanted=0.62)[1].stopped == ""
    scripted(monkeypatch, 0.5, 0.1, 0.1, 0.1)
    assert trained(changed(epochs=4))[1].stopped == ""  # nothing is wanted


def test_accuracy_is_measured_between_epochs_where_that_is_asked_for() -> None:
    plain, simple = trained()
    model, curve = trained(changed(measure_at=(0.001, 0.4, 1.0, 1.2)))
    assert [(point.epoch, point.step) for point in curve.epochs] == [(0.2, 1), (0.4, 2), (1.0, 5), (1.2, 6), (2.0, 10)]
    assert same(model, plain)
    assert [point for point in curve.epochs if point.epoch.is_integer()] == list(simple.epochs)
    assert curve.steps == simple.steps


def test_the_curve_tells_the_loss_of_every_step_and_its_mean_by_epoch() -> None:
    _, curve = trained(changed(measure_at=(1.4,)))
    count = len(images().fit_indices)
    sizes = [64] * (count // 64) + [count % 64]
    assert [point.step for point in curve.steps] == list(range(1, 2 * STEPS + 1))
    losses = [point.loss for point in curve.steps]

    def mean(first: int, last: int) -> float:
        pairs = [(loss, sizes[step % STEPS]) for step, loss in enumerate(losses)][first:last]
        return sum(loss * size for loss, size in pairs) / sum(size for _, size in pairs)

    assert [point.loss for point in curve.epochs] == pytest.approx([mean(0, 5), mean(5, 7), mean(5, 10)])
    assert [point.lr for point in curve.epochs] == pytest.approx([curve.steps[first].lr for first in (0, STEPS, STEPS)])


def test_a_long_training_has_a_curve_of_some_hundred_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.training.POINTS", 4)
    all_steps = trained()[1].steps
    monkeypatch.setattr("pipeline.training.POINTS", 10)
    each = trained()[1].steps
    assert [point.step for point in all_steps] == [2, 4, 6, 8, 10]
    assert [point.loss for point in all_steps] == pytest.approx([(each[i].loss + each[i + 1].loss) / 2 for i in range(0, 10, 2)])


def test_no_epochs_change_nothing() -> None:
    model, curve = trained(TrainConfig(epochs=0), model=network().train())
    assert curve == Curve()
    assert same(model, network())
    assert not model.training


def test_a_found_learning_rate_trains() -> None:
    model, curve = trained(changed(epochs=6, batch_size=32, lr="auto"))
    again, same_curve = trained(changed(epochs=6, batch_size=32, lr="auto"))
    assert curve.epochs[-1].top1_validation > 0.4
    assert same(model, again)
    assert curve == same_curve


@given(st.integers(1, 300), st.integers(2, 40), st.integers(1, 4))
def test_no_process_gets_a_batch_too_small_for_batchnorm_unless_it_is_all(images: int, share: int, processes: int) -> None:
    batch = share * processes
    steps = steps_an_epoch(images, batch, processes)
    order = range(images)
    parts = [order[step * batch : (step + 1) * batch][rank::processes] for step in range(steps) for rank in range(processes)]
    left_out = images - sum(map(len, parts))
    assert left_out < SMALLEST_BATCH * processes
    assert steps == 1 or min(map(len, parts)) >= SMALLEST_BATCH


def curve_of(*tops: int) -> list[Epoch]:
    return [Epoch(epoch=i, step=i, lr=0.1, loss=1.0, top1_validation=top / 128) for i, top in enumerate(tops, 1)]


@given(st.lists(st.integers(0, 40), min_size=2, max_size=8), st.integers(0, 128))
def test_what_is_given_up_would_not_have_been_reached_with_gains_that_shrink(gains: list[int], wanted: int) -> None:
    whole = curve_of(*(sum(sorted(gains, reverse=True)[:end]) for end in range(1, len(gains) + 1)))
    for done in range(1, len(whole)):
        if hopeless(whole[:done], len(whole), wanted / 128):
            assert all(point.top1_validation < wanted / 128 for point in whole)


@given(st.lists(st.integers(0, 128), min_size=1, max_size=6), st.integers(0, 6), st.integers(0, 256), st.integers(0, 256))
def test_hope_goes_with_what_is_wanted_and_with_the_epochs_left(tops: list[int], more: int, one: int, other: int) -> None:
    curve, epochs = curve_of(*tops), len(tops) + more
    low, high = sorted((one / 128, other / 128))
    assert hopeless(curve, epochs, low) <= hopeless(curve, epochs, high)
    assert hopeless(curve, epochs + 1, low) <= hopeless(curve, epochs, low)
    assert not hopeless(curve, epochs, tops[-1] / 128)
    assert not hopeless(curve[:1], epochs, high)
    between = Epoch(epoch=len(tops) - 0.5, step=0, lr=0.1, loss=1.0, top1_validation=1.0)
    assert hopeless([*curve[:-1], between, curve[-1]], epochs, high) == hopeless(curve, epochs, high)
