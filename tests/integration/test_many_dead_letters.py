"""The dead-letter tools over 300,000 records: quick enough, and in bounded memory."""

import json
import subprocess
import sys
import time
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
"""Alone on the machine, which is how `make test-long` runs this."""
MAX_MEGABYTES = 300
PAIR_SIMILARITY = Bounds(low=0.9, high=0.98)
NEW_LOW = 0.88


@dataclass(frozen=True)
class Ran:
    """What a command said, and what it took with the processes that it started."""

    said: Any
    wall_s: float
    megabytes: float


MEASURED = """
import resource, sys
from pathlib import Path
from ops.cli.main import main
from ops.dead_letters.sharing import PROCESSES

if __name__ == "__main__":
    code = main()
    status = Path("/proc/self/status").read_text().splitlines()
    own_kb = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    print(own_kb + PROCESSES * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
    raise SystemExit(code)
"""
"""A command that says in the end how many kilobytes it took. It has to be asked itself: what the system tells its parent of
a child's memory begins with the parent's own."""


def command(stream: Stream, *arguments: str) -> Ran:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "dead-letters", *arguments, "--json"],
        cwd=ROOT,
        env=stream.environ,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    wall_s = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    return Ran(json.loads(done.stdout), wall_s, int(done.stderr.splitlines()[-1]) / 1_024)


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
        print(f"{name}: {ran.wall_s:.1f} s, {ran.megabytes:.0f} MB")
        assert ran.wall_s < MAX_SECONDS
        assert ran.megabytes < MAX_MEGABYTES
