"""Translate requests, responses and errors between a caller's and a backend's dialect.

No I/O here. A `Translation` is created for each pair of dialects when the configuration is read, a
`TranslatedCall` for each request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from gateway import sound_json
from gateway.dialects import DIALECTS
from gateway.dialects.anthropic import answers as anthropic_answers
from gateway.dialects.anthropic import requests as anthropic_requests
from gateway.dialects.ollama import answers as ollama_answers
from gateway.dialects.ollama import requests as ollama_requests
from gateway.dialects.openai import answers as openai_answers
from gateway.dialects.openai import requests as openai_requests
from gateway.dialects.openai.requests import OPTIONAL
from gateway.dialects.translation import backend_errors, embeddings
from gateway.dialects.translation.conversation import Conversation, estimated_tokens
from gateway.dialects.translation.options import TranslationOptions
from gateway.dialects.translation.pieces import (
    Piece,
    Skip,
    StreamReader,
    StreamWriter,
    Telling,
    Whole,
    whole,
)
from gateway.dialects.translation.prefill import TrimmedReader, ends_in_space, without_space
from gateway.dialects.translation.values import parsed
from gateway.errors import NotTranslatable, RequestError, UpstreamInvalidResponse

_DROPPED = frozenset(
    {
        b"accept",
        b"accept-encoding",  # the gateway itself decodes the backend's responses
        b"anthropic-beta",
        b"anthropic-dangerous-direct-browser-access",
        b"anthropic-version",
        b"content-type",
        b"openai-beta",
        b"openai-organization",
        b"openai-project",
    }
)
"""Request headers that are specific to one dialect or are replaced."""
_PLAIN = {b"Content-Type": b"application/json", b"Accept": b"application/json"}
_ANTHROPIC = {**_PLAIN, b"anthropic-version": b"2023-06-01"}


@dataclass(frozen=True, slots=True)
class _Asking:
    """Reader and writers for one path of a caller's dialect."""

    read: Callable[[dict[str, Any]], Conversation]
    write: Callable[[Whole, Telling], bytes]
    writer: Callable[[Telling], StreamWriter]


@dataclass(frozen=True, slots=True)
class _Answering:
    """Request paths, writer and readers for the backends of one dialect."""

    base: str
    path: str
    """Path below the base."""
    write: Callable[[Conversation, TranslationOptions], dict[str, Any]]
    read: Callable[[dict[str, Any]], list[Piece]]
    reader: Callable[[], StreamReader]


def _ollama(read: Callable[[dict[str, Any]], Conversation], shape: ollama_answers.Shape) -> _Asking:
    return _Asking(
        read,
        lambda answer, telling: ollama_answers.write(answer, telling, shape),
        lambda telling: ollama_answers.Writer(telling, shape),
    )


_CHATS: Mapping[str, Mapping[str, _Asking]] = {
    "openai": {
        "/chat/completions": _Asking(
            openai_requests.read, openai_answers.write, openai_answers.Writer
        )
    },
    "anthropic": {
        "/messages": _Asking(
            anthropic_requests.read, anthropic_answers.write, anthropic_answers.Writer
        )
    },
    "ollama": {
        "/chat": _ollama(ollama_requests.read_chat, ollama_answers.chat),
        "/generate": _ollama(ollama_requests.read_generate, ollama_answers.generate),
    },
}
"""Chat endpoints by the caller's dialect and the end of the path."""
_BACKENDS: Mapping[str, _Answering] = {
    "openai": _Answering(
        "/v1",
        "/chat/completions",
        openai_requests.write,
        openai_answers.read,
        openai_answers.Reader,
    ),
    "anthropic": _Answering(
        "/v1",
        "/messages",
        anthropic_requests.write,
        anthropic_answers.read,
        anthropic_answers.Reader,
    ),
    "ollama": _Answering(
        "/api", "/chat", ollama_requests.write, ollama_answers.read, ollama_answers.Reader
    ),
}
_EMBEDDINGS = {"openai": ("/embeddings",), "ollama": ("/embed", "/embeddings"), "anthropic": ()}
_EMBEDDING_PATHS = {"openai": "/embeddings", "ollama": "/embed"}
_VERSIONED = {
    "openai": re.compile(r"/v\d[0-9a-z]*(?:/openai)?$"),
    "anthropic": re.compile(r"/v\d[0-9a-z]*$"),
    "ollama": re.compile(r"/api$"),
}
"""Endpoint base paths that include the dialect's own base, such as `/openai/v1`, `/v1beta/openai`
and `/api/paas/v4`. The dialect's base is not inserted after them.
"""


