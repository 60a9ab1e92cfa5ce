import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.config import DataConfig, ExportConfig
from pipeline.data import Data, load_data
from pipeline.exported import Parity
from pipeline.parity import Classifier, compare
from pipeline.runners import Images, Logits

CONFIG = ExportConfig(samples=40, max_batch=16)


@pytest.fixture(scope="module")
def data() -> Data:
    return load_data(DataConfig(), 3)


def reference(images: Images) -> Logits:
    """The first ten pixels of the fourth row."""
    return images.reshape(len(images), -1)[:, 24:34]


def measure(data: Data, follower: Classifier, ref: Classifier = reference) -> Parity:
    return compare(ref, follower, data, CONFIG, "test")


def test_equal_logits(data: Data) -> None:
    parity = measure(data, reference)
    assert parity == Parity(
        batch_sizes=(1, 3, 16), samples=40, max_abs_diff=0, max_relative_diff=0, top1_agreement=1, sqnr_db=None
    )


@given(arrays(np.float32, 10, elements=st.floats(-2, 2, width=32)).filter(lambda noise: abs(noise).max() > 1e-3))
def test_all_figures_against_numpy(noise: Logits) -> None:
    data = load_data(DataConfig(), 3)
    expected = reference(data.train.load(data.validation_indices[:40])[0].numpy()).astype(np.float64)
    found = expected + noise
    parity = measure(data, lambda images: reference(images) + noise)
    assert parity.max_abs_diff == pytest.approx(abs(found - expected).max(), rel=1e-5, abs=1e-6)
    assert parity.max_relative_diff == pytest.approx(abs(found - expected).max() / abs(expected).max(), rel=1e-5, abs=1e-6)
    ratio = np.square(expected).sum() / np.square(found - expected).sum()
    assert parity.sqnr_db == pytest.approx(10 * np.log10(ratio), abs=1e-2)
    same = found.astype(np.float32).argmax(1) == expected.astype(np.float32).argmax(1)
    assert parity.top1_agreement == pytest.approx(same.mean(), abs=1 / 40)  # rounding may decide a tie


def test_a_tenth_of_the_noise_is_twenty_decibels_more(data: Data) -> None:
    loud, faint = (measure(data, lambda images, by=by: reference(images) * np.float32(1 + by)) for by in (0.1, 0.01))
    assert loud.sqnr_db == pytest.approx(20, abs=1e-3)  # noise of a tenth of the signal: -10 log10(0.01)
    assert faint.sqnr_db == pytest.approx(40, abs=1e-2)


@pytest.mark.parametrize("size", [1, 3, 16])
def test_a_follower_that_is_wrong_at_one_batch_size_shows(size: int, data: Data) -> None:
    parity = measure(data, lambda images: -reference(images) if len(images) == size else reference(images))
    assert parity.max_abs_diff > 1
    assert parity.top1_agreement < 0.5


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_show_on_either_side(bad: float, data: Data) -> None:
    def spoilt(images: Images) -> Logits:
        logits = reference(images).copy()
        logits[-1, 0] = bad
        return logits

    for parity in (measure(data, spoilt), measure(data, reference, ref=spoilt), measure(data, spoilt, ref=spoilt)):
        assert not math.isfinite(parity.max_abs_diff)


def test_logits_that_are_all_zero_are_a_reference_too(data: Data) -> None:
    parity = measure(data, lambda images: np.ones((len(images), 10), np.float32), lambda images: np.zeros((len(images), 10)))
    assert parity.max_abs_diff == 1
    assert parity.sqnr_db is not None
    assert parity.sqnr_db < -300


def test_no_more_images_than_asked_for(data: Data) -> None:
    seen: list[int] = []

    def counting(images: Images) -> Logits:
        seen.append(len(images))
        return reference(images)

    measure(data, reference, ref=counting)
    assert seen == [16, 16, 8]
