"""Why the sink rejects: it does not; every sample that reaches it is written."""

from enum import StrEnum


class DatasetReason(StrEnum):
    """Empty."""
