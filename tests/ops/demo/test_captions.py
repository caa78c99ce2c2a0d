"""The captions that come with the demo."""

from common.models.sketch.language import mentions_in
from ops.demo.run import CAPTIONS


def test_a_few_hundred_different_sentences() -> None:
    lines = CAPTIONS.read_text(encoding="utf-8").splitlines()
    assert len(lines) >= 200
    assert len(set(lines)) == len(lines)
    assert all(line.endswith(".") and 4 <= len(line.split()) <= 20 for line in lines)


def test_most_name_something_that_can_be_replaced_and_some_do_not() -> None:
    lines = CAPTIONS.read_text(encoding="utf-8").splitlines()
    share = sum(any(m.concept.editable for m in mentions_in(line)) for line in lines) / len(lines)
    assert 0.7 <= share <= 0.85
