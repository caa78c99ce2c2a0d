"""A question about a picture, as the chat templates of transformers take it."""

from typing import Any

from jinja2 import TemplateError
from PIL import Image

from common.models.prompts import Prompt, Turn, turns_of


def picture_turns(prompt: Prompt, text: str, image: Image.Image | None = None) -> list[Turn]:
    """The system sentence, if any, and the user's turn: a picture, then the text. Without an image only its place."""
    system = None if prompt.system is None else [_words(prompt.system)]
    place = {"type": "image"} if image is None else {"type": "image", "image": image}
    return turns_of(system, [place, _words(text)])


def picture_question(tokenizer: Any, template: str, prompt: Prompt, text: str) -> str:
    """The conversation up to where the model's reply begins. Raises ValueError where the template is broken."""
    turns = picture_turns(prompt, text)
    try:
        rendered: str = tokenizer.apply_chat_template(
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


def _words(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}
