"""`imgdiff dead-letters replay` and `purge` on a real broker: each original once, whatever interrupts it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from common.kafka import Admin, ConsumedRecord, Message
from common.runtime.exits import FencedError
from ops.cli.main import main
from ops.dead_letters.filters import Filter
from ops.dead_letters.replay import Refusal, Replay, ReplayRequest, ReplayResult
from ops.dead_letters.replay_log import ReplayLog, replayed_total
from ops.topics import delete_stream
from schemas import codec, headers
from schemas.captions import Caption
from schemas.dead_letters import ATTEMPT, PREFIX, DeadLetter, DeadLetterKind
from schemas.headers import SourceCoordinates, text_header
from schemas.replays import ReplayJob
from schemas.scores import Bounds
from schemas.topics import EDITS
from tests.integration.kit import ROOT, Stream, wait_until

REPLAY = (sys.executable, "-c", "from ops.cli.main import main; raise SystemExit(main())", "dead-letters", "replay")
PARTITIONS = 3


@pytest.fixture
def stream(broker: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stream]:
    made = Stream(broker, prefix, tmp_path, partitions=PARTITIONS).create()
    for name, value in made.environ.items():
        monkeypatch.setenv(name, value)
    yield made
    made.end()


def letter(stream: Stream, number: int, **fields: Any) -> Message:
    """The dead letter of the input `number`: rejected for a score that is its number."""
    caption = Caption(id=f"c{number}", caption_id=f"c{number}", caption=f"Scene {number}", source="s", position=number)
    source = SourceCoordinates(stream.names.topic("captions"), number % PARTITIONS, number)
    given: dict[str, Any] = {
        "kind": DeadLetterKind.REJECTED,
        "reason": "too_long" if number % 2 else "too_short",
        "source": source,
        "source_timestamp": 1.0,
        "worker": "edits/1",
        "settings_digest": "d",
        "attempt": 1,
        "failed_at": float(number),
        "scores": {"added_words": Bounds(high=-1).measure(number)},
    }
    return Message(
        topic=stream.names.topic("edits.rejected"),
        key=b"key-%d" % number,
        value=codec.encode(caption),
        headers=[
            (headers.SCHEMA, Caption.schema_name().encode()),
            ("own", b"\xff%d" % number),
            *DeadLetter(**given | fields).headers(),
        ],
        partition=number % PARTITIONS,
    )


def request(**given: Any) -> ReplayRequest:
    wanted = Filter(**{"stage": "edits", **given.pop("wanted", {})})
    return ReplayRequest(wanted, asked=f"{wanted} {given}", **{"max_attempts": 3, **given})


def replay(stream: Stream, **given: Any) -> ReplayResult:
    return Replay(stream.settings, request(**given)).run()


def arrived(stream: Stream) -> list[ConsumedRecord]:
    return stream.read("captions")


def numbers(records: Sequence[ConsumedRecord]) -> Counter[int]:
    return Counter(int((record.key or b"").rpartition(b"-")[2]) for record in records)


def command(
    stream: Stream, *arguments: str, launcher: Sequence[str] = REPLAY, **environ: str
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*launcher, *arguments], cwd=ROOT, env={**stream.environ, **environ}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_the_original_goes_back_byte_for_byte(stream: Stream) -> None:
    sent = [letter(stream, number) for number in range(7)]
    stream.produce(sent)
    result = replay(stream)
    assert (result.sent, result.complete, result.resumed, result.refused) == (7, True, False, {})
    by_key = {message.key: message for message in sent}
    for record in arrived(stream):
        original = by_key.pop(record.key)
        assert record.value == original.value
        assert record.partition.index == original.partition
        own = [(name, value) for name, value in original.headers if not name.startswith(PREFIX)]
        assert list(record.headers) == [*own, (ATTEMPT, b"1")]
    assert not by_key
    group = stream.names.group(f"replay.edits.{result.job}")
    with Admin(stream.settings.kafka) as admin:
        offsets = admin.group_offsets([group])[group]
        assert {p: committed.offset for p, committed in offsets.items()} == admin.end_offsets(offsets.keys())
    assert len(offsets) == 2 * PARTITIONS
    assert replayed_total(stream.settings.kafka, stream.names, EDITS) == 7


def test_a_replay_that_is_killed_three_times_sends_each_once(stream: Stream) -> None:
    stream.produce([letter(stream, number) for number in range(80)])
    jobs = []
    # A rate of 20 makes transactions of 20; the first one of a job only says that there is a job.
    for fault in ("after_sends:3", "after_offsets:2", "after_commit:1"):
        killed = command(stream, "--stage", "edits", "--rate", "20", IMGDIFF_FAULT=f"replay:{fault}:SIGKILL")
        killed.communicate(timeout=120)
        assert killed.returncode == -signal.SIGKILL
        log = ReplayLog.read(stream.settings.kafka, stream.names, EDITS)
        jobs.append({(job.id, job.sent) for job in log.jobs.values()})
        assert len(arrived(stream)) == log.total
    assert [sent for [(_, sent)] in jobs] == [20, 40, 60]
    last = command(stream, "--stage", "edits", "--rate", "20", "--json")
    said, _ = last.communicate(timeout=120)
    result = json.loads(said)
    assert {result["job"]} == {job for found in jobs for job, _ in found}
    assert (result["sent"], result["complete"], result["resumed"]) == (80, True, True)
    assert numbers(arrived(stream)) == dict.fromkeys(range(80), 1)
    assert replayed_total(stream.settings.kafka, stream.names, EDITS) == 80


def test_overlapping_filters_send_nothing_twice_and_again_sends_it(stream: Stream) -> None:
    stream.produce([letter(stream, number) for number in range(12)])
    assert replay(stream, wanted={"reason": "too_long"}).sent == 6
    second = replay(stream, wanted={"since": 6.0})
    assert (second.sent, second.already_sent) == (3, 3)
    assert replay(stream, wanted={"reason": "too_long"}).sent == 0
    everything = replay(stream)
    assert (everything.sent, everything.already_sent) == (3, 9)
    assert numbers(arrived(stream)) == dict.fromkeys(range(12), 1)
    again = replay(stream, wanted={"reason": "too_short"}, again=True)
    assert (again.sent, again.already_sent) == (6, 0)
    assert numbers(arrived(stream)) == {number: 1 + (number % 2 == 0) for number in range(12)}
    log = ReplayLog.read(stream.settings.kafka, stream.names, EDITS)
    assert (log.total, replayed_total(stream.settings.kafka, stream.names, EDITS)) == (18, 18)
    assert log.times(SourceCoordinates(stream.names.topic("captions"), 1, 4)) == 2


def test_a_limit_is_kept_and_what_is_left_goes_next_time(stream: Stream) -> None:
    stream.produce([letter(stream, number) for number in range(10)])
    assert [replay(stream, limit=4).sent for _ in range(3)] == [4, 4, 2]
    assert numbers(arrived(stream)) == dict.fromkeys(range(10), 1)


def test_a_dry_run_sends_nothing_and_says_what_would_go(stream: Stream, capsys: pytest.CaptureFixture[str]) -> None:
    stream.produce([letter(stream, number) for number in range(10)])
    assert (
        main(["dead-letters", "replay", "--stage", "edits", "--where", "added_words < 4", "--dry-run", "--json"]) == 0
    )
    said = json.loads(capsys.readouterr().out)
    assert (said["sent"], said["dry_run"]) == (4, True)
    assert not arrived(stream)
    assert not stream.read("edits.replayed")


def test_what_can_not_or_must_not_go_is_refused(stream: Stream, capsys: pytest.CaptureFixture[str]) -> None:
    foreign = SourceCoordinates("elsewhere.captions", 0, 1)
    outside = SourceCoordinates(stream.names.topic("captions"), PARTITIONS, 1)
    empty = letter(stream, 5)
    broken = letter(stream, 6)
    stream.produce(
        [
            letter(stream, 0, attempt=2),
            letter(stream, 1, attempt=3),
            letter(stream, 2, attempt=0),
            letter(stream, 3, source=foreign),
            letter(stream, 4, source=outside),
            Message(empty.topic, empty.key, b"", empty.headers, empty.partition),
            Message(broken.topic, broken.key, broken.value, [], broken.partition),
        ]
    )
    assert main(["dead-letters", "replay", "--stage", "edits", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["refused"] == {
        Refusal.MAX_ATTEMPTS: 2,
        Refusal.FOREIGN: 2,
        Refusal.NO_VALUE: 1,
        Refusal.UNREADABLE: 1,
    }
    [record] = arrived(stream)
    assert text_header(record.headers, ATTEMPT) == "2"
    assert replay(stream, max_attempts=4).sent == 1


def test_a_second_replay_of_a_stage_ends_the_first(stream: Stream) -> None:
    stream.produce([letter(stream, number) for number in range(12)])
    results: list[ReplayResult] = []

    def once_it_sends(job: ReplayJob) -> None:
        if job.sent:
            results.append(replay(stream, wanted={"reason": "too_long"}))

    first = Replay(stream.settings, request(), rate=3, report=once_it_sends)
    with pytest.raises(FencedError, match="another replay"):
        first.run()
    assert results[0].complete
    rest = replay(stream)
    assert rest.resumed
    assert numbers(arrived(stream)) == dict.fromkeys(range(12), 1)
    assert replayed_total(stream.settings.kafka, stream.names, EDITS) == 12


def test_a_replay_is_stopped_in_good_order(stream: Stream) -> None:
    stream.produce([letter(stream, number) for number in range(40)])
    stopped = command(stream, "--stage", "edits", "--rate", "5", "--json")
    wait_until("some are sent", lambda: len(arrived(stream)) > 0, 60)
    stopped.send_signal(signal.SIGTERM)
    said, errors = stopped.communicate(timeout=60)
    assert stopped.returncode == 1
    assert "run the same command again to go on" in errors
    assert 0 < json.loads(said)["sent"] == len(arrived(stream)) < 40


def test_those_that_would_pass_under_other_bounds_go(stream: Stream, capsys: pytest.CaptureFixture[str]) -> None:
    stream.produce([letter(stream, number) for number in range(12)])
    bounds = ["--set", "edits.added_words.low=2", "--set", "edits.added_words.high=5"]
    assert main(["dead-letters", "what-if", "--json", *bounds]) == 0
    [verdicts] = json.loads(capsys.readouterr().out)
    assert (verdicts["stage"], verdicts["rejected"], verdicts["would_pass"]) == ("edits", 12, 4)
    assert verdicts["filters"]["added_words"]["rejected_would_pass"] == 4
    assert main(["dead-letters", "replay", "--stage", "edits", "--would-pass", *bounds]) == 0
    assert numbers(arrived(stream)) == {2: 1, 3: 1, 4: 1, 5: 1}


def test_status_explains_more_inputs_than_there_were(stream: Stream, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a caption that is no sentence the worker rejects it each time; the outcome of the copy is counted."""
    stream.produce_captions(["two words"] * 2)
    worker = stream.start("workers.edits")
    stream.settle("edits", "captions")
    assert main(["dead-letters", "replay", "--stage", "edits"]) == 0
    stream.settle("edits", "captions")
    assert worker.stop() == 0
    capsys.readouterr()
    assert main(["status", "--json"]) == 0
    edits = json.loads(capsys.readouterr().out)["workers"][0]
    assert (edits["consumed"], edits["replayed"], sum(edits["rejected"].values())) == (4, 2, 4)
    recount = stream.recount(EDITS)
    assert recount.counters == stream.counters("edits")
    attempts = Counter(text_header(record.headers, ATTEMPT) for record in stream.read("edits.rejected"))
    assert attempts == {"1": 2, "2": 2}
    # Two inputs, four dead letters: that is what lists and verdicts count, and a list says which attempt.
    assert main(["dead-letters", "list", "--stage", "edits"]) == 0
    assert [", attempt 2" in line for line in capsys.readouterr().out.splitlines()].count(True) == 2
    assert main(["dead-letters", "what-if", "--stage", "edits", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["rejected"] == 4


def purged(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> Mapping[str, int]:
    assert main(["dead-letters", "purge", "--json", *arguments]) == code
    found: Mapping[str, int] = json.loads(capsys.readouterr().out)
    return found


def test_only_beginnings_that_the_filter_covers_are_deleted(stream: Stream, capsys: pytest.CaptureFixture[str]) -> None:
    stream.produce([letter(stream, number) for number in range(12)])
    only = ["--stage", "edits", "--until", "1970-01-01T00:00:07Z"]
    assert purged(capsys, 1, *only) == {"covered": 7, "behind": 0, "unmeasured": 0, "deleted": 0}
    assert len(stream.read("edits.rejected")) == 12
    assert purged(capsys, 0, *only, "--yes") == {"covered": 7, "behind": 0, "unmeasured": 0, "deleted": 7}
    assert sorted(numbers(stream.read("edits.rejected"))) == [7, 8, 9, 10, 11]
    # Odd numbers are too long: in each partition they alternate with others.
    assert purged(capsys, 0, "--stage", "edits", "--reason", "too_long", "--yes") == {
        "covered": 2, "behind": 1, "unmeasured": 0, "deleted": 2,
    }  # fmt: skip
    assert sorted(numbers(stream.read("edits.rejected"))) == [8, 10, 11]
    assert purged(capsys, 0, "--kind", "rejected", "--yes")["deleted"] == 3
    assert purged(capsys, 0, "--kind", "rejected", "--yes")["deleted"] == 0


def test_a_purge_says_how_many_have_no_score_that_not_asks_for(
    stream: Stream, capsys: pytest.CaptureFixture[str]
) -> None:
    stream.produce([letter(stream, 0), letter(stream, 1, scores={}), letter(stream, 2), letter(stream, 5)])
    only = ["--stage", "edits", "--where", "not added_words > 3"]
    assert purged(capsys, 1, *only) == {"covered": 3, "behind": 0, "unmeasured": 1, "deleted": 0}
    assert main(["dead-letters", "purge", *only]) == 1
    assert "1 of the 3 lack a score that --where asks for (added_words)" in capsys.readouterr().out


def test_a_stream_that_is_deleted_leaves_no_group_behind(broker: str, tmp_path: Path) -> None:
    mine = Stream(broker, f"gone-{uuid4().hex[:8]}", tmp_path, partitions=PARTITIONS).create()
    longer = Stream(broker, f"{mine.prefix}.replay", tmp_path, partitions=PARTITIONS).create()
    for stream in (mine, longer):
        stream.produce([letter(stream, 0)])
        replay(stream)
    delete_stream(mine.settings)

    with Admin(mine.settings.kafka) as admin:
        left = [name for name in (*admin.groups(), *admin.partition_counts()) if name.startswith(mine.prefix)]
    assert left
    assert all(name.startswith(longer.prefix + ".") for name in left), left
    assert any(longer.names.is_replay_group(name) for name in left)
    delete_stream(longer.settings)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["replay"], "found no --stage, expected one of edits, pairs"),
        (["replay", "--stage", "ingest"], "found --stage ingest, which reads files"),
        (["list", "--where", "added_words <"], "--where added_words <: at 14: found the end, expected a number"),
        (["stats", "--stage", "edits", "--where", "x < 1"], "--where: no score 'x' of edits, expected one of"),
        (["stats", "--since", "soon"], "--since soon: found 'soon', expected a time such as"),
        (["purge", "--offsets", "4-1"], "--offsets 4-1: found '4-1', expected the lower offset first"),
        (["what-if", "--stage", "dataset"], "dataset has no filters"),
        (["stats", "--stage", "bxes"], "no stage 'bxes', expected one of ingest"),
    ],
)
def test_a_mistake_is_one_clear_line(capsys: pytest.CaptureFixture[str], arguments: list[str], line: str) -> None:
    assert main(["dead-letters", *arguments]) == 64
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1


@pytest.mark.long
@pytest.mark.timeout(900)
def test_ten_thousand_with_a_replay_that_is_killed_three_times(stream: Stream) -> None:
    for start in range(0, 10_000, 2_000):
        stream.produce(letter(stream, number) for number in range(start, start + 2_000))
    for share in (0.2, 0.5, 0.8):
        running = command(stream, "--stage", "edits")
        sent = lambda: replayed_total(stream.settings.kafka, stream.names, EDITS)  # noqa: E731
        wait_until("some are sent", lambda: sent() >= share * 10_000 or running.poll() is not None, 120, 0.01)
        os.kill(running.pid, signal.SIGKILL)
        running.communicate()
        assert running.returncode == -signal.SIGKILL, "it was done before it could be killed"
    began = time.monotonic()
    last = command(stream, "--stage", "edits")
    last.communicate(timeout=300)
    print(f"the rest took {time.monotonic() - began:.1f} s")
    assert last.returncode == 0
    assert numbers(arrived(stream)) == dict.fromkeys(range(10_000), 1)
