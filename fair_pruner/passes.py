"""The loop over the calibration data: labels, removal signals and R-Scores, within a bound of memory."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fair_pruner.errors import CalibrationError
from fair_pruner.gather import of_all, sum_of_all
from fair_pruner.observe import Observed, observing
from fair_pruner.r_score import Adding, RScore
from fair_pruner.signals import Reader
from fair_pruner.structure import Group, Point

Batches = Iterable[tuple[Tensor, Tensor]]


class Seen(NamedTuple):
    """Labels of all samples (n,), the signal per channel at every point that was read, and what the gates of every group add
    up to (units,), for each way that was asked for.
    """

    labels: Tensor
    signals: dict[Point, Tensor]
    gates: dict[Adding, list[Tensor]]


def pass_over(
    model: nn.Module,
    batches: Batches,
    groups: Sequence[Group],
    readers: Mapping[Point, Reader],
    example_input: Tensor,
    adding: Sequence[Adding],
    room: int,
) -> Seen:
    """Run the data forward and backward once. What readers store and what a step needs each stay within `room` bytes.

    Readers for which there is no room are postponed to further passes, forward only. Raises CalibrationError.
    """
    totals = {way: [RScore(group.units, way) for group in groups] for way in adding}
    seen: list[Tensor] = []
    signals: dict[Point, Tensor] = {}
    with observing(model, groups, readers) as observed:
        step = _samples_a_step(model, observed, example_input, room)
        observed.readers = dict(readers)
        bytes_a_sample: dict[Point, float] = {}
        for inputs, labels in _parts(batches, step):
            logits = model(inputs)
            _check(logits, labels)
            gradients = observed.gradients(F.cross_entropy(logits, labels, reduction="sum"), len(labels))
            for of_groups in totals.values():
                for total, gradient in zip(of_groups, gradients, strict=True):
                    total.add(gradient)
            seen.append(labels.detach().cpu())
            bytes_a_sample |= _postpone(observed, room, sum(map(len, seen)), batches)
        if not seen:
            raise CalibrationError("there are no calibration batches; give at least one with two classes")
        labels, samples = of_all(torch.cat(seen)), sum(map(len, seen))
        waiting = [point for point in readers if sum_of_all(torch.tensor(float(point in bytes_a_sample))) > 0]
        signals |= {point: reader.value(labels) for point, reader in observed.readers.items() if point not in waiting}
        while waiting:
            size = {point: bytes_a_sample.get(point, 0.0) * samples for point in waiting}
            now = [
                point for place, point in enumerate(waiting) if sum(size[p] for p in waiting[: place + 1]) <= room or not place
            ]
            observed.readers = {point: readers[point] for point in now}
            with torch.no_grad():
                for inputs, _ in _parts(batches, step):
                    model(inputs)
            signals |= {point: readers[point].value(labels) for point in now}
            waiting = waiting[len(now) :]
    gates = {way: [sum_of_all(total.total).abs() / len(labels) for total in of_groups] for way, of_groups in totals.items()}
    return Seen(labels, signals, gates)


def _samples_a_step(model: nn.Module, observed: Observed, example_input: Tensor, room: int) -> int:
    """How many samples fit into `room` bytes of a forward and backward pass, as a trial with the example shows."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    held: dict[int, int] = {}

    def hold(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
        model(example_input)
        gradients = observed.note_overwriting()
    return max(1, int(room * len(example_input) / max(1, sum(held.values()) + gradients)))


def _parts(batches: Batches, step: int) -> Iterator[tuple[Tensor, Tensor]]:
    for inputs, labels in batches:
        if len(inputs) <= step or len(inputs) != len(labels):
            yield inputs, labels
        else:
            yield from zip(inputs.split(step), labels.split(step), strict=True)


def _postpone(observed: Observed, room: int, samples: int, batches: Batches) -> dict[Point, float]:
    """Stop the last readers, as many as must go for the rest to fit; returns the bytes that each stored for a sample."""
    stopped: dict[Point, float] = {}
    while len(observed.readers) > 1 and sum(reader.stored_bytes for reader in observed.readers.values()) > room:
        point, reader = observed.readers.popitem()
        stopped[point] = reader.stored_bytes / samples
        reader.clear()
    if stopped and iter(batches) is batches:
        need = sum(stopped.values()) + sum(reader.stored_bytes for reader in observed.readers.values()) / samples
        raise CalibrationError(
            f"what is stored of each image takes {need / 2**10:.0f} KiB, and after {samples} images the bound on memory is "
            "reached; allow more (memory_mb), take fewer projections or images, or give batches that can be iterated twice"
        )
    return stopped


def _check(logits: Tensor, labels: Tensor) -> None:
    if not isinstance(logits, Tensor) or logits.dim() != 2 or labels.shape != logits.shape[:1]:
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise CalibrationError(
            f"the model gives {found} for labels of shape {tuple(labels.shape)}; expected logits (b, classes) and labels (b,)"
        )
    if labels.is_floating_point() or labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise CalibrationError(
            f"labels run from {labels.min()} to {labels.max()}, the model has {logits.shape[1]} classes; labels must be "
            "whole numbers from 0 to classes - 1"
        )
