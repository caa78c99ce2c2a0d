"""The input inside a dead letter: the record type that its stage reads."""

from common.kafka import ConsumedRecord
from schemas import codec, headers
from schemas.boxes import DifferenceBox
from schemas.captions import Caption
from schemas.edits import Edit
from schemas.invalid import InvalidReason, InvalidRecord
from schemas.pairs import Pair
from schemas.qa import DifferenceQa
from schemas.record import Record
from schemas.region_captions import RegionCaption
from schemas.topics import ROUTES

_KINDS: dict[str, type[Record]] = {
    kind.topic: kind for kind in (Caption, Edit, Pair, DifferenceBox, RegionCaption, DifferenceQa)
}
_READS: dict[str, type[Record]] = {route.worker: _KINDS[route.reads] for route in ROUTES}


def record_of(stage: str, raw: ConsumedRecord) -> Record:
    """The record that `stage` read. Raises InvalidRecord; what ingest could not read never was a record."""
    kind = _READS.get(stage)
    if kind is None:
        raise InvalidRecord(InvalidReason.UNDECODABLE, f"{stage} reads files, not records")
    return codec.decode(kind, raw.value, headers.text_header(raw.headers, headers.SCHEMA))
