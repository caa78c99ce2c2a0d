"""Chat completions from an endpoint: many at once, in order, and what goes wrong as the runtime's errors.

Requests run on an event loop that lives as long as the call does. Only there can a request be given up at any moment: the
limits of a blocking client begin anew with every byte that arrives. Nothing is left open between two calls.
"""

import asyncio
import errno
import hashlib
import json
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import urlsplit

import openai
from pydantic import BaseModel, Field, SecretStr, ValidationError

from common.models.endpoint.retry_after import retry_after_s
from common.models.prompts import Decoding
from common.runtime.errors import ConfigurationError, TransientError
from common.secrets import SECRETS

KEY_VARIABLE = "OPENAI_API_KEY"
"""Where people who use such endpoints keep the key."""

_NO_KEY = "none"
"""Servers of one's own ask for none; the client wants one."""

_TRANSIENT_STATUSES = frozenset({408, 409, 429})
"""Beside 5xx: asked again later, the same request may succeed."""

_ENDED = frozenset({None, "stop", "eos_token", "stop_sequence"})
"""How endpoints say that a reply ended by itself; None where they do not say. The last two are older servers' words."""

_FILTERED = "content_filter"

_LONGEST_MESSAGE = 300
_MODELS_NAMED = 10

_REMEMBERED = 4_096
"""The most answers of batches that failed that are kept for the next attempt."""


