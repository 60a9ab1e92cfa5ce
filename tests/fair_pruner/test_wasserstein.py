import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance
from torch import Tensor

from fair_pruner.wasserstein import quantile_means, sort_samples_, wasserstein_of_sorted

sizes = st.integers(1, 40)


def samples(n: int, m: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(n, 3, generator=generator, dtype=torch.float64),
        torch.randn(m, 3, generator=generator, dtype=torch.float64) * 2 + 1,
    )


def each(x: Tensor, y: Tensor) -> Tensor:
    """The distance of every column (n, columns), by itself."""
    return wasserstein_of_sorted(*(sort_samples_(side.clone()).T[:, :, None] for side in (x, y)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
@pytest.mark.parametrize("shape", [(3,), (2, 5), ()])
def test_sorting_equals_torchs_for_every_length(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    for n in (*range(1, 70), 100, 127, 128, 129, 500):
        x = torch.randint(-n, n, (n, *shape), generator=torch.Generator().manual_seed(n)).to(dtype)
        expected = x.sort(dim=0).values
        assert sort_samples_(x) is x
        assert torch.equal(x, expected), n


def test_sorting_works_in_place_on_a_view() -> None:
    whole = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    expected = torch.cat([whole[:, :2], whole[:, 2:5].sort(dim=0).values, whole[:, 5:]], dim=1)
    sort_samples_(whole[:, 2:5])
    assert torch.equal(whole, expected)


@given(sizes, sizes, st.integers(0, 10**6))
@settings(max_examples=150, deadline=None)
def test_equals_scipy_for_equal_and_unequal_counts(n: int, m: int, seed: int) -> None:
    x, y = samples(n, m, seed)
    expected = [wasserstein_distance(x[:, j], y[:, j]) for j in range(3)]
    np.testing.assert_allclose(each(x, y), expected, rtol=1e-9, atol=1e-12)
    sliced = wasserstein_of_sorted(x.sort(dim=0).values, y.sort(dim=0).values)
    np.testing.assert_allclose(sliced, np.mean(expected), rtol=1e-9)


@pytest.mark.parametrize(("n", "m"), [(64, 64), (64, 48), (7, 31)])
def test_equals_pot(n: int, m: int) -> None:
    x, y = samples(n, m, seed=n * m)
    np.testing.assert_allclose(each(x, y), ot.wasserstein_1d(x.numpy(), y.numpy()), rtol=1e-9)


@given(sizes, sizes, st.integers(0, 10**6), st.floats(-3, 3), st.floats(0, 5))
@settings(max_examples=60, deadline=None)
def test_is_a_distance_that_shifts_and_scales(n: int, m: int, seed: int, shift: float, scale: float) -> None:
    x, y = samples(n, m, seed)
    distance = each(x, y)
    torch.testing.assert_close(distance, each(y, x))
    torch.testing.assert_close(each(x + shift, y + shift), distance)
    torch.testing.assert_close(each(x * scale, y * scale), distance * scale)
    torch.testing.assert_close(each(x, x + shift), torch.full((3,), abs(shift), dtype=torch.float64))
    assert (distance >= 0).all()


@pytest.mark.parametrize("m", [5, 7])
def test_one_against_many_broadcasts(m: int) -> None:
    generator = torch.Generator().manual_seed(0)
    one, many = torch.randn(4, 1, 5, 3, generator=generator), torch.randn(4, 6, m, 3, generator=generator)
    found = wasserstein_of_sorted(one, many)
    assert found.shape == (4, 6)
    torch.testing.assert_close(found[2, 3], wasserstein_of_sorted(one[2, 0], many[2, 3]))


def test_golden() -> None:
    x, y = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[5.0], [6.0], [8.0]])
    assert float(wasserstein_of_sorted(x, y)) == 5.0
    assert float(wasserstein_of_sorted(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0]]))) == 0.5


@given(sizes, sizes, st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_quantile_means_are_integrals_over_the_cells(n: int, cells: int, seed: int) -> None:
    x = samples(n, 1, seed)[0].sort(dim=0).values
    fine = x.repeat_interleave(cells, dim=0)  # the quantile function on n * cells steps
    torch.testing.assert_close(quantile_means(x, cells), fine.view(cells, n, 3).mean(1))
