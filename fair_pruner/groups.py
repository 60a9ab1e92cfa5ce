"""Groups: the layers whose channels must go together, and which entries of which tensors make up each unit."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from fair_pruner.attention import AttentionShape, attention_shape, replaceable, stand_in
from fair_pruner.copies import sharing
from fair_pruner.errors import NothingToPruneError, UnsupportedModelError
from fair_pruner.graph import trace
from fair_pruner.layers import BatchNorm, Recurrent, channel_dim, entries, produces, width
from fair_pruner.merge import Merged, merge
from fair_pruner.objections import Objections, count_calls, under
from fair_pruner.structure import Group, Point, Producer, Slice
from fair_pruner.trial import failing
from fair_pruner.types import UnitKind

ACTIVATIONS = {  # what autograd calls them: what torch.nn.functional calls them
    "ReluBackward0": "relu",
    "GeluBackward0": "gelu",
    "SiluBackward0": "silu",
    "HardtanhBackward0": "relu6",
    "HardswishBackward0": "hardswish",
    "MishBackward0": "mish",
    "EluBackward0": "elu",
    "LeakyReluBackward0": "leaky_relu",
    "SigmoidBackward0": "sigmoid",
    "TanhBackward0": "tanh",
}


def find_groups(
    model: nn.Module, example_input: Tensor, ignore: Sequence[str] = (), *, embedding: bool = False, trial: bool = True
) -> tuple[Group, ...]:
    """All groups of `model` that may be cut, in the order of its layers; the model is only read.

    Units are channels of convolutions, neurons of linear layers, widths of embeddings, whole blocks of grouped
    convolutions, whole attention heads, hidden units of recurrent layers, and with `embedding` the channels that LayerNorms
    normalise over (the width of a transformer or of a ConvNeXt stage). Left out are groups that reach the model's output,
    those with a layer in `ignore` (a name, or the prefix of names up to a dot), and those that hold something this library
    cannot cut. With `trial` a third of every group is cut from a copy with random weights: a group whose cut changes what
    it must not change is left out too. Raises UnsupportedModelError if the model cannot be traced or a name in `ignore` is
    not in it, NothingToPruneError if no group is left; it says why, group by group.
    """
    groups, refused = _find(model, example_input, ignore, embedding, trial)
    if not groups:
        why = "; ".join(refused[:5]) or "it has no convolution, linear or recurrent layer"
        raise NothingToPruneError(f"nothing in this model can be cut ({why}); choose a model with hidden layers, or ignore less")
    return groups


def refusals(
    model: nn.Module, example_input: Tensor, ignore: Sequence[str] = (), *, embedding: bool = False, trial: bool = False
) -> tuple[str, ...]:
    """Why each group that `find_groups` leaves out is left out: "name: reason"; without `trial`, those before any trial cut."""
    return tuple(_find(model, example_input, ignore, embedding, trial)[1])


def cuttable_copy(model: nn.Module) -> nn.Module:
    """A copy in eval mode over the same weights, in which the heads of every attention module can be cut."""
    subject = sharing(model)
    stand_in(subject, replaceable(subject))
    return subject


def _find(
    model: nn.Module, example: Tensor, ignore: Sequence[str], embedding: bool, trial: bool
) -> tuple[tuple[Group, ...], list[str]]:
    subject = cuttable_copy(model)
    order = {name: place for place, (name, _) in enumerate(subject.named_modules())}
    for ignored in ignore:
        if not any(under(name, ignored) for name in (*order, *dict(model.named_modules()))):
            raise UnsupportedModelError(f"ignore names {ignored!r}, which is not a layer of the model")
    objections = Objections(subject, count_calls(subject, example), ignore, embedding)
    attention = {name: shape for name, module in subject.named_modules() if (shape := attention_shape(module))}
    groups, refused = [], []
    producers = {f"{name}.{layer}" for name in attention for layer in ("qkv", "proj")}
    for merged in merge(subject, list(trace(sharing(subject), example))):
        producers |= {name for name, role in merged.members if role == "out"}
        if any((f"{name}.qkv", "out") in merged.members for name in attention):
            continue  # heads go as a whole, below
        reason = objections.to_group(merged)
        if reason:
            refused.append(f"{merged.name}: {reason}")
        else:
            groups.append(_group(subject, merged))
    for name, shape in attention.items():
        reason = objections.to_heads(name)
        if reason:
            refused.append(f"{name}: {reason}")
        else:
            groups.append(_heads(name, shape))
    if trial and groups:
        wrong = failing(subject, example, groups)
        refused += [f"{name}: in a trial cut of it {reason}" for name, reason in wrong.items()]
        groups = [group for group in groups if group.name not in wrong]
    refused += objections.to_the_rest(producers)
    return tuple(sorted(groups, key=lambda group: order[group.name])), refused


def _group(model: nn.Module, merged: Merged) -> Group:
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    slices, producers = [], []
    norm = False
    for (name, role), member in merged.members.items():
        unit_of = merged.unit_of[name, role]
        if member.dim is not None:
            size = parameters[name].shape[member.dim]
            slices.append(Slice(name, member.dim, False, _spread(unit_of, size)))
            continue
        layer = modules[name]
        norm = norm or isinstance(layer, nn.LayerNorm)
        spread = _spread(unit_of, width(layer, role))
        for entry in entries(layer, role):
            units = spread if entry.channels == range(len(spread)) else tuple(spread[channel] for channel in entry.channels)
            slices.append(Slice(f"{name}.{entry.tensor}", entry.dim, entry.reads, units))
        if role == "out" and (produces(layer) or isinstance(layer, Recurrent)):
            producers.append(_producer(modules, merged, name))
    order = {name: place for place, name in enumerate(modules)}
    producers.sort(key=lambda producer: order[producer.layer])
    kind: UnitKind = "width" if norm else "hidden" if isinstance(modules[merged.name], Recurrent) else "channel"
    channels = Counter(unit for unit in producers[0].producer.unit_of if unit >= 0)
    return Group(merged.name, kind, merged.units, max(channels.values()), tuple(producers), tuple(slices))


def _producer(modules: Mapping[str, nn.Module], merged: Merged, name: str) -> Producer:
    layer, followers = modules[name], merged.members[name, "out"].followers
    bare = Point(name, "out", channel_dim(layer), _spread(merged.unit_of[name, "out"], width(layer, "out")))
    behind = bare
    if len(followers) == 1 and isinstance(modules.get(followers[0]), BatchNorm):
        behind = replace(bare, layer=followers[0])
        followers = merged.members[followers[0], "out"].followers
    activation = ACTIVATIONS.get(followers[0], "") if len(followers) == 1 else ""
    return Producer(name, bare, behind, replace(behind, activation=activation), behind)


def _heads(name: str, shape: AttentionShape) -> Group:
    """Heads are seen, and gated, where the output projection reads them: without that input a head is gone."""
    unit_of = tuple(head for head in range(shape.heads) for _ in range(shape.head_dim))
    seen = Point(f"{name}.proj", "in", -1, unit_of)
    packed = [Slice(f"{name}.qkv.{tensor}", 0, False, unit_of * 3) for tensor in shape.packed]
    slices = (*packed, Slice(f"{name}.proj.weight", 1, True, unit_of))
    return Group(name, "head", shape.heads, shape.head_dim, (Producer(f"{name}.qkv", seen, seen, seen, seen),), slices)


def _spread(unit_of: Mapping[int, int], size: int) -> tuple[int, ...]:
    return tuple(unit_of.get(channel, -1) for channel in range(size))
