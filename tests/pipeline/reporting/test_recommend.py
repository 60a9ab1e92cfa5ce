"""What may be shipped, and why the rest may not."""

import pytest

from pipeline.config import GateConfig
from pipeline.recommend import recommend

LENIENT = GateConfig(max_accuracy_drop=0.1)


@pytest.fixture
def decide(make_sweep, tmp_path):
    def decide(gate, *names, series=None, **changed):
        sweep = make_sweep(tmp_path, *names, **changed)
        latency = sweep["latency"]
        if series:
            latency = latency.model_copy(update={"series": tuple(one.model_copy(update=series) for one in latency.series)})
        return recommend(sweep["candidates"], latency, gate)

    return decide


def test_the_quickest_that_passes_is_recommended(decide):
    found = decide(LENIENT, "dense", "not_faster", "slower", "quick", "quicker")
    assert (found.candidate, found.precision, found.runtime) == ("tolerance-0.4", "fp32", "onnxruntime")
    assert found.reason == (
        "tolerance-0.4 in fp32 is at least 1.90 times as fast as the dense model in onnxruntime at batch 1 and loses 5.00 points "
        "on the validation images"
    )
    assert found.refused == {
        "tolerance-0.05 fp32": "not faster: 1.02 [0.97, 1.06]",
        "tolerance-0.1 fp32": "slower: 0.80 [0.75, 0.85]",
    }


def test_too_much_accuracy_lost(decide):
    found = decide(GateConfig(max_accuracy_drop=0.02), "dense", "quick", "quicker")
    assert found.candidate == "tolerance-0.2"
    assert found.refused == {"tolerance-0.4 fp32": "loses 5.00 points on the validation images, 2 are allowed"}


def test_where_nothing_is_faster_nothing_is_recommended(decide):
    found = decide(LENIENT, "dense", "not_faster", "slower")
    assert found.candidate == ""
    assert found.reason == (
        "nothing is recommended: none of the 2 files passes the gate, first tolerance-0.05 fp32 (not faster: 1.02 [0.97, 1.06])"
    )


def test_noise_is_no_speed_up(decide):
    found = decide(
        LENIENT, "dense", "quick", quick={"latency": {1: (0.45, 1.11, 0.9, 1.3)}}, dense={"latency": {1: (0.5, 1, 1, 1)}}
    )
    assert found.candidate == ""
    assert found.refused == {"tolerance-0.2 fp32": "too noisy to tell: 1.11 [0.90, 1.30]"}


@pytest.mark.parametrize(
    ("gate", "reason"),
    [
        ({"min_speedup": 1.95}, "too noisy to tell whether its speed-up 2.00 [1.90, 2.10] reaches 1.95"),
        ({"min_speedup": 2.2}, "its speed-up 2.00 [1.90, 2.10] does not reach 2.2"),
        ({"max_p99_ms": 0.3}, "its 99th percentile is 0.375 ms, 0.3 are allowed"),
        ({"max_bytes": 100}, "bytes, 100 are allowed"),
        ({"max_parity": 1e-7}, "its fp32 file differs from torch by 3.0e-07 of the largest logit, 1e-07 are allowed"),
    ],
)
def test_every_bound_of_the_gate_can_refuse(decide, gate, reason):
    found = decide(GateConfig(max_accuracy_drop=0.1, **gate), "dense", "quicker")
    assert found.candidate == ""
    assert found.refused["tolerance-0.4 fp32"].endswith(reason)


def test_a_file_that_is_not_faster_than_its_own_fp32_file_is_refused(decide):
    slow = {"fp32_speedup": 0.97, "fp32_speedup_low": 0.95, "fp32_speedup_high": 0.99}
    found = decide(LENIENT, "dense", "quicker", series=slow)
    assert found.refused == {"tolerance-0.4 fp32": "not surely faster than its own fp32 file: 0.97 times"}


def test_the_dense_model_alone(decide):
    assert decide(LENIENT, "dense").reason == "nothing is recommended: only the dense model was measured"
