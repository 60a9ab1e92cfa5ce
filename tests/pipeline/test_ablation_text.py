"""The text of a comparison: every word of a small one, what it says of one seed, and that long ones fit a terminal."""

import pytest

from pipeline.ablation import Cell
from pipeline.ablation_text import ablation_text
from pipeline.records import Goal

from .ablations import HALF, QUARTER, cell, comparison, latency, three_seeds

GOLDEN = """\
# digits: fair against l1-uniform

vgg, 1 M MACs, 100 k parameters. Dense top-1: 98.00% of 200 validation images, 97.50% of 400 test
images. Same data and recipe for every method: 1 epoch, lr 0.02, no distillation. 3 seeds.

## macs 0.5

Top-1 in %, mean ± standard deviation over the seeds.

| method     | MACs left | params left | units removed | recalibrated | fine-tuned   | test         |
|------------|-----------|-------------|---------------|--------------|--------------|--------------|
| fair       | 50.0%     | 50.0%       | 30.0%         | 93.10 ± 1.10 | 97.33 ± 0.58 | 95.20 ± 0.20 |
| l1-uniform | 50.0%     | 50.0%       | 30.0%         | 86.00 ± 1.00 | 97.33 ± 0.58 | 96.50 ± 0.00 |

- recalibrated: fair is better than l1-uniform by 7.10 points [6.85, 7.35]
- test: fair is worse than l1-uniform by 1.30 points [0.80, 1.80]
- fair minus l1-uniform, no sure difference: fine-tuned +0.00 (the same for every seed)

## macs 0.5, recovery

Validation top-1 in % after so many epochs of fine-tuning, mean ± standard deviation over the seeds.

| method     | 0            | 0.25         | 1            | recovered after |
|------------|--------------|--------------|--------------|-----------------|
| fair       | 93.10 ± 1.10 | 94.00 ± 0.00 | 97.33 ± 0.58 | not reached     |
| l1-uniform | 86.00 ± 1.00 | 94.00 ± 0.00 | 97.33 ± 0.58 | not reached     |

## Latency

Of the files of seed 0 alone, beside the dense model's: the median of a batch, and the speed-up over
dense with its 95 % interval. ONNX Runtime, 1 thread, Test CPU, 5 rounds; other work kept 0.2 of 2
cores busy when it began.

| budget   | method     | batch | median [ms] | speed-up          | verdict    |
|----------|------------|-------|-------------|-------------------|------------|
| dense    |            | 1     | 0.500       | 1.00 [1.00, 1.00] | reference  |
| macs 0.5 | fair       | 1     | 0.400       | 1.25 [1.15, 1.35] | faster     |
| macs 0.5 | l1-uniform | 1     | 0.500       | 1.00 [0.90, 1.10] | not faster |

## What the words mean
"""


def words(text: str) -> str:
    return " ".join(text.split())


def test_it_says_what_was_found_word_by_word() -> None:
    assert ablation_text(comparison(three_seeds(), latency())).startswith(GOLDEN)


def test_it_explains_its_words_and_what_was_not_measured() -> None:
    text = words(ablation_text(comparison(three_seeds((HALF, QUARTER)))))
    for sentence in (
        "fair is wasserstein-tod",
        "which also choose the epoch that is kept, so this figure flatters a little",
        "6 such intervals were looked at; if nothing differed, about one in twenty would leave out 0 all the same",
        "these seeds do not tell the methods apart, which does not make them equal",
        "The dense model and the split of the images are the same for all",
    ):
        assert sentence in text
    assert "| l1-uniform | 2 better | 2 unsure | 2 worse |" in text


def test_one_seed_claims_nothing() -> None:
    text = words(ablation_text(comparison([cell("fair"), cell("l1-uniform", top1=(0.5, 0.6, 0.7))])))
    assert "One seed, which tells nothing of the spread: every difference here may be chance." in text
    assert "fair minus l1-uniform, one seed, which cannot tell: recalibrated +40.00" in text
    for claim in ("better", "worse", "±", "interval", "In short"):
        assert claim not in text


def test_without_fine_tuning_nothing_is_called_fine_tuned() -> None:
    cells = [cell(method, seed, curve={}) for seed in (0, 1) for method in ("fair", "l1-uniform")]
    text = words(ablation_text(comparison(cells, finetune={"epochs": 0})))
    assert "no fine-tuning. 2 seeds." in text
    assert "| recalibrated | test |" in text
    for claim in ("fine-tuned |", "recovery", "recovered"):
        assert claim not in text


def test_rounds_and_distillation_are_told() -> None:
    later = cell("fair@3", epochs_before=2.0, curve={3.0: 0.97})
    text = words(ablation_text(comparison([cell(), later], finetune={"epochs": 3, "distillation": {"weight": 0.5}})))
    assert "3 epochs, lr 0.02, distilled from the dense model (weight 0.5, T 4.0). One seed" in text
    assert "@3: cut in three rounds, each with its own scores" in text
    assert "@3" not in words(ablation_text(comparison([cell()])))


def test_a_long_fine_tuning_shows_a_few_epochs_and_recovery_at_any() -> None:
    curve = {0.25: 0.8, **{float(epoch): 0.9 + 0.01 * epoch for epoch in range(1, 9)}}
    text = words(ablation_text(comparison([cell(curve=curve)], finetune={"epochs": 8})))
    assert "| method | 0 | 0.25 | 1 | 3 | 8 | recovered after |" in text
    assert "| fair | 90.00 | 80.00 | 91.00 | 93.00 | 98.00 | 8 epochs |" in text


def test_what_one_seed_stopped_before_is_not_averaged_over_the_others() -> None:
    cells = [cell(seed=0, curve={1.0: 0.9, 2.0: 0.92}), cell(seed=1, curve={1.0: 0.9})]
    other = [cell("l1-uniform", seed, curve={1.0: 0.9, 2.0: 0.94}) for seed in (0, 1)]
    text = words(ablation_text(comparison([*cells, *other], finetune={"epochs": 2})))
    assert "| fair | 90.00 ± 0.00 | 90.00 ± 0.00 | - | not reached |" in text
    assert "| l1-uniform | 90.00 ± 0.00 | 90.00 ± 0.00 | 94.00 ± 0.00 | not reached |" in text


@pytest.mark.parametrize("quantity", ["macs", "params"])
def test_many_methods_budgets_and_epochs_fit_a_terminal(quantity: str) -> None:
    names = ("fair", "wasserstein-uniform", "mean_activation-uniform", "hessian-tod", "random-uniform")
    curve = {0.25: 0.9, **{float(epoch): 0.95 for epoch in range(1, 11)}}
    goals = [Goal.model_validate({"quantity": quantity, "value": value}) for value in (0.5, 0.35, 0.25)]
    cells: list[Cell] = [
        cell(name, seed, (0.5 + 0.01 * seed, 0.9, 0.9 - 0.1 * seed), goal, curve, params=50_000)
        for goal in goals
        for name in names
        for seed in (0, 1, 2)
    ]
    text = ablation_text(comparison(cells, finetune={"epochs": 10}))
    assert max(map(len, text.splitlines())) <= 120
