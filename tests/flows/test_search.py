from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows import search as module
from flows.search import search
from pipeline.config import RunConfig
from pipeline.measurements import SearchRecord
from pipeline.records import Epoch, Goal

DENSE = SimpleNamespace(macs=100, name="dense")


def searched(accuracies: list[float], dense: float, drop: float, patch: pytest.MonkeyPatch) -> tuple[list[int], SearchRecord]:
    """What holds, by place, when plan number i reaches accuracies[i]; every call of `cut` must know the floor."""
    plans = tuple(
        SimpleNamespace(goal=Goal(quantity="tolerance", value=(i + 1) / 100), tolerance=(i + 1) / 100, place=i)
        for i in range(len(accuracies))
    )

    def cut(*arguments: Any, wanted: float) -> SimpleNamespace:
        plan = arguments[-1]
        assert wanted == pytest.approx(max(0.0, dense - drop))
        epoch = Epoch(epoch=2, step=2, lr=0.1, loss=1.0, top1_validation=accuracies[plan.place])
        model = SimpleNamespace(macs=90 - plan.place, history=(epoch,), stopped="", place=plan.place)
        return SimpleNamespace(plan=plan, model=model)

    def run(_: Any, __: str, *, subject: SimpleNamespace, **___: Any) -> SimpleNamespace:
        return SimpleNamespace(top1=dense if subject is DENSE else accuracies[subject.place])

    patch.setattr(module, "cut", cut)
    config = RunConfig.model_validate({"allocate": {"max_accuracy_drop": drop}, "finetune": {"epochs": 3}})
    held, record = search(run, config, DENSE, SimpleNamespace(), None, plans)  # type: ignore[arg-type]
    return [each.plan.place for each in held], record  # type: ignore[attr-defined]


@given(accuracies=st.lists(st.floats(0, 1), min_size=1, max_size=40), drop=st.floats(0, 0.5), dense=st.floats(0.5, 1))
def test_where_accuracy_falls_with_depth_the_deepest_that_holds_is_found_with_few_branches(
    accuracies: list[float], drop: float, dense: float
) -> None:
    falling = sorted(accuracies, reverse=True)
    with pytest.MonkeyPatch.context() as patch:
        held, record = searched(falling, dense, drop, patch)
    holds = [place for place, top1 in enumerate(falling) if top1 >= dense - drop]
    assert (held[-1] if held else None) == (holds[-1] if holds else None)
    assert set(held) <= set(holds)
    assert len(record.trials) <= len(falling).bit_length()
    assert record.considered == len(falling)
    assert record.epochs == 2 * len(record.trials)
    assert (record.found.goal.value if record.found else None) == ((holds[-1] + 1) / 100 if holds else None)


def test_what_was_tried_is_kept_with_its_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    held, record = searched([0.9, 0.4], 0.9, 0.1, monkeypatch)
    assert held == [0]
    assert {trial.goal.value: trial.holds for trial in record.trials} == {0.01: True, 0.02: False}
    assert record.floor == pytest.approx(0.8)
