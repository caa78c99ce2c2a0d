"""Loading a language model in 8 or 4 bits."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from common.models.torch_device import dtype_of
from common.runtime.errors import ConfigurationError
from common.settings import ComputeSettings


def quantization_arguments(compute: ComputeSettings, keep: Sequence[str] = ()) -> dict[str, Any]:
    """What `from_pretrained` takes for `compute.quantization`; nothing where there is none.

    `keep` are patterns of module names, from the start of the name, that stay in `compute.dtype` beside `lm_head`.
    Raises ConfigurationError where bitsandbytes is not installed or does not serve the device.
    """
    if compute.quantization is None:
        return {}
    if find_spec("bitsandbytes") is None:
        raise ConfigurationError(
            f"setting `compute.quantization`: {compute.quantization!r} needs the package 'bitsandbytes', which is not "
            "installed: pip install 'imgdiff[quantized]'"
        )
    import bitsandbytes
    from transformers import BitsAndBytesConfig

    kind = compute.device.partition(":")[0]
    if kind not in bitsandbytes.supported_torch_devices:
        raise ConfigurationError(
            f"setting `compute.quantization`: found {compute.quantization!r}, but this bitsandbytes does not serve "
            f"`compute.device={compute.device}`: expected one of {', '.join(sorted(bitsandbytes.supported_torch_devices))}"
        )
    return {
        "quantization_config": BitsAndBytesConfig(
            load_in_8bit=compute.quantization == "8bit",
            load_in_4bit=compute.quantization == "4bit",
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=dtype_of(compute),
            llm_int8_skip_modules=[*keep, "lm_head"],
        )
    }
