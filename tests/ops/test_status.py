"""What a status says, and when a funnel adds up."""

from dataclasses import replace

import pytest

from ops.funnel import AT_WORK, FINISHED, headings, rows
from ops.status import DatasetStatus, StreamStatus, WorkerStatus
from schemas.counters import Counters


def worker(name: str, lag: int = 0, **counters: object) -> WorkerStatus:
    return WorkerStatus(name, Counters.model_validate(counters), lag, members=1)


WHOLE = StreamStatus(
    ingested=10,
    workers=(
        worker("edits", consumed=10, passed=6, outputs=6, rejected={"unchanged": 1, "nothing_to_replace": 3}),
        worker("boxes", consumed=6, passed=5, outputs=8, failed={"exception": 1}),
        worker("dataset", consumed=8, passed=8, outputs=8),
    ),
    dataset=DatasetStatus(8, "data"),
)


def test_the_object_that_scripts_read() -> None:
    assert WHOLE.to_json() == {
        "ingested": 10,
        "workers": [
            {
                "worker": "edits",
                "consumed": 10,
                "passed": 6,
                "outputs": 6,
                "rejected": {"unchanged": 1, "nothing_to_replace": 3},
                "failed": {},
                "lag": 0,
                "members": 1,
                "replayed": 0,
            },
            {
                "worker": "boxes",
                "consumed": 6,
                "passed": 5,
                "outputs": 8,
                "rejected": {},
                "failed": {"exception": 1},
                "lag": 0,
                "members": 1,
                "replayed": 0,
            },
            {
                "worker": "dataset",
                "consumed": 8,
                "passed": 8,
                "outputs": 8,
                "rejected": {},
                "failed": {},
                "lag": 0,
                "members": 1,
                "replayed": 0,
            },
        ],
        "dataset": {"samples": 8, "path": "data"},
    }
    assert (WHOLE.lag, WHOLE.failed) == (0, 1)


def test_a_whole_funnel_has_no_gaps() -> None:
    assert WHOLE.gaps() == []


@pytest.mark.parametrize(
    ("broken", "gap"),
    [
        (replace(WHOLE, ingested=11), "edits consumed 10, ingested 11"),
        (
            replace(WHOLE, workers=(WHOLE.workers[0], worker("boxes", consumed=6, passed=5), WHOLE.workers[2])),
            "boxes consumed 6, but passed, rejected and failed differ",
        ),
        (replace(WHOLE, workers=(*WHOLE.workers[:2], worker("dataset", consumed=7, passed=7, outputs=8))),
         "dataset consumed 7, boxes made 8"),
        (replace(WHOLE, dataset=DatasetStatus(7, "data")), "the dataset has 7 samples, dataset made 8"),
    ],
)  # fmt: skip
def test_each_gap_is_named(broken: StreamStatus, gap: str) -> None:
    assert gap in broken.gaps()


def test_what_was_sent_again_is_no_gap() -> None:
    boxes = replace(
        WHOLE.workers[1], counters=WHOLE.workers[1].counters + Counters(consumed=1, failed={"exception": 1})
    )
    twice = replace(WHOLE, workers=(WHOLE.workers[0], boxes, WHOLE.workers[2]))
    assert twice.gaps() == ["boxes consumed 7, edits made 6"]
    explained = replace(twice, workers=(WHOLE.workers[0], replace(boxes, replayed=1), WHOLE.workers[2]))
    assert explained.gaps() == []
    missing = replace(twice, workers=(WHOLE.workers[0], replace(boxes, replayed=2), WHOLE.workers[2]))
    assert missing.gaps() == ["boxes consumed 7, edits made 6, replayed 2"]


def test_the_table_names_reasons_by_their_number() -> None:
    assert rows(WHOLE, FINISHED)[0] == ["edits", "10", "6", "6", "4", "0", "nothing_to_replace 3, unchanged 1"]
    assert rows(WHOLE, AT_WORK)[1] == ["boxes", "6", "5", "8", "0", "1", "0", "0", "1", "exception 1"]
    assert len(headings(AT_WORK)) == len(rows(WHOLE, AT_WORK)[0])
