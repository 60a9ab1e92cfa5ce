import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import NodeProto, TensorProto, helper, numpy_helper

from pipeline.errors import InputError
from pipeline.exported import OnnxRecord
from pipeline.half import to_half
from pipeline.int8 import to_int8
from pipeline.onnx_file import read_onnx
from pipeline.store import Store

from ..json_changes import torn
from ..onnx_files import classifier, quantised


def test_what_is_exported_here_is_read(onnx_record: OnnxRecord, store: Store) -> None:
    file = read_onnx(store.path(onnx_record.file))
    assert (file.opset, file.precision, file.batch) == (onnx_record.opset, "fp32", None)
    assert (file.input.name, file.input.dtype, file.image_shape) == (onnx_record.input_name, "float32", onnx_record.input_shape)
    assert [(each.name, each.shape) for each in file.outputs] == [(onnx_record.output_name, (None, onnx_record.num_classes))]


def test_a_fixed_batch_and_an_old_opset_are_read(tmp_path: Path) -> None:
    file = read_onnx(classifier(tmp_path / "m.onnx", batch=4, opset=7))
    assert (file.batch, file.opset, file.outputs[0].shape) == (4, 7, (4, 10))


@pytest.mark.parametrize("batch", ["n", -1, 0])
def test_a_batch_is_free_by_name_or_by_a_number_that_is_none(batch: int | str, tmp_path: Path) -> None:
    assert read_onnx(classifier(tmp_path / "m.onnx", batch=batch)).batch is None


def test_weights_beside_the_file_are_no_obstacle(tmp_path: Path) -> None:
    assert read_onnx(apart(tmp_path)).precision == "fp32"


def test_old_files_that_list_their_weights_as_inputs_have_one_input(tmp_path: Path) -> None:
    path = classifier(tmp_path / "m.onnx")
    model = onnx.load(path)
    for stored in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(stored.name, stored.data_type, stored.dims))
    onnx.save(model, path)
    assert read_onnx(path).input.name == "input"


@pytest.mark.parametrize(
    ("make", "precision", "against_tensorrt"),
    [
        (lambda path: classifier(path), "fp32", ""),
        (lambda path: classifier(path, dtype=np.float16), "fp16", ""),
        (lambda path: quantised(path), "int8-trt", ""),
        (lambda path: quantised(path, unsigned=True), "int8-cpu", "node quantise (QuantizeLinear) is unsigned"),
        (lambda path: quantised(path, zero_point=None), "int8-cpu", "node quantise (QuantizeLinear) is unsigned"),
        (lambda path: quantised(path, zero_point=3), "int8-cpu", "node quantise (QuantizeLinear) is not symmetric"),
        (lambda path: quantised(path, int32_bias=True), "int8-cpu", "node bias (DequantizeLinear) keeps qb, a bias, in int32"),
        (
            lambda path: classifier(path, activation=("QLinearConv", "")),
            "int8-cpu",
            "node activation (QLinearConv) computes in integers",
        ),
    ],
)
def test_the_precision_is_told_by_the_content(
    make: Callable[[Path], Path], precision: str, against_tensorrt: str, tmp_path: Path
) -> None:
    file = read_onnx(make(tmp_path / "m.onnx"))
    assert (file.precision, file.not_for_tensorrt) == (precision, against_tensorrt)


@pytest.mark.parametrize("precision", ["fp16", "int8-cpu", "int8-trt"])
def test_the_precisions_made_here_are_told_apart(precision: str, onnx_record: OnnxRecord, store: Store, tmp_path: Path) -> None:
    source, images = store.path(onnx_record.file), np.random.default_rng(0).standard_normal((8, 1, 8, 8), np.float32)
    given = (onnx_record.input_name, iter([images]))
    onnx.save(to_half(source, *given) if precision == "fp16" else to_int8(source, precision, *given), tmp_path / "m.onnx")
    assert read_onnx(tmp_path / "m.onnx").precision == precision


def test_zero_points_may_stand_in_constant_nodes(tmp_path: Path) -> None:
    path = quantised(tmp_path / "m.onnx", zero_point=3)
    model = onnx.load(path)
    (zero,) = (each for each in model.graph.initializer if each.name == "zero")
    value = numpy_helper.from_array(numpy_helper.to_array(zero))
    model.graph.initializer.remove(zero)
    model.graph.node.insert(0, helper.make_node("Constant", [], ["zero"], value=value))
    onnx.save(model, path)
    assert read_onnx(path).precision == "int8-cpu"


def apart(folder: Path) -> Path:
    """The classifier with its weights in w.bin."""
    path = classifier(folder / "m.onnx")
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    return path


def moved(folder: Path, location: str) -> Path:
    """The same, but the file says that its weights lie elsewhere."""
    path = apart(folder)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = location
    path.write_bytes(model.SerializeToString())
    return path


def cut_off(folder: Path) -> Path:
    path = apart(folder)
    os.truncate(folder / "w.bin", 100)
    return path


def linked(folder: Path) -> Path:
    (folder / "inner").mkdir()
    path = apart(folder / "inner")
    (folder / "inner" / "w.bin").rename(folder / "elsewhere.bin")
    (folder / "inner" / "w.bin").symlink_to(folder / "elsewhere.bin")
    return path


def changed(path: Path, change: Callable[[TensorProto], object]) -> Path:
    """The file with its first weight changed."""
    model = onnx.load(path, load_external_data=False)
    change(model.graph.initializer[0])
    path.write_bytes(model.SerializeToString())
    return path


def declared(path: Path, size: int) -> Path:
    """The file with its first weight declared as (size, size)."""

    return changed(path, lambda weight: weight.dims.__setitem__(slice(None), [size, size]))


