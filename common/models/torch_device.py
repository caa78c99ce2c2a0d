"""The settings of `compute` as torch understands them."""

import torch

from common.runtime.errors import ConfigurationError
from common.settings import ComputeSettings

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def device_of(compute: ComputeSettings) -> torch.device:
    """The device. Raises ConfigurationError where this machine has no such device: nothing falls back to another."""
    device = torch.device(compute.device)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ConfigurationError(
                f"setting `compute.device`: found {compute.device!r}, but torch sees no CUDA device here: expected a "
                "working driver and a torch with CUDA, or `compute.device=cpu`"
            )
        count = torch.cuda.device_count()
        if device.index is not None and device.index >= count:
            raise ConfigurationError(
                f"setting `compute.device`: found {compute.device!r}, expected one of "
                f"{', '.join(f'cuda:{index}' for index in range(count))}"
            )
    return device


def dtype_of(compute: ComputeSettings) -> torch.dtype:
    """The numbers of weights and activations."""
    return _DTYPES[compute.dtype]


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor on the device. To a GPU it goes from pinned memory, so that the CPU goes on while the copy runs."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
