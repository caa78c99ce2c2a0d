"""Why a region caption does not become a question and answer."""

from enum import StrEnum


class QaReason(StrEnum):
    """The closed set of reject reasons of `qa`."""

    EMPTY_ANSWER = "empty_answer"
    """The model says nothing about the difference."""
    ANSWER_TOO_LONG = "answer_too_long"
    """The answer is longer than a record holds."""
