"""What a stream has made of its captions, read from its topics and its dataset, and what is wrong with it.

Reading goes on where it last ended: a stream of a hundred rounds costs no more to look at than one of ten.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import msgpack
import pyarrow.parquet as pq

from common.kafka import ConsumedRecord, Partition, read_to_end
from schemas import headers
from schemas.counters import Counters
from schemas.headers import OutcomePart, text_header
from schemas.topics import DATASET, ROUTES, Route
from tests.integration.kit import Stream


class Wrong(StrEnum):
    """What can be found wrong."""

    LOST = "lost"
    """An input has no outcome, or a part of its outcome is missing; or a caption did not arrive."""
    DOUBLED = "doubled"
    """An input has two outcomes, or a record or a row stands twice."""
    DANGLING = "dangling"
    """A record refers to a picture that is not in the store, or is there with other bytes."""
    COUNTERS = "counters"
    """The counters in the offset metadata are not those of a recount."""
    DIFFERENT = "different"
    """An outcome or a row is not that of the undisturbed run."""
    UNSETTLED = "unsettled"
    """The stream did not come to rest."""
    BY_HAND = "by hand"
    """A process did not end by itself."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    wrong: Wrong
    what: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one input of a stage: the records with their pictures, or the topic and the reason."""

    caption: str
    records: tuple[str, ...] = ()
    refused: str = ""


@dataclass
class Account:
    """One stage's inputs and outcomes by the input's place (`topic/partition/offset`)."""

    route: Route
    inputs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    outputs: dict[str, list[tuple[OutcomePart, Mapping[str, Any]]]] = field(default_factory=lambda: defaultdict(list))
    refused: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def findings(self) -> Iterator[Finding]:
        worker = self.route.worker
        for place in self.inputs:
            if place not in self.outputs and place not in self.refused:
                yield Finding(Wrong.LOST, f"{worker}: {place} has no outcome")
        for place, outputs in self.outputs.items():
            indexes = Counter(part.index for part, _ in outputs)
            if missing := set(range(outputs[0][0].count)) - set(indexes):
                yield Finding(Wrong.LOST, f"{worker}: of the outcome of {place} is missing {sorted(missing)}")
            if max(indexes.values()) > 1 or any(part.count != outputs[0][0].count for part, _ in outputs):
                yield Finding(Wrong.DOUBLED, f"{worker}: {place} has the outputs {[str(part) for part, _ in outputs]}")
        for place, reasons in self.refused.items():
            if len(reasons) > 1 or place in self.outputs:
                yield Finding(Wrong.DOUBLED, f"{worker}: {place} has {reasons} and {len(self.outputs.get(place, ()))}")
        for place in {*self.outputs, *self.refused} - set(self.inputs):
            yield Finding(Wrong.DOUBLED, f"{worker}: an outcome of {place}, which is no input")
        ids = Counter(record["id"] for outputs in self.outputs.values() for _, record in outputs)
        for name, count in ids.items():
            if count > 1:
                yield Finding(Wrong.DOUBLED, f"{worker}: {count} records {name}")

    def counters(self) -> Counters:
        refused = {topic: Counter[str]() for topic in (self.route.rejected, self.route.failed)}
        for reasons in self.refused.values():
            for text in reasons:
                topic, _, reason = text.partition(": ")
                refused[topic][reason] += 1
        return Counters(
            consumed=len(self.inputs),
            passed=len(self.outputs) if self.route.writes else len(self.inputs) - len(self.refused),
            # What the sink puts out are the samples that it writes.
            outputs=sum(map(len, self.outputs.values())) if self.route.writes else len(self.inputs) - len(self.refused),
            rejected=dict(refused[self.route.rejected]),
            failed=dict(refused[self.route.failed]),
        )

    def outcomes(self) -> dict[str, Outcome]:
        """By the id of the input record."""
        found = {}
        for place, record in self.inputs.items():
            found[record["id"]] = Outcome(
                caption=record["caption_id"],
                records=tuple(
                    " ".join([output["id"], *sorted(_pictures(output))]) for _, output in self.outputs.get(place, ())
                ),
                refused=", ".join(self.refused.get(place, ())),
            )
        return found


class Outcomes:
    """Everything that a stream has made, as far as it was looked at."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._ends: dict[Partition, int] = {}
        self._accounts = {route.worker: Account(route) for route in ROUTES}
        self._shards: set[str] = set()
        self._rows: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        self._pictures: set[str] = set()
        self._dangling: list[Finding] = []

    def look(self) -> None:
        """Read what has come since the last look."""
        by_input: dict[str, Account] = {account.route.reads: account for account in self._accounts.values()}
        by_output = {account.route.writes: account for account in self._accounts.values() if account.route.writes}
        refusing = {
            topic: account
            for account in self._accounts.values()
            for topic in (account.route.rejected, account.route.failed)
        }
        names = self._stream.names
        topics = [names.topic(name) for name in (*{**by_input, **by_output}, *refusing)]
        for record in read_to_end(self._stream.settings.kafka, topics, start=self._ends):
            self._ends[record.partition] = record.offset + 1
            topic = names.plain_topic(record.partition.topic)
            if topic in refusing:
                self._refused(refusing[topic], topic, record)
                continue
            content = msgpack.unpackb(record.value)
            self._check_pictures(topic, content)
            if topic in by_input:
                by_input[topic].inputs[_place(record)] = content
            if topic in by_output:
                source = text_header(record.headers, headers.SOURCE) or ""
                part = OutcomePart.parse(text_header(record.headers, headers.OUTCOME) or "")
                by_output[topic].outputs[source].append((part, content))
        self._look_at_rows()

    def lost_any(self) -> bool:
        """Whether an input has no outcome yet: the last ones may take a moment to be readable."""
        return any(finding.wrong is Wrong.LOST for finding in self.findings(None))

    def findings(self, counters: Mapping[str, Counters] | None) -> list[Finding]:
        """What is wrong in itself, and against these counters if there are any."""
        found = list(self._dangling)
        for worker, account in self._accounts.items():
            if account.route.writes:
                found += account.findings()
            if counters is not None and account.counters() != counters[worker]:
                found.append(
                    Finding(Wrong.COUNTERS, f"{worker}: recounted {account.counters()}, committed {counters[worker]}")
                )
        sink = self._accounts[DATASET.worker]
        samples = Counter(record["id"] for record in sink.inputs.values())
        for place, record in sink.inputs.items():
            if record["id"] not in self._rows and place not in sink.refused:
                found.append(Finding(Wrong.LOST, f"dataset: no row {record['id']}"))
        for name, rows in self._rows.items():
            if len(rows) > samples[name]:
                found.append(Finding(Wrong.DOUBLED, f"dataset: {len(rows)} rows {name}, {samples[name]} records"))
        return found

    def outcomes(self) -> dict[str, dict[str, Outcome]]:
        """By worker and input record. The sink's records are the rows."""
        found = {worker: account.outcomes() for worker, account in self._accounts.items()}
        sink = found[DATASET.worker]
        for name, outcome in sink.items():
            sink[name] = replace(outcome, records=tuple(" ".join(row) for row in sorted(self._rows.get(name, ()))))
        return found

    def _refused(self, account: Account, topic: str, record: ConsumedRecord) -> None:
        source = (text_header(record.headers, "dlq.source") or "").rpartition("/")[0]
        account.refused[source].append(f"{topic}: {text_header(record.headers, 'dlq.reason')}")

    def _check_pictures(self, topic: str, content: Mapping[str, Any]) -> None:
        for sha256 in _pictures(content):
            if sha256 in self._pictures:
                continue
            self._pictures.add(sha256)
            path = self._stream.folder / "blobs" / "images" / sha256[:2] / sha256[2:4] / sha256
            if not path.exists():
                self._dangling.append(Finding(Wrong.DANGLING, f"{topic}: {content['id']}: no picture {sha256}"))
            elif hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
                self._dangling.append(Finding(Wrong.DANGLING, f"{topic}: {content['id']}: other bytes in {sha256}"))

    def _look_at_rows(self) -> None:
        for shard in sorted((self._stream.folder / "dataset" / "data").glob("*.parquet")):
            if shard.name in self._shards:
                continue
            self._shards.add(shard.name)
            table = pq.read_table(shard, columns=["id", "images", "marked_images"])
            for row in table.to_pylist():
                pictures = [*row["images"], *row["marked_images"]]
                for picture in pictures:
                    if hashlib.sha256(picture["bytes"]).hexdigest() != picture["path"].partition(".")[0]:
                        self._dangling.append(
                            Finding(Wrong.DANGLING, f"dataset: {row['id']}: other bytes in {picture['path']}")
                        )
                self._rows[row["id"]].append(tuple(picture["path"] for picture in pictures))


