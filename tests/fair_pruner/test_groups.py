import pytest
import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer, resnet18

from fair_pruner import NothingToPruneError, UnsupportedModelError, find_groups
from fair_pruner.groups import cuttable_copy
from fair_pruner.layers import Recurrent, is_depthwise, produces
from pipeline.builtin_models import MLP, CifarResNet


def test_residual_streams_are_one_group_with_all_their_producers() -> None:
    groups = {group.name: group for group in find_groups(CifarResNet(14, 1, 10), torch.zeros(2, 1, 8, 8))}
    assert {p.layer for p in groups["conv1"].producers} == {"conv1", "layer1.0.conv2", "layer1.1.conv2"}
    assert {p.layer for p in groups["layer2.0.conv2"].producers} == {
        "layer2.0.shortcut.0",
        "layer2.0.conv2",
        "layer2.1.conv2",
    }
    assert {p.gate.layer for p in groups["layer2.0.conv2"].producers} == {
        "layer2.0.shortcut.1",
        "layer2.0.bn2",
        "layer2.1.bn2",
    }
    assert len(groups) == 9  # three streams, one inner group a block


def test_every_producer_but_the_classifier_is_in_exactly_one_group(family: tuple[nn.Module, Tensor]) -> None:
    model, example = family
    groups = find_groups(model, example, embedding=True)
    producers = [producer.layer for group in groups for producer in group.producers]
    opened = cuttable_copy(model)
    assert all(produces(layer) or isinstance(layer, Recurrent) for layer in map(opened.get_submodule, producers))
    layers = [
        name
        for name, layer in opened.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.RNNBase) and not is_depthwise(layer)
    ]
    assert sorted(producers) == sorted(layers[:-1])


def test_units_map_to_features_behind_a_flatten() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(12, 2))
    (group,) = find_groups(model, torch.zeros(2, 1, 4, 4))
    (consumer,) = [part for part in group.slices if part.reads]
    assert consumer.unit_of == (0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2)


def test_ignoring_one_layer_of_a_stream_keeps_the_whole_stream() -> None:
    model = resnet18(num_classes=10)
    kept = find_groups(model, torch.zeros(2, 3, 32, 32), ignore=["layer4.1"])
    assert all(not producer.layer.startswith("layer4.1") for group in kept for producer in group.producers)
    assert "layer4.0.conv2" not in {group.name for group in kept}
    assert "layer4.0.conv1" in {group.name for group in kept}


class Shared(nn.Module):
    """Runs its hidden layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.twice, self.last = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.twice(self.twice(self.first(x)).relu()))


def test_what_cannot_be_cut_is_left_alone() -> None:
    with pytest.raises(NothingToPruneError, match="runs 2 times"):
        find_groups(Shared(), torch.zeros(2, 4))
    normed = nn.Sequential(nn.Conv2d(1, 8, 3), nn.GroupNorm(2, 8), nn.Flatten(), nn.Linear(128, 2))
    with pytest.raises(NothingToPruneError, match=r"1 \(GroupNorm\) cannot be cut"):
        find_groups(normed, torch.zeros(2, 1, 6, 6))


def test_blocks_of_a_grouped_convolution_are_units_on_both_sides() -> None:
    grouped = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 4, 3, groups=2), nn.Flatten(), nn.Linear(16, 2))
    (group,) = find_groups(grouped, torch.zeros(2, 1, 6, 6))
    assert (group.units, group.channels) == (2, 4)
    by_tensor = {(part.tensor, part.dim): part.unit_of for part in group.slices}
    assert by_tensor["0.weight", 0] == (0, 0, 0, 0, 1, 1, 1, 1)
    assert by_tensor["1.weight", 0] == (0, 0, 1, 1)


def test_the_width_behind_layer_norms_is_cut_on_request_only() -> None:
    model, example = VisionTransformer(16, 8, 1, 2, 8, 12, num_classes=3), torch.zeros(2, 3, 16, 16)
    assert {group.kind for group in find_groups(model, example)} == {"head", "channel"}
    assert {group.kind for group in find_groups(model, example, embedding=True)} == {"head", "channel", "width"}


def test_a_model_without_hidden_layers_raises() -> None:
    with pytest.raises(NothingToPruneError, match="it is the model's output"):
        find_groups(MLP(16, 4, hidden=()), torch.zeros(2, 1, 4, 4))
    with pytest.raises(NothingToPruneError, match="no convolution, linear or recurrent layer"):
        find_groups(nn.Flatten(), torch.zeros(2, 1, 4, 4))


def test_a_model_that_does_not_run_is_refused_with_the_shape() -> None:
    with pytest.raises(UnsupportedModelError, match=r"\(2, 3\)"):
        find_groups(nn.Linear(4, 2), torch.zeros(2, 3))


def test_finding_groups_changes_nothing(family: tuple[nn.Module, Tensor]) -> None:
    model, example = family
    model.train().requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rng = torch.get_rng_state()
    find_groups(model, example)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(rng, torch.get_rng_state())
