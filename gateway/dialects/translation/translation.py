"""From a caller's dialect to a backend's, and back: what is asked, what is answered, what fails.

No I/O here: a `Translation` is made for a pair of dialects when the configuration is read, a
`TranslatedCall` for each request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from gateway.dialects import DIALECTS
from gateway.dialects.translation import (
    anthropic_answers,
    anthropic_requests,
    backend_errors,
    embeddings,
    ollama_answers,
    ollama_requests,
    openai_answers,
    openai_requests,
)
from gateway.dialects.translation.conversation import Conversation, estimated_tokens
from gateway.dialects.translation.openai_requests import OPTIONAL
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
        b"accept-encoding",  # its answers are read here
        b"anthropic-beta",
        b"anthropic-dangerous-direct-browser-access",
        b"anthropic-version",
        b"content-type",
        b"openai-beta",
        b"openai-organization",
        b"openai-project",
    }
)
"""Headers of one dialect, and those that are written anew."""
_PLAIN = {b"Content-Type": b"application/json", b"Accept": b"application/json"}
_ANTHROPIC = {**_PLAIN, b"anthropic-version": b"2023-06-01"}


@dataclass(frozen=True, slots=True)
class _Asking:
    """What callers may ask for at a path of their dialect."""

    read: Callable[[dict[str, Any]], Conversation]
    write: Callable[[Whole, Telling], bytes]
    writer: Callable[[Telling], StreamWriter]


@dataclass(frozen=True, slots=True)
class _Answering:
    """How backends of a dialect are asked, and how they answer."""

    base: str
    path: str
    """Below the base."""
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
"""By dialect, and by how the path ends."""
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
"""Base paths of endpoints that hold the dialect's own base, such as `/openai/v1`, `/v1beta/openai`
and `/api/paas/v4`: nothing is put between them and the rest.
"""


@dataclass(frozen=True, slots=True)
class Path:
    """Where a backend is asked."""

    base: str
    rest: str
    holds_base: re.Pattern[str] | None
    """Matches the paths of endpoints that hold a base already; None: none does."""

    def at(self, endpoint: str) -> str:
        """The whole path, at an endpoint with this one."""
        if self.holds_base is not None and self.holds_base.search(endpoint):
            return endpoint + self.rest
        return endpoint + self.base + self.rest


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as the backend is to get it: plain values, which another process may make."""

    ending: str
    """How the caller's path ends, by which its answer is known."""
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
    """White space before the answer was said already."""
    answer: Callable[[bytes, str], bytes] | None = None
    """Makes the whole answer, of embeddings."""


@dataclass(frozen=True, slots=True)
class TranslatedCall:
    """One request, as the backend is to get it, and how its answer becomes the caller's."""

    path: Path
    body: bytes
    fields: frozenset[str]
    """Those of the body that could be left out, or be written otherwise."""
    stream: bool
    whole: Callable[[bytes], tuple[bytes, Sequence[Skip]]]
    """Makes the body of a whole answer, and says what was left out. Raises GatewayError."""
    reader: StreamReader | None = None
    writer: StreamWriter | None = None
    dropped: tuple[str, ...] = ()
    """Names of fields that are not carried."""


class Translation:
    """Between a route's dialect and an upstream's other one."""

    def __init__(
        self,
        caller: str,
        backend: str,
        options: TranslationOptions,
        replaced: frozenset[bytes] = frozenset(),
    ) -> None:
        """`replaced` are lower-cased headers that the configuration sets."""
        self._made_of = caller, backend, options, replaced
        self._options = options
        self._backend = backend
        self._chats = _CHATS[caller]
        self._answering = _BACKENDS[backend]
        self._caller = DIALECTS[caller]
        self.backend_stream_type = DIALECTS[backend].stream_type
        self.stream_type = self._caller.stream_type
        """The caller's."""
        self.dropped = _DROPPED
        own = _ANTHROPIC if backend == "anthropic" else _PLAIN
        self._lines = b"".join(
            b"%b: %b\r\n" % field for field in own.items() if field[0].lower() not in replaced
        )

    def header_lines(self, credential: bytes | None) -> bytes:
        """What is said instead of the headers that are dropped. `credential` is the caller's own,
        if it is to be shown to the backend.
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
        """`ask` and `answering` in one."""
        return self.answering(self.ask(path, document, refused), telling)

    def ask(self, path: str, document: dict[str, Any], refused: Collection[str] = ()) -> Asked:
        """What the backend is asked. `refused` are fields that it was seen to refuse.

        Raise RequestError for what is malformed, and for what cannot be translated.
        """
        for ending, asking in self._chats.items():
            if path.endswith(ending):
                return self._ask_chat(ending, asking.read(document), refused)
        for ending in _EMBEDDINGS[self._caller.name]:
            if path.endswith(ending):
                return self._ask_embeddings(ending, document)
        raise NotTranslatable("path", f"it speaks {self._backend}, which has nothing like it")

    def ask_body(self, path: str, body: bytes, refused: Collection[str] = ()) -> Asked:
        """The same of a body that is not parsed yet."""
        document = parsed(body)
        if document is None:
            raise RequestError("The request body is not one JSON object.", code="invalid_json")
        return self.ask(path, document, refused)

    def answering(self, asked: Asked, telling: Telling) -> TranslatedCall:
        """How the answer to it becomes the caller's. `telling.model` is the name the caller asked
        for, if it is not the one in the body.
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
            include_usage=asked.include_usage,
            include_thinking=asked.include_thinking,
            model=model,
            input_estimate=asked.input_estimate,
        )
        return self._answer_chat(self._chats[asked.ending], asked, telling)

    def refusal(
        self, status: int, body: bytes, request_id: str, endpoint: str
    ) -> tuple[int, bytes]:
        """Status and body of an error response. `endpoint` is the URL of who answered."""
        error = backend_errors.of_answer(status, body, endpoint)
        return error.status, self._caller.error_body(error, request_id)

    def _path(self, rest: str) -> Path:
        base = self._options.base
        if base is not None:
            return Path(base, rest, None)
        return Path(self._answering.base, rest, _VERSIONED[self._backend])

    def _told_model(self, telling: Telling, asked: str) -> str:
        """The model name to tell; empty: the backend's own."""
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
    """Whether anything is translated that callers ask for at this very path."""
    if path.endswith(tuple(_CHATS[caller])):
        return True
    return backend in _EMBEDDING_PATHS and path.endswith(_EMBEDDINGS[caller])


def _dumped(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError as exc:  # of what was read: only its depth can be a fault
        raise RequestError("The request body is nested too deeply.", code="invalid_json") from exc
