"""`edits` as people run it over an endpoint: a real worker process, a real broker, a scripted server."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest

from schemas.headers import text_header
from schemas.topics import EDITS
from tests.integration.kit import Stream, WorkerProcess, wait_until
from tests.scripted_endpoint import Answer, Body, ScriptedEndpoint, fails, says, user_text

WORKER = "workers.edits"
KEY = "sk-very-secret-0123456789"
CAPTION = "A dog sits on a sofa."
EDITED = "A cat sits on a sofa."


@pytest.fixture
def stream(broker: str, prefix: str, tmp_path: Path) -> Iterator[Stream]:
    made = Stream(broker, prefix, tmp_path).create()
    yield made
    made.end()


def start(stream: Stream, base_url: str, **environ: str) -> WorkerProcess:
    options = "IMGDIFF_MODELS__CAPTION_EDITOR__OPTIONS__"
    given = {
        "IMGDIFF_MODELS__CAPTION_EDITOR__ADAPTER": "endpoint",
        f"{options}BASE_URL": base_url,
        f"{options}MODEL": "tiny",
        f"{options}API_KEY": KEY,
        f"{options}TIMEOUT_S": "2",
        f"{options}PROMPT__TEXT": "Change: {caption}",
        f"{options}DECODING__MAX_NEW_TOKENS": "64",
        "IMGDIFF_EDITS__BATCH_SIZE": "8",
    }
    return stream.start(WORKER, **(given | environ))


@contextmanager
def on_port(port: int) -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint(lambda _: EDITED, key=KEY, port=port) as server:
        yield server


def is_waiting(worker: WorkerProcess) -> bool:
    status, page = worker.http("/readyz")
    return status == 503 and "can not be reached" in page


def test_a_busy_endpoint_and_its_nonsense_cost_no_other_record(stream: Stream) -> None:
    busy = [3]

    def reply(body: Body) -> Answer | str:
        busy[0] -= 1
        if busy[0] >= 0:
            return fails(429, Retry_After="1")
        match user_text(body).removeprefix("Change: "):
            case "nonsense":
                return Answer(body=b"<html>It works!</html>")
            case "cut off":
                return says("A cat sits on", finish_reason="length")
            case "silent":
                return says(None)
        return EDITED

    stream.produce_captions([CAPTION] * 10 + ["nonsense", "cut off", "silent"] + [CAPTION] * 3)
    with ScriptedEndpoint(reply, key=KEY, first=says("ok", fingerprint="fp_1")) as server:
        worker = start(stream, server.base_url)
        stream.settle("edits", "captions")
        assert worker.stop() == 0
    counters = stream.recount(EDITS).counters
    assert counters == stream.counters("edits")
    assert (counters.consumed, counters.passed) == (16, 13)
    assert counters.rejected == {"cut_off": 1, "empty_reply": 1}
    assert counters.failed == {"exception": 1}
    (letter,) = stream.read(EDITS.failed)
    assert text_header(letter.headers, "dlq.error.class") == "common.models.endpoint.client.EndpointReplyError"
    assert b"fp_1" in (stream.read(EDITS.writes or "")[0].value or b"")
    kept = [worker.log, *map(repr, stream.read(EDITS.failed)), *map(repr, stream.read(EDITS.writes or ""))]
    assert KEY not in "".join(kept)
    assert "HTTP Request" not in worker.log


@pytest.mark.parametrize(
    ("answer", "option"),
    [(fails(401), "api_key"), pytest.param(fails(404, "no such model"), "model", marks=pytest.mark.long)],
)
def test_a_refusal_ends_the_worker_and_no_record(stream: Stream, answer: Answer, option: str) -> None:
    stream.produce_captions([CAPTION] * 4)
    with ScriptedEndpoint(lambda _: EDITED, first=answer) as server:
        at_the_start = start(stream, server.base_url)
        assert at_the_start.wait(60) == 78
    with ScriptedEndpoint(lambda _: answer) as server:
        later = start(stream, server.base_url)
        assert later.wait(60) == 78
    for worker in (at_the_start, later):
        assert f"setting `models.caption_editor.options.{option}`" in worker.log
        assert "Traceback" not in worker.log
        assert KEY not in worker.log
    assert stream.counters("edits").consumed == 0
    assert stream.read(EDITS.failed) == []


@pytest.mark.long
def test_an_endpoint_that_is_not_there_yet_and_one_that_goes_away_are_waited_for(stream: Stream) -> None:
    with ScriptedEndpoint(lambda _: EDITED) as briefly:
        port = briefly.port
    stream.produce_captions([CAPTION] * 8)
    worker = start(stream, f"http://127.0.0.1:{port}/v1")
    wait_until("it says so", lambda: is_waiting(worker))
    with on_port(port):
        stream.settle("edits", "captions")
        wait_until("ready", lambda: worker.http("/readyz")[0] == 200)
    stream.produce_captions([CAPTION] * 8, start=8)
    wait_until("it says so again", lambda: is_waiting(worker))
    assert worker.http("/livez")[0] == 200
    assert stream.counters("edits").consumed == 8
    with on_port(port):
        stream.settle("edits", "captions")
        wait_until("ready again", lambda: worker.http("/readyz")[0] == 200)
    assert worker.stop() == 0
    counters = stream.recount(EDITS).counters
    assert (counters.consumed, counters.passed) == (16, 16)


@pytest.mark.long
def test_an_endpoint_that_never_answers_in_time_makes_no_dead_letters(stream: Stream) -> None:
    slow, released = [True], Event()

    def reply(body: Body) -> str:
        if slow[0]:
            released.wait(5)
        return EDITED

    stream.produce_captions([CAPTION] * 4)
    with ScriptedEndpoint(reply) as server:
        worker = start(stream, server.base_url, IMGDIFF_MODELS__CAPTION_EDITOR__OPTIONS__TIMEOUT_S="0.3")
        wait_until("it says so", lambda: "no answer within 0.3 s" in worker.http("/readyz")[1])
        slow[0] = False
        released.set()
        stream.settle("edits", "captions")
        assert worker.stop() == 0
    assert stream.recount(EDITS).counters.passed == 4
