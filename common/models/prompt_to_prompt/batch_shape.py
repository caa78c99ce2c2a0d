"""How many items a device takes at once, found by trying."""

from collections.abc import Callable

import torch

from common.runtime.errors import OutOfMemoryError, translated

_ROOM = 0.9
"""The share of the free memory that a batch may take: the allocator needs some for what it can not join together."""


def largest_that_fits(fits: Callable[[int], bool], most: int) -> int:
    """The largest power of two of at most `most` items that fits, 0 where not even one does."""
    size = 0
    while (following := max(1, 2 * size)) <= most and fits(following):
        size = following
    return size


def fits_on(device: torch.device, trial: Callable[[], object]) -> bool:
    """Whether the trial runs on a CUDA device and leaves some of its memory free."""
    free, _ = torch.cuda.mem_get_info(device)
    room = free + torch.cuda.memory_reserved(device)
    torch.cuda.reset_peak_memory_stats(device)
    try:
        trial()
    except Exception as error:
        if not isinstance(translated(error), OutOfMemoryError):
            raise
        return False
    finally:
        peak = torch.cuda.max_memory_allocated(device)
        torch.cuda.empty_cache()
    return peak <= _ROOM * room
