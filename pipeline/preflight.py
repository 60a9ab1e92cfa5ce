"""Find what would stop a run before anything is trained."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

import fair_pruner
from pipeline.calibrate import calibrate
from pipeline.config import RunConfig
from pipeline.data import load_data
from pipeline.errors import InputError
from pipeline.latency import Runtime
from pipeline.models import architecture_of, build_model, example_input, load_checkpoint
from pipeline.network_pruner_scores import check_network_pruner
from pipeline.openvino_runner import load_openvino
from pipeline.output import check_output
from pipeline.pruning_sections import NETWORK_PRUNER
from pipeline.records import Architecture
from pipeline.removal import check_removal


def preflight(config: RunConfig, signals: Sequence[str] = ()) -> Architecture:
    """Check settings that depend on each other, output folder, runtimes, data, classes, removal signal, model, and checkpoint.

    And that the model's output fits, and that something can be cut. Returns the architecture. Every group is cut on trial, so
    what is found here is what will be scored. `signals` are removal signals that it will be scored by beside the config's.
    Raises InputError or fair_pruner's errors; changes nothing but for creating the output folder.
    """
    _check_precision(config)
    check_output(config.output)
    _check_runtimes(config.benchmark.runtimes)
    data = load_data(config.data, config.seed)
    calibrate(config.data, config.calibrate, config.seed)
    check_removal(config.score)
    architecture = architecture_of(config.model, data)
    with torch.random.fork_rng(devices=[]):
        model = build_model(architecture)
    if config.model.checkpoint:
        load_checkpoint(model, config.model.checkpoint)
    inputs = example_input(architecture, batch=2)
    groups = fair_pruner.find_groups(model, inputs, config.model.ignore, embedding=config.model.embedding)
    _check_output(model, inputs, architecture)
    if NETWORK_PRUNER in (config.score.removal, *signals):
        check_network_pruner(model, groups, inputs)
    return architecture


def _check_precision(config: RunConfig) -> None:
    wanted, made = config.layer_costs.precision, config.quantize.precisions
    if wanted != "fp32" and wanted not in made:
        raise InputError(
            f"layer_costs.precision is {wanted}, a file that no candidate has: quantize.precisions is "
            f"{', '.join(made) or 'empty'}; add {wanted} there"
        )


def _check_runtimes(runtimes: tuple[Runtime, ...]) -> None:
    """What could not be measured is known before anything is trained."""
    for runtime in runtimes:
        if runtime == "openvino":
            load_openvino()
        elif runtime != "onnxruntime" and runtime != "torch" and not torch.cuda.is_available():
            raise InputError(f"benchmark.runtimes names {runtime}, which needs a GPU, and there is none; remove it")


def _check_output(model: nn.Module, inputs: Tensor, architecture: Architecture) -> None:
    with torch.no_grad():
        output = model.eval()(inputs)
    wanted = (len(inputs), architecture.num_classes)
    if output.shape != wanted:
        raise InputError(
            f"model {architecture.name} returns shape {tuple(output.shape)} for {len(inputs)} images; expected {wanted}, a logit "
            "for each class of the data"
        )
