"""Real networks of every family that is cut: rightly as far as they are cut, again, and back from a plan; or refused.

In double precision, so that a difference is a mistake and no rounding, and with BatchNorm statistics measured once: with
those of a new network signals fade to 1e-13 on their way through EfficientNet, and anything would leave the output.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import NamedTuple

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models import get_model

from fair_pruner import CostModel, GroupPlan, NothingToPruneError, PruningPlan, find_groups, measure, remove
from fair_pruner.groups import refusals
from fair_pruner.layers import BatchNorm
from pipeline.builtin_models import CifarResNet

from ..benchmarks.custom_networks import Grouped, RowReader, TwoPaths, small_vit
from .conftest import random_plan, silence

pytestmark = pytest.mark.slow
PHOTO, ROWS = (3, 64, 64), (1, 8, 8)


class Family(NamedTuple):
    """A network, the shape of one image for it, and whether its width is cut too."""

    make: Callable[[], nn.Module]
    shape: tuple[int, int, int] = PHOTO
    embedding: bool = False


def torchvision_family(name: str, **kwargs: object) -> Family:
    return Family(lambda: get_model(name, weights=None, num_classes=10, **kwargs))


def timm_family(name: str, *, embedding: bool = False, **kwargs: object) -> Family:
    return Family(lambda: timm.create_model(name, num_classes=10, **kwargs), PHOTO, embedding)


FAMILIES = {  # the layer scale of a new ConvNeXt is 1e-6, under which none of its blocks would count
    "VGG-16-BN": torchvision_family("vgg16_bn"),
    "ResNet-18": torchvision_family("resnet18"),
    "ResNet-18 of timm": timm_family("resnet18"),
    "ResNet-50": torchvision_family("resnet50"),
    "DenseNet-121": torchvision_family("densenet121"),
    "SqueezeNet": torchvision_family("squeezenet1_0"),
    "ShuffleNetV2": torchvision_family("shufflenet_v2_x1_0"),
    "MobileNetV2": torchvision_family("mobilenet_v2"),
    "EfficientNet-B0": torchvision_family("efficientnet_b0"),
    "EfficientNet-Lite of timm": timm_family("efficientnet_lite0"),
    "RegNetX-400MF": torchvision_family("regnet_x_400mf"),
    "RegNetY-400MF": torchvision_family("regnet_y_400mf"),
    "ConvNeXt-Tiny": torchvision_family("convnext_tiny", layer_scale=1.0),
    "ConvNeXt-Tiny of timm": timm_family("convnext_tiny", ls_init_value=1.0),
    "ConvNeXt-Atto, embedding": timm_family("convnext_atto", ls_init_value=1.0, embedding=True),
    "ViT of torchvision": Family(lambda: small_vit(10, PHOTO[1])),
    "ViT-Ti": timm_family("vit_tiny_patch16_224", img_size=PHOTO[1]),
    "DeiT-Ti": timm_family("deit_tiny_patch16_224", img_size=PHOTO[1]),
    "DeiT-Ti, embedding": timm_family("deit_tiny_patch16_224", img_size=PHOTO[1], embedding=True),
    "ResNet-20": Family(lambda: CifarResNet(20, 3, 10), (3, 32, 32)),
    "ResNet-56": Family(lambda: CifarResNet(56, 3, 10), (3, 32, 32)),
    "LSTM": Family(lambda: RowReader(10, "LSTM"), ROWS),
    "GRU": Family(lambda: RowReader(10, "GRU"), ROWS),
    "grouped convolutions": Family(lambda: Grouped(10), (3, 32, 32)),
    "one's own": Family(lambda: TwoPaths(10), (3, 32, 32)),
}


class Case(NamedTuple):
    """A model of which the units in `plan` are silent (`original` is what it gave before that), and the model without them."""

    family: Family
    original: Tensor
    silent: nn.Module
    plan: PruningPlan
    small: nn.Module
    example: Tensor


@pytest.fixture(scope="module", params=FAMILIES)
def case(request: pytest.FixtureRequest) -> Case:
    family = FAMILIES[request.param]
    model, example = new(family), torch.randn(2, *family.shape, dtype=torch.float64)
    for layer in model.modules():
        if isinstance(layer, BatchNorm):
            layer.momentum = None  # the statistics of this one batch
    with torch.no_grad():
        model.train()(torch.randn(4, *family.shape, dtype=torch.float64))
    original = output(model.eval(), example, family)
    plan = plan_of(model, example, family)
    silence(model, example, plan)
    return Case(family, original, model, plan, remove(model, plan, example_input=example), example)


def new(family: Family) -> nn.Module:
    torch.manual_seed(0)
    return family.make().double().eval()


def plan_of(model: nn.Module, example: Tensor, family: Family) -> PruningPlan:
    """Random units of every group; of widths, which `random_plan` leaves alone, every third."""
    plan = random_plan(model, example)
    groups = find_groups(model, example, embedding=True, trial=False) if family.embedding else ()
    gone = {group.name: (group.units, tuple(range(0, group.units, 3))) for group in groups if group.kind == "width"}
    widths = [
        GroupPlan(name, units, units_gone, 0.0, 0.0, 0.0, 0.0, len(units_gone)) for name, (units, units_gone) in gone.items()
    ]
    assert bool(widths) == family.embedding
    return PruningPlan((*plan.groups, *widths), 0.1, "tod", 1, 1)


def output(model: nn.Module, example: Tensor, family: Family) -> Tensor:
    """What a model gives; its LayerNorms only scale and shift if its width is cut, since they see every unit of that."""
    norms = [layer for layer in model.modules() if isinstance(layer, nn.LayerNorm)] if family.embedding else []
    with torch.no_grad(), scaling_only(norms):
        return model(example)


@contextmanager
def scaling_only(norms: list[nn.LayerNorm]) -> Iterator[None]:
    def scale(norm: nn.LayerNorm, inputs: tuple[Tensor], _: Tensor) -> Tensor:
        second = "2d" in type(norm).__name__
        (x,) = inputs
        scaled = (x.movedim(1, -1) if second else x) * norm.weight + norm.bias
        return scaled.movedim(-1, 1) if second else scaled

    hooks = [norm.register_forward_hook(scale) for norm in norms]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest, as a share of the largest output."""
    return float((found - expected).abs().max() / expected.abs().max())


