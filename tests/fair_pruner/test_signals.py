from collections.abc import Callable
from typing import get_args

import pytest
import torch
import torch_pruning
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr
from torch import Tensor, nn

from fair_pruner import Group, SettingError, find_groups, score
from fair_pruner.signals import WEIGHT_SIGNALS, map_rank, mean_activation
from fair_pruner.types import Removal

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
