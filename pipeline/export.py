"""Stage: model -> ONNX file, run in ONNX Runtime and found equal to torch."""

import logging
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from fair_pruner.errors import first_line
from pipeline.config import DataConfig, ExportConfig
from pipeline.data import Data, batches, load_data
from pipeline.errors import StageError
from pipeline.models import example_input, load_model
from pipeline.progress import progress
from pipeline.quiet import quiet_loggers
from pipeline.records import ModelRecord, OnnxRecord, Parity, Preprocessing, timed
from pipeline.runners import OnnxRunner, TorchRunner
from pipeline.store import Store

INPUT, OUTPUT, BATCH = "input", "logits", "batch"
PREPROCESSING = "preprocessing"
EXAMPLE_BATCH = 2  # 1 is the size that tracers are most inclined to treat as a constant
PROTOBUF_LIMIT_BYTES = 2**31
UNDETERMINED = ("metadata_props", "doc_string")  # stack traces with paths of this machine
TALKATIVE = ("onnx_ir", "onnxscript", "torch.onnx")


@timed
def export(model: ModelRecord, data: DataConfig, seed: int, config: ExportConfig, store: Store) -> OnnxRecord:
    """Write one ONNX file (input (batch, C, H, W) -> logits (batch, K), batch free) and compare it with torch.

    The same model gives the same bytes; they hold no paths of this machine, and how an image becomes the input as JSON
    (metadata key `preprocessing`). Parity is measured on up to
    `config.samples` validation images: torch once, ONNX Runtime at batches of 1, 3 and `config.max_batch` (as far as
    there are so many images), so that a file that depends on its batch shows too. Raises StageError if the model cannot
    be exported with a free batch, is 2 GB or more, or differs from torch by more than the configuration allows.
    """
    if model.weights.size_bytes >= PROTOBUF_LIMIT_BYTES:
        raise StageError(
            f"the weights are {model.weights.size_bytes} bytes, an ONNX file holds less than 2 GB; take a smaller model"
        )
    network, loaded = load_model(model, store), load_data(data, seed)
    with torch.random.fork_rng(devices=[]), store.writing(".onnx") as (path, file):
        content = _to_onnx(network, example_input(model.architecture, EXAMPLE_BATCH), config.opset, loaded.preprocessing)
        path.write_bytes(content)
        parity = _parity(network, path, loaded, config)
        _check_parity(parity, config)
    return OnnxRecord(
        parents=(model.digest,),
        file=file(),
        status="verified",
        opset=config.opset,
        input_name=INPUT,
        output_name=OUTPUT,
        input_shape=model.architecture.input_shape,
        num_classes=model.architecture.num_classes,
        preprocessing=loaded.preprocessing,
        parity=parity,
    )


def _to_onnx(network: nn.Module, example: torch.Tensor, opset: int, how: Preprocessing) -> bytes:
    import onnx

    try:
        with quiet_loggers(TALKATIVE, logging.WARNING):
            program = torch.onnx.export(
                network,
                (example,),
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: BATCH},),  # a name, not a Dim: with that a fixed batch would pass unnoticed
                opset_version=opset,
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        cause = first_line(error.__cause__ or error)
        raise StageError(f"torch.onnx cannot export the model with a free batch size: {cause}; change its forward()") from error
    proto = cast(torch.onnx.ONNXProgram, program).model_proto
    _strip(proto)
    proto.metadata_props.add(key=PREPROCESSING, value=how.model_dump_json())
    (found,) = (entry.version for entry in proto.opset_import if entry.domain == "")
    if found != opset:
        raise StageError(f"torch.onnx wrote opset {found}, export.opset asks for {opset}; ask for {found}")
    for value in (*proto.graph.input, *proto.graph.output):
        first = value.type.tensor_type.shape.dim[0]
        if first.dim_param != BATCH:
            raise StageError(
                f"the exported {value.name} has first dimension {first.dim_param or first.dim_value}, expected a free "
                f"{BATCH}; forward() must not use a fixed batch size"
            )
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise StageError(f"the ONNX checker refuses the file: {error}; try another export.opset") from error
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


def _strip(message: Any) -> None:
    """Remove what differs from machine to machine, here and in every message within: nodes, subgraphs, functions."""
    for field, value in message.ListFields():
        if field.name in UNDETERMINED:
            message.ClearField(field.name)
        elif field.type == field.TYPE_MESSAGE:
            for inner in (value,) if hasattr(value, "ListFields") else value:
                _strip(inner)


def _parity(network: nn.Module, path: Path, data: Data, config: ExportConfig) -> Parity:
    indices = data.validation_indices[: config.samples]
    sizes = tuple(sorted({min(size, len(indices)) for size in (1, 3, config.max_batch)}))
    reference, runner = TorchRunner(network, "cpu"), OnnxRunner(path, INPUT, OUTPUT)
    difference = largest = torch.zeros(())
    agreeing = dict.fromkeys(sizes, 0)
    steps = -(-len(indices) // sizes[-1])
    for images, _ in progress(batches(data.train, indices, sizes[-1]), "export · parity", steps):
        expected = reference(images)  # (b, K)
        largest = torch.maximum(largest, expected.abs().max())
        for size in sizes:
            found = torch.cat([runner(images[at : at + size]) for at in range(0, len(images), size)])
            difference = torch.maximum(difference, (found - expected).abs().max())  # keeps a NaN, as max() would not
            agreeing[size] += int((found.argmax(1) == expected.argmax(1)).sum())
    return Parity(
        batch_sizes=sizes,
        samples=len(indices),
        max_abs_diff=float(difference),
        max_relative_diff=float(difference / largest.clamp(min=torch.finfo().tiny)),
        top1_agreement=min(agreeing.values()) / len(indices),
    )


def _check_parity(parity: Parity, config: ExportConfig) -> None:
    if parity.max_relative_diff <= config.max_relative_diff and parity.top1_agreement >= config.min_agreement:
        return
    raise StageError(
        f"ONNX Runtime differs from torch on {parity.samples} images: relative difference "
        f"{parity.max_relative_diff:.3g} (limit {config.max_relative_diff:g}), same top-1 on "
        f"{parity.top1_agreement:.4f} of them (at least {config.min_agreement:g}); do not ship it, "
        "try another export.opset"
    )
