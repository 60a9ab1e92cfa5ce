"""The training loop that the dense model and the fine-tuning share: accelerate moves the tensors, timm optimises."""

import hashlib
import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pipeline.augmentation import augment, mix
from pipeline.data import Data, batches, shuffled
from pipeline.datasets import Split
from pipeline.distillation import LabelLoss, Teacher
from pipeline.learning_rate import WarmupCosine, find_lr, make_optimizer
from pipeline.moving_average import moving_average
from pipeline.progress import LINE_EVERY_SECONDS, log, progress
from pipeline.records import Curve, Epoch
from pipeline.training_sections import TrainConfig
from pipeline.training_state import TrainingState, read_checkpoint, remove_checkpoint, write_checkpoint

if TYPE_CHECKING:
    from accelerate import Accelerator

EVALUATION_BATCH = 512
POINTS = 200  # of the curve of losses
SMALLEST_BATCH = 2  # BatchNorm has no variance of one value


def train(
    model: nn.Module,
    data: Data,
    recipe: TrainConfig,
    seed: int,
    label: str,
    *,
    teacher: Teacher | None = None,
    wanted: float = 0.0,
    checkpoint: Path | None = None,
) -> Curve:
    """Train in place and keep the weights of the epoch with the best validation accuracy (the later one of equals).

    Every step draws its batch, augmentation and dropout from `seed` and its own number alone: on one device, with one number
    of threads, two calls give equal weights, and so does one that was killed and goes on from `checkpoint`, a file that is
    written as often as the recipe says and removed at the end. With `wanted` the training stops as soon as its validation
    accuracy cannot reach that any more, see `hopeless`. `label` names the progress bar. In a process that accelerate has
    launched with others all of them train together, each on its part of every batch. The model comes back in eval mode on the
    CPU. The curve is empty if `recipe.epochs` is 0. Raises InputError if the optimiser is unknown.
    """
    if recipe.epochs == 0:
        model.eval()
        return Curve()
    with torch.random.fork_rng(devices=[]):
        return _Training(model, data, recipe, seed, label, teacher, wanted, checkpoint).run()


