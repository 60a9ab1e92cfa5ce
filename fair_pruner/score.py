"""Score every unit of a model in one pass over the calibration data."""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fair_pruner.errors import CalibrationError, SettingError
from fair_pruner.groups import Group, find_groups
from fair_pruner.observe import Observed, observing, unit_values
from fair_pruner.r_score import r_score
from fair_pruner.types import Removal, ScoreTable, UnitScores
from fair_pruner.u_score import u_score


def score(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    example_input: Tensor,
    removal: Removal = "wasserstein",
    projections: int = 128,
    seed: int = 0,
    ignore: Sequence[str] = (),
) -> ScoreTable:
    """U-Score and R-Score of every unit in every group of a classifier that may be cut.

    `batches` yields inputs (b, ...) and integer class labels (b,) on the model's device, once; every batch is run forward
    and backward once, for all groups together. `example_input` is one batch that the model can run. `projections` is the
    number of random directions on which maps are compared; `seed` draws them, and equal arguments give equal scores.
    Memory: 4 bytes x samples x channels of all producers x projections. `ignore` names layers that are never cut.

    The model comes back bit-identical, with its modes, flags, gradients and hooks, and torch's random state untouched.
    Raises CalibrationError for unusable batches, NothingToPruneError, UnsupportedModelError, SettingError.
    Source: arXiv:2508.02291.
    """
    if removal != "wasserstein":
        raise SettingError(f"removal is {removal!r}; it must be 'wasserstein'")
    if projections < 1:
        raise SettingError(f"projections is {projections}; it must be at least 1")
    groups = find_groups(model, example_input, ignore)
    seen: list[Tensor] = []
    with observing(model, groups, projections, seed) as observed:
        for inputs, labels in batches:
            logits = model(inputs)
            _check(logits, labels)
            observed.add_gradients(F.cross_entropy(logits, labels, reduction="sum"))
            seen.append(labels.detach().cpu())
    if not seen:
        raise CalibrationError("there are no calibration batches; give at least one with two classes")
    labels = torch.cat(seen)
    return ScoreTable(
        groups=tuple(
            UnitScores(
                name=group.name,
                u_score=tuple(_group_u_score(group, observed, labels).tolist()),
                r_score=tuple(r_score(gradient, len(labels)).tolist()),
                producers=tuple(producer.layer for producer in group.producers),
            )
            for group, gradient in zip(groups, observed.gate_gradients, strict=True)
        ),
        removal=removal,
        projections=projections,
        seed=seed,
        samples=len(labels),
        classes=len(labels.unique()),
    )


def _group_u_score(group: Group, observed: Observed, labels: Tensor) -> Tensor:
    """The largest U over the group's producers: a unit is useful if it separates classes anywhere."""
    scores = []
    for producer in group.producers:
        values = torch.cat(observed.projected.pop(producer.layer))  # (samples, channels, P); freed after use
        scores.append(unit_values(producer, u_score(values, labels), group.units))
    return torch.stack(scores).amax(dim=0)


def _check(logits: Tensor, labels: Tensor) -> None:
    if logits.dim() != 2 or labels.shape != logits.shape[:1]:
        raise CalibrationError(
            f"the model gives {tuple(logits.shape)} for labels of shape {tuple(labels.shape)}; expected logits (b, classes) "
            "and labels (b,)"
        )
    if labels.is_floating_point() or labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise CalibrationError(
            f"labels run from {labels.min()} to {labels.max()}, the model has {logits.shape[1]} classes; labels must be "
            "whole numbers from 0 to classes - 1"
        )
