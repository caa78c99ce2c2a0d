"""The editor's batches against the definition: one caption, the prompt as published, the likeliest token, again and again."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sentencepiece
import torch
from transformers import LlamaForCausalLM

from common.models.chat_editor import ChatCaptionEditor
from common.models.prompts import Decoding
from common.models.protocols import EditRequest
from common.models.weights import Weights
from common.settings import ComputeSettings
from tests.tiny import llama

LONGEST = 16
CAPTIONS = (
    "A dog sits on a sofa.",
    "Two horses stand in a field near the old barn, under a tree, 42 of them.",
    "A man",
    "A red ball.",
    "cup",
    "A bus in front of a barn",
    "A cat lies",
    "Ein Hund läuft über die Straße 🐕",
)
END = 2


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    llama.save(folder)
    return folder


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Iterator[LlamaForCausalLM]:
    with torch.inference_mode():
        yield LlamaForCausalLM.from_pretrained(checkpoint)


@pytest.fixture(scope="module")
def words(checkpoint: Path) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(checkpoint / "tokenizer.model"))


def prompt_tokens(words: sentencepiece.SentencePieceProcessor, caption: str, system: str = llama.SYSTEM) -> list[int]:
    """As FastChat joins a conversation: system sentence, role, what is said, role, with a space between."""
    said = llama.PROMPT.text.replace("{caption}", caption)
    return [words.bos_id(), *words.encode(f"{system} USER: {said} ASSISTANT:")]


def likeliest(model: LlamaForCausalLM, tokens: list[int]) -> list[int]:
    """No cache, no padding, no `generate`."""
    reply: list[int] = []
    while len(reply) < LONGEST and reply[-1:] != [END]:
        reply.append(int(model(torch.tensor([tokens + reply]), use_cache=False).logits[0, -1].argmax()))
    return reply


def editor(checkpoint: Path, decoding: Decoding) -> ChatCaptionEditor:
    return ChatCaptionEditor(
        weights=Weights("tiny", "1", checkpoint),
        compute=ComputeSettings(),
        prompt=llama.PROMPT,
        decoding=decoding,
        template=llama.VICUNA,
    )


def test_a_greedy_batch_says_token_for_token_what_each_caption_gets_alone(
    checkpoint: Path, model: LlamaForCausalLM, words: sentencepiece.SentencePieceProcessor
) -> None:
    expected = [likeliest(model, prompt_tokens(words, caption)) for caption in CAPTIONS]
    assert len({tuple(reply) for reply in expected}) == len(CAPTIONS)
    assert {reply[-1] == END for reply in expected} == {True, False}

    batch = editor(checkpoint, Decoding(LONGEST)).edit([EditRequest(caption, 0) for caption in CAPTIONS])

    for reply, tokens in zip(batch, expected, strict=True):
        assert reply.complete == (tokens[-1] == END)
        # The first word of a reply follows a colon: its space is the reply's.
        assert reply.text.lstrip() == words.decode([token for token in tokens if token != END]).lstrip()


def test_what_a_wrong_prompt_or_the_published_penalty_would_say_is_something_else(
    checkpoint: Path, model: LlamaForCausalLM, words: sentencepiece.SentencePieceProcessor
) -> None:
    """What the parity above would not see, were the random weights too small to tell."""
    captions = CAPTIONS[:4]
    right = [prompt_tokens(words, caption) for caption in captions]
    expected = [likeliest(model, tokens) for tokens in right]
    variants = {
        "another system sentence": [prompt_tokens(words, caption, "A chat.") for caption in captions],
        "no beginning of the text": [tokens[1:] for tokens in right],
        "a space before the reply": [[*tokens, words.piece_to_id("▁")] for tokens in right],
    }
    for name, wrong in variants.items():
        changed = sum(likeliest(model, tokens) != reply for tokens, reply in zip(wrong, expected, strict=True))
        assert changed >= len(captions) - 1, name
    penalised = [
        model.generate(torch.tensor([tokens]), do_sample=False, max_new_tokens=LONGEST)[0, len(tokens) :].tolist()
        for tokens in right
    ]
    assert penalised != expected


@pytest.mark.parametrize("decoding", [Decoding(LONGEST, 0.8), Decoding(LONGEST, 1.0, 0.9)])
def test_a_reply_is_the_same_whatever_shares_its_batch(checkpoint: Path, decoding: Decoding) -> None:
    requests = [EditRequest(caption, 1_000 + number) for number, caption in enumerate(CAPTIONS)]
    sampling = editor(checkpoint, decoding)
    together = sampling.edit(requests)
    assert [sampling.edit([request])[0] for request in requests] == together
    assert sampling.edit(requests[::-1]) == together[::-1]
    assert sampling.edit(requests[2:5]) == together[2:5]
