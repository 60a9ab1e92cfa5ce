"""The command `build`: a TensorRT engine from any ONNX file."""

from pathlib import Path
from typing import Annotated

import typer

from flows.ending import one_sentence
from flows.environment import prepare_environment


def build(
    model: Annotated[Path, typer.Argument(help="ONNX file of a classifier of images.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option(help="The engine; default: MODEL with the ending .engine.", show_default=False)
    ] = None,
    min_batch: Annotated[int | None, typer.Option(help="Smallest batch; default: 1.", show_default=False)] = None,
    opt_batch: Annotated[int | None, typer.Option(help="Batch it is tuned for; default: 8.", show_default=False)] = None,
    max_batch: Annotated[int | None, typer.Option(help="Largest batch; default: 16.", show_default=False)] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="TensorRT-RTX: compute capability to compile for, for example SM86. Repeatable; default: all it knows.",
            show_default=False,
        ),
    ] = None,
    workspace_mib: Annotated[int, typer.Option(help="Memory that the builder may plan for, in MiB.")] = 1024,
    timing_cache: Annotated[bool, typer.Option(help="TensorRT: keep what was timed, in a file beside the engine.")] = True,
) -> None:
    """Build a TensorRT engine from any ONNX file, in the file's own precision. It is built, not executed.

    Beside the engine lie its record (.json) and what the builder said (.log).
    """
    with one_sentence("no engine was written"):
        prepare_environment()
        from pipeline.onnx_file import read_onnx

        onnx = read_onnx(model)
        from pipeline.build_file import build_file, engine_config

        settings = {"targets": target or (), "workspace_mib": workspace_mib, "timing_cache": timing_cache}
        config = engine_config(onnx, min_batch, opt_batch, max_batch, **settings)
        engine = output or model.with_suffix(".engine")
        record = build_file(onnx, engine, config)
        assert record.file
        cards = ", ".join(record.targets) or record.gpu or "all RTX cards that it knows"
        typer.echo(
            f"{record.status} {engine}: {record.build_seconds:.1f} s, {record.file.size_bytes} bytes, {record.precision}, "
            f"batches {record.profile}, {record.library} {record.library_version} for {cards}, sha256 {record.file.sha256}; "
            f"{record.reason}"
        )
