"""The header `Retry-After`: how long an endpoint that is busy asks to be left alone."""

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def retry_after_s(header: str | None) -> float:
    """Seconds from now, given as such or as a date; 0 where it says nothing that can be read, or a time that is over."""
    if header is None:
        return 0.0
    try:
        seconds = float(header)
    except ValueError:
        seconds = _until(header)
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0


def _until(date: str) -> float:
    try:
        at = parsedate_to_datetime(date)
    except ValueError:
        return 0.0
    # The date of HTTP is in GMT, also where it says "-0000" and Python makes a time without a zone of it.
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
