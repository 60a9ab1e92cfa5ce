import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from fair_pruner.wasserstein import wasserstein_1d

sizes = st.integers(1, 40)


def samples(n: int, m: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(n, 3, generator=generator, dtype=torch.float64),
        torch.randn(m, 3, generator=generator, dtype=torch.float64) * 2 + 1,
    )


@given(sizes, sizes, st.integers(0, 10**6))
@settings(max_examples=150, deadline=None)
def test_equals_scipy_for_equal_and_unequal_counts(n: int, m: int, seed: int) -> None:
    x, y = samples(n, m, seed)
    expected = [wasserstein_distance(x[:, j], y[:, j]) for j in range(3)]
    np.testing.assert_allclose(wasserstein_1d(x, y), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("n", "m"), [(64, 64), (64, 48), (7, 31)])
def test_equals_pot(n: int, m: int) -> None:
    x, y = samples(n, m, seed=n * m)
    np.testing.assert_allclose(wasserstein_1d(x, y), ot.wasserstein_1d(x.numpy(), y.numpy()), rtol=1e-9)


@given(sizes, sizes, st.integers(0, 10**6), st.floats(-3, 3), st.floats(0, 5))
@settings(max_examples=60, deadline=None)
def test_is_a_distance_that_shifts_and_scales(n: int, m: int, seed: int, shift: float, scale: float) -> None:
    x, y = samples(n, m, seed)
    distance = wasserstein_1d(x, y)
    torch.testing.assert_close(distance, wasserstein_1d(y, x))
    torch.testing.assert_close(wasserstein_1d(x + shift, y + shift), distance)
    torch.testing.assert_close(wasserstein_1d(x * scale, y * scale), distance * scale)
    torch.testing.assert_close(wasserstein_1d(x, x + shift), torch.full((3,), abs(shift), dtype=torch.float64))
    assert (distance >= 0).all()


def test_golden() -> None:
    x, y = torch.tensor([0.0, 1.0, 3.0]), torch.tensor([5.0, 6.0, 8.0])
    assert float(wasserstein_1d(x, y)) == 5.0
    assert float(wasserstein_1d(torch.tensor([0.0, 1.0]), torch.tensor([0.0]))) == 0.5
