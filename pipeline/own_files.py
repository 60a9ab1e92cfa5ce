"""Somebody's own files as contestants of a benchmark; the first one is what the others are compared with."""

import hashlib
from collections import Counter
from pathlib import Path

from pipeline.errors import InputError
from pipeline.latency import Contestant, Runtime
from pipeline.onnx_file import read_onnx
from pipeline.records import FileRef


def own_contestants(
    paths: tuple[Path, ...], runtimes: tuple[Runtime, ...], batch_sizes: tuple[int, ...]
) -> tuple[Contestant, ...]:
    """Every file in every runtime: ONNX files, for the runtime `tensorrt` engines. They stay where they are.

    They are called by their file names, or by the paths given where two are called alike. Raises InputError if a file cannot
    be used, takes no batch of one of the sizes, or takes images of another shape than the first.
    """
    alike = {name for name, count in Counter(path.name for path in paths).items() if count > 1}
    found = []
    for runtime in runtimes:
        for path in paths:
            name = str(path) if path.name in alike else path.name
            contestant = _engine(path, name) if runtime == "tensorrt" else _onnx(path, name, runtime, batch_sizes)
            found.append(contestant)
    for contestant in found:
        if contestant.input_shape != found[0].input_shape:
            raise InputError(
                f"{contestant.name} takes images of {contestant.input_shape}, {found[0].name} of {found[0].input_shape}; "
                "compare files that take the same images"
            )
    return tuple(found)


def _onnx(path: Path, name: str, runtime: Runtime, batch_sizes: tuple[int, ...]) -> Contestant:
    file = read_onnx(path)
    if file.batch:
        for size in batch_sizes:
            if size != file.batch:
                raise InputError(
                    f"{path} takes batches of {file.batch} alone, --batch is {size}; "
                    f"measure it with --batch {file.batch}, or export the model with a free batch"
                )
    return Contestant(
        name=name,
        precision=file.precision,
        runtime=runtime,
        file=_reference(path),
        input_name=file.input.name,
        output_name=file.outputs[0].name,
        input_shape=file.image_shape,
    )


def _engine(path: Path, name: str) -> Contestant:
    from pipeline.tensorrt_runner import engine_tensors  # imports torch, which only an engine needs

    tensors = engine_tensors(path)
    return Contestant(
        name=name,
        precision="",
        runtime="tensorrt",
        file=_reference(path),
        input_name=tensors.input_name,
        output_name=tensors.output_name,
        input_shape=tensors.image_shape,
    )


def _reference(path: Path) -> FileRef:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return FileRef(path=str(path.resolve()), sha256=sha256, size_bytes=path.stat().st_size)