def _place(record: ConsumedRecord) -> str:
    return f"{record.partition.topic}/{record.partition.index}/{record.offset}"


def _pictures(content: Mapping[str, Any]) -> list[str]:
    """The digests of the pictures that a record refers to."""
    return [value["sha256"] for value in content.values() if isinstance(value, dict) and "sha256" in value]


def differences(
    found: Mapping[str, Mapping[str, Outcome]],
    expected: Mapping[str, Mapping[str, Outcome]],
    removed: Mapping[str, str],
) -> Sequence[Finding]:
    """Where outcomes are not those of the undisturbed run.

    `removed` holds, by caption id, the stage and reason (`boxes.failed: crash`) at which a fault was meant to take it out.
    """
    workers = [route.worker for route in ROUTES]
    wrong = []
    for position, worker in enumerate(workers):
        wanted = {}
        for name, outcome in expected[worker].items():
            how = removed.get(outcome.caption)
            if how is None:
                wanted[name] = outcome
                continue
            where = workers.index(how.partition(".")[0])
            if position < where:
                wanted[name] = outcome
            elif position == where:
                wanted[name] = Outcome(caption=outcome.caption, refused=how)
        for name in sorted({*wanted, *found[worker]}):
            if wanted.get(name) != found[worker].get(name):
                kind = Wrong.LOST if name not in found[worker] else Wrong.DIFFERENT
                wrong.append(
                    Finding(kind, f"{worker}: {name}: found {found[worker].get(name)}, expected {wanted.get(name)}")
                )
    return wrong
