import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from pipeline.bundle import bundle
from pipeline.config import DataConfig, EvaluateConfig
from pipeline.data import load_data
from pipeline.errors import InputError, StageError
from pipeline.manifest import Manifest
from pipeline.measurements import RunReport
from pipeline.store import Store

from ..reporting.conftest import onnx_bytes
from .conftest import DATA, PRUNED, SEED

MODELS = {"model.fp32.onnx", "model.fp16.onnx", "model.int8-cpu.onnx", "model.int8-trt.onnx"}
TRITON = ("triton/digits_tolerance_0_2_onnx", "triton/digits_tolerance_0_2_trt")
OTHERS = {
    ".fair-pruner-bundle",
    "README.md",
    "SHA256SUMS",
    "benchmark.py",
    "build_engine.py",
    "bundle_content.py",
    "cuda_engine.py",
    "engines/model.fp16.engine",  # the one that was executed; that of int8-trt was only built
    "golden.npz",
    "manifest.json",
    "manifest.schema.json",
    "verify.py",
    f"{TRITON[0]}/1/model.onnx",
    f"{TRITON[1]}/1/README",
    *(f"{model}/{file}" for model in TRITON for file in ("config.pbtxt", "labels.txt")),
}


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def manifest_of(folder: Path) -> Manifest:
    return Manifest.model_validate_json((folder / "manifest.json").read_bytes())


def test_the_bundle_holds_every_precision_and_no_engine_that_was_not_executed(
    run: RunReport, store: Store, shared_bundle: Path
) -> None:
    files = files_of(shared_bundle)
    assert set(files) == MODELS | OTHERS
    pruned = run.candidates[1]
    for record in (pruned.onnx, *(variant.onnx for variant in pruned.variants)):
        assert files[f"model.{record.precision}.onnx"] == store.path(record.file).read_bytes()
    assert b"executed on Some GPU (8.6)" in files["README.md"].replace(b"\n  ", b" ")
    assert b"int8-trt: built with tensorrt_rtx 1.7.1, never executed" in files["README.md"].replace(b"\n  ", b" ")
    assert not any(path.is_symlink() for path in shared_bundle.rglob("*"))


def test_the_dense_candidate_has_a_bundle_of_one_file(run: RunReport, store: Store, tmp_path: Path) -> None:
    record = bundle(run, "dense", tmp_path / "dense", DATA, SEED, EvaluateConfig(), store)
    manifest = manifest_of(tmp_path / "dense")
    assert [model.path for model in manifest.models] == ["model.fp32.onnx"]
    assert manifest.triton == {"digits_dense_onnx": "model.fp32.onnx", "digits_dense_trt": "model.fp32.onnx"}
    assert manifest.engines == ()
    assert record.path == str(tmp_path / "dense")
    assert {file.path for file in record.contents} == set(files_of(tmp_path / "dense"))


def test_the_same_report_gives_the_same_bytes(run: RunReport, store: Store, shared_bundle: Path, tmp_path: Path) -> None:
    first = bundle(run, PRUNED, tmp_path / "again", DATA, SEED, EvaluateConfig(), store)
    second = bundle(run, PRUNED, tmp_path / "again", DATA, SEED, EvaluateConfig(), store, force=True)
    assert files_of(tmp_path / "again") == files_of(shared_bundle)
    assert first.digest == second.digest
    with zipfile.ZipFile(shared_bundle / "golden.npz") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}  # no time of day in it


def test_sha256sum_finds_every_file_intact(shared_bundle: Path) -> None:
    listed = {line.partition("  ")[2] for line in (shared_bundle / "SHA256SUMS").read_text().splitlines()}
    assert listed == MODELS | OTHERS - {"SHA256SUMS"}
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    done = subprocess.run(command, cwd=shared_bundle, capture_output=True, text=True, check=True)
    assert done.stdout.count(": OK\n") == len(listed)


