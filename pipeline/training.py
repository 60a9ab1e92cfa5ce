"""The training loop that the dense model and the fine-tuning share."""

import math
import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.config import TrainConfig
from pipeline.data import Data, batches, shuffled
from pipeline.datasets import Split
from pipeline.models import device
from pipeline.progress import LINE_EVERY_SECONDS, log, progress
from pipeline.records import Epoch

EVALUATION_BATCH = 512


def train(model: nn.Module, data: Data, recipe: TrainConfig, seed: int, label: str) -> tuple[Epoch, ...]:
    """Train in place and keep the weights of the epoch with the best validation accuracy (the later one of equals).

    SGD with Nesterov momentum, linear warm-up, then cosine decay to zero, a step at a time. Batches and augmentation come
    from `seed` alone: on one device, with one number of threads, two calls give equal weights. The model comes back in
    eval mode on the CPU. `label` names the progress bar. Returns the training curve, empty if `recipe.epochs` is 0.
    """
    where, half = device(), recipe.precision == "bf16"
    memory_format = torch.channels_last if half else torch.contiguous_format
    model.to(where, memory_format=memory_format)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )
    steps = math.ceil(len(data.fit_indices) / recipe.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warmup_cosine(recipe, steps))
    generator = torch.Generator().manual_seed(seed)
    curve: list[Epoch] = []
    best: tuple[float, dict[str, Tensor]] | None = None
    last_line = time.monotonic()
    for epoch in range(1, recipe.epochs + 1):
        model.train()
        lr, total = optimizer.param_groups[0]["lr"], 0.0
        order = shuffled(data.fit_indices, generator)
        name = f"{label} · epoch {epoch}/{recipe.epochs}"
        loaded = batches(data.train, order, recipe.batch_size, where)
        for images, labels in progress(loaded, name, steps, loop=epoch, loops=recipe.epochs):
            images = augment(images, recipe, generator).to(memory_format=memory_format)
            with torch.autocast(where.type, torch.bfloat16, enabled=half):
                logits = model(images)
            loss = F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(labels)
        top1 = top1_of(model, data.train, data.validation_indices)
        curve.append(Epoch(epoch=epoch, lr=lr, loss=total / len(order), top1_validation=top1))
        if epoch == recipe.epochs or time.monotonic() - last_line > LINE_EVERY_SECONDS:
            last_line = time.monotonic()
            log.info("%s: epoch %d/%d, loss %.4f, validation top-1 %.4f", label, epoch, recipe.epochs, curve[-1].loss, top1)
        if best is None or top1 >= best[0]:
            best = top1, {name: value.detach().clone() for name, value in model.state_dict().items()}
    if best:
        model.load_state_dict(best[1])
    model.to("cpu", memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    return tuple(curve)


@torch.no_grad()
def top1_of(model: nn.Module, split: Split, indices: Sequence[int]) -> float:
    """Share of `indices` that the model classifies correctly, in eval mode and float32."""
    model.eval()
    where = next(model.parameters()).device
    correct = sum(int((model(x).argmax(1) == y).sum()) for x, y in batches(split, indices, EVALUATION_BATCH, where))
    return correct / len(indices)


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


def warmup_cosine(recipe: TrainConfig, steps_per_epoch: int) -> Callable[[int], float]:
    """Learning-rate factor by step: linear up to 1 over the warm-up, then half a cosine down to 0 at the last step."""
    total = recipe.epochs * steps_per_epoch
    warmup = min(total, round(recipe.warmup_epochs * steps_per_epoch))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))

    return factor