def test_removing_units_without_effect_leaves_the_output(case: Case) -> None:
    assert all(group.depth for group in case.plan.groups if group.units > 2)
    expected = output(case.silent, case.example, case.family)
    assert difference(expected, case.original) > 1e-3  # the units did count before they were silenced
    assert difference(expected[:1], expected[1:]) > 1e-3  # and the output depends on the input
    assert difference(output(case.small, case.example, case.family), expected) < 1e-5


def test_widths_and_cost_are_as_planned(case: Case) -> None:
    left = {group.name: group.units for group in find_groups(case.small, case.example, embedding=True, trial=False)}
    assert {group.name: group.units - group.depth for group in case.plan.groups}.items() <= left.items()
    assert measure(case.small, case.example) == CostModel(case.silent, case.example).after(case.plan)


def test_replaying_the_plan_and_loading_the_weights_gives_the_same_network(case: Case) -> None:
    again = remove(new(case.family), PruningPlan.from_json(case.plan.to_json()), example_input=case.example)
    again.load_state_dict(case.small.state_dict())
    with torch.no_grad():
        assert torch.equal(again(case.example), case.small(case.example))


def test_a_cut_model_can_be_cut_again(case: Case) -> None:
    small, example = deepcopy(case.small), case.example
    plan = plan_of(small, example, case.family)
    silence(small, example, plan)
    expected = output(small, example, case.family)
    assert plan.units_removed > 0
    assert difference(expected, output(case.small, example, case.family)) > 1e-3
    smaller = remove(small, plan, example_input=example)
    assert difference(output(smaller, example, case.family), expected) < 1e-5
    assert measure(smaller, example) == CostModel(small, example).after(plan)


def test_what_cannot_be_cut_is_left_whole_or_refused_with_the_reason() -> None:
    shuffle = get_model("shufflenet_v2_x1_0", weights=None, num_classes=10).eval()
    assert any("passes through split, which cannot be cut" in reason for reason in refusals(shuffle, torch.randn(2, *PHOTO)))
    gated = timm.create_model("gmlp_ti16_224", num_classes=10).eval()
    with pytest.raises(NothingToPruneError, match="this width is cut only on request"):
        find_groups(gated, torch.randn(2, 3, 224, 224))
