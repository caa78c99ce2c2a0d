"""What is said to a chat model, in the format that it was trained on.

A model's own template comes with its tokenizer. Where it has none, as Vicuna-1.5, the profile carries it, in the same
language (jinja): it sees `messages`, each with `role` and `content`, `bos_token`, `eos_token` and `add_generation_prompt`.
"""

from collections.abc import Mapping
from typing import Any

from jinja2 import TemplateError

from common.models.prompts import Prompt, turns_of
from common.runtime.errors import ConfigurationError


class ChatTemplate:
    """Turns what is said to a model into the tokens that it reads."""

    def __init__(self, tokenizer: Any, template: str | None, role: str) -> None:
        """`template` stands in place of the tokenizer's own; `role` is the setting's name below `models`.

        Raises ConfigurationError where there is neither.
        """
        self._setting = f"models.{role}.options"
        if template is None and tokenizer.chat_template is None:
            raise ConfigurationError(
                f"setting `{self._setting}.template`: missing, and the model's tokenizer brings no chat template: "
                "expected the format that the model was trained on, as a jinja template"
            )
        self._tokenizer = tokenizer
        self._template = template

    def tokens(self, prompt: Prompt, values: Mapping[str, str]) -> list[int]:
        """Up to where the reply begins. Nothing is added to what the template writes: a BOS token is the template's.

        Control tokens that a value spells out (a caption with `</s>` in it) stay text.
        Raises ConfigurationError where the template is broken, or refuses a system sentence.
        """
        try:
            tokens: list[int] = self._tokenizer.apply_chat_template(
                turns_of(prompt.system, prompt.fill(values)),
                chat_template=self._template,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=False,
                sanitize_control_tokens=True,
            )
        except TemplateError as error:
            raise ConfigurationError(
                f"settings `{self._setting}.template` and `{self._setting}.prompt`: the template refuses them: {error}"
            ) from error
        return tokens
