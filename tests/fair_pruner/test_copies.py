"""Copies to try things on: what they share, and which models cannot be copied."""

import warnings

import pytest
import torch
from torch import nn

from fair_pruner import UnsupportedModelError
from fair_pruner.copies import independent, sharing, unset


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 2))


def test_an_independent_copy_keeps_modes_and_moves_alone() -> None:
    original = model()
    original[1].eval()
    original[0].weight.requires_grad = False
    copied = independent(original)
    assert [layer.training for layer in copied.modules()] == [layer.training for layer in original.modules()]
    assert not copied.get_parameter("0.weight").requires_grad
    with torch.no_grad():
        copied.get_parameter("0.bias").add_(1)
    assert not torch.equal(copied.get_parameter("0.bias"), original.get_parameter("0.bias"))


def test_a_sharing_copy_has_the_same_memory_and_its_own_buffers() -> None:
    original = model()
    copied = sharing(original)
    assert original.training
    assert not copied.training
    for name, parameter in original.named_parameters():
        assert copied.get_parameter(name).data_ptr() == parameter.data_ptr()
    assert copied.get_buffer("1.running_mean").data_ptr() != original.get_buffer("1.running_mean").data_ptr()


def test_an_unset_copy_is_of_the_type_asked_for() -> None:
    copied = unset(model(), torch.float64)
    assert {value.dtype for value in copied.state_dict().values()} == {torch.float64, torch.int64}
    assert not any(parameter.requires_grad for parameter in copied.parameters())


@pytest.mark.parametrize("copied", [independent, sharing, lambda model: unset(model, torch.float64)])
def test_a_tensor_under_two_names_stays_one(copied) -> None:
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    found = copied(tied)
    assert found[1].weight is found[0].weight


def test_models_that_cannot_be_copied_are_refused_by_layer() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both kinds are on their way out of torch
        scripted = torch.jit.trace(model().eval(), torch.zeros(2, 4))
        normed = nn.Sequential(nn.Linear(4, 6), nn.utils.weight_norm(nn.Linear(6, 2)))
        lazy = nn.Sequential(nn.Linear(4, 6), nn.LazyLinear(2))
    with pytest.raises(UnsupportedModelError, match="TorchScript"):
        independent(scripted)
    with pytest.raises(UnsupportedModelError, match=r"1\.weight is computed from other tensors"):
        sharing(normed)
    with pytest.raises(UnsupportedModelError, match="1 has no shape yet"):
        sharing(lazy)
