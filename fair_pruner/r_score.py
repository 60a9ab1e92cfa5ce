"""R-Score: first-order estimate of how much the loss changes when a unit is removed. High = keep."""

import torch
from torch import Tensor


def gated(output: Tensor, gate: Tensor, unit_of: Tensor, channel_dim: int) -> Tensor:
    """Multiply each channel of a layer's output by the gate of its unit; a gate of one changes nothing.

    `gate` (units,); `unit_of` (channels,) is the unit of each channel, or -1 for a channel that belongs to none.
    """
    factors = torch.cat([gate, gate.new_ones(1)])[unit_of]  # index -1 is the constant one
    shape = [1] * output.dim()
    shape[channel_dim] = len(factors)
    return output * factors.view(shape)


def r_score(gate_gradient: Tensor, samples: int) -> Tensor:
    """R_j = |dL/dg_j| for the mean loss L over the calibration set; `gate_gradient` is the gradient of the summed loss.

    Because unit j's output is g_j * a_j with g_j = 1, dL/dg_j is the sum of a * dL/da over samples, producers and
    positions: the first-order change of the loss when the unit's output is taken away. Returns (units,), >= 0.
    Source: arXiv:2508.02291; that the gate stands behind the norm is ours.
    """
    return gate_gradient.abs() / samples
