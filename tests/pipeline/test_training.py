import pytest
import torch

from pipeline.config import DataConfig, TrainConfig
from pipeline.data import load_data
from pipeline.models import build_model
from pipeline.records import Architecture
from pipeline.training import augment, train, warmup_cosine

ARCHITECTURE = Architecture(source="builtin", name="vgg", kwargs={"widths": (16, "M", 32)}, num_classes=10, input_shape=(1, 8, 8))


def trained(recipe: TrainConfig, seed: int = 0) -> tuple[torch.nn.Module, tuple]:
    torch.manual_seed(0)
    model = build_model(ARCHITECTURE)
    return model, train(model, load_data(DataConfig(), 0), recipe, seed, "test")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_learns_and_equal_seeds_give_equal_weights(precision: str) -> None:
    recipe = TrainConfig(epochs=3, batch_size=32, lr=0.1, crop_padding=1, flip=True, precision=precision)
    model, curve = trained(recipe)
    again, same_curve = trained(recipe)
    other, _ = trained(recipe, seed=1)
    assert curve == same_curve
    assert curve[2].loss < curve[1].loss < curve[0].loss
    assert curve[2].top1_validation > 0.4  # chance is 0.1
    state, same, different = (m.state_dict() for m in (model, again, other))
    assert all(torch.equal(state[name], same[name]) for name in state)
    assert not all(torch.equal(state[name], different[name]) for name in state)
    assert not model.training


def test_the_best_epoch_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    scores = iter([0.2, 0.9, 0.9, 0.5])

    def top1(model: torch.nn.Module, *_: object) -> float:
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return next(scores)

    monkeypatch.setattr("pipeline.training.top1_of", top1)
    model, curve = trained(TrainConfig(epochs=4, batch_size=512, lr=0.05))
    assert [epoch.top1_validation for epoch in curve] == [0.2, 0.9, 0.9, 0.5]
    kept = model.state_dict()
    same = [all(torch.equal(kept[name], state[name]) for name in kept) for state in seen]
    assert same == [False, False, True, False]  # the later one of equals


def test_no_epochs_change_nothing() -> None:
    torch.manual_seed(0)
    untouched = build_model(ARCHITECTURE).state_dict()
    model, curve = trained(TrainConfig(epochs=0))
    assert curve == ()
    assert all(torch.equal(value, untouched[name]) for name, value in model.state_dict().items())


def test_the_learning_rate_rises_and_then_falls_to_zero() -> None:
    factor = warmup_cosine(TrainConfig(epochs=10, warmup_epochs=2), steps_per_epoch=5)
    values = [factor(step) for step in range(51)]
    assert values[:11] == sorted(values[:11])
    assert values[10:] == sorted(values[10:], reverse=True)
    assert (max(values), values[10], values[50]) == (1.0, 1.0, pytest.approx(0.0))


def test_augmented_images_are_shifted_or_mirrored_copies() -> None:
    images = torch.arange(36.0).view(1, 1, 6, 6).repeat(40, 1, 1, 1) + 1
    shifted = augment(images, TrainConfig(crop_padding=1), torch.Generator().manual_seed(0))
    assert shifted.shape == images.shape
    centres = {tuple(image[0, 2, 2:4].tolist()) for image in shifted}
    expected = {(float(6 * (2 + dy) + 2 + dx + 1), float(6 * (2 + dy) + 2 + dx + 2)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)}
    assert centres == expected
    mirrored = augment(images, TrainConfig(flip=True), torch.Generator().manual_seed(0))
    kinds = {torch.equal(image, images[0]) or -torch.equal(image, images[0].flip(2)) for image in mirrored}
    assert kinds == {True, -True}
    assert torch.equal(augment(images, TrainConfig(), torch.Generator()), images)
