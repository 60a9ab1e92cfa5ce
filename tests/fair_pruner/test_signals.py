from collections.abc import Callable
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
import torch_pruning
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr
from torch import Tensor, nn

from fair_pruner import Group, SettingError, UnsupportedModelError, find_groups, score
from fair_pruner.signals import WEIGHT_SIGNALS, map_rank, mean_activation
from fair_pruner.types import Removal
from pipeline.builtin_models import VGG, CifarResNet

Family = tuple[nn.Module, Tensor]
MakeBatches = Callable[..., list[tuple[Tensor, Tensor]]]
PEERS = {
    "l1": torch_pruning.importance.MagnitudeImportance(p=1, normalizer=None, target_types=[nn.Conv2d]),
    "l2": torch_pruning.importance.MagnitudeImportance(p=2, normalizer=None, target_types=[nn.Conv2d]),
}


@pytest.mark.parametrize("name", PEERS)
def test_weight_signals_rank_as_torch_prunings_do(small: Family, name: Removal) -> None:
    model, example = small
    layer = model.get_submodule("features.4")
    only_its_filters = torch_pruning.DependencyGraph().build_dependency(model, example, verbose=False)
    whole = only_its_filters.get_pruning_group(layer, torch_pruning.prune_conv_out_channels, list(range(10)))
    whole._group = whole._group[:1]
    (group,) = [group for group in find_groups(model, example) if group.name == "features.4"]
    found = WEIGHT_SIGNALS[name](group, model)
    assert spearmanr(found, PEERS[name](whole).detach()).statistic == pytest.approx(1)


NETWORKS = {
    "chain": (lambda: VGG(1, 4, widths=(6, "M", 10)), (1, 6, 6)),
    "residual": (lambda: CifarResNet(8, 1, 10), (1, 8, 8)),
}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> Family:
    """A seeded network, with scales of norms that are not all alike, and an example input."""
    torch.manual_seed(0)
    make, shape = NETWORKS[request.param]
    model = make().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model, torch.randn(2, *shape)


def test_group_norm_is_torch_prunings(network: Family) -> None:
    model, example = network
    graph = torch_pruning.DependencyGraph().build_dependency(model, example, verbose=False)
    peer = torch_pruning.importance.GroupMagnitudeImportance(p=2, group_reduction="mean", normalizer=None)
    for group in find_groups(model, example):
        layer = model.get_submodule(group.name)
        theirs = peer(graph.get_pruning_group(layer, torch_pruning.prune_conv_out_channels, list(range(group.units))))
        ours = WEIGHT_SIGNALS["group_norm"](group, model)
        torch.testing.assert_close(ours, theirs.double(), rtol=1e-5, atol=0)
        assert ours.argsort().tolist() == theirs.argsort().tolist()


def test_group_norm_counts_what_reads_a_unit_behind_a_flatten_and_no_bias() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.PReLU(2), nn.Flatten(), nn.Linear(8, 3))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([2.0, 3.0]).view(2, 1, 1, 1))
        model[3].weight.copy_(torch.tensor([1.0] * 4 + [2.0] * 4).expand(3, 8))
    (group,) = find_groups(model, torch.zeros(2, 1, 2, 2))
    assert WEIGHT_SIGNALS["group_norm"](group, model).tolist() == [(4 + 12) / 2, (9 + 48) / 2]