class _Training:
    """One training, from the first step or a checkpoint to the end."""

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        recipe: TrainConfig,
        seed: int,
        label: str,
        teacher: Teacher | None,
        wanted: float,
        checkpoint: Path | None,
    ) -> None:
        self.data, self.recipe, self.seed, self.label = data, recipe, seed, label
        self.teacher, self.wanted, self.checkpoint = teacher, wanted, checkpoint
        self.accelerator = _accelerator()
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        self.steps = steps_an_epoch(len(data.fit_indices), recipe.batch_size, self.world)
        self.model = self._placed(model)
        if teacher:
            self._placed(teacher.network)
        lr = recipe.lr if isinstance(recipe.lr, float) else self._found_lr()
        self.optimizer = make_optimizer(self.model, recipe, lr)
        self.ema = moving_average(self.model, recipe)
        self.parts = {"model": self.model, "optimizer": self.optimizer} | ({"ema": self.ema} if self.ema else {})
        resumed = read_checkpoint(checkpoint, self.parts) if checkpoint else None
        if resumed:
            log.info("%s: goes on behind step %d of %d", label, resumed.step, self.steps * recipe.epochs)
        self.state = resumed or TrainingState(lr=lr)
        self.schedule = WarmupCosine(self.optimizer, recipe, self.state.lr, self.steps)
        self.prepared, self.stepper = self.accelerator.prepare(self.model, self.optimizer)

    def run(self) -> Curve:
        state, recipe = self.state, self.recipe
        marks = {max(1, round(mark * self.steps)) for mark in recipe.measure_at}
        every = max(1, self.steps * recipe.epochs // POINTS)
        last_line = last_saved = time.monotonic()
        for epoch in range(state.step // self.steps + 1, recipe.epochs + 1):
            if state.stopped:
                break
            first_lr = self.schedule.at((epoch - 1) * self.steps)
            for images, labels in self._portions(epoch):
                state.add_loss(self._step(images, labels), len(labels))
                end = state.step == epoch * self.steps
                if state.step % every == 0:
                    state.add_point(self.schedule.at(state.step - 1))
                if state.step in marks or end:
                    state.add_epoch(state.step / self.steps, first_lr, self._top1())
                if end:
                    state.end_epoch(self._shown())
                    state.stopped = self._reason_to_stop(epoch)
                if self.checkpoint and self.rank == 0 and time.monotonic() - last_saved >= recipe.checkpoint_seconds:
                    write_checkpoint(self.checkpoint, state, self.parts)
                    last_saved = time.monotonic()
            if epoch == recipe.epochs or state.stopped or time.monotonic() - last_line > LINE_EVERY_SECONDS:
                last_line = time.monotonic()
                self._say(epoch)
        return self._finish()

    def _step(self, images: Tensor, labels: Tensor) -> float:
        step = self.state.step
        self.schedule.set(step)
        self.prepared.train()
        self._seed(step)
        generator = torch.Generator().manual_seed(self._number(f"augmentation {self.rank}", step))
        images = augment(images, self.recipe, generator).to(memory_format=torch.channels_last)
        loss = self._loss(self.prepared, images, labels)
        self.stepper.zero_grad()
        self.accelerator.backward(loss)
        self.stepper.step()
        if self.ema:
            self.ema.update(self.model, step + 1)
        return loss.item()

    def _loss(self, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        images, shares = mix(images, labels, self.recipe, self.data.num_classes)
        loss_of = LabelLoss(shares, self.recipe.label_smoothing)
        half = self.recipe.precision == "bf16"  # not told to accelerate, which would measure accuracy in it too
        with torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=half):
            return self.teacher.loss(network, images, loss_of) if self.teacher else loss_of(network(images).float())

    def _found_lr(self) -> float:
        from accelerate.utils import broadcast_object_list

        self._seed(0)
        endless = itertools.chain.from_iterable(self._loaded(epoch, 0) for epoch in itertools.count(1))
        lr: float
        [lr] = broadcast_object_list([find_lr(self.model, self.recipe, endless, self._loss)])  # that of the first process
        log.info("%s: learning rate %.2g, found by a range test", self.label, lr)
        return lr

    def _portions(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        done = self.state.step - (epoch - 1) * self.steps
        loaded = self._loaded(epoch, done)
        if self.rank:
            return loaded
        name = f"{self.label} · epoch {epoch}/{self.recipe.epochs}"
        return progress(loaded, name, self.steps - done, loop=epoch, loops=self.recipe.epochs)

    def _loaded(self, epoch: int, done: int) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's part of every batch of an epoch, but for the first `done`."""
        generator, size = torch.Generator().manual_seed(self._number("order", epoch)), self.recipe.batch_size
        order = shuffled(self.data.fit_indices, generator)
        for step in range(done, self.steps):
            part = order[step * size : (step + 1) * size][self.rank :: self.world]
            yield from batches(self.data.train, part, size, self.accelerator.device)

    def _shown(self) -> nn.Module:
        """The network whose weights would be kept."""
        return self.ema.module if self.ema else self.model

    def _top1(self) -> float:
        from accelerate.utils import broadcast

        shown = self._shown()
        broadcast(list(shown.buffers()))  # each process has BatchNorm statistics of its own part
        return top1_of(shown, self.data.train, self.data.validation_indices, self.accelerator)

    def _reason_to_stop(self, epoch: int) -> str:
        state, patience = self.state, self.recipe.patience
        if epoch == self.recipe.epochs:
            return ""
        if patience and epoch - state.best_epoch >= patience:
            return f"no better validation accuracy in {patience} epochs"
        if self.wanted and hopeless(state.epochs, self.recipe.epochs, self.wanted):
            return f"a validation accuracy of {self.wanted:.4f} is out of reach"
        return ""

    def _say(self, epoch: int) -> None:
        if self.rank == 0:
            now, stopped = self.state.epochs[-1], f"; stopped: {self.state.stopped}" if self.state.stopped else ""
            what = "%s: epoch %d/%d, loss %.4f, validation top-1 %.4f%s"
            log.info(what, self.label, epoch, self.recipe.epochs, now.loss, now.top1_validation, stopped)

    def _finish(self) -> Curve:
        model = self.accelerator.unwrap_model(self.prepared, keep_fp32_wrapper=False)
        model.load_state_dict(self.state.best)
        model.to("cpu", memory_format=torch.contiguous_format).eval()
        if self.checkpoint and self.rank == 0:
            remove_checkpoint(self.checkpoint)
        return self.state.curve()

    def _placed(self, network: nn.Module) -> nn.Module:
        return network.to(self.accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def _seed(self, step: int) -> None:
        torch.manual_seed(self._number(f"step {self.rank}", step))

    def _number(self, purpose: str, index: int) -> int:
        """A seed for one purpose at one place, so that nothing has to be remembered of what was drawn before."""
        return int.from_bytes(hashlib.sha256(f"{self.seed} {purpose} {index}".encode()).digest()[:6])


def hopeless(curve: Sequence[Epoch], epochs: int, wanted: float) -> bool:
    """Whether `wanted` would be missed even if every epoch that is left gained as much as the last one did.

    Gains shrink in the course of a training, so this gives up late rather than early; never before there are two points.
    """
    whole = [point for point in curve if point.epoch == int(point.epoch)]
    if len(whole) < 2:  # a gain has two ends
        return False
    now, before = whole[-1].top1_validation, whole[-2].top1_validation
    return now + max(0.0, now - before) * (epochs - whole[-1].epoch) < wanted


def steps_an_epoch(images: int, batch_size: int, processes: int = 1) -> int:
    """Batches of an epoch; a last one that leaves a process fewer than SMALLEST_BATCH images is left out unless it is all."""
    whole, rest = divmod(images, batch_size)
    return max(1, whole + (rest >= SMALLEST_BATCH * processes))


@torch.no_grad()
def top1_of(model: nn.Module, split: Split, indices: Sequence[int], accelerator: "Accelerator | None" = None) -> float:
    """Share of `indices` that the model classifies correctly, in eval mode and float32; every process counts its part."""
    was_training = model.training
    model.eval()
    where = next(model.parameters()).device
    part = indices[accelerator.process_index :: accelerator.num_processes] if accelerator else indices
    correct = torch.zeros(1, device=where)
    for images, labels in batches(split, part, EVALUATION_BATCH, where):
        correct += (model(images).argmax(1) == labels).sum()
    model.train(was_training)
    total = accelerator.reduce(correct, reduction="sum") if accelerator else correct
    return int(total) / len(indices)


def _accelerator() -> "Accelerator":
    from accelerate import Accelerator

    return Accelerator(mixed_precision="no")