def test_the_manifest_is_what_its_schema_says(shared_bundle: Path) -> None:
    schema, content = (json.loads((shared_bundle / name).read_bytes()) for name in ("manifest.schema.json", "manifest.json"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(content)
    for wrong in ({**content, "surprise": 1}, {**content, "schema_version": 2}, {**content, "models": [{}]}):
        assert not validator.is_valid(wrong)
    for field in content:
        assert not validator.is_valid({name: value for name, value in content.items() if name != field}), field


def test_the_manifest_repeats_the_report(run: RunReport, shared_bundle: Path) -> None:
    dense, pruned = run.candidates
    manifest = manifest_of(shared_bundle)
    records = {record.precision: record for record in (pruned.onnx, *(variant.onnx for variant in pruned.variants))}
    assert {model.precision: (model.sha256, model.size_bytes, model.parity, model.record) for model in manifest.models} == {
        precision: (record.file.sha256, record.file.size_bytes, record.parity, record.digest)
        for precision, record in records.items()
    }
    fp32, *others = manifest.models
    assert fp32.test is not None
    assert (fp32.test.top1, fp32.test.samples) == (pruned.onnx_test.top1, pruned.onnx_test.samples)
    assert fp32.against_fp32 is None
    assert [(model.against_fp32, model.validation.top1, model.test) for model in others] == [
        (variant.against, variant.validation.top1, None) for variant in pruned.variants
    ]
    assert manifest.latency == tuple(series for series in run.latency.series if series.candidate == PRUNED)
    assert manifest.machine == run.latency.machine
    assert manifest.preprocessing == pruned.onnx.preprocessing
    assert manifest.labels == load_data(DATA, SEED).class_names
    assert manifest.network.dense_test.top1 == dense.onnx_test.top1
    assert manifest.git_commit == run.git_commit
    assert manifest.lineage["report"] == run.digest
    assert manifest.lineage["model"] == pruned.model.digest
    (engine,) = manifest.engines
    assert (engine.precision, engine.gpu, engine.profile.max) == ("fp16", "Some GPU", 16)


def test_names_and_shapes_are_those_in_the_files(shared_bundle: Path) -> None:
    manifest = manifest_of(shared_bundle)
    for path in MODELS:
        graph = onnx.load(shared_bundle / path).graph
        for specs, values in ((manifest.inputs, graph.input), (manifest.outputs, graph.output)):
            found = [
                (value.name, tuple(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim))
                for value in values
            ]
            assert found == [(spec.name, spec.shape) for spec in specs]
    for model in TRITON:
        config = text_format.Parse((shared_bundle / model / "config.pbtxt").read_text(), ModelConfig())
        assert config.name == model.removeprefix("triton/")
        assert [(each.name, tuple(each.dims)) for each in config.input] == [("input", (1, 8, 8))]
        assert [(each.name, tuple(each.dims)) for each in config.output] == [("logits", (10,))]
        assert config.max_batch_size <= manifest.profile.max
    # int8-cpu is what the report recommends, in ONNX Runtime
    assert (shared_bundle / TRITON[0] / "1/model.onnx").samefile(shared_bundle / "model.int8-cpu.onnx")


def test_latency_that_was_not_measured_is_said_to_be_absent(run: RunReport, store: Store, tmp_path: Path) -> None:
    series = tuple(each for each in run.latency.series if each.candidate == "dense")
    report = run.model_copy(update={"latency": run.latency.model_copy(update={"series": series})})
    bundle(report, PRUNED, tmp_path / "bundle", DATA, SEED, EvaluateConfig(), store)
    manifest = manifest_of(tmp_path / "bundle")
    assert manifest.latency == ()
    assert manifest.machine is None
    assert "Not measured: run benchmark.py on the device." in (tmp_path / "bundle" / "README.md").read_text()


def test_the_readme_names_commands_figures_and_limits(run: RunReport, shared_bundle: Path) -> None:
    text = (shared_bundle / "README.md").read_text()
    flat = " ".join(text.split())
    for script in ("verify.py", "build_engine.py", "benchmark.py"):
        assert f"python3 {script}" in text
        assert (shared_bundle / script).is_file()
    for phrase in (
        f"{run.candidates[1].onnx_test.top1:.2%} of {run.candidates[1].onnx_test.samples}",
        "2.00 (1.90 to 2.10) | faster",
        "Model CPU 3000, 2 cores",
        "JetPack 6.1 and 6.2 have TensorRT 10.3",
        "**Opset 20**",
        "## Licence",
    ):
        assert phrase in flat


def test_golden_images_are_validation_images_and_the_logits_are_the_files(shared_bundle: Path) -> None:
    golden, data = np.load(shared_bundle / "golden.npz"), load_data(DATA, SEED)
    images = golden["images"]
    held_out = data.train.load(data.validation_indices)[0].numpy()
    where = [int(np.flatnonzero((held_out == image).all(axis=(1, 2, 3)))[0]) for image in images]
    assert len(set(where)) == 16
    assert len(set(data.train.labels[list(data.validation_indices)][where].tolist())) > 5  # not all of one class
    for precision in ("fp32", "fp16", "int8-cpu", "int8-trt"):
        session = onnxruntime.InferenceSession(shared_bundle / f"model.{precision}.onnx", providers=["CPUExecutionProvider"])
        expected = session.run(None, {"input": images})[0]
        np.testing.assert_allclose(golden[f"logits.{precision}"], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (DataConfig(image_size=6), r"images \(1, 6, 6\), the model 10 and \(1, 8, 8\)"),
        (DataConfig(mean=(0.5,)), "preprocessed otherwise than in the run"),
    ],
)
def test_other_data_than_the_runs_is_refused(
    data: DataConfig, message: str, run: RunReport, store: Store, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        bundle(run, PRUNED, tmp_path / "bundle", data, SEED, EvaluateConfig(), store)
    assert not list(tmp_path.iterdir())


def test_a_candidate_that_is_not_there_is_refused(run: RunReport, store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no candidate tolerance-0\.3; .* dense, tolerance-0\.2"):
        bundle(run, "tolerance-0.3", tmp_path / "bundle", DATA, SEED, EvaluateConfig(), store)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("harm", "message"), [("gone", "is missing from the store"), ("damaged", "is damaged")])
def test_a_file_of_the_store_that_is_not_what_it_was_is_refused(
    harm: str, message: str, run: RunReport, store: Store, tmp_path: Path
) -> None:
    own = Store(Path(shutil.copytree(store.root, tmp_path / "store")))
    path = own.path(run.candidates[1].onnx.file)
    if harm == "gone":
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        content[content.index(b"pytorch")] ^= 1  # it still is a model
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        bundle(run, PRUNED, tmp_path / "bundle", DATA, SEED, EvaluateConfig(), own)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_files_that_differ_in_their_output_are_refused(run: RunReport, store: Store, tmp_path: Path) -> None:
    own = Store(Path(shutil.copytree(store.root, tmp_path / "store")))
    dense, pruned = run.candidates
    proto = onnx.load_from_string(onnx_bytes(0))
    proto.graph.output[0].name = proto.graph.node[1].output[0] = "other"
    first, *rest = pruned.variants
    stranger = first.onnx.model_copy(update={"file": own.put(proto.SerializeToString(), ".onnx"), "output_name": "other"})
    changed = pruned.model_copy(update={"variants": (first.model_copy(update={"onnx": stranger}), *rest)})
    with pytest.raises(StageError, match=r"the fp16 file takes .*other.*, the fp32 file .*logits.*; quantise it anew"):
        bundle(
            run.model_copy(update={"candidates": (dense, changed)}),
            PRUNED,
            tmp_path / "bundle",
            DATA,
            SEED,
            EvaluateConfig(),
            own,
        )
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