def test_hessian_is_the_mean_squared_gradient_of_a_gate_sample_by_sample(network: Family, make_batches: MakeBatches) -> None:
    model, example = network[0].double(), network[1].double()
    batches = [(x.double(), y) for x, y in make_batches(example, 4, count=2, size=7)]
    table = score(model, batches, example_input=example, removal="hessian", protection="signed")
    groups = find_groups(model, example)
    gates = {group.name: torch.ones(group.units, 1, 1, dtype=torch.float64, requires_grad=True) for group in groups}
    for group in groups:
        for producer in group.producers:
            gate = gates[group.name]
            model.get_submodule(producer.gate.layer).register_forward_hook(lambda _, __, output, gate=gate: output * gate)
    totals = {name: torch.zeros(len(gate), dtype=torch.float64) for name, gate in gates.items()}
    for x, y in batches:
        for place in range(len(y)):
            loss = F.cross_entropy(model(x[place : place + 1]), y[place : place + 1])
            for name, gradient in zip(gates, torch.autograd.grad(loss, list(gates.values())), strict=True):
                totals[name] += gradient.flatten().square()
    for scores in table.groups:
        expected = totals[scores.name] / 14
        torch.testing.assert_close(torch.tensor(scores.u_score, dtype=torch.float64), expected, rtol=1e-9, atol=1e-15)
        assert scores.u_score != scores.r_score


class BatchSecond(nn.Module):
    """Hands a linear layer its input with the batch in the second dimension, as attention without batch_first does."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(x.unflatten(1, (3, 4)).transpose(0, 1)).relu().mean(dim=0))


def test_hessian_needs_samples_one_by_one() -> None:
    batch = (torch.randn(4, 12), torch.tensor([0, 1, 0, 1]))
    with pytest.raises(UnsupportedModelError, match="the signal hessian need layers whose first dimension is the batch"):
        score(BatchSecond(), [batch], example_input=torch.zeros(2, 12), removal="hessian", protection="signed")


def test_fpgm_is_the_distance_to_all_other_filters(small: Family) -> None:
    model, example = small
    group = find_groups(model, example)[1]
    weights = model.get_submodule(group.name).weight.detach().flatten(1).double().numpy()
    torch.testing.assert_close(WEIGHT_SIGNALS["fpgm"](group, model), torch.from_numpy(cdist(weights, weights).sum(axis=1)))


def test_lamp_is_the_share_of_what_is_no_smaller() -> None:
    model = nn.Sequential(nn.Linear(1, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[2.0], [1.0], [3.0]]))
    (group,) = find_groups(model, torch.zeros(2, 1))
    torch.testing.assert_close(WEIGHT_SIGNALS["lamp"](group, model), torch.tensor([4 / 13, 1 / 14, 1.0]).double())


def test_numbers_of_maps() -> None:
    maps = torch.zeros(1, 2, 16)
    maps[0, 0] = torch.eye(4).flatten()
    maps[0, 1] = -1
    assert map_rank(maps).tolist() == [[4, 1]]
    assert mean_activation(maps).tolist() == [[0.25, 1.0]]


@pytest.mark.parametrize("removal", get_args(Removal))
@pytest.mark.parametrize("observe", ["producer", "activation"])
def test_every_signal_scores_every_unit(small: Family, make_batches: MakeBatches, removal: Removal, observe: str) -> None:
    model, example = small
    table = score(model, make_batches(example, 4), example_input=example, removal=removal, observe=observe, projections=4)  # type: ignore[arg-type]
    assert [group.units for group in table.groups] == [6, 10]
    assert all(value >= 0 for group in table.groups for value in group.u_score)
    assert table.removal == removal


def test_a_signal_of_ones_own(small: Family, make_batches: MakeBatches) -> None:
    model, example = small

    def last_first(group: Group, _: nn.Module) -> Tensor:
        return -torch.arange(group.units).float()

    table = score(model, make_batches(example, 4), example_input=example, removal=last_first)
    assert table.removal == "custom"
    assert table.groups[0].u_score == (0, -1, -2, -3, -4, -5)
    with pytest.raises(SettingError, match=r"shape \(2,\) for features.0; expected a tensor of 6"):
        score(model, make_batches(example, 4), example_input=example, removal=lambda *_: torch.zeros(2))


def test_a_norm_signal_without_norms_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    with pytest.raises(SettingError, match="0 has none"):
        score(model, [(torch.randn(4, 4), torch.tensor([0, 1, 0, 1]))], example_input=torch.zeros(2, 4), removal="bn_scale")
