"""`<worker>.replayed`: what of a worker's dead letters has been sent again, written in the transaction that sends it."""

from typing import ClassVar

from schemas.base import Count, Positive
from schemas.record import Record


class Replayed(Record):
    """An input that was sent again; the key, the `id` and the `caption_id` are its coordinates as its dead letter says.

    `times` is how often, `job` who did so last; `attempt` is that of the dead letter.
    """

    topic: ClassVar[str] = "replayed"
    version: ClassVar[int] = 1

    job: str
    times: Positive
    attempt: Positive
    sent_at: float


class ReplayJob(Record):
    """The state of one replay; the key is `job/` and its id, which is also the `caption_id`.

    `asked` is what it was asked for, in full: the same words go on with a job that is not complete. `since` and `until`
    are the times that they stood for at its start, `ends` the ends of the dead-letter topics then, by topic without
    prefix and partition. `total` is how many records were ever sent again to this stage, by all jobs up to now.
    """

    topic: ClassVar[str] = "replay-job"
    version: ClassVar[int] = 1

    asked: str
    since: float | None
    until: float | None
    ends: dict[str, tuple[int, ...]]
    started_at: float
    sent: Count = 0
    already_sent: Count = 0
    refused: dict[str, int] = {}
    complete: bool = False
    total: Count
