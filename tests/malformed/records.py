"""Records, headers, counters and dead letters, as a topic or a consumer group gives them."""

import json
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from types import MappingProxyType

import msgpack

from common.kafka import ConsumedRecord, Partition
from common.runtime.delivery import child_traceparent
from common.runtime.errors import ConfigurationError
from ops.cli.dead_letters import _line
from ops.dead_letters.filters import Filter
from ops.dead_letters.reading import found_letter
from ops.dead_letters.replay_log import ReplayLog, _decoded
from ops.dead_letters.showing import show
from ops.dead_letters.statistics import Statistics
from ops.dead_letters.what_if import StageVerdicts, _step, would_pass
from ops.ingest import progress
from schemas import codec
from schemas.counters import Counters, OffsetMetadata, ShardMark
from schemas.dead_letters import DeadLetter, DeadLetterKind, ErrorInfo, attempt_of, input_headers
from schemas.headers import OutcomePart, SourceCoordinates, text_header
from schemas.invalid import InvalidRecord
from schemas.record import Record
from schemas.scores import Bounds
from schemas.trail import Candidate
from tests.malformed.areas import Area, Case, one_line
from tests.malformed.mutation import EXTREME_TEXTS, as_json, broken_bytes, broken_text, broken_value
from tests.schemas.samples import CAPTION, PROGRESS, QA, REPLAY_JOB, REPLAYED, SAMPLES, SCORE

ENCODED = tuple(codec.encode(record) for record in SAMPLES)
GOLDEN = tuple(
    (Path(__file__).parent.parent / "schemas" / "golden" / f"{record.topic}-{record.version}.msgpack").read_bytes()
    for record in SAMPLES
)
COORDINATES = ("imgdiff.pairs/3/17", "0/1", "imgdiff.pairs/3/17/1790000000.500", "pairs/1", "1/2")
TRACE = b"00-87c1650022ddbfd0dfd451d730bd5356-5594fe5839f2fc8f-01"
METADATA = OffsetMetadata(
    counters=Counters(consumed=9, passed=4, outputs=7, rejected={"too_long": 3}, failed={"crash": 2}),
    shard=ShardMark(token="0123456789abcdef0123456789abcdef", name="part-00003-00000000000000000017.parquet"),
).encode()
LETTER = DeadLetter(
    kind=DeadLetterKind.REJECTED,
    reason="pair_too_similar",
    source=SourceCoordinates("imgdiff.pairs", 3, 17),
    source_timestamp=1_790_000_000.5,
    worker="boxes/1",
    settings_digest="0123456789ab",
    attempt=1,
    failed_at=1_790_000_001.5,
    detail="the crops differ by nothing",
    scores={"pair_similarity": SCORE, "object_match": SCORE},
    candidates=(Candidate(label="first:3", reason="crops_too_similar", scores={"crop_similarity": SCORE}),),
    error=ErrorInfo("ValueError", "no box", "Traceback\n  File x"),
)
BOUNDS = MappingProxyType({"pair_similarity": Bounds(low=0.9, high=0.985)})


def decoding(_: Path, __: ExitStack) -> Case:
    """Values and their `schema` header: a record, or InvalidRecord."""

    def case(random: Random) -> None:
        kind, value, schema = _broken_record(random)
        try:
            found = codec.decode(kind, value, schema)
        except InvalidRecord as invalid:
            one_line(invalid.detail)
            return
        assert codec.decode(kind, codec.encode(found), kind.schema_name()).id == found.id

    return case


def header_parsing(_: Path, __: ExitStack) -> Case:
    """Headers that the runtime and the tools read of any record: a value, or ValueError."""
    parsers: tuple[Callable[[str], object], ...] = (SourceCoordinates.parse, OutcomePart.parse)

    def case(random: Random) -> None:
        text = broken_text(random, random.choice(COORDINATES), EXTREME_TEXTS)
        with suppress(ValueError):
            random.choice(parsers)(text)
        given = _broken_headers(random, [("dlq.attempt", b"2"), ("traceparent", TRACE), ("schema", b"pairs/1")])
        assert attempt_of(given) >= 1
        assert len(child_traceparent(given, CAPTION)) == len(TRACE)
        assert not [name for name, _ in input_headers(given) if name.startswith("dlq.")]
        text_header(given, "schema")

    return case


def counting(_: Path, __: ExitStack) -> Case:
    """The metadata of committed offsets: counters, or ValueError."""

    def case(random: Random) -> None:
        if random.random() < 0.5:
            text = broken_text(random, METADATA)[:4_096]
        else:
            text = as_json(broken_value(random, json.loads(METADATA)))
        try:
            found = OffsetMetadata.decode(text)
        except ValueError as error:
            one_line(str(error))
            return
        assert found.counters + found.counters is not None
        assert found.counters.balanced in {True, False}

    return case


