"""What cannot be cut is named, with the reason; the rest of the model is cut all the same."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from fair_pruner import find_groups
from fair_pruner.groups import refusals


def refused(model: nn.Module, example: Tensor, *ignore: str, embedding: bool = False) -> str:
    return "; ".join(refusals(model, example, ignore, embedding=embedding))


def plain() -> list[nn.Module]:
    return [nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)]


def parametrized() -> nn.Module:
    layers = plain()
    layers[2] = parametrizations.weight_norm(nn.Linear(6, 8))
    return nn.Sequential(*layers)


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
    model[4].weight = model[2].weight
    return model


class OneSided(nn.Module):
    """A grouped convolution whose input is that of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped, self.last = nn.Conv2d(4, 8, 1, groups=2), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.grouped(x).relu().mean((2, 3)))


class Masked(nn.Module):
    """Self-attention with a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.attention, self.last = nn.Linear(4, 8), nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        mask = torch.ones(x.shape[1], x.shape[1], device=x.device).triu(1).bool()
        return self.last(self.attention(x, x, x, attn_mask=mask)[0].mean(1))


class Words(nn.Module):
    """An embedding that rescales its rows while it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.hidden, self.last = nn.Embedding(9, 6, max_norm=1.0), nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.hidden(self.words(x).mean(1)).relu())


class Unused(nn.Sequential):
    """A layer that no forward pass comes to."""

    def __init__(self) -> None:
        super().__init__(*plain())
        self.spare = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        for place in range(5):
            x = self[place](x)
        return x


@pytest.mark.parametrize(
    ("make", "shape", "reason", "groups"),
    [
        (lambda: parametrized(), (2, 4), "2 computes its weight from other tensors", []),
        (lambda: tied(), (2, 4), "2 shares a parameter with another layer", []),
        (lambda: OneSided(), (2, 4, 5, 5), "grouped is a grouped convolution, whose input would have to go too", []),
        (lambda: Masked(), (2, 5, 4), "attention is given a mask, or more than one tensor", []),
        (lambda: Unused(), (2, 4), "spare: the tracer does not come to it", ["0", "2"]),
        (
            lambda: nn.Sequential(nn.ConvTranspose2d(4, 6, 3), nn.Conv2d(6, 8, 3), nn.Flatten(), nn.Linear(8, 3)),
            (2, 4, 1, 1),
            r"0: ConvTranspose2d cannot be cut|0 \(ConvTranspose2d\) cannot be cut",
            ["1"],
        ),
    ],
    ids=["parametrized", "tied", "one side", "masked", "unused", "transposed"],
)
def test_the_layer_and_the_reason_are_named(
    make: Callable[[], nn.Module], shape: tuple[int, ...], reason: str, groups: list[str]
) -> None:
    torch.manual_seed(0)
    model, example = make().eval(), torch.randn(shape)
    assert re.search(reason, refused(model, example)), refused(model, example)
    if groups:
        assert [group.name for group in find_groups(model, example)] == groups


def test_an_embedding_that_rescales_its_rows_stays_as_wide_as_it_is() -> None:
    model, example = Words().eval(), torch.randint(9, (2, 5))
    assert "words rescales its rows (max_norm)" in refused(model, example)
    assert [group.name for group in find_groups(model, example)] == ["hidden"]


def test_ignored_layers_and_the_output_are_named() -> None:
    model, example = nn.Sequential(*plain()), torch.zeros(2, 4)
    told = refused(model, example, "0")
    assert "0 is in ignore" in told
    assert "4: it is the model's output" in told
    assert [group.name for group in find_groups(model, example, ["0"])] == ["2"]


def test_a_width_that_norms_run_over_is_cut_on_request() -> None:
    model, example = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 3)), torch.zeros(2, 4)
    assert "1 normalises over it; this width is cut only on request (embedding)" in refused(model, example)
    assert "normalises" not in refused(model, example, embedding=True)
