"""From a run's report and the files in a bundle's folder to the manifest."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.bundle_folder import bundled
from pipeline.config import EngineConfig
from pipeline.data import Data
from pipeline.doctor import installed_version
from pipeline.errors import StageError
from pipeline.exported import EngineRecord, OnnxRecord, Precision
from pipeline.golden import BATCH_SIZES, GoldenSet, tolerance
from pipeline.manifest import Accuracy, EngineFile, Golden, Manifest, ModelFile, Network, Profile, TensorSpec
from pipeline.measurements import Candidate, EvalReport, PairedTest, RunReport
from pipeline.onnx_file import OnnxFile, Tensor, read_onnx
from pipeline.records import Record
from pipeline.triton import triton_names

GOLDEN = "golden.npz"
FREE = "batch"  # the name of the first dimension, as export calls it
TOOLS = ("fair-pruner", "numpy", "onnx", "onnxruntime", "onnxruntime-gpu")
PURPOSES: dict[Precision, str] = {
    "fp32": "every runtime; the reference of the others",
    "fp16": "GPUs: TensorRT, TensorRT-RTX, ONNX Runtime with CUDA",
    "int8-cpu": "CPUs: ONNX Runtime, OpenVINO; TensorRT refuses it",
    "int8-trt": "TensorRT; of no use on CPUs",
}


def model_path(precision: Precision) -> str:
    """Of an ONNX file in the bundle."""
    return f"model.{precision}.onnx"


def engine_path(precision: Precision) -> str:
    """Of an engine in the bundle; build_engine.py writes elsewhere."""
    return f"engines/model.{precision}.engine"


def engines_of(chosen: Candidate) -> dict[Precision, EngineRecord]:
    """By the precision of every file that TensorRT is for."""
    engines: dict[Precision, EngineRecord] = {"fp32": chosen.engine}
    return engines | {v.onnx.precision: v.engine for v in chosen.variants if v.onnx.precision != "int8-cpu"}


def manifest_of(report: RunReport, chosen: Candidate, loaded: Data, golden: GoldenSet, folder: Path) -> Manifest:
    """What `folder` holds so far, models, engines and golden.npz, with all that was measured on them.

    Raises StageError if the files differ in input or output.
    """
    engines, dense = engines_of(chosen), report.candidates[0]
    shipped = {name: engine for name, engine in engines.items() if (folder / engine_path(name)).is_file()}
    files = _read(chosen, folder)
    served, built = triton_names(report.name, chosen.name)
    best = report.recommendation
    on_cpu = best.precision if best.candidate == chosen.name and best.runtime == "onnxruntime" else "fp32"
    series = tuple(each for each in report.latency.series if each.candidate == chosen.name)
    config = EngineConfig.model_validate(report.config.get("engine", {}))
    lineage = {"report": report, "scores": report.scores, "plan": chosen.plan, "model": chosen.model, "latency": report.latency}
    return Manifest(
        schema_version=1,
        run=report.name,
        candidate=chosen.name,
        network=Network(
            architecture=chosen.model.architecture.name,
            params=chosen.model.params,
            macs=chosen.model.macs,
            dense_params=dense.model.params,
            dense_macs=dense.model.macs,
            dense_test=Accuracy.of(dense.onnx_test),
        ),
        inputs=(_spec(files["fp32"].input),),
        outputs=tuple(map(_spec, files["fp32"].outputs)),
        preprocessing=chosen.onnx.preprocessing,
        labels=loaded.class_names,
        profile=Profile(min=1, opt=config.opt_batch, max=config.max_batch),  # Triton and verify.py send single images too
        models=tuple(_models(chosen, golden, files, folder)),
        engines=tuple(_engine_file(name, engine, folder) for name, engine in shipped.items()),
        engines_left_out={name: _left_out(engine) for name, engine in engines.items() if name not in shipped},
        golden=Golden(
            **bundled(folder, GOLDEN).model_dump(),
            samples=len(golden.images),
            batch_sizes=tuple(size for size in BATCH_SIZES if size <= len(golden.images)),
            computed_by="ONNX Runtime on one CPU thread, all images in one batch",
        ),
        triton={served: model_path(on_cpu), built: model_path("fp16" if "fp16" in engines else "fp32")},
        latency=series,
        latency_threads=report.latency.threads,
        machine=report.latency.machine if series else None,
        versions={name: version for name in TOOLS if (version := installed_version(name))},
        lineage={name: record.digest for name, record in lineage.items() if isinstance(record, Record)},
        git_commit=report.git_commit,
    )


def _models(chosen: Candidate, golden: GoldenSet, files: dict[Precision, OnnxFile], folder: Path) -> Iterator[ModelFile]:
    rows: list[tuple[OnnxRecord, EvalReport, EvalReport | None, PairedTest | None]]
    rows = [(chosen.onnx, chosen.onnx_validation, chosen.onnx_test, None)]
    rows += [(variant.onnx, variant.validation, None, variant.against) for variant in chosen.variants]
    for onnx, validation, test, against in rows:
        yield ModelFile(
            **bundled(folder, model_path(onnx.precision)).model_dump(),
            precision=onnx.precision,
            purpose=PURPOSES[onnx.precision],
            opset=files[onnx.precision].opset,
            producer=_producer(files[onnx.precision].path),
            record=onnx.digest,
            parity=onnx.parity,
            validation=Accuracy.of(validation),
            test=Accuracy.of(test) if test else None,
            against_fp32=against,
            tolerance=tolerance(onnx, golden.logits[onnx.precision]),
        )


def _read(chosen: Candidate, folder: Path) -> dict[Precision, OnnxFile]:
    """Every ONNX file by precision. Raises StageError if they differ in what they take or give."""
    precisions = (chosen.onnx.precision, *(variant.onnx.precision for variant in chosen.variants))
    files = {precision: read_onnx(folder / model_path(precision)) for precision in precisions}
    first = files["fp32"]
    for precision, file in files.items():
        if (file.input, file.outputs) != (first.input, first.outputs):
            raise StageError(
                f"the {precision} file takes {file.input} and gives {file.outputs}, the fp32 file {first.input} and "
                f"{first.outputs}; quantise it anew"
            )
    return files


def _spec(tensor: Tensor) -> TensorSpec:
    return TensorSpec(name=tensor.name, dtype=tensor.dtype, shape=tuple(size or FREE for size in tensor.shape))


def _producer(path: Path) -> str:
    import onnx

    proto = onnx.load(path, load_external_data=False)
    return f"{proto.producer_name} {proto.producer_version}".strip()


def _engine_file(precision: Precision, engine: EngineRecord, folder: Path) -> EngineFile:
    low, usual, high = engine.profile or (1, 1, 1)
    return EngineFile(
        **bundled(folder, engine_path(precision)).model_dump(),
        precision=precision,
        library=engine.library,
        library_version=engine.library_version,
        profile=Profile(min=low, opt=usual, max=high),
        gpu=engine.gpu,
        compute_capability=engine.compute_capability,
        parity=engine.parity,
    )


def _left_out(engine: EngineRecord) -> str:
    if engine.status == "skipped":
        return f"not built: {engine.reason}"
    return f"built with {engine.library} {engine.library_version}, never executed, so not shipped"
