import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.models.sketch.glyphs import master
from common.models.sketch.language import mentions_in, replaced, speaks_of_nothing, words_of
from common.models.sketch.palette import COLOURS
from common.models.sketch.vocabulary import CONCEPTS, KIND_WORDS, Concept, Kind, meanings, substitutes
from common.nouns import noun_lemma


def _named(name: str) -> Concept:
    return next(concept for concept in CONCEPTS if concept.name == name)


def _names(text: str) -> list[str]:
    return [mention.concept.name for mention in mentions_in(text)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("A dog and a kitten.", ["dog", "cat"]),
        ("two PUPPIES on sofas", ["dog", "couch"]),
        ("a hot dog on a plate", ["sausage"]),
        ("a traffic light by the train station", ["signal"]),
        ("a tennis court and a bus stop", []),
        ("a dog's bowl", ["dog", "bowl"]),
        ("glasses", []),
        ("", []),
        ("Ein Hündchen — 犬 🐕 dog", ["dog"]),
    ],
)
def test_known_objects_are_found(text: str, names: list[str]) -> None:
    assert _names(text) == names


def test_a_mention_has_its_number_colour_and_place() -> None:
    text = "Three gray double decker buses."
    (mention,) = mentions_in(text)
    assert (mention.plural, mention.colour, text[mention.start : mention.end]) == (True, "grey", "buses")


def test_a_colour_belongs_to_the_nearest_object() -> None:
    assert [mention.colour for mention in mentions_in("a red car, a dog")] == ["red", None]


@pytest.mark.parametrize(
    ("text", "new", "expected"),
    [
        ("A dog on a couch", "elephant", "An elephant on a couch"),
        ("an elephant", "cow", "a cow"),
        ("Dogs play", "fish", "Fish play"),
        ("two puppies", "cow", "two cows"),
        ("A BIG DOG", "cow", "A BIG COW"),
        ("an old dog", "cow", "an old cow"),
        ("a\n dog", "otter", "an\n otter"),
    ],
)
def test_a_replacement_keeps_number_case_and_article(text: str, new: str, expected: str) -> None:
    assert replaced(text, mentions_in(text)[0], _named(new)) == expected


@pytest.mark.parametrize("concept", CONCEPTS, ids=lambda concept: concept.name)
def test_every_concept_can_be_drawn_and_named(concept: Concept) -> None:
    assert master(concept).getbbox() is not None
    assert concept.colours
    assert set(concept.colours) <= set(COLOURS)
    assert _names(f"a {concept.name}") == [concept.name]
    if concept.editable:
        assert len(substitutes(concept)) >= 3
        for word in (concept.name, concept.plural):
            lemma = noun_lemma(word)
            assert lemma is not None, "the word diff of the stages has to see it as a noun"
            assert _names(lemma) == [concept.name]


def test_no_word_means_two_things() -> None:
    forms = [phrase for concept in CONCEPTS for phrase in (concept.name, *concept.synonyms)]
    assert len(forms) == len(set(forms))
    assert not {words[0] for words in meanings() if len(words) == 1} & set(KIND_WORDS)


def test_pictograms_differ() -> None:
    glyphs = [concept.glyph for concept in CONCEPTS]
    assert len(glyphs) == len(set(glyphs))
    assert len(glyphs) >= 100


def test_a_kind_is_spoken_of_without_naming_an_object() -> None:
    for kind in Kind:
        assert mentions_in(kind.phrase) == []
        assert kind in {KIND_WORDS.get(word.text) for word in words_of(kind.phrase)}


@given(st.text(max_size=200))
@example("MEN")
def test_any_text_can_be_read(text: str) -> None:
    for mention in mentions_in(text):
        assert 0 <= mention.start < mention.end <= len(text)
        for substitute in substitutes(mention.concept)[:1]:  # people have none
            replaced(text, mention, substitute)
    speaks_of_nothing(text)
