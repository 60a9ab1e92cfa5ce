import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.augmentation import augment, mix
from pipeline.config import TrainConfig

CLASSES = 10


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


@settings(deadline=None)
@given(st.sampled_from([(0.8, 0.0), (0.0, 1.0), (0.4, 0.4)]), st.integers(2, 12), st.integers(0, 999))
def test_shares_tell_what_a_mixed_image_shows(alphas: tuple[float, float], count: int, seed: int) -> None:
    recipe = TrainConfig(mixup=alphas[0], cutmix=alphas[1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        labels = torch.randint(CLASSES, (count,))
        images = labels.view(-1, 1, 1, 1).expand(-1, 2, 6, 5).float()  # each as bright as its class
        mixed, shares = mix(images, labels, recipe, CLASSES)
    assert mixed.shape == images.shape
    assert shares.shape == (count, CLASSES)
    assert shares.min() >= 0
    torch.testing.assert_close(shares.sum(1), torch.ones(count))
    torch.testing.assert_close(mixed.mean((1, 2, 3)), shares @ torch.arange(float(CLASSES)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.8, 0.0), (0.0, 1.0)])
def test_mixup_blends_and_cutmix_pastes(mixup: float, cutmix: float) -> None:
    images, labels = torch.arange(10.0).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).clone(), torch.arange(10)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        mixed, shares = mix(images, labels, TrainConfig(mixup=mixup, cutmix=cutmix), CLASSES)
    pasted = {value for image in mixed for value in image.unique().tolist()} <= set(images.unique().tolist())
    assert pasted == bool(cutmix)
    assert (shares.max(1).values < 1).all()


def test_without_alphas_nothing_is_mixed() -> None:
    images, labels = torch.rand(4, 1, 8, 8), torch.arange(4)
    same_images, same_labels = mix(images, labels, TrainConfig(), CLASSES)
    assert same_images is images
    assert same_labels is labels
