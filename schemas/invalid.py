"""Why an input can not be worked on at all. Such an input is dead-lettered once and never retried."""

from enum import StrEnum


class InvalidReason(StrEnum):
    """The closed set of reasons of the kind `invalid`."""

    TOO_LARGE = "too_large"
    """The value has more bytes than a record may have. Find its sender, and shorten it."""
    UNDECODABLE = "undecodable"
    """The value is not a msgpack map with text keys. Something else than this stream writes to the topic: find it by
    the record's headers."""
    SCHEMA_MISSING = "schema_missing"
    """There is no `schema` header. Send the record again with one."""
    SCHEMA_UNKNOWN = "schema_unknown"
    """The `schema` header names another record type than the topic has. The sender writes to the wrong topic, or not
    for this stream."""
    SCHEMA_NEWER = "schema_newer"
    """The record's schema is newer than this worker reads. Update the worker, then send the record again."""
    SCHEMA_BROKEN = "schema_broken"
    """The fields are not those that the schema says. The detail names the first one: correct the sender."""
    IMAGE_MISSING = "image_missing"
    """A picture of the record is not in the store, though the store answers. Bring it back, or look for what deletes
    there or points at another store."""
    IMAGE_CORRUPT = "image_corrupt"
    """The stored bytes have another digest, or the picture another size, than the record says. The store is damaged, or
    something else writes to it."""
    IMAGE_UNREADABLE = "image_unreadable"
    """The stored bytes are no picture that can be decoded. Find out who stored them."""
    IMAGE_TOO_LARGE = "image_too_large"
    """A picture is larger than `blobs.max_bytes` or `blobs.max_pixels` allow. Raise them where such pictures are meant
    to pass."""


class InvalidRecord(Exception):
    """The input is at fault, not the worker: what was found and what was expected."""

    def __init__(self, reason: InvalidReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
