"""Why a group is cut as deep as it is, in numbers and in one sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

import fair_pruner
from fair_pruner import Ranking, ScoreTable, UnitScores
from pipeline.allocate import plan_fields
from pipeline.config import AllocateConfig, ModelConfig
from pipeline.curve_text import curve_text
from pipeline.errors import InputError
from pipeline.explain import check_group, explain, spearman, structure
from pipeline.records import Architecture, FileRef, Goal, PlanRecord

EIGHT = tuple(float(unit) for unit in range(8))
ALIKE, OPPOSITE = EIGHT, EIGHT[::-1]  # R-Scores that agree with U, and that contradict it


def ranking_of(*r_scores: tuple[float, ...]) -> Ranking:
    groups = (UnitScores(f"g{i}", EIGHT[: len(r)], r, (f"g{i}",)) for i, r in enumerate(r_scores))
    return Ranking(ScoreTable(tuple(groups), "wasserstein", 1, 0, 1, 2))


def record(ranking: Ranking, config: AllocateConfig) -> PlanRecord:
    """The plan at the first number of a config, as the stage would record it."""
    (number, *_) = config.tolerances
    plan = fair_pruner.allocate(ranking, tolerance=number, rule=config.rule, round_to=config.round_to, min_units=config.min_units)
    return PlanRecord(
        plan=FileRef(path="", sha256="", size_bytes=0),
        goal=Goal(quantity="tolerance", value=number),
        rule=config.rule,
        limit=None,
        params=0,
        macs=0,
        weights_bytes=0,
        **plan_fields(plan, {group.name: "channel" for group in plan.groups}),
    )


def explained(config: AllocateConfig, *r_scores: tuple[float, ...]) -> list[str]:
    """The reason of every group."""
    ranking = ranking_of(*r_scores)
    return [group.cuts[0].reason for group in explain(ranking, [record(ranking, config)], config)]


@pytest.mark.parametrize(
    ("config", "r_scores", "reason"),
    [
        (AllocateConfig(tolerances=(0.2,)), ALIKE, "the next deeper cut, 5 of 8, would have ToD 0.4 > 0.2"),
        (AllocateConfig(tolerances=(0.2,)), OPPOSITE, "the next deeper cut, 1 of 8, would have ToD 1 > 0.2"),
        (AllocateConfig(tolerances=(1.0,), min_units=2), ALIKE, "limited by min_units: 2 of 8 must stay"),
        (AllocateConfig(tolerances=(1.0,), min_units=20), ALIKE, "limited by min_units: 8 of 8 must stay"),
        (
            AllocateConfig(tolerances=(0.4,), round_to=4),
            ALIKE,
            "the next deeper cut, 6 of 8, would have ToD 0.667 > 0.4; rounded from 5 to 4, since round_to 4 keeps 4, not 3",
        ),
        (AllocateConfig(tolerances=(0.3,), rule="uniform"), ALIKE, "a share of 0.3 of 8 units, rounded down"),
        (
            AllocateConfig(tolerances=(0.3,), rule="global"),
            ALIKE,
            "2 of its units are among the 30% of all units with the lowest signal",
        ),
    ],
)
def test_the_reason_is_one_sentence(config: AllocateConfig, r_scores: tuple[float, ...], reason: str) -> None:
    assert explained(config, r_scores) == [reason]


def test_units_that_a_budget_does_not_need_to_lose_are_told() -> None:
    config = AllocateConfig(tolerances=(0.4,), round_to=2)
    ranking = ranking_of(ALIKE)
    plan = record(ranking, config)
    (depth,) = plan.depths
    filled = plan.model_copy(update={"depths": (depth.model_copy(update={"removed": 2}),)})
    ((cut,),) = (group.cuts for group in explain(ranking, [filled], config))
    rounded = "the next deeper cut, 6 of 8, would have ToD 0.667 > 0.4; rounded from 5 to 4, since round_to 2 keeps 4, not 3"
    assert cut.reason == f"{rounded}; 2 of these 4 stay, since the budget is met without"


def test_numbers_that_differ_little_are_told_apart() -> None:
    config = AllocateConfig(tolerances=(0.39999999,))
    assert explained(config, ALIKE) == ["the next deeper cut, 5 of 8, would have ToD 0.4 > 0.39999999"]


def test_masses_caps_and_correlation_of_each_group() -> None:
    config = AllocateConfig(tolerances=(0.2,))
    ranking = ranking_of(ALIKE, OPPOSITE, (1.0,) * 8)
    plan = record(ranking, config)
    alike, opposite, constant = explain(ranking, [plan], config)
    assert (alike.correlation, opposite.correlation, constant.correlation) == (pytest.approx(1), pytest.approx(-1), None)
    assert [group.cuts[0].cap for group in (alike, opposite)] == [4, 4]
    assert alike.curve == tuple(ranking.groups[0].curve.tolist())
    masses = [group.cuts[0].uniform_mass for group in (alike, opposite, constant)]
    assert sum(masses) == pytest.approx(plan.uniform_mass)
    assert sum(group.cuts[0].uniform_depth for group in (alike, opposite, constant)) == plan.units_removed


values = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=30)


@given(values)
def test_the_correlation_is_scipys(pairs: list[tuple[int, int]]) -> None:
    one, other = zip(*pairs, strict=True)
    found = spearman(one, other)
    if len(set(one)) == 1 or len(set(other)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(spearmanr(one, other).statistic, abs=1e-12)


def test_groups_that_are_left_out_say_why() -> None:
    architecture = Architecture(
        source="builtin", name="vgg", kwargs={"widths": (8, "M", 16)}, num_classes=10, input_shape=(1, 8, 8)
    )
    found = structure(architecture, ModelConfig(name="vgg", ignore=("features.0",)))
    assert found.groups == ("features.4",)
    assert found.refused == {"features.0": "features.0 is in ignore", "classifier": "it is the model's output"}
    with pytest.raises(InputError, match=r"group features\.0 is left out: features\.0 is in ignore"):
        check_group("features.0", found)
    with pytest.raises(InputError, match=r"no group feature4; did you mean features\.4\?"):
        check_group("feature4", found)
    check_group("features.4", found)


def test_a_curve_in_characters_has_its_marks_below_it() -> None:
    lines = curve_text((0.0, 0.0, 0.5, 1.0), (1, 1, 3), width=7, rows=2)
    assert lines == [
        "1.00 │      █",
        "     │   ████",
        "   0 └───────",
        "      0     3",
        "        a   c",
        "        b",
    ]
