"""Join coupled groups that share channels which can only go together: units become whole blocks."""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from fair_pruner.graph import Coupled, Member
from fair_pruner.layers import Role, blocks

Key = tuple[str, Role]  # a layer or parameter, and which of its sides


@dataclass(frozen=True)
class Merged:
    """One group after joining: `unit_of[layer or parameter, role]` maps its channels to units 0 .. units - 1."""

    name: str
    units: int
    unit_of: dict[Key, dict[int, int]]
    members: dict[Key, Member]
    refusal: str


def merge(model: nn.Module, coupled: Sequence[Coupled]) -> Iterator[Merged]:
    """The groups of `coupled`, in their order, with those that share a channel, or a block of channels, made one.

    Blocks are those of grouped convolutions, and the cells of recurrent layers that run in both directions.
    """
    modules = dict(model.named_modules())
    found: dict[Key, list[tuple[int, Member]]] = defaultdict(list)
    for place, group in enumerate(coupled):
        for member in group.members:
            found[member.name, member.role].append((place, member))
    units, groups = _Partition(), _Partition()
    claimed: dict[Hashable, tuple[int, int]] = {}
    for (name, role), members in found.items():
        block_of = blocks(modules[name], role) if name in modules else None
        channels = [channel for _, member in members for channel in member.channels]
        if block_of is None and len(set(channels)) == len(channels):
            continue  # nothing here is shared
        for place, member in members:
            for channel, unit in zip(member.channels, member.units, strict=True):
                block = [(name, block_of[channel])] if block_of is not None and channel < len(block_of) else []
                for claim in ((name, role, channel), *block):
                    other = claimed.setdefault(claim, (place, unit))
                    units.join(other, (place, unit))
                    groups.join(other[0], place)
    together: dict[int, list[int]] = defaultdict(list)
    for place in range(len(coupled)):
        together[groups.find(place)].append(place)
    for places in together.values():
        yield _joined([coupled[place] for place in places], places, units)


class _Partition:
    """Sets that only grow; each is known by its smallest element."""

    def __init__(self) -> None:
        self.parent: dict[Any, Any] = {}

    def find(self, element: Any) -> Any:
        while (above := self.parent.get(element, element)) != element:
            self.parent[element] = self.parent.get(above, above)
            element = above
        return element

    def join(self, one: Any, other: Any) -> None:
        low, high = sorted((self.find(one), self.find(other)))
        if low != high:
            self.parent[high] = low


def _joined(coupled: Sequence[Coupled], places: Sequence[int], units: _Partition) -> Merged:
    number: dict[tuple[int, int], int] = {}
    numbered = [
        [number.setdefault(units.find((place, unit)), len(number)) for unit in range(group.units)]
        for place, group in zip(places, coupled, strict=True)
    ]
    unit_of: dict[Key, dict[int, int]] = defaultdict(dict)
    members: dict[Key, Member] = {}
    for mine, group in zip(numbered, coupled, strict=True):
        for member in group.members:
            key = (member.name, member.role)
            members.setdefault(key, member)
            unit_of[key].update(zip(member.channels, (mine[unit] for unit in member.units), strict=True))
    refusal = next((group.refusal for group in coupled if group.refusal), "")
    return Merged(coupled[0].root, len(number), dict(unit_of), members, refusal)
