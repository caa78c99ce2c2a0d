"""The dead-letter tools over 300,000 records: quick enough, and in bounded memory."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from common.kafka import Message
from schemas import codec, headers
from schemas.dead_letters import DeadLetter, DeadLetterKind
from schemas.headers import SourceCoordinates
from schemas.scores import Bounds
from schemas.trail import Candidate, TrailStep
from tests.integration.kit import ROOT, Stream
from tests.schemas.samples import BOX, PAIR

REJECTED = 200_000
PASSED = 100_000
PARTITIONS = 48
CHUNK = 5_000
MAX_SECONDS = 30
"""Of this process's own work, as far as others leave the machine to it: that they do is not ours to promise."""
MAX_MEGABYTES = 300
PAIR_SIMILARITY = Bounds(low=0.9, high=0.98)
NEW_LOW = 0.88


@dataclass(frozen=True)
class Ran:
    """What a command said and took; memory is that of its largest process."""

    said: Any
    cpu_s: float
    megabytes: float


def command(stream: Stream, *arguments: str) -> Ran:
    code = "from ops.cli.main import main; raise SystemExit(main())"
    with (stream.folder / "said.json").open("w+") as said:
        running = subprocess.Popen(
            [sys.executable, "-c", code, "dead-letters", *arguments, "--json"],
            cwd=ROOT,
            env=stream.environ,
            stdout=said,
        )
        _, status, usage = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
        assert running.returncode == 0
        said.seek(0)
        return Ran(json.load(said), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1_024)


def rejected(stream: Stream, number: int, similarity: float, random: Random, value: bytes) -> Message:
    score = PAIR_SIMILARITY.measure(similarity)
    scores = {"pair_similarity": score}
    candidates = []
    if score.passes:
        candidates = [
            Candidate(label=f"first:{place}", reason="object_mismatch",
                      scores={"crop_similarity": Bounds(high=0.85).measure(random.random() * 0.85),
                              "object_match": Bounds(low=0.35).measure(random.random() * 0.35)})
            for place in range(3)
        ]  # fmt: skip
        scores |= candidates[0].scores
    reason = "pair_too_different" if score.too_low else "pair_too_similar" if score.too_high else "object_mismatch"
    letter = DeadLetter(
        kind=DeadLetterKind.REJECTED, reason=reason,
        source=SourceCoordinates(stream.names.topic("pairs"), number % PARTITIONS, number), source_timestamp=1.0,
        worker="boxes/0.1.0", settings_digest="d" * 12, attempt=1, failed_at=float(number), scores=scores,
        candidates=candidates,
    )  # fmt: skip
    own = [(headers.SCHEMA, b"pairs/1"), (headers.SOURCE, b"p.edits/1/2"), (headers.OUTCOME, b"0/1")]
    return Message(
        stream.names.topic("boxes.rejected"), b"k%d" % number, value, [*own, *letter.headers()], number % PARTITIONS
    )


def passed(stream: Stream, number: int, similarity: float) -> Message:
    step = TrailStep(
        stage="boxes", worker_version="0.1.0", settings_digest="d" * 12,
        scores={"pair_similarity": PAIR_SIMILARITY.measure(similarity)},
    )  # fmt: skip
    record = BOX.model_copy(update={"trail": (*BOX.trail, step)})
    own = [(headers.SCHEMA, b"boxes/1"), (headers.SOURCE, b"p.pairs/1/%d" % number), (headers.OUTCOME, b"0/1")]
    return Message(stream.names.topic("boxes"), b"k%d" % number, codec.encode(record), own, number % PARTITIONS)


@pytest.fixture
def stream(broker: str, prefix: str, tmp_path: Path) -> Iterator[Stream]:
    made = Stream(broker, prefix, tmp_path, partitions=PARTITIONS).create()
    yield made
    made.end()


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_three_hundred_thousand_records_are_counted_and_weighed_in_bounds(stream: Stream) -> None:
    random = Random(7)
    value = codec.encode(PAIR)
    reasons: Counter[str] = Counter()
    gained = lost = 0
    for start in range(0, REJECTED, CHUNK):
        similarities = [0.8 + 0.2 * random.random() for _ in range(CHUNK)]
        made = [rejected(stream, start + n, each, random, value) for n, each in enumerate(similarities)]
        stream.produce(made)
        gained += sum(NEW_LOW < each <= 0.9 for each in similarities)
        reasons.update(
            "pair_too_different" if each <= 0.9 else "pair_too_similar" if each >= 0.98 else "object_mismatch"
            for each in similarities
        )
    for start in range(0, PASSED, CHUNK):
        similarities = [0.9001 + 0.0798 * random.random() for _ in range(CHUNK)]
        stream.produce(passed(stream, start + n, each) for n, each in enumerate(similarities))
        lost += sum(each >= 0.97 for each in similarities)

    stats = command(stream, "stats")
    assert stats.said["count"] == REJECTED
    assert {group["reason"]: group["count"] for group in stats.said["groups"]} == dict(reasons)
    [similarity] = [score for score in stats.said["scores"] if score["score"] == "pair_similarity"]
    assert similarity["quantiles"]["0.5"] == pytest.approx(0.9, abs=0.002)
    what_if = command(
        stream, "what-if", "--set", f"boxes.pair_similarity.low={NEW_LOW}", "--set", "boxes.pair_similarity.high=0.97"
    )
    [verdicts] = what_if.said
    assert (verdicts["rejected"], verdicts["passed"]) == (REJECTED, PASSED)
    assert verdicts["filters"]["pair_similarity"]["rejected_would_pass"] == verdicts["would_pass"] == gained
    assert verdicts["filters"]["pair_similarity"]["passed_would_not"] == verdicts["would_not"] == lost
    for name, ran in (("stats", stats), ("what-if", what_if)):
        print(f"{name}: {ran.cpu_s:.1f} s of CPU, {ran.megabytes:.0f} MB")
        assert ran.cpu_s < MAX_SECONDS
        assert ran.megabytes < MAX_MEGABYTES
