"""Scores by the authors' package: beside its own call, on what it cannot score, and what must not change."""

import copy
import importlib.util
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from fair_pruner import Group, ScoreTable, find_groups
from pipeline.ablation import Method, methods
from pipeline.allocate import allocate
from pipeline.builtin_models import MLP, VGG, CifarResNet
from pipeline.calibrate import calibrate
from pipeline.config import CalibrateConfig, DataConfig, ModelConfig, RunConfig, ScoreConfig
from pipeline.data import load_data
from pipeline.errors import InputError
from pipeline.network_pruner_scores import check_network_pruner, load_network_pruner, network_pruner_scores
from pipeline.preflight import preflight
from pipeline.prune import prune
from pipeline.records import Goal, ModelRecord
from pipeline.score import score
from pipeline.store import Store

SEED, BATCH = 3, 32
IMAGES = load_data(DataConfig(), SEED).train
CALIBRATION = calibrate(DataConfig(), CalibrateConfig(per_class=4), SEED)
EXAMPLE = torch.zeros(2, 1, 8, 8)
installed = importlib.util.find_spec("Network_Pruner") is not None
needs_package = pytest.mark.skipif(not installed, reason="network-pruner 2.16 is not installed: pip install fair-pruner[bench]")


@pytest.fixture(autouse=True)
def _same_random_states() -> Iterator[None]:
    state = random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        yield
    random.setstate(state)


def vgg() -> nn.Module:
    return VGG(1, 10, (4, "M", 6)).eval()


def mlp() -> nn.Module:
    return MLP(64, 10, (12, 8)).eval()


def scored(model: nn.Module, groups: Sequence[Group] | None = None, seed: int = SEED, batch: int = BATCH) -> ScoreTable:
    return network_pruner_scores(model, groups or find_groups(model, EXAMPLE), IMAGES, CALIBRATION.indices, batch, seed)


def own_call(model: nn.Module, layers: list[int], folder: Path, **attributes: Any) -> dict[str, Tensor]:
    """What a person gets who seeds both generators and calls the package."""
    random.seed(SEED)
    torch.manual_seed(SEED)
    images = TensorDataset(*IMAGES.load(CALIBRATION.indices))
    vars(images).update(attributes)
    file, where = str(folder / "results.pkl"), torch.device("cpu")
    found: dict[str, Tensor] = load_network_pruner().get_metrics(
        copy.deepcopy(model), DataLoader(images, BATCH), layers2prune=layers, device=where, results_save_path=file
    )
    return found


@needs_package
def test_scores_of_a_network_without_norms_are_those_of_the_packages_own_call(tmp_path: Path) -> None:
    model = mlp()
    table, theirs = scored(model), own_call(model, [3, 5], tmp_path)
    assert [(each.name, each.units) for each in table.groups] == [("layers.1", 12), ("layers.3", 8)]
    for place, group in enumerate(table.groups):
        assert group.u_score == tuple(theirs[f"D_{place}"].tolist())
        assert group.r_score == tuple(theirs[f"RE_{place}_hat"].tolist())
    assert (table.removal, table.samples, table.classes) == ("custom", 40, 10)
    assert ScoreTable.from_json(table.to_json()) == table


@needs_package
def test_scores_of_a_vgg_are_those_of_the_packages_own_call_on_norms_that_stand_still(tmp_path: Path) -> None:
    model = vgg()
    table, shifting = scored(model), own_call(model, [2, 6], tmp_path, classes=range(10))
    still = copy.deepcopy(model)
    for norm in (still.get_submodule("features.1"), still.get_submodule("features.5")):
        assert isinstance(norm, nn.BatchNorm2d)
        norm.momentum = 0.0
    theirs = own_call(still, [2, 6], tmp_path, classes=range(10))
    assert [(each.name, each.units) for each in table.groups] == [("features.0", 4), ("features.4", 6)]
    for place, group in enumerate(table.groups):
        assert group.u_score == tuple(theirs[f"D_{place}"].tolist())
        assert group.r_score == tuple(theirs[f"RE_{place}_hat"].tolist()) == tuple(shifting[f"RE_{place}_hat"].tolist())
        same = group.u_score == tuple(shifting[f"D_{place}"].tolist())
        assert same == (place == 0)  # before the first norm nothing can shift


@needs_package
def test_the_model_the_random_states_and_the_folder_stay_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model = vgg()
    model.get_parameter("classifier.weight").requires_grad_(False)
    before, flags = copy.deepcopy(model.state_dict()), [p.requires_grad for p in model.parameters()]
    states = random.getstate(), torch.get_rng_state()
    scored(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())
    assert not any(module.training or module._forward_hooks for module in model.modules())
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])
    assert capsys.readouterr().out == ""
    assert not list(tmp_path.iterdir())


@needs_package
def test_the_same_seed_gives_the_same_scores_and_another_one_other_distances() -> None:
    model = vgg()
    first = scored(model)
    random.seed()
    torch.rand(1)
    assert scored(model) == first
    other = scored(model, seed=SEED + 1)
    assert [group.u_score for group in other.groups] != [group.u_score for group in first.groups]
    assert [group.r_score for group in other.groups] == [group.r_score for group in first.groups]


