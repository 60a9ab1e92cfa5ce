"""Stage: model -> ONNX file, run in ONNX Runtime and found equal to torch."""

import logging
from typing import cast

import torch
from torch import nn

from fair_pruner.errors import first_line
from pipeline.config import DataConfig, ExportConfig
from pipeline.data import load_data
from pipeline.errors import StageError
from pipeline.exported import OnnxRecord, Parity
from pipeline.models import example_input, load_model
from pipeline.onnx_content import onnx_content
from pipeline.parity import compare
from pipeline.quiet import quiet_loggers
from pipeline.records import ModelRecord, Preprocessing, timed
from pipeline.runner_process import running
from pipeline.store import Store
from pipeline.torch_runner import TorchRunner

INPUT, OUTPUT, BATCH = "input", "logits", "batch"
EXAMPLE_BATCH = 2  # 1 is the size that tracers are most inclined to treat as a constant
PROTOBUF_LIMIT_BYTES = 2**31
TALKATIVE = ("onnx_ir", "onnxscript", "torch.onnx")


@timed
def export(model: ModelRecord, data: DataConfig, seed: int, config: ExportConfig, store: Store) -> OnnxRecord:
    """Write one ONNX file (input (batch, C, H, W) -> logits (batch, K), batch free) and compare it with torch.

    The same model gives the same bytes; they hold no paths of this machine, and how an image becomes the input as JSON
    (metadata key `preprocessing`). Parity is that of ONNX Runtime with torch on the CPU. Raises StageError if the model
    cannot be exported with a free batch, is 2 GB or more, or differs from torch by more than the configuration allows.
    """
    if model.weights.size_bytes >= PROTOBUF_LIMIT_BYTES:
        raise StageError(
            f"the weights are {model.weights.size_bytes} bytes, an ONNX file holds less than 2 GB; take a smaller model"
        )
    network, loaded = load_model(model, store), load_data(data, seed)
    with torch.random.fork_rng(devices=[]), store.writing(".onnx") as (path, file):
        content = _to_onnx(network, example_input(model.architecture, EXAMPLE_BATCH), config.opset, loaded.preprocessing)
        path.write_bytes(content)
        with running(path, "onnxruntime", INPUT, OUTPUT, config.limits("export"), "the exported file") as runner:
            parity = compare(TorchRunner(network, "cpu"), runner, loaded, config, "export")
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
    return onnx_content(proto, how)


def _check_parity(parity: Parity, config: ExportConfig) -> None:
    if parity.max_relative_diff <= config.max_relative_diff and parity.top1_agreement >= config.min_agreement:
        return
    raise StageError(
        f"ONNX Runtime differs from torch on {parity.samples} images: relative difference "
        f"{parity.max_relative_diff:.3g} (limit {config.max_relative_diff:g}), same top-1 on "
        f"{parity.top1_agreement:.4f} of them (at least {config.min_agreement:g}); do not ship it, "
        "try another export.opset"
    )
