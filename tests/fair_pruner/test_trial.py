"""The trial finds out groups that are wrong, in every family, and has nothing against those that are right."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from fair_pruner import find_groups
from fair_pruner.groups import cuttable_copy
from fair_pruner.structure import Group, Slice
from fair_pruner.trial import failing, fault

Family = tuple[nn.Module, Tensor]


def shifted(part: Slice) -> Slice:
    """The same slice with every channel said to be the next unit's."""
    inside = [unit for unit in part.unit_of if unit >= 0]
    turned = iter((*inside[1:], inside[0]))
    return replace(part, unit_of=tuple(unit if unit < 0 else next(turned) for unit in part.unit_of))


def reads(group: Group) -> int:
    """The place of a slice that reads the group's units, as the next layer's weight does."""
    return next(place for place, part in enumerate(group.slices) if part.reads)


def test_right_groups_pass(family: Family) -> None:
    model, example = family
    assert failing(cuttable_copy(model), example, find_groups(model, example, trial=False)) == {}


def test_a_reader_whose_channels_are_mixed_up_is_found_out(family: Family) -> None:
    model, example = family
    groups = list(find_groups(model, example))
    place = reads(groups[0])
    slices = (*groups[0].slices[:place], shifted(groups[0].slices[place]), *groups[0].slices[place + 1 :])
    groups[0] = replace(groups[0], slices=slices)
    guilty = failing(cuttable_copy(model), example, groups)
    assert set(guilty) == {groups[0].name}
    assert "change the output by" in guilty[groups[0].name]


def test_a_forgotten_slice_is_found_out(family: Family) -> None:
    model, example = family
    for group in find_groups(model, example)[:2]:
        for place in range(len(group.slices)):
            less = replace(group, slices=(*group.slices[:place], *group.slices[place + 1 :]))
            assert fault(cuttable_copy(model), example, [less], {group.name: tuple(range(group.units // 2))}), group.slices[place]


def test_a_model_that_gives_no_finite_numbers_is_not_trusted() -> None:
    class Log(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).clamp(max=-1).log()

    model, example = Log(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), torch.ones(2, 4)
    groups = find_groups(model, example, trial=False)
    assert "not finite" in failing(model, example, groups)["0"]


@pytest.mark.parametrize("share", [1, 3])
def test_the_model_itself_is_only_read(family: Family, share: int) -> None:
    model, example = family
    before = {name: value.clone() for name, value in model.state_dict().items()}
    groups = find_groups(model, example)[::share]
    assert fault(cuttable_copy(model), example, groups, {group.name: (0,) for group in groups}) == ""
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
