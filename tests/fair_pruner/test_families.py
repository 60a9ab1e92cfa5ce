"""Networks beyond the families that the library promises: they are cut rightly as far as they are cut, or refused."""

import pytest
import timm
import torch
from torch import nn
from torchvision import models

from fair_pruner import CostModel, UnsupportedModelError, find_groups, measure, remove

from .conftest import random_plan, silence

TORCHVISION = ["resnet50", "densenet121", "mobilenet_v2", "efficientnet_b0", "regnet_x_400mf", "convnext_tiny", "squeezenet1_0"]
TIMM = ["resnet18", "vit_tiny_patch16_224", "deit_tiny_patch16_224", "convnext_atto", "efficientnet_lite0"]


def build(name: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    size = 224 if name.endswith("224") else 64
    model = timm.create_model(name, num_classes=10) if name in TIMM else models.get_model(name, weights=None, num_classes=10)
    return model.eval(), torch.randn(2, 3, size, size)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*TORCHVISION, *TIMM])
def test_removing_units_without_effect_leaves_the_output(name: str) -> None:
    model, example = build(name)
    plan = random_plan(model, example)
    assert plan.units_removed > 100
    silence(model, example, plan)
    small = remove(model, plan, example_input=example)
    with torch.no_grad():
        torch.testing.assert_close(small(example), model(example), atol=1e-5, rtol=1e-4)
    assert measure(small, example) == CostModel(model, example).after(plan)


@pytest.mark.slow
def test_what_the_tracer_does_not_understand_is_refused() -> None:
    model, example = build("shufflenet_v2_x1_0")
    with pytest.raises(UnsupportedModelError, match="cannot be traced"):
        find_groups(model, example)
