"""What ingest writes: captions, and dead letters for items that are none."""

import hashlib
import time

from common.kafka import Message
from ops.ingest.items import AnyItem, BadItem, Item
from ops.ingest.progress import Run
from schemas import codec, headers
from schemas.captions import Caption
from schemas.dead_letters import DeadLetter, DeadLetterKind
from schemas.headers import OutcomePart, SourceCoordinates
from schemas.ids import caption_id
from schemas.topics import CAPTIONS, INGEST, Names

FAILED = f"{INGEST}.failed"


class MessageWriter:
    """Makes the messages of one reading of a source."""

    def __init__(self, names: Names, run: Run, worker: str, settings_digest: str) -> None:
        self._names = names
        self._run = run
        self._worker = worker
        self._settings_digest = settings_digest

    def message(self, item: AnyItem) -> Message:
        return self._caption(item) if isinstance(item, Item) else self._dead_letter(item)

    def _caption(self, item: Item) -> Message:
        identity = caption_id(self._run.id, item.position, item.given_id)
        caption = Caption(
            id=identity, caption_id=identity, caption=item.caption, source=self._run.id, position=item.position
        )
        return Message(
            topic=self._names.topic(CAPTIONS),
            key=identity.encode(),
            value=codec.encode(caption),
            headers=[
                (headers.SCHEMA, Caption.schema_name().encode()),
                (headers.SOURCE, str(self._coordinates(item)).encode()),
                (headers.OUTCOME, str(OutcomePart(0, 1)).encode()),
                (headers.WORKER, self._worker.encode()),
                (headers.TRACEPARENT, root_traceparent(identity).encode()),
            ],
        )

    def _dead_letter(self, item: BadItem) -> Message:
        now = time.time()
        letter = DeadLetter(
            kind=DeadLetterKind.INVALID,
            reason=item.reason,
            source=self._coordinates(item),
            source_timestamp=now,
            worker=self._worker,
            settings_digest=self._settings_digest,
            attempt=1,
            failed_at=now,
            detail=item.detail,
        )
        return Message(
            topic=self._names.topic(FAILED),
            key=caption_id(self._run.id, item.position, item.given_id).encode(),
            value=item.original,
            headers=letter.headers(),
        )

    def _coordinates(self, item: AnyItem) -> SourceCoordinates:
        """An item's place, as a topic's would be written: a source has one partition, its offsets are the positions."""
        return SourceCoordinates(f"{INGEST}/{self._run.id}", 0, item.position)


def root_traceparent(caption: str) -> str:
    """The W3C trace context that a caption's whole way carries on. The same caption always has the same one."""
    digest = hashlib.sha256(caption.encode()).hexdigest()
    return f"00-{digest[:32]}-{digest[32:48]}-01"
