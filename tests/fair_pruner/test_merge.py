"""Groups that share channels become one; what is left is a partition, whatever the order they came in."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fair_pruner.graph import Coupled, Member
from fair_pruner.merge import Merged, merge

GROUPED = nn.ModuleDict({"blocks": nn.Conv2d(8, 8, 3, groups=4), "plain": nn.Conv2d(8, 8, 3)})


def coupled(root: str, *members: tuple[str, str, list[int]]) -> Coupled:
    """A group whose unit i is the channel at place i of each member."""
    units = len(members[0][2])
    made = tuple(Member(name, role, channels, range(units), None, ()) for name, role, channels in members)  # type: ignore[arg-type]
    return Coupled(root, units, made, "")


def channels_of(merged: Merged) -> set[frozenset[tuple[str, str, int]]]:
    """The units, as sets of (layer, side, channel)."""
    units: dict[int, set[tuple[str, str, int]]] = {}
    for (name, role), unit_of in merged.unit_of.items():
        for channel, unit in unit_of.items():
            units.setdefault(unit, set()).add((name, role, channel))
    return set(map(frozenset, units.values()))


def test_groups_that_share_nothing_stay_as_they_are() -> None:
    first, second = coupled("a", ("plain", "out", [0, 1, 2, 3])), coupled("b", ("plain", "in", [0, 1]))
    assert [merged.units for merged in merge(GROUPED, [first, second])] == [4, 2]


def test_both_sides_of_a_grouped_convolution_become_blocks() -> None:
    before, after = coupled("a", ("blocks", "in", list(range(8)))), coupled("b", ("blocks", "out", list(range(8))))
    merged = list(merge(GROUPED, [before, after]))
    assert [group.units for group in merged if ("blocks", "out") in group.unit_of] == [4]
    (blocks,) = (group for group in merged if ("blocks", "out") in group.unit_of)
    assert frozenset({("blocks", "out", 2), ("blocks", "out", 3)}) in {
        frozenset(entry for entry in unit if entry[1] == "out") for unit in channels_of(blocks)
    }


def test_a_refusal_holds_for_all_that_is_joined() -> None:
    one = coupled("a", ("plain", "out", [0, 1]))
    other = Coupled("b", 2, coupled("b", ("plain", "out", [1, 2])).members, "it is the output")
    (merged,) = merge(GROUPED, [one, other])
    assert (merged.units, merged.refusal) == (3, "it is the output")


@given(st.lists(st.lists(st.integers(0, 7), min_size=1, max_size=4, unique=True), min_size=1, max_size=5), st.randoms())
def test_units_are_a_partition_that_does_not_depend_on_the_order(slots: list[list[int]], random: object) -> None:
    groups = [coupled(f"g{place}", ("plain", "out", channels)) for place, channels in enumerate(slots)]
    mixed = list(groups)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    found, again = (set().union(*map(channels_of, merge(GROUPED, order))) for order in (groups, mixed))
    assert found == again
    seen = [entry for unit in found for entry in unit]
    assert len(seen) == len(set(seen)) == len(set(torch.tensor([c for channels in slots for c in channels]).tolist()))
