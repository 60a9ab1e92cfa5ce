from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.config import DistillationConfig
from pipeline.distillation import LabelLoss, Teacher

from .trainings import changed, images, network, plan, pruned, same, teacher, trained

PAIRS = [("features.0", 0), ("features.4", 1)]  # layers of `network()`, and their groups in `plan()`


def config(weight: float = 0.5, temperature: float = 4.0, features: float = 0.0) -> DistillationConfig:
    return DistillationConfig(weight=weight, temperature=temperature, features=features)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    data = images()
    return data.train.load(data.fit_indices[:20])


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def log_softmax(logits: Tensor) -> Tensor:
    return logits - logits.exp().sum(1, keepdim=True).log()  # in float64 small logits need no shift


def expected_loss(student: Tensor, given: Tensor, shares: Tensor, how: DistillationConfig, smoothing: float) -> float:
    """The loss from logits (n, K) and shares of classes (n, K), in float64."""
    student, given, shares = student.detach().double(), given.detach().double(), shares.double()
    smooth = (1 - smoothing) * shares + smoothing / shares.shape[1]
    labels = -(smooth * log_softmax(student)).sum(1).mean()
    soft, wanted = log_softmax(student / how.temperature), log_softmax(given / how.temperature)
    taught = how.temperature**2 * (wanted.exp() * (wanted - soft)).sum(1).mean()
    return float((1 - how.weight) * labels + how.weight * taught)


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 1), st.floats(0.5, 20), st.floats(0, 0.5), st.booleans(), st.integers(0, 99))
def test_the_loss_is_that_of_an_oracle_in_float64(
    weight: float, temperature: float, smoothing: float, mixed: bool, seed: int
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student, dense, shown = nn.Linear(6, 5), nn.Linear(6, 5), 3 * torch.randn(7, 6)
        labels = torch.randint(5, (7,))
        shares = torch.rand(7, 5).softmax(1) if mixed else nn.functional.one_hot(labels, 5)
    how = config(weight, temperature)
    loss_of = LabelLoss(shares if mixed else labels, smoothing)
    found = Teacher.of(dense, None, how).loss(student, shown, loss_of)
    wanted = expected_loss(student(shown), dense(shown), shares, how, smoothing)
    assert found.item() == pytest.approx(wanted, rel=1e-4, abs=1e-5)


def test_nothing_is_learnt_from_a_teacher_who_knows_no_more(batch: tuple[Tensor, Tensor]) -> None:
    student = network().eval()
    loss = Teacher.of(network(), None, config(weight=1)).loss(student, batch[0], LabelLoss(batch[1], 0.0))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert max(float(value.grad.abs().max()) for value in student.parameters() if value.grad is not None) < 1e-5


def test_an_uncut_copy_has_the_teachers_features(batch: tuple[Tensor, Tensor]) -> None:
    student, label_loss = network().eval(), LabelLoss(batch[1], 0.0)
    everything = {name: torch.arange(width) for name, width in (("features.0", 8), ("features.4", 16))}
    with_features = Teacher.of(network(), None, config(features=10.0))
    with_features.kept = everything
    without = Teacher.of(network(), None, config())
    assert with_features.loss(student, batch[0], label_loss) == without.loss(student, batch[0], label_loss)


def outputs(model: nn.Module, shown: Tensor) -> list[Tensor]:
    """Of both convolutions, computed without hooks."""
    first = model.get_submodule("features.0")(shown)
    assert isinstance(model.features, nn.Sequential)
    return [first, model.features[:5](shown)]


def test_features_are_compared_with_those_of_the_units_that_were_kept(batch: tuple[Tensor, Tensor]) -> None:
    student, dense, label_loss = pruned().eval(), network().eval(), LabelLoss(batch[1], 0.0)
    distances = []
    for (name, group), own, whole in zip(PAIRS, outputs(student, batch[0]), outputs(dense, batch[0]), strict=True):
        about = plan().groups[group]
        assert (about.name, bool(about.pruned)) == (name, True)
        kept = [unit for unit in range(about.units) if unit not in about.pruned]
        assert 0 < own.shape[1] == len(kept) < whole.shape[1]
        target = torch.stack([whole[:, unit] for unit in kept], 1)
        distances.append(((own - target).square().mean() / target.square().mean()).item())
    assert distances[0] == pytest.approx(0, abs=1e-10)  # nothing was cut before the first layer
    assert distances[1] > 0.01
    gap = teacher(features=3.0).loss(student, batch[0], label_loss) - teacher(features=0.0).loss(student, batch[0], label_loss)
    assert gap.item() == pytest.approx(3.0 * sum(distances) / 2, rel=1e-3)


def test_features_pull_the_student_to_the_teacher(batch: tuple[Tensor, Tensor]) -> None:
    def apart(model: nn.Module) -> float:
        loss_of = LabelLoss(batch[1], 0.0)
        both = [teacher(features=features).loss(model.eval(), batch[0], loss_of).item() for features in (1.0, 0.0)]
        return both[0] - both[1]

    recipe = changed(epochs=4, lr=0.02)
    pulled, free = (trained(recipe, model=pruned(), teacher=teacher(features=features))[0] for features in (10.0, 0.0))
    assert apart(pulled) < apart(free)


class ChannelsLast(nn.Module):
    """A linear layer over the channels of maps (n, H, W, C), as in Swin, with as many rows as channels that are kept."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(3, width), nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(x).mean((1, 2)))


def test_the_channels_of_a_linear_layer_are_its_last_axis() -> None:
    student, dense = ChannelsLast(5), ChannelsLast(6)
    kept = [0, 1, 3, 4, 5]
    student.inner.load_state_dict({name: value[kept] for name, value in dense.inner.state_dict().items()})
    shown, labels = torch.randn(2, 5, 5, 3), LabelLoss(torch.tensor([0, 1]), 0.0)
    found = Teacher(dense, config(features=10.0), {"inner": torch.tensor(kept)})
    assert found.loss(student, shown, labels).item() == pytest.approx(
        Teacher(dense, config()).loss(student, shown, labels).item()
    )
    other = Teacher(dense, config(features=10.0), {"inner": torch.tensor([0, 1, 2, 4, 5])})
    assert other.loss(student, shown, labels) > found.loss(student, shown, labels) + 0.1


@pytest.mark.parametrize("kept", [[0, 1, 2], [0, 1, 2, 3, 4, 5, 6, 99]], ids=["too few", "beyond the teacher's"])
def test_a_layer_whose_units_are_no_channels_is_left_out(kept: list[int], batch: tuple[Tensor, Tensor]) -> None:
    """As heads are none: three heads of a layer with eight outputs."""
    loss_of, student = LabelLoss(batch[1], 0.0), network(1).eval()
    odd = Teacher(network().eval(), config(features=5.0), {"features.0": torch.tensor(kept), "gone": torch.tensor([0])})
    assert odd.loss(student, batch[0], loss_of) == Teacher(network().eval(), config()).loss(student, batch[0], loss_of)


def test_only_groups_that_were_cut_have_features_and_only_where_the_recipe_wants_them() -> None:
    groups = plan().groups
    half = replace(plan(), groups=(groups[0], replace(groups[1], pruned=())))
    assert list(Teacher.of(network(), half, config(features=1.0)).kept) == [groups[0].name]
    assert Teacher.of(network(), half, config()).kept == {}
    assert Teacher.of(network(), None, config(features=1.0)).kept == {}


def test_hooks_are_gone_afterwards_even_after_an_error(batch: tuple[Tensor, Tensor]) -> None:
    student, taught = pruned(), teacher()
    taught.loss(student, batch[0], LabelLoss(batch[1], 0.0))
    with pytest.raises(RuntimeError):
        taught.loss(student, batch[0][:, :, :, :, None], LabelLoss(batch[1], 0.0))
    assert not any(module._forward_hooks for model in (student, taught.network) for module in model.modules())


def test_the_teacher_is_frozen_and_stays_as_it_was() -> None:
    taught = teacher()
    model, _ = trained(model=pruned(), teacher=taught)
    assert same(taught.network, network())
    assert not any(module.training for module in taught.network.modules())
    assert not any(value.requires_grad or value.grad is not None for value in taught.network.parameters())
    assert all(value.requires_grad for value in model.parameters())
