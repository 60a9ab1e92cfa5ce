import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

import pipeline
from pipeline import quantize as stage
from pipeline.config import DataConfig, ExportConfig, QuantizeConfig
from pipeline.convert_process import convert as convert_file
from pipeline.data import load_data
from pipeline.errors import InputError, StageError
from pipeline.exported import OnnxRecord, Precision
from pipeline.quantize import quantize
from pipeline.records import CalibrationSet, Preprocessing
from pipeline.runners import open_file
from pipeline.store import Store
from pipeline.watched_process import Limits

DATA, SEED, ROOT = DataConfig(), 3, Path(pipeline.__file__).parents[1]
EXPORT = ExportConfig()
Made = tuple[Store, dict[str, OnnxRecord]]
# of the fp32 logits' signal, random weights: trained ones do better
LEAST_SQNR_DB = {"fp16": 60, "int8-cpu": 25, "int8-trt": 25}
every_precision = pytest.mark.parametrize("precision", ["fp16", "int8-cpu", "int8-trt"])


def convert(record: OnnxRecord, precision: Precision, calibration: CalibrationSet, store: Store) -> OnnxRecord:
    return quantize(record, precision, calibration, DATA, SEED, QuantizeConfig(), EXPORT, store)


def load(record: OnnxRecord, store: Store) -> onnx.ModelProto:
    return onnx.load(store.path(record.file))


@every_precision
def test_the_record_says_what_the_file_is(
    precision: Precision, made: Made, onnx_record: OnnxRecord, calibration: CalibrationSet
) -> None:
    store, records = made
    record, before, after = records[precision], load(onnx_record, store), load(records[precision], store)
    same = {name: getattr(record, name) for name in OnnxRecord.model_fields} | {"seconds": 0.0}
    for name in ("parents", "file", "precision", "parity"):
        same[name] = getattr(onnx_record, name)
    assert OnnxRecord(**same) == onnx_record.model_copy(update={"seconds": 0.0})  # all else is as it was
    assert record.precision == precision
    assert record.parents == (onnx_record.digest,) + ((calibration.digest,) if precision != "fp16" else ())
    assert (list(after.graph.input), list(after.graph.output)) == (list(before.graph.input), list(before.graph.output))
    assert [entry.version for entry in after.opset_import if entry.domain == ""] == [record.opset]
    metadata = {entry.key: entry.value for entry in after.metadata_props}
    assert {name: Preprocessing.model_validate_json(value) for name, value in metadata.items()} == {
        "preprocessing": record.preprocessing
    }
    assert {node.domain for node in after.graph.node} <= {"", "ai.onnx"}
    assert record.seconds > 0
    assert store.intact(record)


@every_precision
def test_the_file_follows_the_fp32_file_as_its_parity_says(precision: Precision, made: Made, onnx_record: OnnxRecord) -> None:
    store, records = made
    data = load_data(DATA, SEED)
    images = data.train.load(data.validation_indices[: EXPORT.samples])[0].numpy()
    paths = (store.path(record.file) for record in (onnx_record, records[precision]))
    expected, found = (open_file(path, "onnxruntime", "input", "logits")(images) for path in paths)
    parity = records[precision].parity
    assert parity.batch_sizes == (1, 3, 16)
    assert parity.samples == len(images)
    assert parity.max_abs_diff == pytest.approx(abs(found - expected).max(), rel=0.05)
    assert parity.max_relative_diff == pytest.approx(abs(found - expected).max() / abs(expected).max(), rel=0.05)
    assert parity.sqnr_db is not None
    assert parity.sqnr_db == pytest.approx(10 * np.log10((expected**2).sum() / ((found - expected) ** 2).sum()), abs=0.5)
    assert parity.sqnr_db > LEAST_SQNR_DB[precision]
    assert parity.top1_agreement == pytest.approx((found.argmax(1) == expected.argmax(1)).mean(), abs=0.03)
    assert parity.top1_agreement > 0.9


def test_the_same_input_gives_the_same_bytes_in_another_process(
    made: Made, onnx_record: OnnxRecord, calibration: CalibrationSet, store: Store
) -> None:
    script = (
        "import sys, pathlib, pipeline.quantize as q, pipeline.store as s, pipeline.config as c, pipeline.records as r\n"
        "import pipeline.exported as e\n"
        "onnx, images = e.OnnxRecord.model_validate_json(sys.argv[1]), r.CalibrationSet.model_validate_json(sys.argv[2])\n"
        "data, how, export, store = c.DataConfig(), c.QuantizeConfig(), c.ExportConfig(), s.Store(pathlib.Path(sys.argv[3]))\n"
        "for precision in sys.argv[4:]: print(q.quantize(onnx, precision, images, data, 3, how, export, store).digest)"
    )
    others = [precision for precision in made[1] if precision != "fp32"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "12345"}
    command = [sys.executable, "-W", "error", "-c", script]
    command += [onnx_record.model_dump_json(), calibration.model_dump_json(), str(store.root), *others]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [made[1][precision].digest for precision in others]  # and nothing else was printed
    assert done.stderr == ""


