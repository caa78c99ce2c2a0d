"""A question about a picture, in the words of a chat template."""

from typing import Any

from jinja2 import TemplateError

from common.models.prompts import Prompt


def picture_question(renderer: Any, template: str | None, prompt: Prompt, text: str) -> str:
    """The conversation up to where the model's reply begins: the system sentence, a picture, then the text.

    `renderer` is a tokenizer or processor of transformers; without a template it takes its own.
    Raises ValueError where the template is broken, or where there is none.
    """
    turns = [] if prompt.system is None else [_turn("system", [_words(prompt.system)])]
    turns.append(_turn("user", [{"type": "image"}, _words(text)]))
    try:
        rendered: str = renderer.apply_chat_template(
            turns, chat_template=template, tokenize=False, add_generation_prompt=True
        )
    except TemplateError as error:
        raise ValueError(f"`template`: {error}") from error
    return rendered


def without_special_tokens(tokenizer: Any, text: str) -> str:
    """The text with nothing in it that the tokenizer would take for a token of its own, such as the end of the text.

    For what another model said: a caption that spells `<image>` must not ask for a picture.
    """
    for token in tokenizer.all_special_tokens:
        text = text.replace(token, " ")
    return text


def _turn(role: str, parts: list[dict[str, str]]) -> dict[str, Any]:
    return {"role": role, "content": parts}


def _words(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}
