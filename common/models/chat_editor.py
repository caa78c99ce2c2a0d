"""A caption editor over any chat model of transformers: Vicuna-1.5, Qwen2, and what else has a causal language model."""

from collections.abc import Sequence

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from common.models.chat_template import ChatTemplate
from common.models.generation import decoding_arguments, only_special_tokens
from common.models.loading import check_complete, check_tokenizer, loading
from common.models.prompts import Decoding, Prompt
from common.models.protocols import EditReply, EditRequest
from common.models.quantization import quantization_arguments
from common.models.torch_device import device_of, dtype_of, to_device
from common.models.weights import Weights
from common.runtime.errors import ConfigurationError
from common.settings import ComputeSettings

_WARM_UP = EditRequest("A dog sits on a sofa.", seed=0)


class ChatCaptionEditor:
    """Asks the model once per request, all requests of a call in one batch, padded on the left.

    A reply depends on its request alone, whatever shares the batch, but for the last bits of the scores that padding
    changes; in 8 bits also for the outliers, which bitsandbytes looks for in the whole batch. Reads safetensors, or
    `.bin` files as tensors only: a pickle that asks for more is refused.
    """

    role = "CaptionEditor"

    def __init__(
        self,
        *,
        weights: Weights,
        compute: ComputeSettings,
        prompt: Prompt,
        decoding: Decoding,
        template: str | None = None,
    ) -> None:
        """`prompt` has the place `{caption}`; `template` is the chat format in jinja where the tokenizer brings none.

        Raises ConfigurationError naming the weights, the device or the option that is wrong.
        """
        prompt.require("caption")
        self._prompt = prompt
        self._decoding = decoding
        self._device = device_of(compute)
        with loading(weights, "config.json"):
            self._tokenizer = AutoTokenizer.from_pretrained(
                weights.folder, local_files_only=True, trust_remote_code=False, padding_side="left"
            )
            check_tokenizer(weights, self._tokenizer)
            self._template = ChatTemplate(self._tokenizer, template, "caption_editor")
            self._model, info = AutoModelForCausalLM.from_pretrained(
                weights.folder,
                local_files_only=True,
                trust_remote_code=False,
                dtype=dtype_of(compute),
                device_map={"": self._device},
                output_loading_info=True,
                **quantization_arguments(compute),
            )
            check_complete(weights, info)
        self._model.eval()
        only_special_tokens(self._model, self._tokenizer)
        end, self._padding = (self._model.generation_config.eos_token_id, self._model.generation_config.pad_token_id)
        self._ends = frozenset(end if isinstance(end, list) else [end])
        context = getattr(self._model.config.get_text_config(decoder=True), "max_position_embeddings", None)
        self._longest = None if context is None else int(context) - decoding.max_new_tokens
        self.identity = weights.identity(self.role, compute.language_numbers)

    def warm_up(self) -> None:
        """One reply: kernels are chosen and memory is taken.

        Raises ConfigurationError where the template is broken, or leaves no room for a short caption and a reply.
        """
        try:
            self.edit([_WARM_UP])
        except ValueError as error:
            raise ConfigurationError(
                f"settings `models.caption_editor.options.prompt` and `.decoding.max_new_tokens`: {error}"
            ) from error

    def edit(self, requests: Sequence[EditRequest]) -> Sequence[EditReply]:
        """One reply per request, in order. Raises ValueError for a caption that the model's context does not hold."""
        if not requests:
            return []
        prompts = [self._tokens(request.caption) for request in requests]
        replies = self._generate(prompts, [request.seed for request in requests])
        return [self._reply(tokens) for tokens in replies]

    def _tokens(self, caption: str) -> list[int]:
        tokens = self._template.tokens(self._prompt, {"caption": caption})
        if self._longest is not None and len(tokens) > self._longest:
            raise ValueError(
                f"a caption of {len(caption)} characters: with its prompt {len(tokens)} tokens, the model has room "
                f"for {self._longest} before its reply"
            )
        return tokens

    @torch.inference_mode()
    def _generate(self, prompts: Sequence[list[int]], seeds: Sequence[int]) -> list[list[int]]:
        """The tokens of each reply, with what ended it and the padding behind that."""
        length = max(map(len, prompts))
        ids = torch.tensor([[self._padding] * (length - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        generated = self._model.generate(
            to_device(ids, self._device),
            attention_mask=to_device(mask, self._device),
            **decoding_arguments(self._decoding, seeds, self._device),
        )
        replies: list[list[int]] = generated[:, length:].tolist()
        return replies

    def _reply(self, tokens: Sequence[int]) -> EditReply:
        end = next((position for position, token in enumerate(tokens) if token in self._ends), None)
        text: str = self._tokenizer.decode(tokens[:end], skip_special_tokens=True)
        return EditReply(text, complete=end is not None)
