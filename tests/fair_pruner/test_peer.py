"""Depths beside those of the authors' package, which is not needed otherwise: pip install fair-pruner[bench]."""

import pytest
import torch
from torch import nn

from fair_pruner import Ranking

from .tables import table_of

peer = pytest.importorskip("Network_Pruner", reason="network-pruner 2.16 is not installed: pip install fair-pruner[bench]")


def test_depths_equal_the_authors_on_500_random_rankings(capsys: pytest.CaptureFixture[str]) -> None:
    """Theirs looks at depths up to int(.99 n) only, so ours keeps as many units as that leaves."""
    generator = torch.Generator().manual_seed(0)
    different_depths = set()
    for _ in range(500):
        n = int(torch.randint(2, 200, (), generator=generator))
        tolerance = float(torch.rand((), generator=generator)) ** 2
        removal, mixed = torch.rand(2, n, generator=generator, dtype=torch.float64)
        protection = torch.lerp(removal, mixed, float(torch.rand((), generator=generator)))  # from agreeing to unrelated
        results = {"D_0_s2b_idx": removal.argsort().tolist(), "RE_0_hat_s2b_idx": protection.argsort().tolist()}
        (theirs,) = peer.get_ratios(nn.Identity(), results, layers2prune=[0], ToD_level=tolerance)
        ranking = Ranking(table_of((removal.tolist(), protection.tolist())))
        ours = int(ranking.depths((tolerance,), min_units=n - int(0.99 * n))[0, 0])
        assert ours == theirs, (n, tolerance)
        different_depths.add(theirs / n)
    assert len(different_depths) > 100
    capsys.readouterr()  # theirs prints
