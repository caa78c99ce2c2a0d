"""Replies are drawn as the profile says: the distribution, the nucleus, and a seed per row."""

import numpy as np
import pytest
import torch

from common.models.generation import NumbersOnly, SeededDraw, decoding_arguments
from common.models.prompts import Decoding

CPU = torch.device("cpu")
LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0, -8.0])


def drawn(decoding: Decoding, seeds: list[int], rows: int = 1) -> torch.Tensor:
    """The tokens that `rows` steps choose, shape (rows, len(seeds)), each step with the same logits."""
    draw = SeededDraw(decoding, seeds, CPU)
    scores = LOGITS.expand(len(seeds), -1)
    return torch.stack([draw(torch.zeros(len(seeds), 1), scores).argmax(dim=-1) for _ in range(rows)])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_come_as_often_as_the_softmax_says(temperature: float) -> None:
    count = 20_000
    tokens = drawn(Decoding(max_new_tokens=1, temperature=temperature), list(range(count)))[0]
    shares = np.bincount(tokens.numpy(), minlength=len(LOGITS)) / count
    expected = (LOGITS / temperature).softmax(dim=-1).numpy()
    # Four standard deviations of a share.
    assert (np.abs(shares - expected) <= 4 * np.sqrt(expected * (1 - expected) / count) + 1e-4).all()


@pytest.mark.parametrize(("top_p", "tokens"), [(0.6, {0}), (0.65, {0, 1}), (0.9, {0, 1, 2}), (1.0, {0, 1, 2, 3})])
def test_only_the_nucleus_is_drawn_from(top_p: float, tokens: set[int]) -> None:
    """The probabilities are 0.644, 0.237, 0.087, 0.032, 0.00003: the fewest that together have top_p."""
    found = drawn(Decoding(max_new_tokens=1, temperature=1.0, top_p=top_p), list(range(2_000)))
    assert set(found.flatten().tolist()) == tokens


def test_a_row_draws_from_its_own_seed_alone() -> None:
    decoding = Decoding(max_new_tokens=1, temperature=2.0)
    together = drawn(decoding, [5, 6, 7], rows=50)
    torch.manual_seed(99)
    for column, seed in enumerate((5, 6, 7)):
        assert drawn(decoding, [seed], rows=50)[:, 0].tolist() == together[:, column].tolist()
    assert together[:, 0].tolist() != together[:, 1].tolist()


def test_a_draw_takes_one_number_of_its_seed_however_large_the_vocabulary() -> None:
    """Drawing is the CPU's, while a GPU waits: a number a token of the vocabulary took longer than the model."""
    decoding, seed = Decoding(max_new_tokens=1, temperature=1.0), 3
    numbers = torch.Generator().manual_seed(seed)
    draw = SeededDraw(decoding, [seed], CPU)
    # Equally likely tokens share the numbers from 0 to 1 in their order.
    scores = torch.zeros(1, 150_000)
    for _ in range(20):
        expected = int(torch.rand(1, generator=numbers).item() * scores.shape[1])
        assert abs(int(draw(torch.zeros(1, 1), scores).argmax()) - expected) <= 1


def test_a_token_that_can_not_be_is_never_drawn() -> None:
    """Not even by the numbers at both ends."""
    scores = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    draw = SeededDraw(Decoding(max_new_tokens=1, temperature=1.0), [0], CPU)
    with pytest.MonkeyPatch.context() as patch:
        for number, token in ((0.0, 1), (1 - 2**-24, 3)):
            patch.setattr(torch, "rand", lambda *_, number=number, **__: torch.tensor([number]))
            assert draw(torch.zeros(1, 1), scores).argmax().item() == token


def test_seeds_of_64_bits_are_seeds() -> None:
    assert drawn(Decoding(max_new_tokens=1, temperature=1.0), [2**64 - 1, 2**63]).shape == (1, 2)


def test_greedy_draws_nothing() -> None:
    arguments = decoding_arguments(Decoding(max_new_tokens=3), [1, 2], CPU)
    assert [type(each) for each in arguments["logits_processor"]] == [NumbersOnly]
    config = arguments["generation_config"]
    assert (config.max_new_tokens, config.do_sample, config.num_beams) == (3, False, 1)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_scores_that_are_no_numbers_choose_no_token(temperature: float) -> None:
    arguments = decoding_arguments(Decoding(max_new_tokens=3, temperature=temperature), [1, 2], CPU)
    scores = LOGITS.repeat(2, 1)
    scores[:, -1] = -torch.inf
    assert arguments["logits_processor"](torch.zeros(2, 1), scores).shape == (2, 5)
    scores[1, 3] = torch.nan
    with pytest.raises(FloatingPointError, match="no numbers"):
        arguments["logits_processor"](torch.zeros(2, 1), scores)
