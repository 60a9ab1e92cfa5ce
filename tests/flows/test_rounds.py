"""Sweeps in several rounds and to budgets: what runs under which name, what is reused, and what is refused in time."""

from pathlib import Path
from typing import Any

import pytest
import torch

from fair_pruner import BudgetError, PruningPlan
from flows.plan import plan_all
from flows.sweep import sweep
from flows.tasks import FlowRunner
from pipeline.config import RunConfig
from pipeline.models import load_model
from pipeline.store import Store

from .conftest import tiny

pytestmark = pytest.mark.usefixtures("prefect_server")
OFF = {"enabled": False}


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the tasks that ran, or came from the cache, in their order."""
    names: list[str] = []
    run = FlowRunner.__call__

    def noted(self: FlowRunner, stage: Any, about: str, **arguments: Any) -> Any:
        names.append(f"{stage.name} · {about}")
        return run(self, stage, about, **arguments)

    monkeypatch.setattr(FlowRunner, "__call__", noted)
    return names


def cached(config: RunConfig) -> set[str]:
    return {path.name for path in (config.output / "cache").iterdir()}


def test_rounds_cut_score_and_cut_again(tmp_path: Path, tasks: list[str]) -> None:
    once = tiny(tmp_path / "runs", engine=OFF, allocate={"tolerances": [0.4]})
    config = tiny(tmp_path / "runs", engine=OFF, allocate={"tolerances": [0.4], "rounds": 2})
    single = sweep(once).candidates[1]
    tasks.clear()
    report = sweep(config)
    about = [name for name in tasks if "round" in name]
    assert about == [
        "allocate · tolerance 0.4 · round 1",
        "prune · tolerance 0.4 · round 1",
        "recalibrate · tolerance 0.4 · round 1",
        "finetune · tolerance 0.4 · round 1",
        "score · tolerance 0.4 · round 2",
        "allocate · tolerance 0.4 · round 2",
        "prune · tolerance 0.4 · round 2",
        "recalibrate · tolerance 0.4 · round 2",
        "finetune · tolerance 0.4 · round 2",
    ]
    dense, twice = report.candidates
    assert (dense.plan, single.plan.rounds, twice.plan.rounds) == (None, 1, 2)
    assert (twice.name, twice.tolerance) == ("tolerance-0.4", 0.4)
    assert twice.model.macs < single.model.macs < dense.model.macs
    assert abs(twice.torch_test.top1 - twice.onnx_test.top1) < 0.01
    assert twice.stage_seconds["finetuned"] > twice.model.seconds  # of both rounds
    first_of_two = [path for path in cached(config) if path.startswith("finetune-")]
    assert len(first_of_two) == 2  # the first round is the single cut, made once

    store = Store(config.output.resolve() / "store")
    folder = config.output / "tiny" / twice.name
    plan = PruningPlan.from_json((folder / "plan.json").read_text())
    assert (plan.rounds, plan.units, plan.units_removed) == (2, 24, twice.plan.units_removed)
    widths = [layer.out_channels for layer in load_model(twice.model, store).modules() if isinstance(layer, torch.nn.Conv2d)]
    assert widths == [group.units - group.depth for group in plan.groups]
    text = (config.output / "tiny" / "report.md").read_text()
    assert "in up to 2 rounds" in " ".join(text.split())
    assert "Masses are summed over the rounds" in " ".join(text.split())


def test_budgets_make_candidates_with_the_tolerances_they_need(tmp_path: Path, tasks: list[str]) -> None:
    config = tiny(tmp_path / "runs", engine=OFF, allocate={"budgets": [{"macs": 0.5}, {"params": 1200}, {"bytes": 0.9}]})
    report = sweep(config)
    dense, *others = report.candidates
    assert [c.name for c in others] == ["macs-0.5", "params-1200", "bytes-0.9"]
    first_cut = next(place for place, name in enumerate(tasks) if name.startswith("prune"))
    assert all(place < first_cut for place, name in enumerate(tasks) if name.startswith("allocate"))
    macs, params, size = others
    assert macs.model.macs <= dense.model.macs / 2
    assert params.model.params <= 1200
    assert size.plan.weights_bytes <= size.plan.limit
    assert all(c.tolerance == c.plan.tolerance and 0 < c.tolerance <= 1 for c in others)
    folder = config.output / "tiny"
    assert {path.name for path in folder.glob("*.png")} == {
        "pareto.png",
        "tod-curves.png",
        "depth-macs-0.5.png",
        "depth-params-1200.png",
        "depth-bytes-0.9.png",
    }
    text = (folder / "report.md").read_text()
    assert "at the smallest tolerance that keeps it within its budget" in " ".join(text.split())
    model, plans = plan_all(config)
    assert model.digest == dense.model.digest
    assert [plan.digest for plan in plans] == [c.plan.digest for c in others]


def test_a_budget_in_rounds_ends_at_the_budget(tmp_path: Path) -> None:
    config = tiny(tmp_path / "runs", engine=OFF, allocate={"budgets": [{"macs": 0.3}], "rounds": 3})
    dense, small = sweep(config).candidates
    assert small.model.macs <= 0.3 * dense.model.macs
    assert 1 <= small.plan.rounds <= 3


def test_a_budget_out_of_reach_ends_the_flow_before_any_candidate_is_pruned(tmp_path: Path, tasks: list[str]) -> None:
    config = tiny(tmp_path / "runs", engine=OFF, allocate={"budgets": [{"macs": 0.5}, {"macs": 1}], "rounds": 2})
    with pytest.raises(BudgetError, match="is the least"):
        sweep(config)
    assert not any(name.startswith("prune") for name in tasks)
    assert not (tmp_path / "runs" / "tiny").exists()
