"""The figure of the ToD curves: one panel a group, dots where plans cut, readable with one group and with fifty."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from fair_pruner import Ranking, ScoreTable, UnitScores
from pipeline import curve_figure
from pipeline.curve_figure import curves_figure
from pipeline.rankings import ranking_of

from .test_figures import size_of


@pytest.fixture
def sweep(make_sweep, tmp_path):
    return make_sweep(tmp_path, "dense", "not_faster", "quick", "quicker")


@pytest.fixture
def groups(sweep):
    return ranking_of(sweep["scores"], sweep["store"]).groups


@pytest.fixture
def drawn(monkeypatch):
    figures = []
    monkeypatch.setattr(curve_figure, "png", lambda figure: figures.append(figure) or b"")
    return figures


def test_it_is_the_same_each_time(sweep, groups):
    first = curves_figure(groups, sweep["plans"], "digits")
    assert min(size_of(first)) > 400
    assert curves_figure(groups, sweep["plans"], "digits") == first


def test_every_group_has_its_curve_and_a_dot_where_each_plan_cuts(sweep, groups, drawn):
    plans = sweep["plans"]
    curves_figure(groups, plans, "digits")
    panels = [axes for axes in drawn[0].axes if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left") for axes in panels] == [group.name for group in groups]
    for place, (axes, group) in enumerate(zip(panels, groups, strict=True)):
        lines = axes.get_lines()
        assert list(lines[0].get_ydata()) == group.curve.tolist()
        dots = [(float(*line.get_xdata()), float(*line.get_ydata())) for line in lines if line.get_marker() == "o"]
        depths = [plan.depths[place] for plan in plans]
        assert dots == [(depth.removed / depth.units, depth.tod) for depth in depths]
        levels = {float(line.get_ydata()[0]) for line in lines[1:] if line.get_marker() != "o"}
        assert levels == {plan.tolerance for plan in plans}


@pytest.mark.parametrize("count", [1, 2, 7, 53])
def test_any_number_of_groups_fits(sweep, drawn, count):
    names = [f"a.rather.long.name.of.a.layer.{index}" for index in range(count)]
    table = ScoreTable(tuple(UnitScores(name, (1.0, 2.0), (1.0, 2.0), (name,)) for name in names), "l1", 1, 0, 1, 2)
    curves_figure(Ranking(table).groups, sweep["plans"], "digits")
    figure = drawn[0]
    figure.draw_without_rendering()
    renderer = FigureCanvasAgg(figure).get_renderer()
    legend = figure.legends[0].get_window_extent(renderer)
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert len(panels) == count
    assert legend.x1 <= figure.bbox.x1
    for axes in panels:
        left, right = (title.get_window_extent(renderer) for title in (axes._left_title, axes._right_title))
        assert not left.overlaps(right)
        assert left.y1 < legend.y0


def test_a_baseline_has_no_lines_since_its_number_is_no_tolerance(sweep, groups, drawn):
    plans = [plan.model_copy(update={"rule": "uniform"}) for plan in sweep["plans"]]
    curves_figure(groups, plans, "digits")
    lines = drawn[0].axes[0].get_lines()
    assert len([line for line in lines if line.get_marker() != "o"]) == 1  # the curve
