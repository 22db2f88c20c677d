"""Translate requests, responses and errors between a caller's and a backend's dialect.

No I/O here. A `Translation` is created for each pair of dialects when the configuration is read, a
`TranslatedCall` for each request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from gateway import sound_json
from gateway.dialects import DIALECTS
from gateway.dialects.dialect import Chat, Embeddings
from gateway.dialects.translation import backend_errors
from gateway.dialects.translation.conversation import Conversation, estimated_tokens
from gateway.dialects.translation.embeddings import EmbeddingRequest
from gateway.dialects.translation.options import TranslationOptions
from gateway.dialects.translation.pieces import (
    Skip,
    StreamReader,
    StreamWriter,
    WriterContext,
    whole,
)
from gateway.dialects.translation.prefill import TrimmedReader, ends_in_space, without_space
from gateway.dialects.translation.values import parsed
from gateway.errors import NotTranslatable, RequestError, UpstreamInvalidResponse

_REPLACED = frozenset({b"accept", b"accept-encoding", b"content-type"})
"""Request headers that the gateway sets. It decodes the backend's responses itself."""
_HEADERS = {b"Content-Type": b"application/json", b"Accept": b"application/json"}


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
    embedding: EmbeddingRequest | None = None
    """Neutral form of the request; set for embeddings only."""


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
        self._caller = DIALECTS[caller]
        self._backend = DIALECTS[backend]
        self.backend_stream_type = self._backend.stream_type
        self.stream_type = self._caller.stream_type
        """Media type of streams in the caller's dialect."""
        self.dropped = _REPLACED.union(*(dialect.headers for dialect in DIALECTS.values()))
        """Request headers that are specific to one dialect or are replaced."""
        self._lines = b"".join(
            b"%b: %b\r\n" % (name, value)
            for name, value in (_HEADERS | dict(self._backend.needed_headers)).items()
            if name.lower() not in replaced
        )

    def header_lines(self, credential: bytes | None) -> bytes:
        """Return the header lines that replace the dropped ones.

        `credential` is the caller's own credential if the backend is to receive it, else None.
        """
        if credential is None:
            return self._lines
        return self._lines + self._backend.credential % credential

    def __reduce__(self) -> tuple[object, ...]:
        return Translation, self._made_of

    def call(
        self,
        path: str,
        document: dict[str, Any],
        context: WriterContext,
        refused: Collection[str] = (),
    ) -> TranslatedCall:
        """Translate a request and prepare its response: `ask` and `answering` in one."""
        return self.answering(self.ask(path, document, refused), context)

    def ask(self, path: str, document: dict[str, Any], refused: Collection[str] = ()) -> Asked:
        """Translate a request. `refused` are fields that the backend is known to refuse.

        Raise RequestError if the request is malformed or cannot be translated.
        """
        for ending, chat in self._caller.chats.items():
            if path.endswith(ending):
                return self._ask_chat(ending, chat.read(document), refused)
        for ending, embeddings in self._caller.embeddings.items():
            if path.endswith(ending):
                return self._ask_embeddings(ending, embeddings, document)
        raise NotTranslatable(
            "path", f"the API that it speaks ({self._backend.name}) has no such endpoint"
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

    def answering(self, asked: Asked, context: WriterContext) -> TranslatedCall:
        """Prepare the translation of the response to `asked`.

        `context.model` is the model name that the caller requested, if it differs from that in the
        body.
        """
        model = self._told_model(context, asked.model)
        if asked.embedding is not None:
            return self._answer_embeddings(asked, asked.embedding, model)
        context = replace(
            context,
            include_usage=asked.include_usage or context.counted,
            include_thinking=asked.include_thinking,
            model=model,
            input_estimate=asked.input_estimate,
        )
        return self._answer_chat(self._caller.chats[asked.ending], asked, context)

    def refusal(
        self, status: int, body: bytes, request_id: str, endpoint: str
    ) -> tuple[int, bytes]:
        """Translate an error response into status and body.

        `endpoint` is the URL of the backend, which is masked in the message.
        """
        error = backend_errors.of_answer(status, body, endpoint)
        return error.status, self._caller.error_body(error, request_id)

    def refused_field(
        self, status: int, body: bytes, sent: Collection[str], taken: Collection[str]
    ) -> str | None:
        """Return the optional field that an error response refuses; see `RefusedField`."""
        find = self._backend.chat_backend.refused_field
        return None if find is None else find(status, body, sent, taken)

    def _path(self, rest: str) -> Path:
        base = self._options.base
        if base is not None:
            return Path(base, rest, None)
        return Path(self._backend.paths.base, rest, self._backend.paths.holds_base)

    def _told_model(self, context: WriterContext, asked: str) -> str:
        """Return the model name to report; empty for the backend's own."""
        return (context.model or asked) if self._options.tells_asked else ""

    def _ask_chat(self, ending: str, asked: Conversation, refused: Collection[str]) -> Asked:
        backend, options = self._backend.chat_backend, self._options
        if refused:
            options = replace(options, refused=frozenset(refused))
        written = backend.write(asked, options)
        return Asked(
            ending,
            self._path(backend.path),
            _dumped(written),
            asked.model,
            tuple(asked.dropped),
            backend.optional & written.keys(),
            asked.stream,
            asked.include_usage,
            asked.include_thinking,
            estimated_tokens(asked) if asked.stream else 0,
            backend.trims_prefill and ends_in_space(asked),
        )

    def _answer_chat(self, chat: Chat, asked: Asked, context: WriterContext) -> TranslatedCall:
        backend, trims = self._backend.chat_backend, asked.trims

        def make(answer: bytes) -> tuple[bytes, Sequence[Skip]]:
            said = parsed(answer)
            if said is None:
                raise UpstreamInvalidResponse("an answer that is no JSON object")
            try:
                pieces = backend.read(said)
                told = whole(without_space(pieces)[0] if trims else pieces)
                return chat.write(told, context), told.skipped
            except orjson.JSONEncodeError as exc:
                raise UpstreamInvalidResponse("nested too deeply") from exc

        reader = None
        if asked.stream:
            reader = TrimmedReader(backend.reader()) if trims else backend.reader()
        return TranslatedCall(
            asked.path,
            asked.body,
            asked.fields,
            asked.stream,
            make,
            reader,
            chat.writer(context) if asked.stream else None,
            asked.dropped,
            context.counted and not asked.include_usage,
        )

    def _ask_embeddings(
        self, ending: str, embeddings: Embeddings, document: dict[str, Any]
    ) -> Asked:
        backend = self._backend.embeddings_backend
        if backend is None:
            raise NotTranslatable("input", f"{self._backend.name} has no embeddings")
        asked = embeddings.read(document)
        return Asked(
            ending,
            self._path(backend.path),
            _dumped(backend.write(asked)),
            asked.model,
            tuple(asked.dropped),
            embedding=asked,
        )

    def _answer_embeddings(
        self, asked: Asked, embedding: EmbeddingRequest, model: str
    ) -> TranslatedCall:
        backend, write = (
            self._backend.embeddings_backend,
            self._caller.embeddings[asked.ending].write,
        )
        assert backend is not None

        def make(answer: bytes) -> tuple[bytes, Sequence[Skip]]:
            vectors = backend.read(parsed(answer) or {})
            return write(replace(vectors, model=model or vectors.model), embedding), ()

        return TranslatedCall(
            asked.path, asked.body, asked.fields, False, make, dropped=asked.dropped
        )


def translates(caller: str, backend: str, path: str) -> bool:
    """True if requests to this path can be translated for the backend's dialect."""
    speaks = DIALECTS[caller]
    if path.endswith(tuple(speaks.chats)):
        return True
    return DIALECTS[backend].embeddings_backend is not None and path.endswith(
        tuple(speaks.embeddings)
    )


def _dumped(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError as exc:  # the body was parsed JSON: only its depth can be wrong
        raise RequestError("The request body is nested too deeply.", code="invalid_json") from exc
