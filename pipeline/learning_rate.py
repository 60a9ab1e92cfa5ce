"""The learning rate: its course over a training, and how high it may be, found by a short test."""

import copy
import itertools
import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from fair_pruner.errors import first_line
from pipeline.errors import InputError
from pipeline.training_sections import TrainConfig

LOWEST, HIGHEST = 1e-5, 1.0  # rates of the test
TEST_STEPS = 60
SMOOTHING = 0.9
DIVERGED = 3.0  # times the least loss so far
BELOW_THE_BEST = 0.1  # of the rate at which the loss is lowest

Step = Callable[[nn.Module, Tensor, Tensor], Tensor]  # network, images, labels -> loss


def make_optimizer(model: nn.Module, recipe: TrainConfig, lr: float) -> torch.optim.Optimizer:
    """The recipe's optimiser, by its name in timm. Raises InputError if there is none of this name."""
    from timm.optim import create_optimizer_v2, list_optimizers

    name, momentum = recipe.optimizer, recipe.momentum
    plain = name == "sgd" and not momentum  # which timm's sgd, with Nesterov momentum, cannot be
    try:
        optimizer = create_optimizer_v2(
            model, opt="momentum" if plain else name, lr=lr, weight_decay=recipe.weight_decay, momentum=momentum
        )
    except (ValueError, ImportError, AssertionError) as error:
        known = ", ".join(each for each in ("sgd", "adamw", "lamb", "lion", "rmsprop") if each in list_optimizers())
        reason = first_line(error)
        raise InputError(f"optimizer {name} cannot be made by timm ({reason}); use {known} or another that it lists") from error
    assert isinstance(optimizer, torch.optim.Optimizer)
    return optimizer


class WarmupCosine:
    """timm's schedule by steps: linear over the warm-up, then half a cosine down to 0 behind the last step."""

    def __init__(self, optimizer: torch.optim.Optimizer, recipe: TrainConfig, lr: float, steps_per_epoch: int) -> None:
        from timm.scheduler import CosineLRScheduler

        for group in optimizer.param_groups:  # the schedule reads its peak from here
            group["initial_lr"] = group["lr"] = lr
        total = recipe.epochs * steps_per_epoch
        warmup = max(0, min(total - 2, round(recipe.warmup_epochs * steps_per_epoch)))  # timm warns of a cosine of one step
        self._schedule = CosineLRScheduler(
            optimizer,
            t_initial=total - warmup,
            warmup_t=warmup,
            warmup_lr_init=lr / (warmup + 1),
            warmup_prefix=True,
            t_in_epochs=False,
        )

    def set(self, step: int) -> None:
        """The rate of step number `step`, from 0."""
        self._schedule.step_update(step)

    def at(self, step: int) -> float:
        """What `set` would set."""
        return float(self._schedule._get_values(step, on_epoch=False)[0])


def find_lr(model: nn.Module, recipe: TrainConfig, batches: Iterable[tuple[Tensor, Tensor]], loss_of: Step) -> float:
    """A learning rate that suits: a tenth of the one at which the smoothed loss of a copy in training is lowest.

    The rate rises in equal ratios from LOWEST to HIGHEST over TEST_STEPS steps, or until the loss is DIVERGED times its
    least. Source: arXiv:1506.01186, section 3.3. Raises InputError if the loss is not finite at the lowest rates.
    """
    network = copy.deepcopy(model).train()
    optimizer = make_optimizer(network, recipe, HIGHEST)
    ratio = (HIGHEST / LOWEST) ** (1 / (TEST_STEPS - 1))
    average, best, chosen = 0.0, math.inf, 0.0
    for step, (images, labels) in enumerate(itertools.islice(batches, TEST_STEPS)):
        lr = LOWEST * ratio**step
        for group in optimizer.param_groups:
            group["lr"] = lr
        loss = loss_of(network, images, labels)
        average = SMOOTHING * average + (1 - SMOOTHING) * loss.item()
        smooth = average / (1 - SMOOTHING ** (step + 1))
        if not math.isfinite(smooth) or smooth > DIVERGED * best:
            break
        if smooth < best:
            best, chosen = smooth, lr
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if not chosen:
        raise InputError("lr: auto found no learning rate, as the loss is not finite at the lowest; check data and weights")
    return BELOW_THE_BEST * chosen
