"""Cleaning what a language model replied."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.edits.reply import clean_reply

CAPTION = "A dog sits on a sofa."
EDITED = "A cat sits on a sofa."


@pytest.mark.parametrize(
    "reply",
    [
        EDITED,
        f"  {EDITED}\n",
        f'"{EDITED}"',
        f"'{EDITED}'",
        f"“{EDITED}”",
        f"\"'{EDITED}'\"",
        f"<s> {EDITED}</s>",
        f"{EDITED}\nEND",
        f"{EDITED}\r\nEND",
        f"Here you are:\n---\n{EDITED}",
        f"one\n---\ntwo\n---\n{EDITED}",
        f"{CAPTION}\n{EDITED}",
        f'"{CAPTION}"\n\n"{EDITED}"',
        f"{CAPTION.rstrip('.')}\n{EDITED}",
        f"{CAPTION.lower()}\n{EDITED}",
        "A cat\n sits\ton a   sofa.",
    ],
)
def test_the_new_caption_is_found(reply: str) -> None:
    assert clean_reply(reply, CAPTION) == EDITED


@pytest.mark.parametrize("reply", ["", "  \n", "<s></s>", '""', "''", "text\n---\n", "\nEND"])
def test_nothing_is_left_of_an_empty_reply(reply: str) -> None:
    assert clean_reply(reply, CAPTION) == ""


def test_a_reply_that_is_the_caption_stays() -> None:
    assert clean_reply(f'"{CAPTION}"', CAPTION) == CAPTION


def test_a_caption_that_goes_on_is_no_echo() -> None:
    assert clean_reply("A dog sits on a sofa bed.", "A dog sits on a sofa") == "A dog sits on a sofa bed."


@pytest.mark.parametrize(
    "text",
    ['"Stop" says a sign', "A sign says 'stop'", '"a" beside "b"', "“a” beside “b”", "'a' beside 'b'", "a dog's bed"],
)
def test_quotes_that_are_part_of_the_caption_stay(text: str) -> None:
    assert clean_reply(text, CAPTION) == text


@pytest.mark.parametrize("text", ["A dog's bed", "A dog’s bed"])
def test_an_apostrophe_does_not_hide_the_quotes(text: str) -> None:
    assert clean_reply(f"'{text}'", CAPTION) == clean_reply(f"‘{text}’", CAPTION) == text


@given(st.text(alphabet="ab \n\"'-<>s/END", max_size=60))
def test_the_result_is_one_trimmed_line(reply: str) -> None:
    text = clean_reply(reply, CAPTION)
    assert text == " ".join(text.split())
    assert "---" not in text
