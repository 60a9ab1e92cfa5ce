import io
import math
import os
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from pipeline import golden as stage
from pipeline.config import EvaluateConfig
from pipeline.data import load_data
from pipeline.errors import StageError
from pipeline.exported import OnnxRecord, Precision
from pipeline.golden import GoldenSet, golden_set, tolerance
from pipeline.manifest import Manifest
from pipeline.measurements import RunReport
from pipeline.store import Store
from pipeline.watched_process import Limits

from .conftest import DATA, SEED

LOGITS = np.array([[-4.0, 1.0], [2.0, 3.0]] * 8, np.float32)  # 16 images, the largest is 4


RMS = math.sqrt(7.5)


def record(run: RunReport, precision: Precision, **parity: float | None) -> OnnxRecord:
    """A file that follows its reference so closely."""
    onnx = run.candidates[0].onnx
    best = {"max_abs_diff": 0.0, "top1_agreement": 1.0, "sqnr_db": None}
    return onnx.model_copy(update={"precision": precision, "parity": onnx.parity.model_copy(update=best | parity)})


@pytest.mark.parametrize(
    ("precision", "parity", "measure", "cpu", "gpu"),
    [
        ("fp32", {"max_abs_diff": 1.0}, "largest", 4e-4, 4e-2),  # what fp32 differs from torch by is no excuse
        ("fp16", {"max_abs_diff": 0.01}, "largest", 0.08, 0.08),
        ("fp16", {"max_abs_diff": 0.3}, "largest", 0.6, 0.6),
        ("int8-cpu", {}, "rms", 4 / 127, 4 / 127),
        ("int8-cpu", {"sqnr_db": 60.0}, "rms", 4 / 127, 4 / 127),
        ("int8-trt", {"sqnr_db": 20.0, "max_abs_diff": 100.0}, "rms", 0.2 * RMS, 0.2 * RMS),  # noise of a tenth of the signal
    ],
)
def test_what_is_allowed_at_each_precision(
    precision: Precision, parity: dict[str, float], measure: str, cpu: float, gpu: float, run: RunReport
) -> None:
    allowed = tolerance(record(run, precision, **parity), LOGITS)
    assert (allowed.max_difference, allowed.max_difference_gpu) == pytest.approx((cpu, gpu))
    assert allowed.measure == measure
    assert allowed.min_agreement == 15 / 16  # one image may be nearly tied
    assert "top-1 class" in allowed.reason


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8-cpu", "int8-trt"])
def test_the_same_file_computed_in_another_way_is_within_its_tolerance(precision: str, shared_bundle: Path) -> None:
    """Without its optimisations ONNX Runtime computes int8 files in fp32 between the roundings; numpy computes in true fp16."""
    model = next(
        m for m in Manifest.model_validate_json((shared_bundle / "manifest.json").read_bytes()).models if m.precision == precision
    )
    golden, path = np.load(shared_bundle / "golden.npz"), str(shared_bundle / model.path)
    if precision == "fp16":
        found = ReferenceEvaluator(path).run(None, {"input": golden["images"]})[0]
    else:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        found = session.run(None, {"input": golden["images"]})[0]
    apart = abs(found - golden[f"logits.{precision}"])
    difference = apart.max() if model.tolerance.measure == "largest" else math.sqrt(np.square(apart).mean())
    assert difference <= model.tolerance.max_difference
    if precision in ("fp16", "int8-cpu"):
        assert difference > 0  # it really is another way


@pytest.mark.parametrize(("agreement", "others"), [(1.0, 1), (0.99, 2), (0.9, 5), (0.5, 16), (0.0, 16)])
def test_a_file_that_often_leaves_its_reference_is_held_less_closely(agreement: float, others: int, run: RunReport) -> None:
    assert tolerance(record(run, "int8-cpu", top1_agreement=agreement), LOGITS).min_agreement == 1 - others / 16


@given(scale=st.floats(0.01, 100), decibel=st.floats(0, 100), precision=st.sampled_from(("fp32", "fp16", "int8-cpu", "int8-trt")))
def test_tolerances_grow_with_the_logits_and_a_gpu_has_at_least_the_cpus(
    scale: float, decibel: float, precision: Precision, run: RunReport
) -> None:
    one = tolerance(record(run, precision, sqnr_db=decibel), LOGITS)
    scaled = tolerance(record(run, precision, sqnr_db=decibel), np.float32(scale) * LOGITS)
    assert 0 < one.max_difference <= one.max_difference_gpu
    assert scaled.max_difference == pytest.approx(scale * one.max_difference, rel=1e-5)


def test_equal_sets_give_equal_bytes_and_come_back(run: RunReport) -> None:
    images = np.random.default_rng(0).normal(size=(16, 1, 8, 8)).astype(np.float32)
    first, second = (GoldenSet(images.copy(), {"fp32": LOGITS.copy()}).to_npz() for _ in range(2))
    assert first == second
    read = np.load(io.BytesIO(first), allow_pickle=False)
    assert set(read) == {"images", "logits.fp32"}
    np.testing.assert_array_equal(read["images"], images)


def test_logits_that_are_not_finite_are_refused(run: RunReport, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        stage, "running", lambda *_, **__: nullcontext(lambda images: np.full((len(images), 10), np.inf, np.float32))
    )
    with pytest.raises(StageError, match="the fp32 file gives logits that are not finite"):
        golden_set((run.candidates[0].onnx,), load_data(DATA, SEED), Limits(), store)


def test_a_small_validation_split_gives_what_it_has(run: RunReport, store: Store) -> None:
    data = load_data(DATA, SEED)
    few = type(data)(**{**vars(data), "validation_indices": data.validation_indices[:5]})
    found = golden_set((run.candidates[0].onnx,), few, Limits(), store)
    assert found.images.shape == (5, 1, 8, 8)
    assert found.logits["fp32"].shape == (5, 10)


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_a_file_that_hangs_is_ended(run: RunReport, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onnxruntime.py").write_text("import ctypes\nctypes.CDLL(None).pause()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    message = r"^loading the fp32 file in onnxruntime took more than 1 s and was ended; raise evaluate.max_seconds, or give"
    with pytest.raises(StageError, match=message):
        golden_set((run.candidates[0].onnx,), load_data(DATA, SEED), EvaluateConfig(max_seconds=1).limits("bundle"), store)
