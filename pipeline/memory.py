"""What running out of memory looks like, whichever library it happens in, and what to lower then."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from pipeline.errors import StageError

P = ParamSpec("P")
R = TypeVar("R")
# torch, ONNX Runtime, TensorRT and the C++ library have no type of error for it that they all use
SIGNS = ("out of memory", "outofmemory", "not enough memory", "allocate memory", "bad_alloc", "bad allocation")
LOWER = {
    "dense": "train.batch_size",
    "score": "score.batch_size or score.memory_mb",
    "recalibrate": "recalibrate.batch_size",
    "finetune": "finetune.batch_size",
    "evaluate": "evaluate.batch_size",
    "export": "export.max_batch or export.samples",
    "quantize": "quantize.samples or export.max_batch",
    "build_engine": "engine.workspace_mib or engine.max_batch",
    "verify_engine": "export.max_batch",
    "benchmark": "benchmark.batch_sizes",
    "layer_costs": "layer_costs.batch_size",
}


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether that is what an error says, or the one that it was raised from."""
    if error is None:
        return False
    said = f"{type(error).__name__} {error}".lower()
    return isinstance(error, MemoryError) or any(sign in said for sign in SIGNS) or is_out_of_memory(error.__cause__)


def what_to_lower(stage: str) -> str:
    """The settings that make a stage need less memory."""
    return f"lower {LOWER[stage]}" if stage in LOWER else "give the machine more, or take a smaller model"


def told_of_memory(stage: Callable[P, R]) -> Callable[P, R]:
    """The same stage, which raises StageError in one sentence if the memory of this process or of its GPU does not suffice."""

    @wraps(stage)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return stage(*args, **kwargs)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            said = next(iter(str(error).splitlines()), "").strip() or type(error).__name__
            name = stage.__name__
            raise StageError(f"{name} has run out of memory ({said}); {what_to_lower(name)}") from error

    return run
