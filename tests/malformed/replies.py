"""What an endpoint answers, over real connections, and what language models say."""

from contextlib import ExitStack
from json import dumps
from pathlib import Path
from random import Random

from common.models.endpoint.client import ChatRequest, Endpoint, EndpointReplyError
from common.models.prompts import Decoding
from common.runtime.errors import ConfigurationError, TransientError
from tests.malformed.areas import Area, Case, one_line
from tests.malformed.mutation import EXTREME_TEXTS, as_json, broken_bytes, broken_text, broken_value
from tests.scripted_endpoint import Answer, ScriptedEndpoint, says
from workers.edits.reply import added_marks, clean_reply

STATUSES = (200, 200, 200, 201, 204, 301, 400, 401, 404, 409, 413, 418, 429, 500, 503, 599)
CAPTION = "A brown dog waits beside a red bicycle."
REPLIES = (f'{CAPTION}\n---\n"A brown cat waits beside a red bicycle."', "<s>“A cat.”</s>\nEND", "Sure! Here: `a cat`")


def answers(_: Path, stack: ExitStack) -> Case:
    """Bodies, statuses and connections: a reply, or one of the three errors that the runtime acts on."""
    good = says("A cat.", fingerprint="fp").body
    given: list[Answer] = []
    server = stack.enter_context(ScriptedEndpoint(lambda _: given[-1]))
    endpoint = Endpoint(
        setting="models.caption_editor.options", base_url=server.base_url, model="tiny", api_key=None, concurrency=1,
        timeout_s=20,
    )  # fmt: skip

    def case(random: Random) -> None:
        body = broken_bytes(random, dumps(good).encode())
        if random.random() < 0.5:
            body = as_json(broken_value(random, good)).encode()
        given.append(Answer(random.choice(STATUSES), body, hangs_up=random.random() < 0.05))
        request = ChatRequest([{"role": "user", "content": "x"}], Decoding(max_new_tokens=8), random.getrandbits(62))
        try:
            [reply] = endpoint.complete([request], lambda _: None)
        except (ConfigurationError, TransientError, EndpointReplyError) as error:
            one_line(str(error))
        else:
            assert isinstance(reply.text, str)

    return case


def spoken(_: Path, __: ExitStack) -> Case:
    """What a model says in place of a caption: one line, or nothing."""

    def case(random: Random) -> None:
        text = broken_text(random, random.choice(REPLIES), [*REPLIES, *EXTREME_TEXTS])
        caption = broken_text(random, CAPTION, EXTREME_TEXTS)
        cleaned = clean_reply(text, caption)
        assert len(cleaned.splitlines()) <= 1
        assert cleaned == cleaned.strip()
        assert added_marks(cleaned, caption) >= 0

    return case


AREAS = (
    Area("endpoint answers", 200, answers),
    Area("spoken replies", 600, spoken),
)