class EndpointReplyError(Exception):
    """The endpoint answered one request with something that is no reply to it, or refused it: that request's fault."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """Messages as the API has them, and how the reply is drawn. Equal requests are asked once."""

    messages: Sequence[Mapping[str, Any]]
    decoding: Decoding
    seed: int


@dataclass(frozen=True, slots=True)
class ChatReply:
    """What the model said; `complete` is false where it did not end by itself. `fingerprint` as the endpoint reports it."""

    text: str
    complete: bool
    fingerprint: str | None


_Failure = ConfigurationError | TransientError | EndpointReplyError


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    system_fingerprint: str | None = None


class _Model(BaseModel):
    id: str


class _Models(BaseModel):
    data: list[_Model]


class Endpoint:
    """One model behind one endpoint. Keys are never part of a message or of what is raised."""

    def __init__(
        self, *, setting: str, base_url: str, model: str, api_key: SecretStr | None, concurrency: int, timeout_s: float
    ) -> None:
        """`setting` is where the options lie, such as `models.caption_editor.options`. Opens no connection.

        `timeout_s` is for a request as a whole, from the moment it is begun to the last byte of its answer.
        Raises ValueError for a `base_url` that is no address, or one that carries a password.
        """
        parts = urlsplit(base_url)
        if parts.username is not None or parts.password is not None:
            raise ValueError("`base_url`: it carries a user or password, expected the key in `api_key`")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"`base_url`: found {base_url!r}, expected an address such as http://127.0.0.1:8000/v1")
        given = api_key.get_secret_value() if api_key is not None else os.environ.get(KEY_VARIABLE)
        self._key = given or _NO_KEY
        SECRETS.remember([given] if given else [])
        self._setting = setting
        self._url = base_url
        self._model = model
        self._timeout_s = timeout_s
        self._concurrency = concurrency
        self._answered: dict[str, ChatReply] = {}

    def check_model(self) -> None:
        """See that the endpoint is there and has the model.

        Raises TransientError where it is not there yet, ConfigurationError naming the setting that is wrong.
        """
        try:
            text = asyncio.run(self._listed())
            models = [model.id for model in _Models.model_validate_json(text).data]
        except openai.NotFoundError as error:
            self._refuse("base_url", f"found {self._url!r}, which has no list of models ({self._said(error)})")
        except openai.OpenAIError as error:
            self._raise(error)
        except ValidationError:
            self._refuse("base_url", f"found {self._url!r}, which answers with something that is no list of models")
        if self._model not in models:
            known = ", ".join(models[:_MODELS_NAMED]) + (", ..." if len(models) > _MODELS_NAMED else "")
            self._refuse("model", f"found {self._model!r}, expected one that {self._url} has: {known or 'it has none'}")

    def check_request(self, request: ChatRequest) -> ChatReply:
        """Ask one request at the start: an endpoint that can not answer it will not answer the others.

        Raises TransientError and ConfigurationError as above.
        """
        [answer] = asyncio.run(self._ask_all([request]))
        match answer:
            case ChatReply():
                return answer
            case EndpointReplyError():
                raise ConfigurationError(f"settings `{self._setting}`: a first request came to nothing: {answer}")
            case _:
                assert answer is not None, "no other request could have met an outage"
                raise answer

    def complete(self, requests: Sequence[ChatRequest], check: Callable[[ChatReply], None]) -> list[ChatReply]:
        """One reply per request, in order; `concurrency` requests at a time. `check` raises EndpointReplyError for a reply
        that is of no use.

        Where a request fails, the others' replies are kept for the next call. After an outage (see the package) no
        further request is begun; after one request's own fault the others are asked all the same.
        Raises ConfigurationError before TransientError before EndpointReplyError where requests failed differently.
        """
        keys = [_key(request) for request in requests]
        replies = {key: self._answered[key] for key in keys if key in self._answered}
        missing = {key: request for key, request in zip(keys, requests, strict=True) if key not in replies}
        failures: list[_Failure] = []
        answers = asyncio.run(self._ask_all(list(missing.values()))) if missing else []
        for key, answer in zip(missing, answers, strict=True):
            match answer:
                case ChatReply():
                    try:
                        check(answer)
                        replies[key] = answer
                    except EndpointReplyError as error:
                        failures.append(error)
                case Exception():
                    failures.append(answer)
        if failures:
            self._remember(replies)
            raise min(failures, key=_rank)
        for key in replies:
            self._answered.pop(key, None)
        return [replies[key] for key in keys]

    def _remember(self, replies: Mapping[str, ChatReply]) -> None:
        self._answered |= replies
        for key in list(self._answered)[:-_REMEMBERED]:
            del self._answered[key]

    async def _listed(self) -> str:
        async with self._connected() as client:
            return await self._in_time(client.models.with_raw_response.list())

    async def _ask_all(self, requests: Sequence[ChatRequest]) -> list[ChatReply | _Failure | None]:
        """The reply of each or its failure; None for those that were not begun because another has met an outage."""
        outage = asyncio.Event()
        slots = asyncio.Semaphore(self._concurrency)
        async with self._connected() as client:

            async def ask(request: ChatRequest) -> ChatReply | _Failure | None:
                async with slots:
                    if outage.is_set():
                        return None
                    try:
                        return await self._ask(client, request)
                    except EndpointReplyError as error:
                        return error
                    except (ConfigurationError, TransientError) as error:
                        outage.set()
                        return error

            return await asyncio.gather(*map(ask, requests))

    def _connected(self) -> Any:
        """A client to be closed. It has no limits of its own: they are for parts of a request."""
        return openai.AsyncOpenAI(base_url=self._url, api_key=self._key, max_retries=0, timeout=None)

    async def _in_time(self, asked: Awaitable[Any]) -> str:
        """The text of the answer, once all of it is there. Raises TransientError where that takes too long."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return (await asked).text
        except TimeoutError:
            raise TransientError(
                f"{self._url}: no answer within {self._timeout_s:g} s (`{self._setting}.timeout_s`)"
            ) from None

    async def _ask(self, client: Any, request: ChatRequest) -> ChatReply:
        try:
            text = await self._in_time(client.chat.completions.with_raw_response.create(**_body(self._model, request)))
        except openai.OpenAIError as error:
            self._raise(error)
        try:
            completion = _Completion.model_validate_json(text)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, problem["loc"])) or "the answer"
            # Without its cause, which shows the answer: nobody knows what is in it.
            raise EndpointReplyError(f"{self._url}: no chat completion: {where}: {problem['msg']}") from None
        first = completion.choices[0]
        if first.finish_reason == _FILTERED:
            # What is left of it may read like a whole reply; other endpoints refuse such a request outright.
            raise EndpointReplyError(f"{self._url}: the reply was cut by a filter of its contents ({_FILTERED})")
        return ChatReply(first.message.content or "", first.finish_reason in _ENDED, completion.system_fingerprint)

    def _raise(self, error: openai.OpenAIError) -> NoReturn:
        """What the runtime makes of it. Without the cause: that one has headers and bodies, and the key may be in them."""
        match error:
            case openai.APIConnectionError():
                raise TransientError(f"{self._url} can not be reached: {self._said(error)}") from None
            case openai.APIStatusError():
                self._raise_status(error)
            case _:
                raise EndpointReplyError(f"{self._url}: {self._said(error)}") from None

    def _raise_status(self, error: openai.APIStatusError) -> NoReturn:
        match error.status_code:
            case 401 | 403:
                found = "no key" if self._key == _NO_KEY else "a key that it refuses"
                self._refuse(
                    "api_key",
                    f"found {found}, {self._url} asks for another (here or in {KEY_VARIABLE}): {self._said(error)}",
                )
            case 404:
                self._refuse("model", f"found {self._model!r}, {self._url} does not have it: {self._said(error)}")
            case status if status in _TRANSIENT_STATUSES or status >= 500:
                asked = retry_after_s(error.response.headers.get("Retry-After"))
                raise TransientError(f"{self._url}: {self._said(error)}", retry_after_s=asked) from None
            case _:
                raise EndpointReplyError(f"{self._url} refuses the request: {self._said(error)}") from None

    def _refuse(self, option: str, problem: str) -> NoReturn:
        raise ConfigurationError(f"setting `{self._setting}.{option}`: {problem}") from None

    def _said(self, error: openai.OpenAIError) -> str:
        """The error on one line, without the key: some endpoints send back what they were sent."""
        text = _root(error) if isinstance(error, openai.APIConnectionError) else str(error)
        line = " ".join(text.split())[:_LONGEST_MESSAGE]
        return line if self._key == _NO_KEY else line.replace(self._key, "***")


def _root(error: BaseException) -> str:
    """What was wrong in the first place: the wrappers around it, one for each library on the way, say little."""
    while (inner := error.__cause__ or error.__context__) is not None:
        # A name may stand for several addresses, each with a failure of its own: mostly the same one.
        error = inner.exceptions[0] if isinstance(inner, BaseExceptionGroup) else inner
    number = error.errno if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else None
    if number is not None and number in errno.errorcode:
        return os.strerror(number)  # where asyncio says "Connect call failed", whatever it was
    return str(error) or type(error).__name__


def _body(model: str, request: ChatRequest) -> dict[str, Any]:
    return {
        "model": model,
        "messages": request.messages,
        "max_tokens": request.decoding.max_new_tokens,
        "temperature": request.decoding.temperature,
        "top_p": request.decoding.top_p,
        "seed": request.seed,
    }


def _key(request: ChatRequest) -> str:
    return hashlib.sha256(json.dumps(_body("", request), sort_keys=True).encode()).hexdigest()


def _rank(error: Exception) -> int:
    """What says most about the batch as a whole comes first."""
    match error:
        case ConfigurationError():
            return 0
        case TransientError():
            return 1
        case _:
            return 2
