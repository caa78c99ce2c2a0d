"""Models behind an endpoint: what is sent, what comes back, and what each failure becomes. Over real connections."""

import base64
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from io import BytesIO
from typing import Any, Protocol

import numpy as np
import pytest
from PIL import Image

from common.models import registry
from common.models.endpoint.client import EndpointReplyError
from common.models.endpoint.describers import EndpointDifferenceDescriber, EndpointRegionDescriber
from common.models.endpoint.editor import EndpointCaptionEditor
from common.models.endpoint.naturalness import EndpointNaturalnessJudge
from common.models.prompts import Decoding, Prompt
from common.models.protocols import DifferenceRequest, EditReply, EditRequest, RegionRequest, WarmsUp
from common.runtime.errors import ConfigurationError, TransientError
from common.settings import load_layers
from schemas.geometry import Box
from tests.scripted_endpoint import Answer, Body, ScriptedEndpoint, fails, says, user_text

KEY = "sk-very-secret-0123456789"
DECODING = Decoding(max_new_tokens=64, temperature=0.8, top_p=0.95)
REQUESTS = [EditRequest(f"caption {number}", 2**62 + number) for number in range(8)]


class Serve(Protocol):
    def __call__(self, reply: Callable[[Body], Answer | str | None], **options: Any) -> ScriptedEndpoint: ...


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as running:

        def start(reply: Callable[[Body], Answer | str | None], **options: Any) -> ScriptedEndpoint:
            return running.enter_context(ScriptedEndpoint(reply, **options))

        yield start


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def editor(server: ScriptedEndpoint | str, **options: Any) -> EndpointCaptionEditor:
    given: dict[str, Any] = {
        "base_url": server if isinstance(server, str) else server.base_url,
        "model": "tiny",
        "prompt": Prompt("Change: {caption}", "You edit."),
        "decoding": DECODING,
        "timeout_s": 5.0,
    }
    return EndpointCaptionEditor(**(given | options))


def echo(body: Body) -> str:
    return user_text(body).removeprefix("Change: ")


def nobody_listens() -> str:
    with socket.create_server(("127.0.0.1", 0)) as briefly:
        return f"http://127.0.0.1:{briefly.getsockname()[1]}/v1"


# What is sent


def test_a_request_says_what_the_profile_says(serve: Serve) -> None:
    server = serve(echo)
    assert list(editor(server).edit([EditRequest("a {dog}", 7)])) == [EditReply("a {dog}")]
    assert server.requests == [
        {
            "model": "tiny",
            "messages": [{"role": "system", "content": "You edit."}, {"role": "user", "content": "Change: a {dog}"}],
            "max_tokens": 64,
            "temperature": 0.8,
            "top_p": 0.95,
            "seed": 7,
        }
    ]


def test_replies_keep_the_order_of_the_requests_however_long_each_takes(serve: Serve) -> None:
    server = serve(lambda body: says(echo(body), delay_s=0.2 if echo(body) == "caption 0" else 0.0))
    assert [reply.text for reply in editor(server).edit(REQUESTS)] == [request.caption for request in REQUESTS]
    assert sorted(body["seed"] for body in server.requests) == [request.seed for request in REQUESTS]


@pytest.mark.parametrize("concurrency", [1, 3])
def test_as_many_requests_are_open_at_once_as_the_option_says(serve: Serve, concurrency: int) -> None:
    server = serve(lambda body: says(echo(body), delay_s=0.05))
    editor(server, concurrency=concurrency).edit(REQUESTS)
    assert server.most_at_once == concurrency


def test_no_requests_no_calls(serve: Serve) -> None:
    server = serve(echo)
    assert list(editor(server).edit([])) == []
    assert server.keys == []


def test_equal_requests_are_asked_once(serve: Serve) -> None:
    server = serve(echo)
    assert [reply.text for reply in editor(server).edit([REQUESTS[0], REQUESTS[1], REQUESTS[0]])] == [
        "caption 0", "caption 1", "caption 0",
    ]  # fmt: skip
    assert len(server.requests) == 2


