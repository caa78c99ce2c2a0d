"""CLIP with open_clip: pictures and texts as rows of length 1.

The published filters use ViT-B/32 with OpenAI's weights (papers.md 1.4 to 1.6), which were trained with QuickGELU; run
with GELU they give other cosines, and nothing fails. So the architecture comes from the `open_clip_config.json` beside the
weights, or without one from the name in the options, and an activation that is not that name's is refused.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict
from PIL import Image
from pydantic import PositiveInt
from safetensors.torch import load_file

from common.models.loading import loading
from common.models.micro_batches import micro_batches, trial_size
from common.models.protocols import Embeddings
from common.models.torch_device import device_of, dtype_of, to_device
from common.models.weights import Weights
from common.runtime.errors import ConfigurationError
from common.settings import ComputeSettings

QUICK_GELU_VIT_B_32 = "ViT-B-32-quickgelu"

_CONFIG = "open_clip_config.json"
_SAFETENSORS = "open_clip_model.safetensors"
_PICKLE = "open_clip_pytorch_model.bin"

_OTHER_TOWERS = ("hf_model_name", "hf_tokenizer_name", "timm_model_name")
"""Towers and tokenizers of other libraries, which open_clip would fetch over the network."""


@dataclass(frozen=True, slots=True)
class _Architecture:
    """What open_clip is to build, and how its pictures are prepared."""

    model: Mapping[str, Any]
    preprocessing: Mapping[str, Any]


class ClipImageEncoder:
    """Embeds pictures with CLIP's image tower (`tower`), `images_per_call` at a time.

    Preprocessing is open_clip's own, on the CPU with PIL: the shorter side scaled, bicubic, then the centre cut out.
    """

    def __init__(
        self,
        weights: Weights,
        compute: ComputeSettings,
        model: str = QUICK_GELU_VIT_B_32,
        images_per_call: PositiveInt = 128,
    ) -> None:
        """Raises ConfigurationError where the weights are missing, broken, or of another architecture than `model`."""
        self.identity = weights.identity("ImageEncoder", compute.dtype, f"{images_per_call} per call")
        self._device = device_of(compute)
        architecture = _architecture(weights, model)
        clip = _load(weights, architecture, dtype_of(compute))
        with loading(weights):
            self.tower = clip.visual.to(self._device)
        self._dtype = dtype_of(compute)
        self._length = architecture.model["embed_dim"]
        self._images_per_call = images_per_call
        preprocessing = {**architecture.preprocessing, "size": clip.visual.image_size}
        self._transform = image_transform_v2(PreprocessCfg(**preprocessing), is_train=False)

    def warm_up(self) -> None:
        """One full micro-batch on a GPU."""
        self.encode_images([Image.new("RGB", (256, 256))] * trial_size(self._images_per_call, self._device))

    def encode_images(self, images: Sequence[Image.Image]) -> Embeddings:
        """Shape (len(images), d), rows normalised in float32."""
        pixels = (
            torch.stack([self._transform(image) for image in part]).to(self._dtype)
            for part in micro_batches(images, self._images_per_call)
        )
        return _embedded(pixels, self.tower, self._device, self._length)


class ClipTextEncoder:
    """Embeds texts with CLIP's text tower (`tower`), `texts_per_call` at a time.

    The tokenizer is open_clip's own, which ships with it. A text of more tokens than the model has places (77) is cut, its
    end token kept (papers.md 1.6).
    """

    def __init__(
        self,
        weights: Weights,
        compute: ComputeSettings,
        model: str = QUICK_GELU_VIT_B_32,
        texts_per_call: PositiveInt = 256,
    ) -> None:
        """Raises ConfigurationError where the weights are missing, broken, or of another architecture than `model`."""
        self.identity = weights.identity("TextEncoder", compute.dtype, f"{texts_per_call} per call")
        self._device = device_of(compute)
        architecture = _architecture(weights, model)
        clip = _load(weights, architecture, dtype_of(compute))
        del clip.visual
        with loading(weights):
            self.tower = clip.to(self._device)
        self._length = architecture.model["embed_dim"]
        self._texts_per_call = texts_per_call
        self._tokenizer = open_clip.SimpleTokenizer(context_length=clip.context_length)

    def warm_up(self) -> None:
        """One full micro-batch on a GPU."""
        self.encode_texts(["a picture"] * trial_size(self._texts_per_call, self._device))

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """Shape (len(texts), d), rows normalised in float32."""
        tokens = (self._tokenizer(list(part)) for part in micro_batches(texts, self._texts_per_call))
        return _embedded(tokens, self.tower.encode_text, self._device, self._length)


@torch.inference_mode()
def _embedded(
    batches: Iterable[torch.Tensor], tower: Callable[[torch.Tensor], torch.Tensor], device: torch.device, length: int
) -> Embeddings:
    # Nothing waits for the device before the last batch is on its way: the CPU prepares the next one meanwhile.
    rows = [tower(to_device(batch, device)).float() for batch in batches]
    if not rows:
        return torch.zeros(0, length).numpy()
    return torch.nn.functional.normalize(torch.cat(rows), dim=-1).cpu().numpy()


def _architecture(weights: Weights, name: str) -> _Architecture:
    named = open_clip.get_model_config(name)
    if named is None:
        raise ConfigurationError(
            f"option `model`: found {name!r}, expected a model of open_clip such as {QUICK_GELU_VIT_B_32!r}"
        )
    path = weights.folder / _CONFIG
    if not path.is_file():
        return _Architecture(named, merge_preprocess_dict(PreprocessCfg(), {}))
    with loading(weights):
        config = json.loads(path.read_text())
        model = config["model_cfg"]
        preprocessing = merge_preprocess_dict(PreprocessCfg(), config.get("preprocess_cfg", {}))
        foreign = [key for key in _OTHER_TOWERS if model["vision_cfg"].get(key) or model["text_cfg"].get(key)]
    if foreign:
        raise ConfigurationError(f"{path}: found `{foreign[0]}`, expected towers and a tokenizer of open_clip's own")
    if _activation(model) != _activation(named):
        raise ConfigurationError(
            f"{path}: the model is one with {_activation(model)}, expected {_activation(named)} as in {name!r}"
        )
    return _Architecture(model, preprocessing)


def _activation(model: Mapping[str, Any]) -> str:
    return "QuickGELU" if model.get("quick_gelu", False) else "GELU"


def _load(weights: Weights, architecture: _Architecture, dtype: torch.dtype) -> Any:
    """The whole model on the CPU, in evaluation mode, every weight from the file."""
    half = dtype is not torch.float32
    with loading(weights):
        clip = open_clip.CLIP(**architecture.model, cast_dtype=dtype if half else None)
        # Strictly, and not by open_clip's own function: that one stretches position embeddings of another size.
        clip.load_state_dict(_state(weights), strict=True)
    if half:
        # As OpenAI ran it: matrices in half precision, layer norms in float32.
        open_clip.convert_weights_to_lp(clip, dtype)
    return clip.eval()


def _state(weights: Weights) -> Any:
    if (weights.folder / _SAFETENSORS).is_file() or not (weights.folder / _PICKLE).is_file():
        return load_file(weights.file(_SAFETENSORS))
    return torch.load(weights.file(_PICKLE), map_location="cpu", weights_only=True)
