"""Stage: one candidate of a run -> a folder that an edge engineer can take to the device: models, proofs, scripts."""

import json
import shutil
from pathlib import Path
from typing import ClassVar

from pipeline import bundle_files
from pipeline.bundle_folder import check_free, copy, link, seal, whole, write
from pipeline.bundle_manifest import GOLDEN, engine_path, engines_of, manifest_of, model_path
from pipeline.bundle_text import readme
from pipeline.config import DataConfig, EvaluateConfig
from pipeline.data import Data, load_data
from pipeline.errors import InputError
from pipeline.exported import OnnxRecord
from pipeline.golden import golden_set
from pipeline.manifest import BundledFile, Manifest
from pipeline.measurements import RunReport
from pipeline.records import Record, timed
from pipeline.saved_report import candidate_named
from pipeline.store import Store
from pipeline.triton import triton_files

SCRIPTS = ("verify.py", "benchmark.py", "build_engine.py", "bundle_content.py", "cuda_engine.py")


class BundleRecord(Record):
    """A bundle and every file in it, also SHA256SUMS."""

    UNHASHED: ClassVar[frozenset[str]] = frozenset({"seconds", "path"})

    path: str
    contents: tuple[BundledFile, ...]


@timed
def bundle(
    report: RunReport,
    candidate: str,
    target: Path,
    data: DataConfig,
    seed: int,
    config: EvaluateConfig,
    store: Store,
    force: bool = False,
) -> BundleRecord:
    """Write the bundle of one candidate into the folder `target`, whole or not at all.

    The same report gives the same bytes on the same machine. `data`, `seed` and `config` are the run's: the golden images are
    of its validation split, and the files run on them within the limits of its evaluations. `force` replaces an earlier
    bundle in which nobody has put anything. Raises InputError if the report has no such candidate, `data` is not what the
    model was made for, a file of the store is gone or damaged, `target` is in the way, or the disk is full; StageError if the
    candidate's files differ in input or output, or do not run.
    """
    target = target.absolute()
    chosen = candidate_named(report, candidate)
    check_free(target, force)
    loaded = load_data(data, seed)
    _check_data(chosen.onnx, loaded)
    models = tuple(file.onnx for file in chosen.files)
    golden = golden_set(models, loaded, config.limits("bundle"), store)
    with whole(target) as folder:
        for model in models:
            copy(model.file, store, folder / model_path(model.precision))
        for precision, engine in engines_of(chosen).items():
            if engine.status == "executed" and engine.file:
                copy(engine.file, store, folder / engine_path(precision))
        (folder / GOLDEN).write_bytes(golden.to_npz())
        manifest = manifest_of(report, chosen, loaded, golden, folder)
        _write_triton(manifest, folder)
        for script in SCRIPTS:
            shutil.copyfile(Path(bundle_files.__path__[0]) / script, folder / script)
        write(folder / "manifest.json", manifest.model_dump_json(indent=2) + "\n")
        write(folder / "manifest.schema.json", json.dumps(Manifest.model_json_schema(mode="serialization"), indent=2) + "\n")
        write(folder / "README.md", readme(manifest))
        contents = seal(folder)
    return BundleRecord(parents=(report.digest,), path=str(target), contents=contents)


def _check_data(onnx: OnnxRecord, loaded: Data) -> None:
    if (onnx.num_classes, onnx.input_shape) != (loaded.num_classes, loaded.input_shape):
        raise InputError(
            f"the data has {loaded.num_classes} classes and images {loaded.input_shape}, the model {onnx.num_classes} and "
            f"{onnx.input_shape}; bundle with the data that the run used"
        )
    if onnx.preprocessing != loaded.preprocessing:
        raise InputError("the data is preprocessed otherwise than in the run; bundle with the data settings that the run used")


def _write_triton(manifest: Manifest, folder: Path) -> None:
    served, built = manifest.triton
    precision = manifest.triton[built].split(".")[1]
    source, logits, threads = manifest.inputs[0], manifest.outputs[0], manifest.latency_threads
    files = triton_files((served, built), source, logits, manifest.profile, manifest.labels, threads, precision)
    for name, text in files.items():
        write(folder / "triton" / name, text)
    placed = folder / "triton" / served / "1" / "model.onnx"
    placed.parent.mkdir()
    link(folder / manifest.triton[served], placed)
