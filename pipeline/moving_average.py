"""The exponential moving average of a network's weights, by timm."""

from typing import Any

from torch import nn

from pipeline.training_sections import TrainConfig

WARMUP_POWER = 0.75  # the decay at a step is 1 - (1 + step) ** -WARMUP_POWER until that reaches the recipe's


def moving_average(model: nn.Module, recipe: TrainConfig) -> Any:
    """timm's ModelEmaV3 of a network, whose `module` is the averaged one; None if the recipe wants none."""
    if not recipe.ema_decay:
        return None
    from timm.utils import ModelEmaV3

    return ModelEmaV3(model, decay=recipe.ema_decay, use_warmup=True, warmup_power=WARMUP_POWER)
