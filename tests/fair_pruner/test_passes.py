"""The pass over the data: bounded memory, several processes, how R adds up."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fair_pruner import CalibrationError, ScoreTable, score
from fair_pruner.groups import find_groups
from fair_pruner.passes import pass_over
from fair_pruner.signals import Projections
from fair_pruner.types import Protection

Family = tuple[nn.Module, Tensor]
MakeBatches = Callable[..., list[tuple[Tensor, Tensor]]]

TWO_RANKS = """
import sys
from pathlib import Path
import torch
import torch.distributed as dist
from fair_pruner import score
from pipeline.builtin_models import VGG

torch.manual_seed(0)
torch.set_num_threads(1)
model, images, labels = VGG(1, 4, widths=(6, "M", 10)).eval(), torch.randn(30, 1, 6, 6), torch.arange(30) % 4
mine = slice(0, 30)
if len(sys.argv) > 2:
    dist.init_process_group("gloo")
    mine = slice(0, 12) if dist.get_rank() == 0 else slice(12, 30)
table = score(model, [(images[mine], labels[mine])], example_input=images[:2], projections=4)
if len(sys.argv) == 2 or dist.get_rank() == 1:
    Path(sys.argv[1]).write_text(table.to_json())
"""


def observed(family: Family, batches: list[tuple[Tensor, Tensor]], room: int) -> tuple[list[Tensor], list[Tensor], int]:
    model, example = family
    groups = find_groups(model, example)
    runs: list[int] = []
    hook = model.register_forward_hook(lambda *_: runs.append(1))
    readers = {producer.producer: Projections(8, 0) for group in groups for producer in group.producers}
    seen = pass_over(model, batches, groups, readers, example, ("signed",), room)
    hook.remove()
    return [seen.signals[point] for point in readers], seen.gates["signed"], len(runs)


def test_less_memory_means_more_passes_and_the_same_scores(small: Family, make_batches: MakeBatches) -> None:
    batches = make_batches(small[1], 4)
    signals, r_scores, runs = observed(small, batches, room=2**30)
    tight_signals, tight_r_scores, tight_runs = observed(small, batches, room=6 * 8 * 4 * 41)
    assert tight_runs > runs
    for one, other in zip((*signals, *r_scores), (*tight_signals, *tight_r_scores), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_batches_that_come_once_are_refused_where_they_are_needed_twice(small: Family, make_batches: MakeBatches) -> None:
    with pytest.raises(CalibrationError, match="iterated twice"):
        observed(small, iter(make_batches(small[1], 4)), room=6 * 8 * 4 * 41)  # type: ignore[arg-type]


def test_absolute_protection_is_the_mean_of_each_images_own(family: Family) -> None:
    model, example = family[0].double(), family[1].double()
    images, labels = torch.randn(3, *example.shape[1:], dtype=torch.float64), torch.tensor([0, 3, 1])

    def r_scores(protection: Protection, *chosen: int) -> list[torch.Tensor]:
        batch = (images[list(chosen)], labels[list(chosen)])
        table = score(model, [batch], example_input=example, removal="random", protection=protection)
        return [torch.tensor(group.r_score) for group in table.groups]

    alone = zip(*(r_scores("signed", image) for image in range(3)), strict=True)
    for found, each in zip(r_scores("absolute", 0, 1, 2), alone, strict=True):
        torch.testing.assert_close(found, torch.stack(each).mean(dim=0), rtol=1e-6, atol=1e-10)


@pytest.mark.slow
def test_two_processes_give_the_scores_of_one(tmp_path: Path) -> None:
    script = tmp_path / "two_ranks.py"
    script.write_text(TWO_RANKS)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([sys.executable, script, tmp_path / "alone.json"], check=True)
    subprocess.run([*launch, script, tmp_path / "together.json", "gloo"], check=True)
    alone, together = (ScoreTable.from_json((tmp_path / name).read_text()) for name in ("alone.json", "together.json"))
    assert together.samples == alone.samples == 30
    for one, other in zip(alone.groups, together.groups, strict=True):
        torch.testing.assert_close(torch.tensor(one.u_score), torch.tensor(other.u_score), rtol=1e-5, atol=0)
        torch.testing.assert_close(torch.tensor(one.r_score), torch.tensor(other.r_score), rtol=1e-4, atol=1e-7)
