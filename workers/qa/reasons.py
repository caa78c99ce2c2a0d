"""Why a region caption does not become a question and answer."""

from enum import StrEnum


class QaReason(StrEnum):
    """The closed set of reject reasons of `qa`, in the order in which they are looked for."""

    UNNATURAL = "unnatural"
    """What the pair shows is not reasonable: the score misses `naturalness`. Only where `check_naturalness` is on. A
    pair of which the judge says neither yes nor no is no reject but a failure (`exception`)."""
    EMPTY_ANSWER = "empty_answer"
    """The model says nothing about the difference."""
    ANSWER_TOO_LONG = "answer_too_long"
    """The answer is longer than a record holds."""
