"""Nouns in their place: what a word alone does not tell, the words around it do."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.nouns import noun_lemma, noun_lemmas, tokens_of


def nouns(text: str) -> str:
    return " ".join(lemma for lemma in noun_lemmas(tokens_of(text)) if lemma is not None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A man boards a train.", "man train"),
        ("A man on a board.", "man board"),
        ("Two tourists photograph a temple.", "tourist temple"),
        ("Oxen plow the field.", "ox field"),
        ("A house plant in a pot.", "house plant pot"),
        ("Women plant flowers in the yard.", "woman plant flower yard"),  # stays open
        ("A bird floats on the water.", "bird water"),
        ("A small white boat docks.", "boat"),
        ("Several boats at the docks.", "boat dock"),
        ("Boats dock at the pier.", "boat pier"),
        ("People cross over a bridge.", "people bridge"),
        ("A sports car in the rain.", "sport car rain"),
        ("A cat and dog share a bowl.", "cat dog bowl"),
        ("She paints a picture.", "picture"),
        ("A man is painting a wall.", "man wall"),
        ("A painting of a wall.", "painting wall"),
        ("A man about to park the car.", "man car"),
    ],
)
def test_a_word_that_can_be_noun_or_verb(text: str, expected: str) -> None:
    assert nouns(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A fly on a watch.", "fly watch"),
        ("A man watches a bird fly.", "man bird"),
        ("Two watches on a tray.", "watch tray"),
        ("A display of watches.", "display watch"),
        ("A dog stands by a stand.", "dog stand"),
        ("The woman's watches.", "woman watch"),
    ],
)
def test_a_thing_among_actions_needs_a_word_before_it_that_asks_for_a_noun(text: str, expected: str) -> None:
    assert nouns(text) == expected


def test_a_comma_parts_what_would_be_subject_and_verb() -> None:
    assert nouns("A sandwich fries on the stove.") == "sandwich stove"
    assert nouns("A sandwich, fries on the side.") == "sandwich fry side"


def test_what_belongs_to_someone_is_no_verb() -> None:
    assert nouns("A child's toys on the floor.") == "child toy floor"


@pytest.mark.parametrize("text", ["A street in winter.", "A street in the afternoon.", "A street on Sunday."])
def test_a_time_is_no_object(text: str) -> None:
    assert nouns(text) == "street"


@pytest.mark.parametrize(
    ("word", "lemma"),
    [("oxen", "ox"), ("shorts", "shorts"), ("sunglasses", "sunglasses"), ("selfies", "selfie"), ("drapes", "drape")],
)
def test_plurals_that_the_dictionary_lacks(word: str, lemma: str) -> None:
    assert noun_lemma(word) == lemma


def test_tokens_know_what_stands_around_them() -> None:
    told = [(token.word, token.possessive, token.follows_break) for token in tokens_of("The dog's bed, RED")]
    assert told == [("the", False, False), ("dog", True, False), ("bed", False, False), ("red", False, True)]


@settings(deadline=None)  # the first call reads the dictionary
@given(st.text(max_size=60))
def test_any_text_can_be_read(text: str) -> None:
    tokens = tokens_of(text)
    assert len(noun_lemmas(tokens)) == len(tokens)
