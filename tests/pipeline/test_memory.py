import numpy as np
import pytest
import torch

from pipeline.errors import StageError
from pipeline.memory import LOWER, is_out_of_memory, told_of_memory
from pipeline.records import CalibrationSet, timed

FAR_TOO_MUCH = 2**50


def finetune() -> CalibrationSet:
    """A stage that asks torch for more memory than there is anywhere."""
    torch.empty(FAR_TOO_MUCH)
    return CalibrationSet(indices=(), per_class=1, num_classes=2)


def test_a_stage_that_torch_has_no_memory_for_says_what_to_lower() -> None:
    with pytest.raises(StageError, match=r"^finetune has run out of memory \(.*memory.*\); lower finetune.batch_size$") as caught:
        told_of_memory(timed(finetune))()
    assert "\n" not in str(caught.value)


def test_so_does_one_that_numpy_has_none_for() -> None:
    def other() -> CalibrationSet:
        np.empty(FAR_TOO_MUCH)
        return finetune()

    with pytest.raises(StageError, match=r"^other has run out of memory \(Unable to allocate .*\); give the machine more"):
        told_of_memory(other)()


def test_other_errors_are_left_as_they_are() -> None:
    def broken() -> CalibrationSet:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        told_of_memory(broken)()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 16777216"),
        RuntimeError("[E] OutOfMemory (Requested size was 1073741824 bytes.)"),
    ],
)
def test_every_library_has_its_own_words_for_it(error: Exception) -> None:
    assert is_out_of_memory(error)
    outer = StageError("a stage failed")
    outer.__cause__ = error
    assert is_out_of_memory(outer)
    assert not is_out_of_memory(StageError("a stage failed"))


def test_every_setting_that_is_to_be_lowered_exists() -> None:
    from pipeline.config import RunConfig

    config = RunConfig()
    for advice in LOWER.values():
        for name in advice.split(" or "):
            section, _, field = name.partition(".")
            assert hasattr(getattr(config, section), field), name