@dataclass(frozen=True, slots=True)
class Path:
    """Request path for a backend, apart from the endpoint's own base path."""

    base: str
    rest: str
    holds_base: re.Pattern[str] | None
    """Pattern of endpoint paths that include a base; None if the base is always inserted."""

    def at(self, endpoint: str) -> str:
        """Return the full path for an endpoint with this base path."""
        if self.holds_base is not None and self.holds_base.search(endpoint):
            return endpoint + self.rest
        return endpoint + self.base + self.rest


@dataclass(frozen=True, slots=True)
class Asked:
    """Translated request. Holds plain values only, so that another process can create it."""

    ending: str
    """End of the caller's path, which selects the response format."""
    path: Path
    body: bytes
    model: str
    dropped: tuple[str, ...]
    fields: frozenset[str] = frozenset()
    stream: bool = False
    include_usage: bool = False
    include_thinking: bool = False
    input_estimate: int = 0
    trims: bool = False
    """True if white space at the start of the answer repeats the end of the request's prefill."""
    answer: Callable[[bytes, str], bytes] | None = None
    """Translator of the whole response body; set for embeddings only."""


@dataclass(frozen=True, slots=True)
class TranslatedCall:
    """Translated request, and the codecs that translate its response."""

    path: Path
    body: bytes
    fields: frozenset[str]
    """Fields of the body that can be omitted or written differently in a retry."""
    stream: bool
    whole: Callable[[bytes], tuple[bytes, Sequence[Skip]]]
    """Translate a whole response body; also return what was left out. Raises GatewayError."""
    reader: StreamReader | None = None
    writer: StreamWriter | None = None
    dropped: tuple[str, ...] = ()
    """Names of request fields that are not passed on."""
    hides_usage: bool = False
    """True if the stream ends with token usage that the client did not ask for."""


