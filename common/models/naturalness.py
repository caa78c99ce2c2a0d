"""`NaturalnessJudge` over any chat model of transformers that reads pictures (papers.md 1.8)."""

from collections.abc import Sequence
from typing import Any

import torch
from jinja2 import TemplateError
from PIL import Image
from pydantic import PositiveInt
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor

from common.models.conversation import picture_turns
from common.models.generation import decoding_arguments, only_special_tokens
from common.models.loading import check_complete, check_tokenizer, loading
from common.models.micro_batches import micro_batches, trial_size
from common.models.prompts import Decoding, Prompt
from common.models.quantization import quantization_arguments
from common.models.torch_device import device_of, dtype_of, to_device
from common.models.weights import Weights
from common.runtime.errors import ConfigurationError
from common.settings import ComputeSettings

_FIRST_TOKEN = Decoding(max_new_tokens=1)

_WARM_UP_SIZE = (2068, 1024)
"""Of two pictures of the published generator side by side (papers.md 1.3 and 1.8)."""


class ChatNaturalnessJudge:
    """Asks for a yes or no, and takes how likely the model is to begin its reply with the one or the other.

    The published filter samples five tokens and looks for "no" in them, so that its verdict changes from run to run and
    "know" is a no (papers.md 1.8). The probabilities of the first token do not change, and show how sure the model is.
    """

    def __init__(
        self,
        weights: Weights,
        compute: ComputeSettings,
        *,
        prompt: Prompt,
        template: str | None = None,
        images_per_call: PositiveInt = 8,
    ) -> None:
        """`prompt` has no places; `template` is a chat template where the processor brings none.

        Raises ConfigurationError where the weights are missing, broken or no chat model with pictures, ValueError where
        prompt or template do not fit.
        """
        prompt.require()
        self._device = device_of(compute)
        self._dtype = dtype_of(compute)
        quantization = quantization_arguments(compute, keep=(".*vision[^.]*", ".*visual", ".*projector"))
        with loading(weights, "config.json"):
            self._processor = AutoProcessor.from_pretrained(
                weights.folder, local_files_only=True, trust_remote_code=False
            )
            # By itself: a processor that reads videos, too, has no PIL backend for them and refuses the whole.
            self._processor.image_processor = AutoImageProcessor.from_pretrained(
                weights.folder, backend="pil", local_files_only=True, trust_remote_code=False
            )
            check_tokenizer(weights, self._processor.tokenizer)
            self._model, info = AutoModelForImageTextToText.from_pretrained(
                weights.folder,
                dtype=self._dtype,
                device_map={"": self._device},
                output_loading_info=True,
                local_files_only=True,
                trust_remote_code=False,
                **quantization,
            )
            check_complete(weights, info)
        self._model.eval()
        tokenizer = self._processor.tokenizer
        only_special_tokens(self._model, tokenizer)
        self._prompt, self._template = prompt, template
        self._images_per_call = images_per_call
        yes, no = _first_tokens(tokenizer, "yes"), _first_tokens(tokenizer, "no")
        if not yes - no or not no - yes:
            raise ConfigurationError(f"weights of {weights.id}: its tokenizer does not tell 'yes' from 'no' by a token")
        self._yes, self._no = sorted(yes - no), sorted(no - yes)
        # A template that does not fit shows here, and not in the first batch.
        self._inputs([Image.new("RGB", (64, 64))])
        self.identity = weights.identity("NaturalnessJudge", compute.language_numbers, f"{images_per_call} per call")

    def warm_up(self) -> None:
        """One full micro-batch of the usual size on a GPU."""
        self.judge([Image.new("RGB", _WARM_UP_SIZE)] * trial_size(self._images_per_call, self._device))

    @torch.inference_mode()
    def judge(self, composites: Sequence[Image.Image]) -> Sequence[float]:
        """P(yes) / (P(yes) + P(no)) of the reply's first token, in any spelling, for each composite."""
        return [share for part in micro_batches(composites, self._images_per_call) for share in self._shares(part)]

    def _shares(self, composites: Sequence[Image.Image]) -> list[float]:
        arguments = decoding_arguments(_FIRST_TOKEN, [0] * len(composites), self._device)
        arguments["generation_config"].update(output_logits=True, return_dict_in_generate=True)
        logits = self._model.generate(**self._inputs(composites), **arguments).logits[0].float()
        yes, no = (logits[:, tokens].logsumexp(dim=-1) for tokens in (self._yes, self._no))
        shares: list[float] = (yes - no).sigmoid().tolist()
        return shares

    def _inputs(self, composites: Sequence[Image.Image]) -> dict[str, Any]:
        """Tokens and pixels on the device, padded in front."""
        try:
            inputs = self._processor.apply_chat_template(
                [picture_turns(self._prompt, self._prompt.text, image) for image in composites],
                chat_template=self._template,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                processor_kwargs={"padding": True, "padding_side": "left"},
            )
        except TemplateError as error:
            raise ValueError(f"`template`: {error}") from error
        return {
            name: to_device(value.to(self._dtype) if value.is_floating_point() else value, self._device)
            for name, value in inputs.items()
        }


def _first_tokens(tokenizer: Any, word: str) -> set[int]:
    """What a reply that is the word may begin with: small or capital letters, with or without a space before."""
    spellings = [space + cased for space in ("", " ") for cased in (word, word.capitalize(), word.upper())]
    return {tokenizer(spelling, add_special_tokens=False)["input_ids"][0] for spelling in spellings}
