"""Word diff and nouns."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.nouns import noun_lemma
from common.words import Change, changes, object_changes, words_of

WORDS = st.lists(st.sampled_from("a dog cat on the mat red".split()), max_size=12)


def test_words_are_lower_case_and_bare() -> None:
    assert words_of('A "T-Shirt", the man\'s dog’s; red/blue,green (TV).') == (
        "a", "t-shirt", "the", "man", "dog", "red", "blue", "green", "tv",
    )  # fmt: skip


@given(WORDS)
def test_equal_texts_have_no_changes(words: list[str]) -> None:
    assert changes(words, words) == []


@given(WORDS, WORDS)
def test_what_is_not_changed_is_the_same_on_both_sides(first: list[str], second: list[str]) -> None:
    found = changes(first, second)
    gone = Counter(word for change in found for word in change.first)
    come = Counter(word for change in found for word in change.second)
    assert Counter(first) - gone == Counter(second) - come
    assert gone <= Counter(first)
    assert come <= Counter(second)


@given(WORDS, WORDS, WORDS, st.lists(st.sampled_from(["one", "two"]), min_size=1, max_size=3))
def test_a_run_of_new_words_is_never_torn(before: list[str], old: list[str], after: list[str], new: list[str]) -> None:
    found = [" ".join(change.second) for change in changes(before + old + after, before + new + after)]
    assert sum(" ".join(new) in text for text in found) == 1


@given(WORDS, st.sampled_from(["dog", "cat", "mat"]), WORDS)
def test_one_word_put_in_place_of_another_is_exactly_that_change(before: list[str], old: str, after: list[str]) -> None:
    before, after = [[word for word in words if word != old] for words in (before, after)]
    assert changes([*before, old, *after], [*before, "unicorn", *after]) == [Change((old,), ("unicorn",))]


@settings(deadline=None)  # the first call reads the dictionary
@given(st.text(max_size=30))
def test_any_word_is_a_noun_or_not(text: str) -> None:
    for word in words_of(text):
        lemma = noun_lemma(word)
        assert lemma is None or lemma


@pytest.mark.parametrize(
    ("word", "lemma"),
    [
        ("dogs", "dog"), ("women", "woman"), ("knives", "knife"), ("glasses", "glass"), ("buses", "bus"),
        ("cookies", "cookie"), ("leaves", "leaf"), ("sheep", "sheep"), ("pans", "pan"), ("logs", "log"),
        ("remote", "remote"), ("building", "building"), ("painting", "painting"), ("string", "string"),
        ("frisbees", "frisbee"), ("selfie", "selfie"), ("tv", "tv"), ("t-shirts", "t-shirt"), ("skateboarder", "skateboarder"),
        ("orange", "orange"), ("metal", "metal"), ("stand", "stand"), ("feild", "feild"),
    ],
)  # fmt: skip
def test_names_of_objects(word: str, lemma: str) -> None:
    assert noun_lemma(word) == lemma


@pytest.mark.parametrize(
    "word",
    "a the of with beside his another two red large young wooden sitting standing riding holding rides stands looks"
    " close-up open-mouthed shirtless tattooed american asian 2 8th 3/4 quickly up outside while very".split(),
)
def test_words_that_name_no_object(word: str) -> None:
    assert noun_lemma(word) is None


@pytest.mark.parametrize(
    ("first", "second", "count"),
    [
        ("A dog on a sofa.", "A cat on a sofa.", 1),
        ("A dog on a sofa.", "a dog on a SOFA", 0),
        ("A dog on a sofa.", "A dog lying on a sofa.", 0),
        ("A red ball on a mat.", "A blue ball on a mat.", 0),
        ("A dog on a sofa.", "A cat on a bed.", 2),
        ("A dog next to another dog.", "A cat next to another cat.", 1),
        ("A stove and a sink.", "A sink and a stove.", 0),
        ("A man rides a horse.", "A man rides an elephant.", 1),
        ("Two dogs are running.", "A horse is running.", 1),
        ("A girl holding a hot dog.", "A girl holding a slice of pizza.", 1),
    ],
)
def test_how_many_objects_changed(first: str, second: str, count: int) -> None:
    assert len(object_changes(first, second)) == count