class Translation:
    """Translation between a route's dialect and the different dialect of an upstream."""

    def __init__(
        self,
        caller: str,
        backend: str,
        options: TranslationOptions,
        replaced: frozenset[bytes] = frozenset(),
    ) -> None:
        """Create a translation.

        `replaced` are names of headers that the configuration sets, in lower case.
        """
        self._made_of = caller, backend, options, replaced
        self._options = options
        self._backend = backend
        self._chats = _CHATS[caller]
        self._answering = _BACKENDS[backend]
        self._caller = DIALECTS[caller]
        self.backend_stream_type = DIALECTS[backend].stream_type
        self.stream_type = self._caller.stream_type
        """Media type of streams in the caller's dialect."""
        self.dropped = _DROPPED
        own = _ANTHROPIC if backend == "anthropic" else _PLAIN
        self._lines = b"".join(
            b"%b: %b\r\n" % field for field in own.items() if field[0].lower() not in replaced
        )

    def header_lines(self, credential: bytes | None) -> bytes:
        """Return the header lines that replace the dropped ones.

        `credential` is the caller's own credential if the backend is to receive it, else None.
        """
        if credential is None:
            return self._lines
        if self._backend == "anthropic":
            return self._lines + b"x-api-key: %b\r\n" % credential
        return self._lines + b"Authorization: Bearer %b\r\n" % credential

    def __reduce__(self) -> tuple[object, ...]:
        return Translation, self._made_of

    def call(
        self,
        path: str,
        document: dict[str, Any],
        telling: Telling,
        refused: Collection[str] = (),
    ) -> TranslatedCall:
        """Translate a request and prepare its response: `ask` and `answering` in one."""
        return self.answering(self.ask(path, document, refused), telling)

    def ask(self, path: str, document: dict[str, Any], refused: Collection[str] = ()) -> Asked:
        """Translate a request. `refused` are fields that the backend is known to refuse.

        Raise RequestError if the request is malformed or cannot be translated.
        """
        for ending, asking in self._chats.items():
            if path.endswith(ending):
                return self._ask_chat(ending, asking.read(document), refused)
        for ending in _EMBEDDINGS[self._caller.name]:
            if path.endswith(ending):
                return self._ask_embeddings(ending, document)
        raise NotTranslatable(
            "path", f"the API that it speaks ({self._backend}) has no such endpoint"
        )

    def ask_body(self, path: str, body: bytes, refused: Collection[str] = ()) -> Asked:
        """Translate a request from its unparsed body; see `ask`."""
        try:
            document = sound_json.loads(body)
        except orjson.JSONDecodeError:
            document = None
        if not isinstance(document, dict):
            raise RequestError("The request body is not one JSON object.", code="invalid_json")
        return self.ask(path, document, refused)

    def answering(self, asked: Asked, telling: Telling) -> TranslatedCall:
        """Prepare the translation of the response to `asked`.

        `telling.model` is the model name that the caller requested, if it differs from that in the
        body.
        """
        model, answer = self._told_model(telling, asked.model), asked.answer
        if answer is not None:
            return TranslatedCall(
                asked.path,
                asked.body,
                asked.fields,
                False,
                lambda data: (answer(data, model), ()),
                dropped=asked.dropped,
            )
        telling = replace(
            telling,
            include_usage=asked.include_usage or telling.counted,
            include_thinking=asked.include_thinking,
            model=model,
            input_estimate=asked.input_estimate,
        )
        return self._answer_chat(self._chats[asked.ending], asked, telling)

    def refusal(
        self, status: int, body: bytes, request_id: str, endpoint: str
    ) -> tuple[int, bytes]:
        """Translate an error response into status and body.

        `endpoint` is the URL of the backend, which is masked in the message.
        """
        error = backend_errors.of_answer(status, body, endpoint)
        return error.status, self._caller.error_body(error, request_id)

    def _path(self, rest: str) -> Path:
        base = self._options.base
        if base is not None:
            return Path(base, rest, None)
        return Path(self._answering.base, rest, _VERSIONED[self._backend])

    def _told_model(self, telling: Telling, asked: str) -> str:
        """Return the model name to report; empty for the backend's own."""
        return (telling.model or asked) if self._options.tells_asked else ""

    def _ask_chat(self, ending: str, asked: Conversation, refused: Collection[str]) -> Asked:
        answering, options = self._answering, self._options
        if refused:
            options = replace(options, refused=frozenset(refused))
        written = answering.write(asked, options)
        return Asked(
            ending,
            self._path(answering.path),
            _dumped(written),
            asked.model,
            tuple(asked.dropped),
            OPTIONAL & written.keys() if self._backend == "openai" else frozenset(),
            asked.stream,
            asked.include_usage,
            asked.include_thinking,
            estimated_tokens(asked) if asked.stream else 0,
            self._backend == "anthropic" and ends_in_space(asked),
        )

    def _answer_chat(self, asking: _Asking, asked: Asked, telling: Telling) -> TranslatedCall:
        answering, trims = self._answering, asked.trims

        def make(answer: bytes) -> tuple[bytes, Sequence[Skip]]:
            said = parsed(answer)
            if said is None:
                raise UpstreamInvalidResponse("an answer that is no JSON object")
            try:
                pieces = answering.read(said)
                told = whole(without_space(pieces)[0] if trims else pieces)
                return asking.write(told, telling), told.skipped
            except orjson.JSONEncodeError as exc:
                raise UpstreamInvalidResponse("nested too deeply") from exc

        reader = None
        if asked.stream:
            reader = TrimmedReader(answering.reader()) if trims else answering.reader()
        return TranslatedCall(
            asked.path,
            asked.body,
            asked.fields,
            asked.stream,
            make,
            reader,
            asking.writer(telling) if asked.stream else None,
            asked.dropped,
            telling.counted and not asked.include_usage,
        )

    def _ask_embeddings(self, ending: str, document: dict[str, Any]) -> Asked:
        if self._backend not in _EMBEDDING_PATHS:
            raise embeddings.refused(self._backend)
        if self._caller.name == "openai":
            asked = embeddings.openai_to_ollama(document)
        else:
            asked = embeddings.ollama_to_openai(document, old=ending == "/embeddings")
        return Asked(
            ending,
            self._path(_EMBEDDING_PATHS[self._backend]),
            _dumped(asked.body),
            asked.body["model"],
            tuple(asked.dropped),
            answer=asked.answer,
        )


def translates(caller: str, backend: str, path: str) -> bool:
    """True if requests to this path can be translated for the backend's dialect."""
    if path.endswith(tuple(_CHATS[caller])):
        return True
    return backend in _EMBEDDING_PATHS and path.endswith(_EMBEDDINGS[caller])


def _dumped(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError as exc:  # the body was parsed JSON: only its depth can be wrong
        raise RequestError("The request body is nested too deeply.", code="invalid_json") from exc