def dead_letters(_: Path, __: ExitStack) -> Case:
    """Records of dead-letter topics, through everything that lists, shows, counts and weighs them."""
    filters = (Filter(stage="boxes"), Filter(reason="pair_too_similar"), Filter(since=0.0, caption="holiday:#3"))

    def case(random: Random) -> None:
        _, value, schema = _broken_record(random)
        given = [("schema", (schema or "").encode(errors="replace")), *LETTER.headers()]
        if random.random() < 0.8:
            given = _broken_headers(random, given)
        raw = _record(random, "imgdiff.boxes.rejected", value, given)
        found = found_letter("boxes.rejected", raw)
        assert as_json(found.to_json())
        lines = list(show(found))
        assert not [line for line in lines if not line.isprintable()]
        assert _line(found)
        statistics, verdicts = Statistics(), StageVerdicts("boxes", BOUNDS)
        statistics.add(found)
        assert as_json(statistics.to_json())
        for wanted in filters:
            wanted.wants(found.letter, raw.key)
        if found.letter is not None:
            verdicts.reject(found.letter)
            would_pass(found.letter, BOUNDS)
            assert as_json(verdicts.to_json())

    return case


def passed_records(_: Path, __: ExitStack) -> Case:
    """What what-if reads behind a stage: an entry of the trail, or none."""

    def case(random: Random) -> None:
        value, _ = _broken_fields(random, QA)
        step = _step(_record(random, "imgdiff.boxes", value, []), "edits")
        if step is not None:
            StageVerdicts("edits", BOUNDS).accept([step])

    return case


def compacted_topics(_: Path, __: ExitStack) -> Case:
    """Records of `ingest-progress` and `<worker>.replayed`: entries, or ConfigurationError that says where it lies."""

    def case(random: Random) -> None:
        record = random.choice((PROGRESS, REPLAYED, REPLAY_JOB))
        value, schema = _broken_fields(random, record)
        key = f"job/{record.id}" if record is REPLAY_JOB else record.id
        topic = "imgdiff.ingest-progress" if record is PROGRESS else "imgdiff.boxes.replayed"
        raw = _record(random, topic, value, [("schema", schema.encode(errors="replace"))], key.encode())
        said = f"{topic}/3/17"
        try:
            if record is PROGRESS:
                progress.ProgressLog([progress._decoded(raw)])
            else:
                ReplayLog([_decoded(raw)])
        except ConfigurationError as error:
            said = str(error)
        one_line(said)
        assert f"{topic}/3/17" in said

    return case


def _broken_record(random: Random) -> tuple[type[Record], bytes | None, str | None]:
    """A value and a `schema` header that do not belong together, or of which one is broken."""
    index = random.randrange(len(SAMPLES))
    kind, good = type(SAMPLES[index]), random.choice((ENCODED[index], GOLDEN[index]))
    schema: str | None = kind.schema_name()
    match random.randrange(6):
        case 0:
            value, schema = _broken_fields(random, SAMPLES[index])
            return kind, value, schema
        case 1 | 2:
            return kind, msgpack.packb(broken_value(random, msgpack.unpackb(good))), schema
        case 3:
            return kind, random.choice(ENCODED), schema
        case 4:
            schema = random.choice((None, "pairs/2", "edits/0", broken_text(random, kind.schema_name(), EXTREME_TEXTS)))
            return kind, random.choice((None, good)), schema
        case _:
            return kind, broken_bytes(random, good, ENCODED), schema


def _broken_fields(random: Random, record: Record) -> tuple[bytes, str]:
    good = codec.encode(record)
    if random.random() < 0.5:
        return broken_bytes(random, good, ENCODED), record.schema_name()
    return _packed(broken_value(random, msgpack.unpackb(good))), record.schema_name()


def _packed(value: object) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


def _broken_headers(random: Random, good: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    given = list(good)
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(given))
        name, value = given[at]
        match random.randrange(5):
            case 0 if len(given) > 1:
                del given[at]
            case 1:
                given.append((name, broken_bytes(random, value)))
            case 2:
                given[at] = (broken_text(random, name), value)
            case 3:
                given[at] = (name, random.choice(EXTREME_TEXTS).encode())
            case _:
                given[at] = (name, broken_bytes(random, value, [other for _, other in good]))
    return given


def _record(
    random: Random, topic: str, value: bytes | None, given: list[tuple[str, bytes]], key: bytes | None = None
) -> ConsumedRecord:
    return ConsumedRecord(
        partition=Partition(topic, 3),
        offset=17,
        key=key or random.choice((None, b"", b"holiday:#3", b"\xff\xfe", broken_bytes(random, b"holiday:#3"))),
        value=value,
        headers=tuple(given),
        timestamp=1_790_000_000.5,
    )


AREAS = (
    Area("codec", 2_000, decoding),
    Area("headers", 1_000, header_parsing),
    Area("counters", 800, counting),
    Area("dead letters", 1_000, dead_letters),
    Area("passed records", 400, passed_records),
    Area("compacted topics", 500, compacted_topics),
)
