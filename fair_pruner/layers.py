"""What each kind of layer stores: which entries of which tensor belong to its output and input channels, and its widths."""

from collections.abc import Collection, Iterator, Sequence
from typing import Literal, NamedTuple

from torch import Tensor, nn

from fair_pruner.attention import attention_shape

Role = Literal["out", "in"]
Convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BatchNorm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
Recurrent = (nn.LSTM, nn.GRU, nn.RNN)
PerChannel = (*BatchNorm, nn.LayerNorm, nn.PReLU)  # hand channels on, with one entry of each tensor for a channel
Cuttable = (*Convolution, nn.Linear, nn.Embedding, *PerChannel, *Recurrent)


class Entries(NamedTuple):
    """`channels[i]` is the channel that entry i of `tensor` along `dim` belongs to; `reads` as in structure.Slice."""

    tensor: str
    dim: int
    channels: Sequence[int]
    reads: bool = False


def produces(layer: nn.Module) -> bool:
    """Whether a layer creates channels; depthwise convolutions and norms only hand them on."""
    return isinstance(layer, nn.Linear | nn.Embedding) or (isinstance(layer, Convolution) and not is_depthwise(layer))


def is_depthwise(layer: nn.Module) -> bool:
    """Whether each output channel reads the input channel of the same place and no other."""
    return isinstance(layer, Convolution) and 1 < layer.groups == layer.in_channels == layer.out_channels


def is_block(layer: nn.Module | None) -> bool:
    """Whether blocks of output channels read blocks of input channels, several to a block; a block goes as a whole."""
    return isinstance(layer, Convolution) and layer.groups > 1 and not is_depthwise(layer)


def width(layer: nn.Module, role: Role) -> int:
    """How many channels a layer has on one side."""
    if isinstance(layer, Convolution):
        return layer.out_channels if role == "out" else layer.in_channels
    if isinstance(layer, nn.Linear):
        return layer.out_features if role == "out" else layer.in_features
    if isinstance(layer, Recurrent):
        return layer.hidden_size * (1 + layer.bidirectional) if role == "out" else layer.input_size
    if isinstance(layer, BatchNorm):
        return layer.num_features
    if isinstance(layer, nn.LayerNorm):
        return layer.normalized_shape[-1]
    if isinstance(layer, nn.Embedding):
        return layer.embedding_dim
    assert isinstance(layer.weight, Tensor)
    return len(layer.weight)


def channel_dim(layer: nn.Module) -> int:
    """Which dimension of a layer's output holds its channels."""
    return 1 if isinstance(layer, (*Convolution, *BatchNorm, nn.PReLU)) else -1


def blocks(layer: nn.Module, role: Role) -> Sequence[int] | None:
    """For each channel of one side the block it can only go with, where a layer has such: blocks of both sides correspond."""
    channels = range(width(layer, role)) if isinstance(layer, (*Convolution, *Recurrent)) else range(0)
    if is_block(layer):
        assert isinstance(layer, Convolution)
        return [channel * layer.groups // len(channels) for channel in channels]
    if isinstance(layer, Recurrent) and role == "out":
        return [channel % layer.hidden_size for channel in channels]
    return None


def entries(layer: nn.Module, role: Role) -> Iterator[Entries]:
    """The tensors of a layer that go with its output or input channels."""
    if isinstance(layer, Recurrent):
        yield from _recurrent(layer, role)
        return
    channels = range(width(layer, role))
    if role == "in":
        if not (isinstance(layer, Convolution) and layer.groups > 1) and not isinstance(layer, PerChannel):
            yield Entries("weight", 1, channels, reads=True)
        return
    if isinstance(layer, nn.Embedding):
        yield Entries("weight", 1, channels)
        return
    for name, tensor in (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)):
        if tensor.dim():
            yield Entries(name, 0, channels)