# What comes back


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (says("A cat."), EditReply("A cat.")),
        (says("A cat.", finish_reason="eos_token"), EditReply("A cat.")),
        (says("A cat.", finish_reason=None), EditReply("A cat.")),
        (says("A cat on a", finish_reason="length"), EditReply("A cat on a", complete=False)),
        (says("A cat on a", finish_reason="abort"), EditReply("A cat on a", complete=False)),
        (says("Let me look", finish_reason="tool_calls"), EditReply("Let me look", complete=False)),
        (says(None), EditReply("")),
        (says(""), EditReply("")),
    ],
)
def test_replies(serve: Serve, answer: Answer, reply: EditReply) -> None:
    assert list(editor(serve(lambda _: answer)).edit(REQUESTS[:1])) == [reply]


NONSENSE = {
    "not json": Answer(body=b"<html>It works!</html>"),
    "not json and says so": Answer(body=b"<html>It works!</html>", headers={"Content-Type": "text/html"}),
    "half of json": Answer(body=b'{"choices": ['),
    "no object": Answer(body=["a", "list"]),
    "no choices": Answer(body={"choices": []}),
    "null choices": Answer(body={"choices": None}),
    "no message": Answer(body={"choices": [{"index": 0}]}),
    "content is no text": Answer(body={"choices": [{"message": {"content": {"a": 1}}}]}),
    "an error with status 200": Answer(body={"error": {"message": "no"}}),
    "nothing": Answer(body=b""),
    "refuses the request": fails(400, "This model's maximum context length is 8 tokens"),
    "can not work on it": fails(422),
    "withholds the reply": says("A cat on a", finish_reason="content_filter"),
}


def test_a_reply_that_a_filter_cut_is_not_taken_for_what_the_model_says(serve: Serve) -> None:
    server = serve(lambda _: says("a dog with", finish_reason="content_filter"))
    model = describer(EndpointRegionDescriber, server, "What is in {box}?")
    with pytest.raises(EndpointReplyError, match=r"filter of its contents .*content_filter"):
        model.describe_regions([RegionRequest(noise(1), [box(0, 0, 20, 15)], [1])])


@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_the_fault_of_the_request_that_got_it(serve: Serve, answer: Answer) -> None:
    server = serve(lambda body: answer if echo(body) == "caption 3" else echo(body))
    model = editor(server)
    with pytest.raises(EndpointReplyError) as error:
        model.edit(REQUESTS)
    assert server.base_url in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.__suppress_context__ or error.value.__context__ is None
    assert error.value.__cause__ is None
    # The others have been asked, and are not asked again when the runtime splits the batch to find the culprit.
    assert len(server.requests) == len(REQUESTS)
    assert [reply.text for reply in model.edit(REQUESTS[:3])] == ["caption 0", "caption 1", "caption 2"]
    assert len(server.requests) == len(REQUESTS)


# What is away for a while


OUTAGES = {
    "too many requests": fails(429, "slow down", Retry_After="1"),
    "server error": fails(500),
    "bad gateway": Answer(502, b"<html>bad gateway</html>", {"Content-Type": "text/html"}),
    "unavailable": fails(503),
    "request time-out": fails(408),
    "conflict": fails(409),
    "hangs up": Answer(hangs_up=True),
}


@pytest.mark.parametrize("answer", OUTAGES.values(), ids=OUTAGES)
def test_an_outage_is_transient_and_is_not_retried_here(serve: Serve, answer: Answer) -> None:
    server = serve(lambda _: answer)
    with pytest.raises(TransientError) as error:
        editor(server, concurrency=1).edit(REQUESTS)
    assert len(server.requests) == 1
    assert server.base_url in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("header", "asked"),
    [
        ("7", 7.0), ("0.5", 0.5), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("-3", 0.0), ("soon", 0.0), ("", 0.0),
        ("nan", 0.0), ("inf", 0.0), ("Wed, 99 Oct 9999 07:28:00 GMT", 0.0),
    ],
)  # fmt: skip
def test_a_busy_endpoint_says_when_to_come_back(serve: Serve, status: int, header: str, asked: float) -> None:
    with pytest.raises(TransientError) as error:
        editor(serve(lambda _: fails(status, Retry_After=header))).edit(REQUESTS[:1])
    assert error.value.retry_after_s == asked


def test_a_busy_endpoint_may_give_a_date(serve: Serve) -> None:
    in_ten_minutes = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    with pytest.raises(TransientError) as error:
        editor(serve(lambda _: fails(429, Retry_After=in_ten_minutes))).edit(REQUESTS[:1])
    assert 540 < error.value.retry_after_s <= 600


