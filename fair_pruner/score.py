"""Score every unit of a model in one pass over the calibration data."""

from collections.abc import Sequence
from typing import get_args

import torch
from torch import Tensor, nn

from fair_pruner.attention import heads_open
from fair_pruner.errors import SettingError
from fair_pruner.groups import find_groups
from fair_pruner.passes import Batches, pass_over
from fair_pruner.r_score import Adding
from fair_pruner.signals import WEIGHT_SIGNALS, Reader, WeightSignal, random_signal, reader_for
from fair_pruner.structure import Group, Point
from fair_pruner.types import Aggregation, Observation, Protection, Removal, ScoreTable, UnitScores

MIB = 2**20


def score(
    model: nn.Module,
    batches: Batches,
    *,
    example_input: Tensor,
    removal: Removal | WeightSignal = "wasserstein",
    observe: Observation = "activation",
    aggregate: Aggregation = "mean",
    protection: Protection = "absolute",
    projections: int = 64,
    seed: int = 0,
    ignore: Sequence[str] = (),
    embedding: bool = False,
    memory_mb: int = 2048,
) -> ScoreTable:
    """Removal signal and R-Score of every unit in every group of a classifier that may be cut.

    `batches` yields inputs (b, ...) and integer class labels (b,) on the model's device; every batch is run forward and
    backward once, for all groups together. `example_input` is one batch that the model can run.

    `removal` is the signal that proposes units, low = removable: "wasserstein" is the U-Score, on `projections` random
    directions drawn from `seed`; or another by name; or a function that gets a group and the model and returns a value for
    each unit. It is read at each producer's own output, behind its norm, or behind that one's activation (`observe`); over
    a group's producers the largest counts, or the mean of each one's values over their mean (`aggregate`). `protection`
    says how R adds up over samples. `ignore` names layers that are never cut; `embedding` is as in `find_groups`.

    `memory_mb` bounds what is held of the data at one time: half for the projections, half for a forward and backward pass,
    which splits batches as needed. Should the projections of all layers need more than that, the data is passed over
    again, forward only, and `batches` must be iterable more than once; the scores are the same.

    In a torch.distributed process group every process gives its own share of the batches and gets the scores of all.

    The model comes back bit-identical, with its modes, flags, gradients and hooks, and torch's random state untouched.
    Raises CalibrationError for unusable batches, NothingToPruneError, UnsupportedModelError, SettingError.
    Source: arXiv:2508.02291.
    """
    _check_settings(removal, observe, aggregate, protection, projections, memory_mb)
    groups = find_groups(model, example_input, ignore, embedding=embedding)
    readers: dict[Point, Reader] = {}
    for point in dict.fromkeys(getattr(producer, observe) for group in groups for producer in group.producers):
        reader = None if callable(removal) else reader_for(removal, projections, seed)
        if reader is not None:
            readers[point] = reader
    of_gates: Adding | None = protection if removal == "taylor" else "squared" if removal == "hessian" else None
    adding = tuple(dict.fromkeys((protection, of_gates or protection)))  # in one order in every process
    seen = pass_over(model, batches, groups, readers, example_input, adding, room=memory_mb * MIB // 2)
    scores = []
    for place, (group, r) in enumerate(zip(groups, seen.gates[protection], strict=True)):
        values = [
            unit_values(getattr(producer, observe), seen.signals[getattr(producer, observe)], group.units)
            for producer in group.producers
            if readers
        ]
        if of_gates:
            u = seen.gates[of_gates][place]
        else:
            u = _aggregated(values, aggregate) if values else _of_weights(group, model, removal, seed)
        scores.append(
            UnitScores(
                name=group.name,
                u_score=tuple(u.tolist()),
                r_score=tuple(r.tolist()),
                producers=tuple(producer.layer for producer in group.producers),
                kind=group.kind,
                channels=group.channels,
            )
        )
    return ScoreTable(
        groups=tuple(scores),
        removal="custom" if callable(removal) else removal,
        projections=projections,
        seed=seed,
        samples=len(seen.labels),
        classes=len(seen.labels.unique()),
        observe=observe,
        aggregate=aggregate,
        protection=protection,
    )


def unit_values(point: Point, values: Tensor, units: int) -> Tensor:
    """Per-channel values (channels,) seen at a point as per-unit values (units,): the largest of a unit's channels."""
    unit_of = torch.tensor(point.unit_of)
    mine = unit_of >= 0
    return values.new_zeros(units).scatter_reduce(0, unit_of[mine], values[mine], "amax")


def _aggregated(values: Sequence[Tensor], aggregate: Aggregation) -> Tensor:
    """Over producers: the largest (a unit is useful if it separates anywhere), or the mean of each one's share of its mean."""
    if aggregate == "max":
        return torch.stack(list(values)).amax(dim=0)
    return torch.stack([value / value.mean().clamp(min=torch.finfo(value.dtype).tiny) for value in values]).mean(dim=0)


def _of_weights(group: Group, model: nn.Module, removal: Removal | WeightSignal, seed: int) -> Tensor:
    named = {**WEIGHT_SIGNALS, "random": random_signal(seed)}
    signal = removal if callable(removal) else named[removal]
    with heads_open(model):
        values = signal(group, model)
    if not isinstance(values, Tensor) or values.shape != (group.units,) or not values.isfinite().all():
        found = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        raise SettingError(f"the removal signal gave {found} for {group.name}; expected a tensor of {group.units} finite numbers")
    return values.detach().cpu()


def _check_settings(
    removal: object, observe: object, aggregate: object, protection: object, projections: int, memory_mb: int
) -> None:
    chosen = {"observe": (observe, Observation), "aggregate": (aggregate, Aggregation), "protection": (protection, Protection)}
    for name, (value, allowed) in {**chosen, **({} if callable(removal) else {"removal": (removal, Removal)})}.items():
        if value not in get_args(allowed):
            raise SettingError(f"{name} is {value!r}; it must be one of {', '.join(get_args(allowed))}")
    for name, number in (("projections", projections), ("memory_mb", memory_mb)):
        if number < 1:
            raise SettingError(f"{name} is {number}; it must be at least 1")