def _recurrent(layer: nn.RNNBase, role: Role) -> Iterator[Entries]:
    """Hidden unit j is channel j, and also channel hidden_size + j if bidirectional: each direction has its own half."""
    size, directions = layer.hidden_size, 1 + layer.bidirectional
    for name, tensor in layer.named_parameters(recurse=False):
        first = "_l0" in name
        if role == "in":
            if first and name.startswith("weight_ih"):
                yield Entries(name, 1, range(layer.input_size), reads=True)
            continue
        own = [size * name.endswith("_reverse") + j for j in range(size)]
        yield Entries(name, 0, own * (len(tensor) // size))
        if name.startswith("weight_hh"):
            yield Entries(name, 1, own, reads=True)
        elif name.startswith("weight_ih") and not first:
            yield Entries(name, 1, range(size * directions), reads=True)


def speaking(model: nn.Module) -> set[nn.Module]:
    """Modules around layers that say how many heads or hidden channels those have; look before the cut."""
    return {module for module in model.modules() if attention_shape(module) or _says_hidden(module)}


def _says_hidden(module: nn.Module) -> bool:
    """Whether this is a vision transformer of torchvision, which reshapes by its `hidden_dim`."""
    projection = getattr(module, "conv_proj", None)
    return isinstance(projection, nn.Conv2d) and getattr(module, "hidden_dim", None) == projection.out_channels


def declare_widths(model: nn.Module, around: Collection[nn.Module]) -> None:
    """Make every layer, and the modules `around` that were `speaking`, say how wide the tensors are after the cut."""
    for layer in model.modules():
        if isinstance(layer, Convolution):
            layer.groups = max(1, layer.groups * len(layer.weight) // layer.out_channels)
            layer.out_channels, layer.in_channels = len(layer.weight), layer.weight.shape[1] * layer.groups
        elif isinstance(layer, nn.Linear):
            layer.out_features, layer.in_features = layer.weight.shape
        elif isinstance(layer, nn.Embedding):
            layer.embedding_dim = layer.weight.shape[1]
        elif isinstance(layer, BatchNorm):
            stored = layer.weight if layer.affine else layer.running_mean
            layer.num_features = layer.num_features if stored is None else len(stored)
        elif isinstance(layer, nn.LayerNorm) and layer.elementwise_affine:
            layer.normalized_shape = tuple(layer.weight.shape)
        elif isinstance(layer, nn.PReLU):
            layer.num_parameters = len(layer.weight)
        elif isinstance(layer, Recurrent):
            layer.input_size = layer.get_parameter("weight_ih_l0").shape[1]
            layer.hidden_size = layer.get_parameter("weight_hh_l0").shape[1]
        elif layer in around and (shape := attention_shape(layer, declared=False)):
            layer.num_heads = shape.heads  # type: ignore[assignment]
            if hasattr(layer, "attn_dim"):
                layer.attn_dim = shape.heads * shape.head_dim  # type: ignore[assignment]
        elif layer in around:
            layer.hidden_dim = len(layer.get_parameter("conv_proj.weight"))  # type: ignore[assignment]


def declared_shapes(layer: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shapes that a layer's weights must have by what it declares."""
    if isinstance(layer, nn.Linear):
        return {"weight": (layer.out_features, layer.in_features)}
    if isinstance(layer, nn.Embedding):
        return {"weight": (layer.num_embeddings, layer.embedding_dim)}
    if isinstance(layer, Convolution):
        return {"weight": (layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size)}
    if isinstance(layer, BatchNorm):
        return {name: (layer.num_features,) for name in ("weight", "bias", "running_mean") if getattr(layer, name) is not None}
    if isinstance(layer, nn.LayerNorm) and layer.elementwise_affine:
        return {"weight": tuple(layer.normalized_shape)}
    if isinstance(layer, Recurrent):
        own = [value.shape for name, value in layer.named_parameters() if name.startswith("weight_hh")]
        return {"weight_hh_l0": (own[0][0] // own[0][1] * layer.hidden_size, layer.hidden_size)}
    return {}
