"""What is said of the first method beside each other one: better, worse, unsure, or that one seed cannot tell."""

import pytest

from pipeline.ablation import Cell, Difference
from pipeline.ablation_verdicts import difference_text, summary, verdict, verdicts
from pipeline.records import Goal

from .ablations import HALF, QUARTER, cell, comparison, plan, three_seeds

PARAMS = Goal(quantity="params", value=0.5)


@pytest.mark.parametrize(
    ("found", "word", "text"),
    [
        (Difference(1.5, 1.0, 2.0), "better", "+1.50 [+1.00, +2.00]"),
        (Difference(-1.5, -2.0, -1.0), "worse", "-1.50 [-2.00, -1.00]"),
        (Difference(0.5, -1.0, 2.0), "unsure", "+0.50 [-1.00, +2.00]"),
        (Difference(0.5, 0.5, 0.5), "unsure", "+0.50 (the same for every seed)"),
        (Difference(0.5, None, None), "one seed", "+0.50"),
    ],
)
def test_a_difference_has_a_word_and_its_interval(found: Difference, word: str, text: str) -> None:
    assert (verdict(found), difference_text(found)) == (word, text)


def test_each_reading_that_differs_has_its_sentence_and_the_others_share_one() -> None:
    assert verdicts(comparison(three_seeds()), HALF) == [
        "recalibrated: fair is better than l1-uniform by 7.10 points [6.85, 7.35]",
        "test: fair is worse than l1-uniform by 1.30 points [0.80, 1.80]",
        "fair minus l1-uniform, no sure difference: fine-tuned +0.00 (the same for every seed)",
    ]


def test_one_seed_cannot_tell() -> None:
    (sentence,) = verdicts(comparison([cell("fair"), cell("l1-uniform", top1=(0.8, 0.96, 0.97))]), HALF)
    assert sentence == "fair minus l1-uniform, one seed, which cannot tell: recalibrated +10.00, fine-tuned +1.00, test -1.00"


def test_every_rival_is_compared_and_one_method_alone_with_none() -> None:
    several = [cell(method) for method in ("l1-uniform", "fair", "random-uniform")]
    assert [text.partition(",")[0] for text in verdicts(comparison(several), HALF)] == [
        "l1-uniform minus fair",
        "l1-uniform minus random-uniform",
    ]
    assert verdicts(comparison([cell()]), HALF) == []


def test_without_fine_tuning_there_is_one_reading_of_the_validation_images() -> None:
    report = comparison([cell("fair", curve={}), cell("l1-uniform", curve={})], finetune={"epochs": 0})
    assert verdicts(report, HALF) == ["fair minus l1-uniform, one seed, which cannot tell: recalibrated +0.00, test +0.00"]


@pytest.mark.parametrize(
    ("cheap", "dear", "goal", "words"),
    [
        ({"macs": 480_000}, {"macs": 499_000}, HALF, "fair keeps 4.0% more macs than l1-uniform"),
        ({"params": 40_000}, {"params": 50_000}, PARAMS, "fair keeps 25.0% more params than l1-uniform"),
        (
            {"plan": plan(weights_bytes=100)},
            {"plan": plan(weights_bytes=150)},
            Goal(quantity="bytes", value=0.5),
            "50.0% more bytes",
        ),
    ],
)
def test_methods_that_do_not_cost_the_same_are_told_first(cheap: dict, dear: dict, goal: Goal, words: str) -> None:
    warning, _ = verdicts(comparison([cell("fair", goal=goal, **dear), cell("l1-uniform", goal=goal, **cheap)]), goal)
    assert words in warning
    assert warning.endswith("so accuracies do not compare")


def test_one_percent_is_the_same_cost() -> None:
    cells = [cell("fair", macs=500_000), cell("l1-uniform", macs=496_000)]
    assert not any("costs" in text for text in verdicts(comparison(cells), HALF))


def test_the_summary_counts_budgets() -> None:
    level: list[Cell] = [cell(method, seed, (0.8, 0.9, 0.9), QUARTER) for seed in (0, 1, 2) for method in ("fair", "l1-uniform")]
    assert summary(comparison([*three_seeds(), *level])) == [
        ("l1-uniform", "1 better, 1 unsure", "2 unsure", "1 worse, 1 unsure")
    ]


def test_what_was_trained_between_its_rounds_is_not_compared_before_the_last_training() -> None:
    rounds = [cell("fair@3", seed, epochs_before=2.0) for seed in (0, 1, 2)]
    report = comparison([*(cell("fair", seed) for seed in (0, 1, 2)), *rounds])
    (sentence,) = verdicts(report, HALF)
    assert sentence.startswith("fair minus fair@3, no sure difference: fine-tuned +0.00")
    assert summary(report) == [("fair@3", "-", "1 unsure", "1 unsure")]
