"""Why a region caption does not become a question and answer."""

from enum import StrEnum


class QaReason(StrEnum):
    """The closed set of reject reasons of `qa`, in the order in which they are looked for."""

    UNNATURAL = "unnatural"
    """What the pair shows is not reasonable: the score misses `naturalness`. Only where `check_naturalness` is on. If
    the judge answers neither yes nor no, that is a failure (`exception`), not a rejection."""
    EMPTY_ANSWER = "empty_answer"
    """The model says nothing about the difference."""
    ANSWER_TOO_LONG = "answer_too_long"
    """The answer is longer than a record holds."""
