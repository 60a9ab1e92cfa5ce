"""What a group is made of: tensors to cut, and places to look at."""

from dataclasses import dataclass
from typing import Literal

from fair_pruner.types import UnitKind


@dataclass(frozen=True)
class Slice:
    """Entries of a parameter or buffer along `dim`: entry i belongs to unit `unit_of[i]`, or to none of this group's if -1.

    Entries that `reads` is set for are weights that read the units; the others make them.
    """

    tensor: str
    dim: int
    reads: bool
    unit_of: tuple[int, ...]


@dataclass(frozen=True)
class Point:
    """Where units can be seen: the output (or input) of a layer, channels in dimension `dim`; `unit_of[c]` as in Slice.

    `activation` names the function of torch.nn.functional that is applied to what is read there, if any.
    """

    layer: str
    side: Literal["out", "in"]
    dim: int
    unit_of: tuple[int, ...]
    activation: str = ""


@dataclass(frozen=True)
class Producer:
    """A layer that creates the units of a group, and where its work can be seen: bare, behind its norm, behind that one's
    activation (each falling back to the one before where there is none). The gate of the R-Score stands at `gate`.
    """

    layer: str
    producer: Point
    norm: Point
    activation: Point
    gate: Point


@dataclass(frozen=True)
class Group:
    """`units` units that are removed one by one, each from every slice at once.

    Named after its first producer, a group of heads after its attention module. `channels` is how many channels of the
    first producer make up a unit.
    """

    name: str
    kind: UnitKind
    units: int
    channels: int
    producers: tuple[Producer, ...]
    slices: tuple[Slice, ...]
