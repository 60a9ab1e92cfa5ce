"""What a candidate's files are called, wherever they are put together for people."""

from pipeline.measurements import Candidate
from pipeline.records import FileRef


def candidate_files(candidate: Candidate) -> dict[str, FileRef]:
    """model.onnx, model.safetensors, and if there are any plan.json, model.engine and its log.

    The same with a precision in the name, such as model.fp16.onnx, for the files in other precisions.
    """
    files: dict[str, FileRef | None] = {
        "model.onnx": candidate.onnx.file,
        "model.safetensors": candidate.model.weights,
        "plan.json": candidate.plan.plan if candidate.plan else None,
        "model.engine": candidate.engine.file,
        "model.engine.log": candidate.engine.log,
    }
    for variant in candidate.variants:
        name = f"model.{variant.onnx.precision}"
        files |= {
            f"{name}.onnx": variant.onnx.file,
            f"{name}.engine": variant.engine.file,
            f"{name}.engine.log": variant.engine.log,
        }
    return {name: ref for name, ref in files.items() if ref}
