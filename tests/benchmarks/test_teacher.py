"""How far a network follows its teacher, against scipy and by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from .teacher import agreement, frequent


def random_logits(seed: int, count: int = 40, classes: int = 12) -> torch.Tensor:
    return 3 * torch.randn(count, classes, generator=torch.Generator().manual_seed(seed))


def test_the_divergence_is_that_of_scipy() -> None:
    teacher, found = random_logits(0), random_logits(1)
    expected = entropy(teacher.double().softmax(1).numpy(), found.double().softmax(1).numpy(), axis=1).mean()
    assert agreement(teacher, found).kl == pytest.approx(expected, rel=1e-9)


def test_shares_are_those_counted_by_hand() -> None:
    teacher = torch.tensor([[9, 0, 0, 0, 0, 0], [0, 9, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0.1], [0, 0, 9, 0, 0, 0]])
    found = torch.tensor([[9, 0, 0, 0, 0, 0], [1, 0, 9, 8, 7, 6], [5, 4, 3, 2, 1, 9], [6, 5, 4, 3, 2, 1.0]])
    told = agreement(teacher, found)
    assert (told.top1, told.sure, told.top5) == (2 / 4, 1 / 3, 3 / 4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**20), st.floats(-50, 50))
def test_a_network_follows_itself_wholly_wherever_its_logits_begin(seed: int, shift: float) -> None:
    logits = random_logits(seed)
    told = agreement(logits, logits + shift)
    assert told[:3] == (1, 1, 1)
    assert told.kl == pytest.approx(0, abs=1e-5)


def test_a_teacher_that_is_sure_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"probability of 0\.5"):
        agreement(torch.zeros(3, 6), torch.zeros(3, 6))


def test_only_classes_with_enough_images_stay_and_of_each_the_first() -> None:
    labels = torch.tensor([7, 3, 7, 3, 5, 3, 7, 7])
    assert frequent(labels, 3).tolist() == [0, 1, 2, 3, 5, 6]
    assert frequent(labels, 4).tolist() == [0, 2, 6, 7]
    assert frequent(labels, 5).tolist() == []