@needs_package
def test_classes_behind_the_first_2000_images_count() -> None:
    model, labels = mlp(), IMAGES.labels
    zeros, ones = ((labels == label).nonzero().flatten().tolist() for label in (0, 1))
    many = [zeros[place % len(zeros)] for place in range(2000)] + ones[:8]
    table = network_pruner_scores(model, find_groups(model, EXAMPLE)[:1], IMAGES, many, 512, SEED)
    assert table.classes == 2
    assert max(table.groups[0].u_score) > 0


@needs_package
def test_layers_between_shortcuts_are_scored_where_the_others_are_ignored() -> None:
    model = CifarResNet(8, 1, 10, width=0.25).eval()
    with pytest.raises(InputError, match="cannot score conv1: its units are made by 2 layers together, and the") as caught:
        scored(model)
    left_out = str(caught.value).partition("leave out ")[2].removesuffix(" by model.ignore").split(", ")
    table = scored(model, find_groups(model, EXAMPLE, left_out))
    assert [group.name for group in table.groups] == ["layer1.0.conv1", "layer2.0.conv1", "layer3.0.conv1"]


class OnMaps(nn.Module):
    """A linear layer on maps (n, 8, 8, channels): the package would take rows for channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4, 8), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.linear(self.conv(x).permute(0, 2, 3, 1)).relu().mean((1, 2)))  # type: ignore[no-any-return]


class OnRows(nn.Module):
    """A recurrent layer that reads an image row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.head = nn.GRU(8, 6, batch_first=True), nn.Linear(6, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rows(x.squeeze(1))[0][:, -1])  # type: ignore[no-any-return]


SINGLE = "its units are not the single channels of a two-dimensional convolution or a linear layer; choose another signal$"
REFUSED: dict[str, tuple[nn.Module, str]] = {
    "recurrent": (OnRows().eval(), f"rows: {SINGLE}"),
    "linear on maps": (OnMaps().eval(), "linear: its output has 4 dimensions.*; choose another signal, or leave out linear by"),
}


@needs_package
@pytest.mark.parametrize("case", REFUSED)
def test_units_that_the_package_would_misread_are_refused(case: str) -> None:
    model, message = REFUSED[case]
    with pytest.raises(InputError, match=f"^network_pruner cannot score {message}"):
        check_network_pruner(model, find_groups(model, EXAMPLE), EXAMPLE)


@needs_package
def test_what_the_package_raises_is_told_in_one_sentence() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10)).eval()
    with pytest.raises(InputError, match=r"^network-pruner raises ValueError for this model: Expected more than 1") as caught:
        scored(model, batch=39)  # the last batch has one image, which no norm can be trained on
    assert "\n" not in str(caught.value)


@needs_package
def test_scores_that_are_not_finite_are_refused() -> None:
    model = mlp()
    groups = find_groups(model, EXAMPLE)
    with torch.no_grad():
        model.get_parameter("layers.3.weight").fill_(torch.nan)
    with pytest.raises(InputError, match=r"^network-pruner gives layers.1 a score that is not finite; check the model's weights"):
        scored(model, groups)


@needs_package
def test_a_network_that_it_cannot_score_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    config = RunConfig(output=tmp_path, model=ModelConfig(name="resnet8"))
    preflight(config)
    for refused, signals in ((config, ["network_pruner"]), (config.model_copy(update={"score": by_package()}), [])):
        with pytest.raises(InputError, match="network_pruner cannot score conv1"):
            preflight(refused, signals)


def by_package() -> ScoreConfig:
    return ScoreConfig(removal="network_pruner", batch_size=BATCH)


@needs_package
def test_the_stages_cut_to_a_budget_by_its_scores(dense_record: ModelRecord, store: Store) -> None:
    record = score(dense_record, CALIBRATION, ("features.0",), False, DataConfig(), by_package(), SEED, "score", store)
    assert (record.removal, record.source, record.groups, record.units) == ("network_pruner", "", 1, 16)
    assert (record.observe, record.aggregate, record.protection) == ("producer", "max", "signed")
    goal = Goal(quantity="macs", value=0.5)
    plan = allocate(dense_record, dense_record, record, goal, 1.0, "tod", 1, 1, None, store)
    pruned = prune(dense_record, plan, store)
    assert 0.4 < pruned.macs / dense_record.macs <= 0.5


@needs_package
def test_it_is_a_method_to_compare() -> None:
    assert methods("network_pruner-tod") == (Method("network_pruner-tod", "network_pruner", "tod"),)


def test_where_it_is_missing_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "Network_Pruner", None)
    model, message = mlp(), r"^network_pruner cannot be imported \(.*\); pip install fair-pruner\[bench\]$"
    with pytest.raises(InputError, match=message):
        methods("fair,network_pruner-tod")
    with pytest.raises(InputError, match=message):
        preflight(RunConfig(output=tmp_path, score=by_package(), model=ModelConfig(name="mlp")))
    with pytest.raises(InputError, match=message):
        scored(model)
