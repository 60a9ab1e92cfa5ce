"""Costs between measured points, against scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator

from pipeline.layer_kinds import LayerKind
from pipeline.layer_table import LayerCosts, Side

ROWS, COLUMNS = (8, 24, 32), (8, 16, 40, 48)
DRAWN = np.random.default_rng(0).uniform(0.1, 1.0, (2, len(ROWS), len(COLUMNS)))
FAST, SLOW = (tuple(map(tuple, grid.tolist())) for grid in DRAWN)
COSTS = LayerCosts(
    kind=LayerKind(operator="linear", size=(1,)),
    inputs=Side(block=8, counts=ROWS, step=4),
    outputs=Side(block=8, counts=COLUMNS, step=1),
    fast_ms=FAST,
    slow_ms=SLOW,
)


@given(st.integers(1, 32), st.integers(1, 48))
def test_costs_between_points_are_scipys(inputs: int, outputs: int) -> None:
    """Before the first point they are what they are there; beyond the last one they go on straight."""
    whole = [-(-inputs // 8) * 8, -(-outputs // 8) * 8]
    assert COSTS.fast(inputs, outputs) == pytest.approx(RegularGridInterpolator((ROWS, COLUMNS), DRAWN[0])(whole)[0])
    rows, columns = np.array(ROWS) - 1, np.array(COLUMNS) - 1
    off = RegularGridInterpolator((rows, columns), DRAWN[1], bounds_error=False, fill_value=None)
    assert COSTS.slow(inputs, outputs) == pytest.approx(off([max(inputs, rows[0]), max(outputs, columns[0])])[0])
    assert COSTS.milliseconds(inputs, outputs) == (COSTS.slow if inputs % 4 else COSTS.fast)(inputs, outputs)


def test_measured_points_are_given_back() -> None:
    on = [[COSTS.milliseconds(row, column) for column in COLUMNS] for row in ROWS]
    off = [[COSTS.milliseconds(row - 1, column - 1) for column in COLUMNS] for row in ROWS]
    np.testing.assert_allclose([on, off], DRAWN)