def test_who_does_not_say_when_to_come_back_asks_for_nothing(serve: Serve) -> None:
    with pytest.raises(TransientError) as error:
        editor(serve(lambda _: fails(503))).edit(REQUESTS[:1])
    assert error.value.retry_after_s == 0


def test_no_answer_in_time_is_transient(serve: Serve) -> None:
    server = serve(lambda body: says(echo(body), delay_s=20.0))
    started = time.monotonic()
    with pytest.raises(TransientError, match=r"0\.1 s .*caption_editor\.options\.timeout_s"):
        editor(server, timeout_s=0.1).edit(REQUESTS[:2])
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("trickles", ["head", "body"])
def test_what_trickles_is_no_answer_until_all_of_it_is_there(serve: Serve, trickles: Any) -> None:
    server = serve(lambda body: replace(says(echo(body), delay_s=20.0), trickles=trickles))
    threads = set(threading.enumerate())
    started = time.monotonic()
    with pytest.raises(TransientError, match=r"0\.3 s .*caption_editor\.options\.timeout_s"):
        editor(server, timeout_s=0.3).edit(REQUESTS[:2])
    assert time.monotonic() - started < 10
    # Nobody reads on: the server finds its connections closed, and nothing of ours is left.
    while server.connections and time.monotonic() - started < 10:
        time.sleep(0.01)
    assert server.connections == 0
    assert {thread for thread in threading.enumerate() if thread.name.startswith(("endpoint", "asyncio"))} <= threads


@pytest.mark.parametrize("trickles", ["head", "body"])
def test_what_trickles_and_is_there_in_time_is_an_answer(serve: Serve, trickles: Any) -> None:
    server = serve(lambda body: replace(says(echo(body), delay_s=0.3), trickles=trickles))
    assert [reply.text for reply in editor(server).edit(REQUESTS[:2])] == ["caption 0", "caption 1"]


def test_a_start_is_not_held_up_by_what_trickles(serve: Serve) -> None:
    listed = Answer(body={"data": [{"id": "tiny"}]}, delay_s=20.0, trickles="body")
    started = time.monotonic()
    for options in ({"model_list": listed}, {"first": replace(says("ok", delay_s=20.0), trickles="body")}):
        with pytest.raises(TransientError, match="timeout_s"):
            editor(serve(echo, **options), timeout_s=0.3).warm_up()
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_nobody_there_is_transient(host: str) -> None:
    with pytest.raises(TransientError, match="can not be reached: Connection refused"):
        editor(nobody_listens().replace("127.0.0.1", host)).edit(REQUESTS[:1])


def test_what_can_not_be_reached_says_why(serve: Serve) -> None:
    server = serve(lambda _: Answer(hangs_up=True))
    with pytest.raises(TransientError, match="can not be reached: Server disconnected without"):
        editor(server).edit(REQUESTS[:1])
    with pytest.raises(TransientError, match=r"can not be reached: \[SSL: "):
        editor(server.base_url.replace("http:", "https:")).edit(REQUESTS[:1])


def test_a_rate_limit_below_the_batch_slows_down_but_every_attempt_gets_further(serve: Serve) -> None:
    left = [0]

    def limited(body: Body) -> Answer | str:
        left[0] -= 1
        return fails(429) if left[0] < 0 else echo(body)

    server = serve(limited)
    model = editor(server, concurrency=1)
    for _ in range(3):
        left[0] = 2
        with pytest.raises(TransientError):
            model.edit(REQUESTS)
    left[0] = 2
    assert [reply.text for reply in model.edit(REQUESTS)] == [request.caption for request in REQUESTS]
    answered = [body["seed"] for body in server.requests]
    assert len(answered) == len(REQUESTS) + 3
    # Once the batch is through nothing is kept.
    left[0] = 100
    model.edit(REQUESTS)
    assert len(server.requests) == len(answered) + len(REQUESTS)


def test_an_outage_says_more_than_one_bad_request(serve: Serve) -> None:
    server = serve(lambda body: fails(503) if echo(body) == "caption 7" else fails(400))
    with pytest.raises(TransientError):
        editor(server, concurrency=1).edit(REQUESTS)


# What a setting is to blame for


