"""Random changes of training images."""

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.training_sections import TrainConfig


def augment(images: Tensor, recipe: TrainConfig, generator: torch.Generator) -> Tensor:
    """Shift each image (n, C, H, W) by up to `crop_padding` pixels over a border of its darkest value, and flip half."""
    count, _, height, width = images.shape
    if recipe.flip:
        mirrored = torch.rand(count, generator=generator).lt(0.5).to(images.device)
        images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
    if recipe.crop_padding:
        pad = recipe.crop_padding
        padded = F.pad(images, (pad,) * 4, value=float(images.min()))
        top, left = torch.randint(0, 2 * pad + 1, (2, count), generator=generator).to(images.device)
        rows = top[:, None] + torch.arange(height, device=images.device)  # (n, H)
        columns = left[:, None] + torch.arange(width, device=images.device)  # (n, W)
        which = torch.arange(count, device=images.device)[:, None, None]
        images = padded[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return images


def mix(images: Tensor, labels: Tensor, recipe: TrainConfig, num_classes: int) -> tuple[Tensor, Tensor]:
    """Images (n, C, H, W) mixed with each other, and what they show in shares (n, K); drawn from torch's global generator.

    Without mixup and CutMix both come back as they are, labels (n,) included.
    """
    if not (recipe.mixup or recipe.cutmix):
        return images, labels
    from torchvision.transforms import v2

    ways = [v2.MixUp(alpha=recipe.mixup, num_classes=num_classes)] if recipe.mixup else []
    ways += [v2.CutMix(alpha=recipe.cutmix, num_classes=num_classes)] if recipe.cutmix else []
    mixed, shares = v2.RandomChoice(ways)(images, labels)
    return mixed, shares
