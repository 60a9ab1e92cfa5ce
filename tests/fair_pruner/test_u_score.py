import numpy as np
import ot
import pytest
import torch

from fair_pruner import CalibrationError
from fair_pruner.u_score import directions, project, u_score


def outputs(samples: int = 30, units: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    labels = torch.arange(samples) % 3
    return torch.randn(samples, units, 5, 5, dtype=torch.float64) + labels.view(-1, 1, 1, 1) * 0.3, labels


@pytest.mark.parametrize("drop", [0, 7])  # equal and unequal class counts
def test_equals_pots_sliced_distance_with_the_same_directions(drop: int) -> None:
    maps, labels = outputs()
    maps, labels = maps[drop:], labels[drop:]
    sliced = directions(25, 16, seed=3, like=maps)
    found = u_score(project(maps, 1, 16, seed=3), labels)
    for unit in range(maps.shape[1]):
        flat = [maps[labels == label, unit].flatten(1).numpy() for label in range(3)]
        expected = max(
            ot.sliced_wasserstein_distance(flat[i], flat[j], projections=sliced.numpy(), p=1) for i in range(3) for j in range(i)
        )
        np.testing.assert_allclose(found[unit], expected, rtol=1e-6)


def test_a_unit_is_as_useful_as_the_pair_it_separates_best() -> None:
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    same, apart = torch.zeros(6), torch.tensor([0.0, 0.0, 1.0, 1.0, 10.0, 10.0])
    assert u_score(torch.stack([same, apart], dim=1)[:, :, None], labels).tolist() == [0.0, 10.0]


def test_scaling_a_units_output_scales_its_score() -> None:
    maps, labels = outputs()
    scores = u_score(project(maps, 1, 8, seed=0), labels)
    scaled = u_score(project(maps * torch.tensor([2.0, 1.0, 0.5, 0.0]).view(-1, 1, 1), 1, 8, seed=0), labels)
    torch.testing.assert_close(scaled, scores * torch.tensor([2.0, 1.0, 0.5, 0.0], dtype=torch.float64))


def test_directions_are_unit_vectors_and_depend_on_the_seed_alone() -> None:
    like = torch.zeros(1, dtype=torch.float64)
    drawn = directions(49, 12, 5, like)
    torch.testing.assert_close(drawn.norm(dim=0), torch.ones(12, dtype=torch.float64))
    assert torch.equal(drawn, directions(49, 12, 5, like))
    assert not torch.equal(drawn, directions(49, 12, 6, like))


def test_a_token_sequence_is_projected_over_its_tokens() -> None:
    tokens = torch.randn(2, 7, 3)  # (n, tokens, channels)
    torch.testing.assert_close(project(tokens, -1, 4, 0), project(tokens.transpose(1, 2), 1, 4, 0))
    assert project(tokens, -1, 4, 0).shape == (2, 3, 4)


def test_one_class_is_refused() -> None:
    with pytest.raises(CalibrationError, match=r"1 class\(es\)"):
        u_score(torch.randn(5, 2, 1), torch.zeros(5, dtype=torch.long))