REFUSALS = {
    "no such key": (fails(401), "api_key"),
    "no right": (fails(403), "api_key"),
    "no such model": (fails(404, "The model `tiny` does not exist."), "model"),
}


@pytest.mark.parametrize(("answer", "option"), REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("when", ["start", "later"])
def test_a_refusal_names_the_setting(serve: Serve, answer: Answer, option: str, when: str) -> None:
    server = serve(lambda _: answer, first=answer if when == "start" else None)
    with pytest.raises(ConfigurationError, match=rf"^setting `models\.caption_editor\.options\.{option}`") as error:
        editor(server).warm_up() if when == "start" else editor(server, concurrency=1).edit(REQUESTS)
    assert "\n" not in str(error.value)
    assert len(server.requests) <= 1


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"models": ("big", "small")}, r"options\.model`: found 'tiny', expected one .*: big, small$"),
        ({"models": ()}, r"options\.model`: found 'tiny', .*: it has none$"),
        ({"model_list": fails(404)}, r"options\.base_url`"),
        ({"model_list": Answer(body=b"<html>It works!</html>")}, r"options\.base_url`.*no list of models"),
        ({"model_list": fails(401)}, r"options\.api_key`: found no key"),
        ({"first": fails(400, "this model takes no pictures")}, r"options`.*takes no pictures"),
        ({"first": Answer(body=b"{}")}, r"options`.*no chat completion"),
    ],
)
def test_an_endpoint_that_can_not_serve_is_said_at_the_start(serve: Serve, options: Any, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named) as error:
        editor(serve(echo, **options)).warm_up()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "options", [{"first": fails(429)}, {"model_list": fails(503)}, {"first": Answer(hangs_up=True)}]
)
def test_an_endpoint_that_is_not_ready_yet_is_waited_for(serve: Serve, options: Any) -> None:
    with pytest.raises(TransientError):
        editor(serve(echo, **options)).warm_up()


def test_an_endpoint_that_is_not_there_yet_is_waited_for() -> None:
    model = editor(nobody_listens())
    with pytest.raises(TransientError):
        model.warm_up()


