"""Which layers a network has, and what their latency depends on."""

import torch
from torch import Tensor, nn

from fair_pruner import CostModel, PruningPlan
from pipeline.layer_kinds import LayerKind, layers_of


class Mixed(nn.Module):
    """Every sort of layer, one of them called by keyword and one twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, (3, 5), stride=(2, 1), padding=(1, 2))
        self.depthwise = nn.Conv2d(8, 8, 3, padding="same", dilation=2, groups=8)
        self.grouped = nn.Conv2d(8, 12, 3, padding="valid", groups=4)
        self.token = nn.Linear(12, 12)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.grouped(input=self.depthwise(self.stem(x).relu())).relu()
        tokens = x.flatten(2).transpose(1, 2)  # (n, positions, 12)
        return self.head(self.token(self.token(tokens)).mean(1))


def conv(size: tuple[int, int], **how: object) -> LayerKind:
    plain = {"kernel": (3, 3), "stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1)}
    return LayerKind.model_validate({"operator": "conv", "size": size, **plain, **how})


def test_every_call_of_a_layer_is_found_with_what_it_is_applied_to() -> None:
    torch.manual_seed(0)
    model, images = Mixed().eval(), torch.zeros(2, 3, 12, 10)
    token = LayerKind(operator="linear", size=(32,))
    layers = layers_of(model, images)
    assert [(layer.name, layer.kind) for layer in layers] == [
        ("stem", conv((12, 10), kernel=(3, 5), stride=(2, 1), padding=(1, 2, 1, 2))),
        ("depthwise", conv((6, 10), padding=(2, 2, 2, 2), dilation=(2, 2), group=(1, 1))),
        ("grouped", conv((6, 10), group=(2, 3))),
        ("token", token),
        ("token", token),
        ("head", LayerKind(operator="linear", size=(1,))),
    ]
    assert [layer.kind.widths(layer.weight) for layer in layers] == [(3, 8), (1, 8), (1, 4), (12, 12), (12, 12), (12, 5)]
    as_costed = CostModel(model, images, groups=()).shapes_after(PruningPlan((), 0.1, "tod", 1, 1))
    assert {layer.name: layer.weight for layer in layers} == as_costed


def test_the_model_is_left_as_it_was() -> None:
    model = Mixed().train()
    layers_of(model, torch.zeros(2, 3, 12, 10))
    assert model.training and not any(layer._forward_hooks for layer in model.modules())
