"""A Triton model repository for a bundle: one model for the ONNX Runtime backend, one for an engine built on the device."""

import json
import re
from collections.abc import Iterable

from pipeline.manifest import Profile, TensorSpec

DATA_TYPES = {"float32": "TYPE_FP32", "float16": "TYPE_FP16"}
QUEUE_DELAY_US = 500
PLAN_NOTE = """\
model.plan belongs here. An engine fits one GPU and one TensorRT version, so build it on the device, with the TensorRT of the
Triton container that will serve it:

    python3 build_engine.py --library tensorrt --precision {precision} --output {output}

(in the folder that holds build_engine.py). Triton's tensorrt backend loads engines of TensorRT, not of TensorRT-RTX. Until
the file is there Triton cannot load this model: start it with --model-control-mode=explicit --load-model={other}, or remove
the folder.
"""


def triton_names(run: str, candidate: str) -> tuple[str, str]:
    """Names of the two models: served by ONNX Runtime, and by TensorRT."""
    base = re.sub(r"[^A-Za-z0-9]+", "_", f"{run}_{candidate}").strip("_").lower()
    return f"{base}_onnx", f"{base}_trt"


def triton_files(
    names: tuple[str, str],
    source: TensorSpec,
    logits: TensorSpec,
    profile: Profile,
    labels: Iterable[str],
    threads: int,
    precision: str,
) -> dict[str, str]:
    """The repository's text files by path: config.pbtxt and labels.txt of each model, and a README where the engine goes.

    `threads` are ONNX Runtime's; `precision` is that of the file that the engine is built from. 1/model.onnx of the first
    model is the caller's to place. Batches are at most `profile.max`; the first dimension of the tensors is the batch.
    """
    onnx, trt = names
    label_text = "".join(" ".join(label.split()) + "\n" for label in labels)
    tensors = f"{_tensor('input', source)}{_tensor('output', logits, label_filename='labels.txt')}"
    shared = f"max_batch_size: {profile.max}\n{tensors}{_batching(profile)}{_warmup(source)}"
    on_cpu = (
        f'name: {json.dumps(onnx)}\nbackend: "onnxruntime"\n{shared}instance_group [ {{ count: 1 kind: KIND_CPU }} ]\n'
        f'parameters {{ key: "intra_op_thread_count" value: {{ string_value: "{threads}" }} }}\n'
    )
    on_gpu = (
        f'name: {json.dumps(trt)}\nplatform: "tensorrt_plan"\n{shared}'
        'instance_group [ { count: 1 kind: KIND_GPU profile: [ "0" ] } ]\noptimization { cuda { graphs: true } }\n'
    )
    note = PLAN_NOTE.format(precision=precision, output=f"triton/{trt}/1/model.plan", other=onnx)
    return {
        f"{onnx}/config.pbtxt": on_cpu,
        f"{onnx}/labels.txt": label_text,
        f"{trt}/config.pbtxt": on_gpu,
        f"{trt}/labels.txt": label_text,
        f"{trt}/1/README": note,
    }


def _tensor(kind: str, spec: TensorSpec, **files: str) -> str:
    extra = "".join(f" {key}: {json.dumps(value)}" for key, value in files.items())
    return f"{kind} [ {{ name: {json.dumps(spec.name)} data_type: {DATA_TYPES[spec.dtype]} dims: {_dims(spec)}{extra} }} ]\n"


def _batching(profile: Profile) -> str:
    """Requests wait for each other up to half a millisecond; nothing where a batch holds one image."""
    if profile.max == 1:
        return ""
    preferred = sorted({size for size in (profile.opt, profile.max) if size > 1})
    return f"dynamic_batching {{ preferred_batch_size: {preferred} max_queue_delay_microseconds: {QUEUE_DELAY_US} }}\n"


def _warmup(source: TensorSpec) -> str:
    value = f"data_type: {DATA_TYPES[source.dtype]} dims: {_dims(source)} random_data: true"
    return f'model_warmup [ {{ name: "one" batch_size: 1 inputs {{ key: {json.dumps(source.name)} value: {{ {value} }} }} }} ]\n'


def _dims(spec: TensorSpec) -> str:
    return str(list(spec.shape[1:]))
