"""Results of all processes of a torch.distributed group; alone, everything is what it is."""

import torch
import torch.distributed as dist
from torch import Tensor


def of_all(rows: Tensor) -> Tensor:
    """The rows (n, ...) of every process, in the order of ranks; processes may have different n."""
    if not _together():
        return rows
    counts = [torch.zeros(1, dtype=torch.int64, device=_device()) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, torch.tensor([len(rows)], device=_device()))
    longest = max(int(count) for count in counts)
    padded = torch.zeros(longest, *rows.shape[1:], dtype=rows.dtype, device=_device())
    padded[: len(rows)] = rows.to(_device())
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[: int(count)] for part, count in zip(parts, counts, strict=True)]).to(rows.device)


def sum_of_all(value: Tensor) -> Tensor:
    """The sum over processes."""
    if not _together():
        return value
    total = value.detach().clone().to(_device())
    dist.all_reduce(total)
    return total.to(value.device)


def _together() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
