"""Golden headlines: what the first sentence of a report says."""

import pytest

from pipeline.headline import headline

WHERE = "ONNX Runtime on Model CPU 3000, batch 1"


@pytest.fixture
def headline_of(make_report):
    return lambda *names, **changed: headline(make_report(*names, **changed))


def test_the_most_accurate_faster_candidate_and_the_quickest(headline_of):
    assert headline_of("dense", "not_faster", "slower", "quick", "quicker") == (
        "tolerance-0.2 is 1.25 times as fast as the dense model (95% interval 1.20 to 1.31) at 96.39% top-1, 1.11 points "
        f"(4 images) below dense (360 test images, {WHERE}). The quickest: tolerance-0.4 is 2.00 times as fast as the dense "
        "model (95% interval 1.90 to 2.10) at 92.50% top-1, 5.00 points (18 images) below dense."
    )


def test_of_equally_accurate_candidates_the_quicker(headline_of):
    assert headline_of("dense", "quick", "quicker", quick={"top1": 0.975}, quicker={"top1": 0.975}) == (
        "tolerance-0.4 is 2.00 times as fast as the dense model (95% interval 1.90 to 2.10) at 97.50% top-1, the same as dense "
        f"(360 test images, {WHERE})."
    )


def test_none_is_faster(headline_of):
    assert headline_of("dense", "not_faster", "slower") == (
        f"None of the 2 candidates is faster than the dense model ({WHERE}), although the smallest needs 90% of its MACs."
    )


def test_the_only_candidate_is_not_faster(headline_of):
    assert headline_of("dense", "not_faster") == (
        f"tolerance-0.05 is not faster than the dense model ({WHERE}), although it needs 95% of its MACs."
    )


def test_faster_only_at_another_batch_size(headline_of):
    changed = {"latency": {1: (0.490, 1.02, 0.97, 1.06), 8: (1.800, 1.33, 1.30, 1.36)}}
    assert headline_of("dense", "quick", quick=changed).endswith(
        "although it needs 80% of its MACs. At batch 8, tolerance-0.2 is 1.33 times as fast as the dense model "
        "(95% interval 1.30 to 1.36) at 96.39% top-1, 1.11 points (4 images) below dense."
    )


def test_more_accurate_than_dense(headline_of):
    assert "at 98.00% top-1, 0.50 points (2 images) above dense" in headline_of("dense", "quick", quick={"top1": 0.98})


def test_nothing_but_the_dense_model(headline_of):
    assert headline_of("dense") == f"Only the dense model was measured ({WHERE})."


def test_one_image(headline_of):
    assert "0.28 points (1 image) below dense" in headline_of("dense", "quick", quick={"top1": 0.9722})