@pytest.mark.parametrize("address", ["127.0.0.1:8000/v1", "/v1", "ftp://127.0.0.1/v1", ""])
def test_what_is_no_address_is_said(address: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        editor(address)


def test_a_prompt_has_the_place_for_the_caption(serve: Serve) -> None:
    with pytest.raises(ValueError, match=r"\{caption\}"):
        editor("http://127.0.0.1:1/v1", prompt=Prompt("Change it"))


# Keys


def settings(server: ScriptedEndpoint, **options: str) -> Any:
    flags = {
        "adapter": "endpoint",
        "options.base_url": server.base_url,
        "options.model": "tiny",
        "options.prompt.text": "Change: {caption}",
        "options.decoding.max_new_tokens": "16",
        **{f"options.{name}": value for name, value in options.items()},
    }
    return load_layers({}, flags=[f"models.caption_editor.{key}={value}" for key, value in flags.items()]).common()


def test_the_key_comes_from_the_settings_or_the_environment(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(echo)
    editor(server).warm_up()
    assert set(server.keys) == {"none"}
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
    editor(server).warm_up()
    assert server.keys[-1] == "from-the-environment"
    built = registry.caption_editor(settings(server, api_key=KEY))
    assert isinstance(built, WarmsUp)
    assert server.keys[-1] == KEY
    assert [reply.text for reply in built.edit(REQUESTS[:1]) if reply] == ["caption 0"]
    assert server.requests[-1]["temperature"] == 0


def test_a_key_is_never_shown(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server = serve(lambda body: fails(int(echo(body)), f"you sent {KEY}"), key="another")
    said = []
    try:
        registry.caption_editor(settings(server, api_key=KEY))
    except ConfigurationError as error:
        said.append(str(error))
    server.key = None
    model = registry.caption_editor(settings(server, api_key=KEY))
    for status in ("400", "401", "404", "429", "500"):
        with pytest.raises((ConfigurationError, TransientError, EndpointReplyError)) as raised:
            model.edit([EditRequest(status, 0)])
        assert raised.value.__cause__ is None
        assert raised.value.__suppress_context__
        said.append(str(raised.value))
    assert len(said) == 6
    assert all("***" in line for line in said)
    shown = "\n".join([*said, caplog.text, repr(model.identity), repr(vars(model))])
    assert KEY not in shown


@pytest.mark.parametrize("address", [f"http://user:{KEY}@127.0.0.1/v1", f"https://{KEY}@127.0.0.1/v1"])
def test_a_key_in_the_address_is_refused_unseen(address: str) -> None:
    with pytest.raises(ValueError, match="api_key") as error:
        editor(address)
    assert KEY not in str(error.value)


def test_a_key_that_is_no_text_is_refused_unseen(serve: Serve) -> None:
    with pytest.raises(ConfigurationError, match="api_key") as error:
        registry.caption_editor(settings(serve(echo), **{"api_key.typo": KEY}))
    assert KEY not in str(error.value)


# Who it is


def test_its_revision_is_what_the_endpoint_says(serve: Serve) -> None:
    silent, speaking = (editor(serve(echo, first=says("ok", fingerprint=known))) for known in (None, "fp_44709d6fcb"))
    for model in (silent, speaking):
        assert model.identity.revision == "endpoint"
        model.warm_up()
    assert (silent.identity.id, silent.identity.revision) == ("tiny", "endpoint")
    assert (speaking.identity.role, speaking.identity.revision) == ("CaptionEditor", "fp_44709d6fcb")


# Pictures


def noise(seed: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def picture_of(body: Body) -> Image.Image:
    shown = body["messages"][-1]["content"]
    assert [part["type"] for part in shown] == ["image_url", "text"]
    kind, _, data = shown[0]["image_url"]["url"].partition(";base64,")
    assert kind == "data:image/png"
    with Image.open(BytesIO(base64.b64decode(data, validate=True))) as opened:
        assert opened.mode == "RGB"
        return opened.copy()


def same(first: Image.Image, second: Image.Image) -> bool:
    return bool(np.array_equal(np.asarray(first), np.asarray(second)))


def box(x0: float, y0: float, x1: float, y1: float) -> Box:
    return Box(x0=x0, y0=y0, x1=x1, y1=y1, width=40, height=30)


def describer(kind: Any, server: ScriptedEndpoint, text: str, **options: Any) -> Any:
    return kind(base_url=server.base_url, model="tiny", prompt=Prompt(text, "Look."), decoding=DECODING, **options)


def test_regions_are_asked_for_one_by_one_each_with_its_whole_picture(serve: Serve) -> None:
    server = serve(lambda body: f"{user_text(body)} of {np.asarray(picture_of(body)).sum()}")
    first, second = noise(1), noise(2)
    model = describer(EndpointRegionDescriber, server, "What is in {box}?", concurrency=1)
    groups = model.describe_regions(
        [
            RegionRequest(first, [box(0, 0, 20, 15), box(10, 3, 40, 30)], [1, 2]),
            RegionRequest(second, [box(0, 0, 20, 15)], [1]),
            RegionRequest(noise(3), [], []),
        ]
    )
    assert [[each.text for each in group] for group in groups] == [
        [
            f"What is in [0.00, 0.00, 0.50, 0.50]? of {np.asarray(first).sum()}",
            f"What is in [0.25, 0.10, 1.00, 1.00]? of {np.asarray(first).sum()}",
        ],
        [f"What is in [0.00, 0.00, 0.50, 0.50]? of {np.asarray(second).sum()}"],
        [],
    ]
    assert [body["seed"] for body in server.requests] == [1, 2, 1]
    assert [same(picture_of(body), shown) for body, shown in zip(server.requests, (first, first, second), strict=True)]
    assert server.requests[0]["messages"][0] == {"role": "system", "content": "Look."}


def test_a_difference_is_asked_about_with_both_pictures_side_by_side(serve: Serve) -> None:
    server = serve(user_text)
    both = noise(5, (100, 30))
    request = DifferenceRequest(noise(3), noise(4), both, "a {dog}", "a cat", seed=9)
    model = describer(EndpointDifferenceDescriber, server, "Left {first}, right {second}?")
    assert [each.text for each in model.describe_differences([request])] == ["Left a {dog}, right a cat?"]
    assert same(picture_of(server.requests[0]), both)
    assert server.requests[0]["seed"] == 9


@pytest.mark.parametrize(
    ("reply", "share"),
    [
        ("yes", 1.0), ("Yes.", 1.0), ("**YES**, both are fine", 1.0), ("no", 0.0), ("No, the dog has no head", 0.0),
    ],
)  # fmt: skip
def test_natural_is_what_gets_a_yes(serve: Serve, reply: str, share: float) -> None:
    server = serve(lambda _: reply)
    composite = noise(6)
    assert list(describer(EndpointNaturalnessJudge, server, "Reasonable?").judge([composite])) == [share]
    assert same(picture_of(server.requests[0]), composite)


@pytest.mark.parametrize("profile", ["paper", "code", "recipe"])
@pytest.mark.parametrize("role", ["caption_editor", "region_describer", "difference_describer", "naturalness_judge"])
def test_the_address_and_the_model_are_all_that_a_profile_needs(serve: Serve, profile: str, role: str) -> None:
    options = {"base_url": serve(echo).base_url, "model": "tiny"}
    flags = [f"models.{role}.adapter=endpoint", *(f"models.{role}.options.{key}={options[key]}" for key in options)]
    built = getattr(registry, role)(load_layers({}, flags=flags, profile=profile).common())
    assert built.identity.id == "tiny"


def test_a_judge_says_as_much_as_the_published_one_but_always_the_same(serve: Serve) -> None:
    server = serve(lambda _: "yes")
    EndpointNaturalnessJudge(base_url=server.base_url, model="tiny", prompt=Prompt("Reasonable?")).judge([noise(6)])
    assert (server.requests[0]["max_tokens"], server.requests[0]["temperature"]) == (5, 0)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("I do not know", "'I do not know'"), ("nothing odd", "'nothing odd'"), ("", "''"), (None, "''"),
        ("word " * 100, "word wo...'"), ("one\ntwo", r"'one\\ntwo'"),
    ],
)  # fmt: skip
def test_a_reply_without_a_verdict_is_no_verdict(serve: Serve, reply: str | None, said: str) -> None:
    server = serve(lambda _: says(reply))
    with pytest.raises(EndpointReplyError, match=rf"neither yes nor no: .*{said}$") as error:
        describer(EndpointNaturalnessJudge, server, "Reasonable?").judge([noise(6)])
    assert str(error.value).startswith("tiny says")


def test_a_verdict_that_the_tokens_do_not_reach_to_names_the_setting(serve: Serve) -> None:
    server = serve(lambda _: says("<think>Okay, the", finish_reason="length"))
    with pytest.raises(
        EndpointReplyError, match=r"cut off \(`models\.naturalness_judge\.options\.decoding`\): '<think>"
    ):
        describer(EndpointNaturalnessJudge, server, "Reasonable?").judge([noise(6)])


def test_a_pair_without_a_verdict_costs_no_other_pair_a_request(serve: Serve) -> None:
    odd, *others = [noise(seed) for seed in range(4)]
    server = serve(lambda body: "hm" if same(picture_of(body), odd) else "yes")
    judge = describer(EndpointNaturalnessJudge, server, "Reasonable?")
    with pytest.raises(EndpointReplyError):
        judge.judge([odd, *others])
    assert list(judge.judge(others)) == [1.0, 1.0, 1.0]
    assert len(server.requests) == 4


def test_a_judges_first_request_needs_no_verdict(serve: Serve) -> None:
    describer(EndpointNaturalnessJudge, serve(echo, first=says(None)), "Reasonable?").warm_up()


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (EndpointRegionDescriber, "What is in {box}?"),
        (EndpointDifferenceDescriber, "{first} or {second}?"),
        (EndpointNaturalnessJudge, "Reasonable?"),
    ],
)
def test_a_model_that_takes_no_pictures_is_said_at_the_start(serve: Serve, kind: Any, text: str) -> None:
    describer(kind, serve(echo), text).warm_up()
    blind = serve(echo, first=fails(400, "tiny is not a multimodal model"))
    with pytest.raises(ConfigurationError, match=rf"models\.{kind.setting}\.options`.*not a multimodal model"):
        describer(kind, blind, text).warm_up()


def test_no_torch_is_needed() -> None:
    modules = ", ".join(f"common.models.endpoint.{name}" for name in ("editor", "describers", "naturalness"))
    heavy = "{'torch', 'transformers', 'jinja2'}"
    code = f"import sys, {modules}; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
