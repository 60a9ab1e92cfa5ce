"""The layers of a network that its latency is told by: which kinds there are, and where each stands."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fair_pruner.groups import cuttable_copy
from pipeline.records import Value

Convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class LayerKind(Value):
    """What a layer's latency depends on beside its channels.

    `size` is that of a convolution's input, one number a spatial dimension; of a linear layer the number of positions in one
    image that it is applied to. `padding` is that at the beginning of each dimension, then at the end of each. `group` are
    the (input, output) channels of one group of a grouped convolution, (1, 1) of a depthwise one, None of others.
    """

    operator: Literal["conv", "linear"]
    size: tuple[int, ...]
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    group: tuple[int, int] | None = None

    def widths(self, weight: Sequence[int]) -> tuple[int, int]:
        """(input, output) channels of a layer whose weight has this shape; of a grouped convolution 1 and its groups."""
        return (weight[1], weight[0]) if self.group is None else (1, weight[0] // self.group[1])


class Layer(Value):
    """A layer of a network as it is called; `weight` is the shape of that tensor."""

    name: str
    kind: LayerKind
    weight: tuple[int, ...]


def layers_of(network: nn.Module, inputs: Tensor) -> tuple[Layer, ...]:
    """Every call of a convolution or linear layer in a forward pass, in order, under the names that a CostModel uses."""
    subject, found = cuttable_copy(network), list[Layer]()

    def note(name: str) -> Any:
        def hook(layer: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], _: Tensor) -> None:
            shape = (args[0] if args else kwargs["input"]).shape
            kind = _convolution(layer, shape) if isinstance(layer, Convolution) else _linear(shape, len(inputs))
            found.append(Layer(name=name, kind=kind, weight=tuple(layer.get_parameter("weight").shape)))

        return hook

    for name, layer in subject.named_modules():
        if isinstance(layer, (*Convolution, nn.Linear)):
            layer.register_forward_hook(note(name), with_kwargs=True)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        subject(inputs)
    return tuple(found)


def _convolution(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, shape: torch.Size) -> LayerKind:
    grouped = layer.groups > 1
    return LayerKind(
        operator="conv",
        size=tuple(shape[2:]),
        kernel=tuple(layer.kernel_size),
        stride=tuple(layer.stride),
        padding=_padding(layer),
        dilation=tuple(layer.dilation),
        group=(layer.in_channels // layer.groups, layer.out_channels // layer.groups) if grouped else None,
    )


def _padding(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> tuple[int, ...]:
    if isinstance(layer.padding, str):
        same = [dilation * (kernel - 1) for dilation, kernel in zip(layer.dilation, layer.kernel_size, strict=True)]
        total = same if layer.padding == "same" else [0] * len(same)
        begin = tuple(each // 2 for each in total)
        return (*begin, *(each - half for each, half in zip(total, begin, strict=True)))
    return (*layer.padding, *layer.padding)


def _linear(shape: torch.Size, images: int) -> LayerKind:
    return LayerKind(operator="linear", size=(shape[:-1].numel() // images,))