def placed(folder: Path, **values: str) -> Path:
    """The file with its first weight at another place of w.bin."""

    def change(weight: TensorProto) -> None:
        for entry in weight.external_data:
            entry.value = values.get(entry.key, entry.value)

    return changed(apart(folder), change)


def with_node(folder: Path, **values: object) -> Path:
    path = classifier(folder / "m.onnx")
    model = onnx.load(path)
    model.graph.node.append(NodeProto(name="odd", op_type="Relu", **values))  # type: ignore[arg-type]
    path.write_bytes(model.SerializeToString())
    return path


def with_input(folder: Path, kind: int) -> Path:
    path = classifier(folder / "m.onnx")
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.elem_type = kind
    path.write_bytes(model.SerializeToString())
    return path


def sparse(folder: Path) -> Path:
    path = classifier(folder / "m.onnx")
    model = onnx.load(path)
    weight = model.graph.initializer.pop(0)
    at = numpy_helper.from_array(np.arange(4), "at")
    values = numpy_helper.from_array(np.ones(4, np.float32), weight.name)
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, at, [100_000, 25_000]))
    path.write_bytes(model.SerializeToString())
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda folder: folder / "none.onnx", "does not exist; give the path of an ONNX file"),
    "a folder": (lambda folder: folder, "does not exist; give the path of an ONNX file"),
    "no protobuf": (lambda folder: written(folder / "m.onnx", b"no protobuf at all"), "is not an ONNX file: it is no protobuf"),
    "empty": (lambda folder: written(folder / "m.onnx", b""), "is not an ONNX model: it has no operators"),
    "opset too low": (lambda folder: classifier(folder / "m.onnx", opset=6), "has opset 6, expected 7 or later"),
    "custom operator": (
        lambda folder: classifier(folder / "m.onnx", activation=("MyRelu", "my.ops")),
        "node activation is the custom operator MyRelu of the domain my.ops",
    ),
    "weights missing": (lambda folder: moved(folder, "none.bin"), "in 'none.bin', which is not there; copy it beside"),
    "weights outside": (lambda folder: moved(folder, "../w.bin"), "in '../w.bin', outside its folder"),
    "weights by absolute path": (lambda folder: moved(folder, "/etc/passwd"), "in '/etc/passwd', outside its folder"),
    "weights behind a symbolic link": (linked, "in 'w.bin', outside its folder; put both files into one folder"),
    "weights cut off": (cut_off, "but that file has 100; copy it anew"),
    "weights from before the file's start": (lambda folder: placed(folder, offset="-8"), "from byte -8 to"),
    "weights of no number of bytes": (lambda folder: placed(folder, length="all"), "which cannot be read (invalid literal"),
    "weights in a file that cannot be named": (lambda folder: moved(folder, "w\0.bin"), "which cannot be read (embedded null"),
    "10 GB declared in the file": (
        lambda folder: declared(classifier(folder / "m.onnx"), 50_000),
        "declares weight w with shape (50000, 50000), at least 10000000000 bytes, and has",
    ),
    "10 GB declared beside the file": (
        lambda folder: declared(apart(folder), 50_000),
        "declares weight w with shape (50000, 50000), at least 10000000000 bytes, and has 144 for it; export the model anew",
    ),
    "a size below nothing": (
        lambda folder: declared(classifier(folder / "m.onnx"), -1),
        "weight w has type 1 and shape (-1, -1), which is none; export the model anew",
    ),
    "a type that there is not": (
        lambda folder: changed(classifier(folder / "m.onnx"), lambda weight: setattr(weight, "data_type", 99)),
        "weight w has type 99 and shape",
    ),
    "a node that gives nothing": (lambda folder: with_node(folder, domain="my.ops"), "node odd (Relu) gives nothing"),
    "an input of a type that there is not": (lambda folder: with_input(folder, 99), "input input is no tensor with shape"),
    "a sparse weight": (sparse, "keeps weight w as a sparse tensor; export the model with dense weights"),
    "two inputs": (lambda folder: classifier(folder / "m.onnx", inputs=2), "has 2 inputs (input, mask), expected one"),
    "input in fp16": (
        lambda folder: classifier(folder / "m.onnx", input_dtype=np.float16),
        "input input is float16 with shape (?, 1, 8, 8), expected float32 images (batch, channels, height, width)",
    ),
    "no images": (lambda folder: classifier(folder / "m.onnx", image=(64,)), "is float32 with shape (?, 64), expected"),
    "free height": (
        lambda folder: classifier(folder / "m.onnx", image=(1, "height", 8)),
        "has the free dimensions (?, 1, ?, 8) and only the batch may be free; export it with a fixed height and width",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_cannot_be_used_is_refused_in_one_sentence(case: str, tmp_path: Path) -> None:
    make, message = BAD[case]
    path = make(tmp_path)
    with pytest.raises(InputError) as caught:
        read_onnx(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(at=st.floats(0, 1, exclude_max=True), new=st.binary(max_size=4), length=st.integers(0, 4))
def test_whatever_the_bytes_are_it_is_read_or_refused(at: float, new: bytes, length: int, one_file: Path) -> None:
    whole = quantised(one_file).read_bytes() if not one_file.exists() else one_file.read_bytes()
    damaged = one_file.with_name("damaged.onnx")
    damaged.write_bytes(torn(whole, at, new, length))
    try:
        file = read_onnx(damaged)
    except InputError as error:
        assert str(damaged) in str(error)
        assert len(str(error).splitlines()) == 1
    else:
        assert all(size > 0 for size in file.image_shape)
        assert file.batch is None or file.batch > 0
        assert file.outputs and file.precision


@pytest.fixture(scope="module")
def one_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("onnx") / "m.onnx"
