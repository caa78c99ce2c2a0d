"""The model itself: a picture as embeddings, a question as tokens, and replies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from transformers import AutoConfig, AutoProcessor, LlavaNextForConditionalGeneration

from common.models.conversation import picture_question, without_special_tokens
from common.models.generation import decoding_arguments, only_special_tokens
from common.models.loading import check_complete, check_tokenizer, loading
from common.models.prompts import Decoding, Prompt
from common.models.quantization import quantization_arguments
from common.models.torch_device import device_of, dtype_of, to_device
from common.models.weights import Weights
from common.runtime.errors import ConfigurationError
from common.settings import ComputeSettings
from schemas.trail import ModelId

_ARCHITECTURE = "llava_next"


@dataclass(frozen=True, slots=True)
class Question:
    """The tokens before the place of the picture, and those after it."""

    before: tuple[int, ...]
    after: tuple[int, ...]


class LlavaNext:
    """The model on its device, with what prepares its input.

    Pictures are prepared by PIL: transformers' default differs from it by 1.5e-2 in normalised pixels (models.md).
    """

    def __init__(self, weights: Weights, compute: ComputeSettings) -> None:
        """Raises ConfigurationError where the files are missing, broken, or of another architecture."""
        self.device = device_of(compute)
        self.dtype = dtype_of(compute)
        quantization = quantization_arguments(compute, keep=(".*vision_tower", ".*multi_modal_projector"))
        with loading(weights, "config.json"):
            _check_architecture(weights)
            self._processor = AutoProcessor.from_pretrained(
                weights.folder, backend="pil", local_files_only=True, trust_remote_code=False
            )
            check_tokenizer(weights, self._processor.tokenizer)
            self.model, info = LlavaNextForConditionalGeneration.from_pretrained(
                weights.folder,
                dtype=self.dtype,
                device_map={"": self.device},
                attn_implementation="sdpa",
                output_loading_info=True,
                local_files_only=True,
                **quantization,
            )
            check_complete(weights, info)
        self.model.eval()
        self._tokenizer = self._processor.tokenizer
        only_special_tokens(self.model, self._tokenizer)
        self.image_token: int = self.model.config.image_token_id
        self.pad_token: int = self.model.generation_config.pad_token_id

    @property
    def bytes_per_token(self) -> int:
        """What one token of one row takes in the key-value cache."""
        return bytes_per_token(self.model.config.text_config, self.dtype)

    def picture_features(self, image: Image.Image) -> torch.Tensor:
        """The picture as the language model reads it: shape (tokens, hidden), one vision encode of all its tiles."""
        pixels = self._processor.image_processor(images=[image], return_tensors="pt")
        (features,) = self.model.get_image_features(
            pixel_values=to_device(pixels["pixel_values"].to(self.dtype), self.device),
            image_sizes=pixels["image_sizes"],
        ).pooler_output
        return features.to(self.dtype)

    def question(self, prompt: Prompt, template: str, values: Mapping[str, str]) -> Question:
        """The prompt with its places filled, as the template says it. Values are words, never special tokens.

        Raises ValueError where the template is broken or has not exactly one place for a picture.
        """
        plain = {place: without_special_tokens(self._tokenizer, value) for place, value in values.items()}
        text = picture_question(self._tokenizer, template, prompt, prompt.fill(plain))
        begins = text.startswith(self._tokenizer.bos_token)
        tokens = self._tokenizer(text, add_special_tokens=not begins)["input_ids"]
        if tokens.count(self.image_token) != 1:
            raise ValueError(
                f"`template`: found {tokens.count(self.image_token)} places for a picture in {text!r}, expected one, "
                f"written {self._processor.image_token}"
            )
        place = tokens.index(self.image_token)
        return Question(tuple(tokens[:place]), tuple(tokens[place + 1 :]))

    def check_room(self, tokens: int, decoding: Decoding) -> None:
        """Raises ValueError where a reply would end beyond the places that the language model was trained for."""
        places = self.model.config.text_config.max_position_embeddings
        if tokens + decoding.max_new_tokens > places:
            raise ValueError(
                f"a question of {tokens} tokens with its picture: the model has room for "
                f"{places - decoding.max_new_tokens} before its reply"
            )

    def embedded(self, tokens: Sequence[int], features: torch.Tensor | None = None) -> torch.Tensor:
        """Shape (tokens, hidden): the tokens' embeddings, with the picture's features at the image tokens."""
        ids = to_device(torch.tensor(tokens), self.device)
        embeddings = self.model.get_input_embeddings()(ids)
        if features is None:
            return embeddings
        return embeddings.masked_scatter((ids == self.image_token).unsqueeze(-1), features)

    def replies(self, decoding: Decoding, seeds: Sequence[int], length: int, **inputs: Any) -> list[str]:
        """What the model says after these rows, one seed each. Of what `generate` returns, `length` tokens are the rows'."""
        rows = self.model.generate(**inputs, **decoding_arguments(decoding, seeds, self.device))
        texts = self._tokenizer.batch_decode(rows[:, length:].cpu(), skip_special_tokens=True)
        return [text.strip() for text in texts]


def identity(role: str, weights: Weights, compute: ComputeSettings, kv_bytes: int) -> ModelId:
    """How a describer shows in the trail. The bound on the cache is in it because it shapes the batches."""
    return weights.identity(role, compute.language_numbers, f"kv {kv_bytes}")


def bytes_per_token(text: Any, dtype: torch.dtype) -> int:
    """What one token takes in the key-value cache of a language model with this configuration: 0.5 MiB in 16 bits for the
    7B, 0.8 for the 13B."""
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return 2 * int(text.num_hidden_layers * text.num_key_value_heads * head) * dtype.itemsize


def _check_architecture(weights: Weights) -> None:
    """transformers only warns where the files are of another model, and loads what fits by name."""
    found = AutoConfig.from_pretrained(weights.folder, local_files_only=True, trust_remote_code=False).model_type
    if found != _ARCHITECTURE:
        raise ConfigurationError(
            f"weights of {weights.id} in {weights.folder}: found a model of type {found!r}, expected {_ARCHITECTURE!r}"
        )
