"""Somebody's own ONNX file -> engine, record and builder's log, as files."""

import hashlib
from pathlib import Path

from pydantic import ValidationError

from pipeline.compile_engine import EngineError, OnnxSource, RefusedModelError
from pipeline.config import EngineConfig
from pipeline.engine_builder import build_from
from pipeline.errors import InputError, StageError
from pipeline.exported import EngineRecord
from pipeline.onnx_file import OnnxFile
from pipeline.records import FileRef
from pipeline.whole_files import make_folder, write_together


def engine_config(
    onnx: OnnxFile, min_batch: int | None, opt_batch: int | None, max_batch: int | None, **settings: object
) -> EngineConfig:
    """The configuration for a file: its own batch if that is fixed, else what is given and the usual ones.

    Raises InputError if a batch is given that the file cannot take, they do not rise, or another setting is refused.
    """
    given = {"min_batch": min_batch, "opt_batch": opt_batch, "max_batch": max_batch}
    if onnx.batch:
        for name, batch in given.items():
            if batch not in (None, onnx.batch):
                raise InputError(
                    f"{onnx.path} takes batches of {onnx.batch} alone, {name} is {batch}; "
                    "leave the batches out, or export the model with a free batch"
                )
    usual = EngineConfig()
    smallest, middle, largest = (onnx.batch,) * 3 if onnx.batch else (usual.min_batch, usual.opt_batch, usual.max_batch)
    low = smallest if min_batch is None else min_batch
    high = max(largest, low, opt_batch or 0) if max_batch is None else max_batch
    tuned = min(max(middle, low), high) if opt_batch is None else opt_batch
    batches = {"min_batch": low, "opt_batch": tuned, "max_batch": high}
    try:
        return EngineConfig.model_validate(batches | settings)
    except ValidationError as error:
        first = error.errors()[0]
        name = "".join(f"{part} = {first['input']!r} is refused: " for part in first["loc"][:1])
        raise InputError(f"{name}{first['msg'].removeprefix('Value error, ')}; choose other values") from error


def build_file(onnx: OnnxFile, engine: Path, config: EngineConfig) -> EngineRecord:
    """Build `engine`, and write beside it its record (ENGINE.json) and what the library said (ENGINE.log).

    The record's parent is the SHA-256 of the ONNX file. Either all is written or nothing; of a build that fails after the
    file was understood the log alone. Raises InputError if the file is not for TensorRT or not understood, no library builds
    here, or the folder cannot be written; StageError if the build fails.
    """
    if onnx.not_for_tensorrt:
        raise InputError(
            f"{onnx.path} is int8 for CPUs: {onnx.not_for_tensorrt}, and TensorRT takes signed, symmetric int8 with biases in "
            "float; quantise it so, or build from the fp32 or fp16 file"
        )
    _check_output(onnx.path, engine)
    files: dict[Path, bytes] = {}

    def save(content: bytes, suffix: str) -> FileRef:
        path = engine if suffix == ".engine" else _beside(engine, suffix)
        files[path] = content
        return FileRef(path=path.name, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))

    source = OnnxSource(onnx.path, onnx.input.name, onnx.image_shape)
    try:
        record = build_from(source, onnx.precision, config, save, engine.parent)
    except RefusedModelError as error:
        raise InputError(f"{onnx.path}: {error}; export the model with operators that it knows") from error
    except EngineError as error:
        log = _beside(engine, ".log")
        write_together({log: error.log.encode()})
        raise StageError(f"{error}; its log is {log}") from error
    with onnx.path.open("rb") as file:
        record = record.model_copy(update={"parents": (hashlib.file_digest(file, "sha256").hexdigest(),)})
    files[_beside(engine, ".json")] = record.model_dump_json(indent=2).encode() + b"\n"
    write_together(files)
    return record


def _check_output(onnx: Path, engine: Path) -> None:
    if engine.is_dir() or engine.resolve() == onnx.resolve():
        what = "a folder" if engine.is_dir() else "the model itself"
        raise InputError(f"the engine cannot be {engine}, which is {what}; give it another path")
    if not engine.parent.is_dir():
        raise InputError(f"the folder of {engine} does not exist; make it first")
    make_folder(engine.parent)


def _beside(engine: Path, suffix: str) -> Path:
    return engine.with_name(engine.name + suffix)
