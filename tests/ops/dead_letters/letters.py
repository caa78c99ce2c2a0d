"""Dead letters to test with."""

from typing import Any

from common.kafka import ConsumedRecord, Partition
from schemas import codec, headers
from schemas.captions import Caption
from schemas.dead_letters import DeadLetter, DeadLetterKind, ErrorInfo
from schemas.headers import SourceCoordinates
from schemas.scores import Bounds

CAPTION = Caption(id="c1", caption_id="c1", caption="A dog on a couch.", source="test", position=0)
REJECTED = DeadLetter(
    kind=DeadLetterKind.REJECTED,
    reason="too_long",
    source=SourceCoordinates("p.captions", 3, 17),
    source_timestamp=1_700_000_000.0,
    worker="edits/0.1.0",
    settings_digest="abcdef012345",
    attempt=1,
    failed_at=1_700_000_001.5,
    detail="the reply was \x1b[2Jlong",
    scores={"added_words": Bounds(low=-8, high=8, low_inclusive=True).measure(11)},
)
POISON = DeadLetter(
    kind=DeadLetterKind.POISON,
    reason="exception",
    source=SourceCoordinates("p.captions", 3, 18),
    source_timestamp=1_700_000_000.0,
    worker="edits/0.1.0",
    settings_digest="abcdef012345",
    attempt=2,
    failed_at=1_700_000_002.0,
    error=ErrorInfo("ValueError", "bad \u202ething", "Traceback:\n  File x\nValueError: bad"),
)
INVALID = DeadLetter(
    kind=DeadLetterKind.INVALID,
    reason="undecodable",
    source=SourceCoordinates("p.captions", 0, 4),
    source_timestamp=1_700_000_000.0,
    worker="edits/0.1.0",
    settings_digest="abcdef012345",
    attempt=1,
    failed_at=1_700_000_003.0,
    detail="7 bytes are not msgpack",
)
SCHEMA = (headers.SCHEMA, Caption.schema_name().encode())


def raw(topic: str, letter: DeadLetter | None, **fields: Any) -> ConsumedRecord:
    """A record of a dead-letter topic with a caption in it."""
    given: dict[str, Any] = {
        "partition": Partition(topic, 3),
        "offset": 5,
        "key": b"c1",
        "value": codec.encode(CAPTION),
        "headers": (SCHEMA, *(letter.headers() if letter else ())),
        "timestamp": 1_700_000_001.5,
    }
    return ConsumedRecord(**{**given, **fields})
