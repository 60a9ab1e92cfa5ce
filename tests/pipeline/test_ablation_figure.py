"""The figure of a comparison: a panel a budget, a line a method, the same bytes each time."""

from typing import Any

import pytest

from pipeline import ablation_figure
from pipeline.ablation_figure import recovery_figure

from .ablations import HALF, QUARTER, cell, comparison, three_seeds


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    figures: list[Any] = []
    monkeypatch.setattr(ablation_figure, "png", lambda figure: figures.append(figure) or b"")
    return figures


def lines(axes: Any) -> dict[str, Any]:
    """A panel's curves by their labels; the dense model's line has none."""
    return {line.get_label(): line for line in axes.get_lines() if not line.get_label().startswith("_")}


def test_it_is_the_same_each_time() -> None:
    report = comparison(three_seeds((HALF, QUARTER)))
    first = recovery_figure(report)
    assert first.startswith(b"\x89PNG")
    assert recovery_figure(report) == first


def test_every_budget_has_its_panel_and_every_method_its_line(drawn: list[Any]) -> None:
    recovery_figure(comparison(three_seeds((HALF, QUARTER))))
    panels = drawn[0].axes
    assert [axes.get_title(loc="left") for axes in panels] == ["digits, macs 0.5", "digits, macs 0.25"]
    for axes in panels:
        found = lines(axes)
        assert list(found) == ["fair", "l1-uniform"]
        assert list(found["fair"].get_xdata()) == [0, 0.25, 1]
        assert list(found["fair"].get_ydata()) == pytest.approx([93.1, 94, 97 + 1 / 3])
        assert list(axes.get_lines()[0].get_ydata()) == [98, 98]
        assert axes.texts[1].get_text() == "mean and range of 3 seeds"
    assert [text.get_text() for text in panels[1].get_legend().get_texts()] == ["fair", "l1-uniform"]


def test_a_mean_is_over_all_seeds_or_not_drawn(drawn: list[Any]) -> None:
    cells = [cell(seed=0, curve={1.0: 0.9, 2.0: 0.92}), cell(seed=1, curve={1.0: 0.92})]  # the second stopped early
    recovery_figure(comparison(cells))
    (line,) = lines(drawn[0].axes[0]).values()
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([0, 1], [90, pytest.approx(91)])


def test_one_seed_without_fine_tuning_is_a_point(drawn: list[Any]) -> None:
    recovery_figure(comparison([cell(curve={})], finetune={"epochs": 0}))
    (axes,) = drawn[0].axes
    assert list(lines(axes)["fair"].get_xdata()) == [0]
    assert axes.texts[1].get_text() == "one seed"


def test_more_methods_than_colours_are_all_drawn() -> None:
    methods = [f"{signal}-{rule}" for signal in ("l1", "l2", "fpgm") for rule in ("tod", "uniform", "global")]
    assert len(methods) > len(ablation_figure.COLOURS)
    assert recovery_figure(comparison([cell(method) for method in methods])).startswith(b"\x89PNG")
