"""Why an input can not be worked on at all. Such an input is dead-lettered once and never retried."""

from enum import StrEnum


class InvalidReason(StrEnum):
    """The closed set of reasons of the kind `invalid`."""

    TOO_LARGE = "too_large"
    UNDECODABLE = "undecodable"
    SCHEMA_MISSING = "schema_missing"
    SCHEMA_UNKNOWN = "schema_unknown"
    SCHEMA_NEWER = "schema_newer"
    SCHEMA_BROKEN = "schema_broken"
    IMAGE_MISSING = "image_missing"
    IMAGE_CORRUPT = "image_corrupt"
    IMAGE_UNREADABLE = "image_unreadable"
    IMAGE_TOO_LARGE = "image_too_large"


class InvalidRecord(Exception):
    """The input is at fault, not the worker: what was found and what was expected."""

    def __init__(self, reason: InvalidReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