@every_precision
def test_no_path_of_this_machine_is_in_the_file(precision: Precision, made: Made) -> None:
    content = made[0].path(made[1][precision].file).read_bytes()
    for path in (ROOT, Path(sys.prefix), Path(torch.__file__).parent, Path.home(), Path(tempfile.gettempdir())):
        assert str(path).encode() not in content


@every_precision
def test_nothing_outside_is_touched(
    precision: Precision,
    onnx_record: OnnxRecord,
    calibration: CalibrationSet,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    def world() -> tuple[object, ...]:
        return (
            logging.getLogger().level,
            logging.getLogger("onnxruntime.quantization.shape_inference").level,
            list(warnings.filters),
            torch.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),
            sorted(Path().iterdir()),
            sorted((tmp_path / "temporary").iterdir()),
        )

    convert(onnx_record, precision, calibration, store)  # imports happen here
    before, files = world(), sorted(store.root.iterdir())
    capfd.readouterr()
    caplog.clear()
    with caplog.at_level(logging.INFO):
        during = world()
        convert(onnx_record, precision, calibration, store)
        assert world() == during
    assert world() == before
    assert sorted(store.root.iterdir()) == files
    assert capfd.readouterr() == ("", "")
    said = [record.getMessage().rpartition(" ")[0] for record in caplog.records]
    assert said == (["fp16 by onnxconverter-common"] if precision == "fp16" else [])


def test_ranges_come_from_images_of_every_class(
    onnx_record: OnnxRecord, calibration: CalibrationSet, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, seen = load_data(DATA, SEED), []
    images = data.train.load(calibration.indices)[0].numpy()
    known = {image.tobytes(): index for image, index in zip(images, calibration.indices, strict=True)}

    def spy(source: Path, precision: Any, name: str, images: Any, limits: Limits) -> Any:
        def watched() -> Any:
            for batch in images:
                seen.extend(known[image.tobytes()] for image in batch)
                yield batch

        return convert_file(source, precision, name, watched(), limits)

    monkeypatch.setattr(stage, "convert", spy)
    config = QuantizeConfig(samples=30)
    quantize(onnx_record, "int8-cpu", calibration, DATA, SEED, config, EXPORT, store)
    assert len(seen) == len(set(seen)) == 30
    assert set(Counter(data.train.labels[seen].tolist()).values()) == {3}
    assert set(seen).isdisjoint(data.validation_indices)


@pytest.mark.parametrize(("given", "wanted"), [("fp16", "int8-cpu"), ("int8-trt", "fp16"), ("fp32", "fp32")])
def test_only_fp32_is_converted(
    given: Precision, wanted: Precision, onnx_record: OnnxRecord, calibration: CalibrationSet, store: Store
) -> None:
    with pytest.raises(InputError, match=f"a file in {given} cannot be made {wanted}; start with the fp32 file"):
        convert(onnx_record.model_copy(update={"precision": given}), wanted, calibration, store)


@every_precision
def test_a_file_that_cannot_be_converted_is_named_in_one_sentence(
    precision: Precision, onnx_record: OnnxRecord, calibration: CalibrationSet, store: Store
) -> None:
    broken = onnx_record.model_copy(update={"file": store.put(b"no protobuf at all", ".onnx")})
    files = sorted(store.root.iterdir())
    with pytest.raises(StageError, match=rf"cannot be converted to {precision}: .*leave that precision out") as caught:
        convert(broken, precision, calibration, store)
    assert "\n" not in str(caught.value)
    assert sorted(store.root.iterdir()) == files


@every_precision
def test_logits_that_are_not_finite_are_refused_and_no_file_stays(
    precision: Precision, onnx_record: OnnxRecord, calibration: CalibrationSet, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(*arguments: Any) -> Any:
        proto = convert_file(*arguments)
        for tensor in proto.graph.initializer:
            if tensor.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16):
                value = np.full_like(numpy_helper.to_array(tensor), np.nan)
                tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
        return proto

    monkeypatch.setattr(stage, "convert", spoilt)
    files = sorted(store.root.iterdir())
    with pytest.raises(StageError, match=f"the model in {precision} gives logits that are not finite; leave that precision out"):
        convert(onnx_record, precision, calibration, store)
    assert sorted(store.root.iterdir()) == files


def test_a_file_that_onnx_runtime_does_not_load_is_refused(
    onnx_record: OnnxRecord, calibration: CalibrationSet, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def foreign(*arguments: Any) -> Any:
        proto = convert_file(*arguments)
        proto.opset_import.append(onnx.helper.make_opsetid("nowhere", 1))
        next(node for node in proto.graph.node if node.op_type == "Relu").domain = "nowhere"
        return proto

    monkeypatch.setattr(stage, "convert", foreign)
    with pytest.raises(StageError, match=r"ONNX Runtime does not load the model in int8-trt: .*; or leave that precision out"):
        convert(onnx_record, "int8-trt", calibration, store)
