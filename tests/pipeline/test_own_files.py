from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.own_files import own_contestants
from pipeline.store import Store

from ..onnx_files import classifier, quantised


def test_files_stay_where_they_are_and_tell_what_they_are(tmp_path: Path) -> None:
    paths = (classifier(tmp_path / "a.onnx"), classifier(tmp_path / "b.onnx", dtype=np.float16), quantised(tmp_path / "c.onnx"))
    found = own_contestants(paths, ("onnxruntime", "openvino"), (1, 8))
    assert [(each.name, each.runtime) for each in found] == [
        (name, runtime) for runtime in ("onnxruntime", "openvino") for name in ("a.onnx", "b.onnx", "c.onnx")
    ]
    assert [each.precision for each in found[:3]] == ["fp32", "fp16", "int8-trt"]
    assert {(each.input_name, each.output_name, each.input_shape, each.macs) for each in found} == {
        ("input", "logits", (1, 8, 8), None)
    }
    for path, each in zip(paths, found, strict=False):
        assert Store(Path("/elsewhere")).path(each.file) == path
        assert each.file.size_bytes == path.stat().st_size
    assert {path.name for path in tmp_path.iterdir()} == {"a.onnx", "b.onnx", "c.onnx"}


def test_files_of_the_same_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
    paths = (classifier(tmp_path / "x" / "a.onnx"), classifier(tmp_path / "y" / "a.onnx"), classifier(tmp_path / "b.onnx"))
    assert [each.name for each in own_contestants(paths, ("onnxruntime",), (1,))] == [str(paths[0]), str(paths[1]), "b.onnx"]


def test_a_fixed_batch_is_measured_at_that_batch_alone(tmp_path: Path) -> None:
    path = classifier(tmp_path / "four.onnx", batch=4)
    assert len(own_contestants((path,), ("onnxruntime",), (4,))) == 1
    with pytest.raises(InputError, match=r"four\.onnx takes batches of 4 alone, --batch is 1; measure it with --batch 4"):
        own_contestants((path,), ("onnxruntime",), (4, 1))


def test_files_of_other_images_are_refused(tmp_path: Path) -> None:
    paths = (classifier(tmp_path / "a.onnx"), classifier(tmp_path / "b.onnx", image=(1, 16, 16)))
    with pytest.raises(InputError, match=r"b\.onnx takes images of \(1, 16, 16\), a\.onnx of \(1, 8, 8\)"):
        own_contestants(paths, ("onnxruntime",), (1,))
