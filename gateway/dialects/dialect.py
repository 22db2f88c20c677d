"""Interface of a dialect: all that differs between the APIs of two client families.

Each package below `gateway.dialects` describes its dialect by one `Dialect`. Values in, values out:
no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.dialects.continuation import Answer, Splitter
from gateway.dialects.json_schema import Schema
from gateway.dialects.listed_model import ListedModel
from gateway.dialects.model_entry import ModelEntry
from gateway.dialects.translation.conversation import Conversation
from gateway.dialects.translation.embeddings import EmbeddingRequest, Vectors
from gateway.dialects.translation.options import TranslationOptions
from gateway.dialects.translation.pieces import (
    CompleteAnswer,
    Piece,
    StreamReader,
    StreamWriter,
    WriterContext,
)
from gateway.errors import GatewayError
from gateway.sse import EventSplitter


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Paths of a dialect's API. Apart from `base`, they are ends of request paths."""

    base: str
    """Path in front of the paths of the API's endpoints."""
    holds_base: re.Pattern[str]
    """Pattern of the paths of endpoint URLs that include a base, after which none is inserted."""
    generating: tuple[str, ...]
    """Endpoints that generate text. The first is the chat endpoint."""
    operations: Mapping[str, str]
    """Values of `gen_ai.operation.name` for the endpoints of models. An end that is also the end of
    another comes after it.
    """
    without_text: tuple[str, ...] = ()
    """Endpoints whose responses are no text, so that their length says nothing about tokens."""
    without_generation: tuple[str, ...] = ()
    """Endpoints that count, list or report."""
    resources: str = ""
    """Pattern of paths that store or manage something, for which no output is generated."""


@dataclass(frozen=True, slots=True)
class Chat:
    """Chat endpoint for callers."""

    read: Callable[[dict[str, Any]], Conversation]
    """Read a request body. Raise RequestError, or its subclass NotTranslatable."""
    write: Callable[[CompleteAnswer, WriterContext], bytes]
    """Return the body of a whole response. Raise UpstreamInvalidResponse."""
    writer: Callable[[WriterContext], StreamWriter]


RefusedField = Callable[[int, bytes, Collection[str], Collection[str]], str | None]
"""Function that takes an error response's status and body, the optional fields of the request, and
those that the backend has accepted before. It returns the refused field, or None.
"""


@dataclass(frozen=True, slots=True)
class ChatBackend:
    """Chat endpoint of a backend."""

    path: str
    """Path below the dialect's base."""
    write: Callable[[Conversation, TranslationOptions], dict[str, Any]]
    """Build a request body. Raise NotTranslatable."""
    read: Callable[[dict[str, Any]], list[Piece]]
    """Return the pieces of a whole response."""
    reader: Callable[[], StreamReader]
    optional: frozenset[str] = frozenset()
    """Request fields that can be omitted or written differently for a backend that refuses them."""
    refused_field: RefusedField | None = None
    """Return which of them an error response refuses, if there are any."""
    trims_prefill: bool = False
    """True if `write` removes white space at the end of a prefill, which the answer repeats."""


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Embeddings endpoint for callers."""

    read: Callable[[dict[str, Any]], EmbeddingRequest]
    """Read a request body. Raise RequestError, or its subclass NotTranslatable."""
    write: Callable[[Vectors, EmbeddingRequest], bytes]
    """Return the body of the response. Raise UpstreamInvalidResponse."""


@dataclass(frozen=True, slots=True)
class EmbeddingsBackend:
    """Embeddings endpoint of a backend."""

    path: str
    """Path below the dialect's base."""
    write: Callable[[EmbeddingRequest], dict[str, Any]]
    """Build a request body."""
    read: Callable[[dict[str, Any]], Vectors]
    """Read a response. Raise UpstreamInvalidResponse."""


@dataclass(frozen=True, slots=True)
class ModelLists:
    """Responses about models. They reveal nothing about upstreams."""

    list: Callable[[Iterable[ModelEntry]], bytes]
    """Return the list of these models, for `/v1/models`."""
    entry: Callable[[ModelEntry], bytes]
    """Return the entry of one model, for the paths below `/v1/models`."""
    expects: Callable[[Mapping[str, str]], bool] | None = None
    """True if the request headers show a client that expects this format on any route."""
    others: Mapping[str, Callable[[Iterable[ModelEntry]], bytes]] = field(default_factory=dict)
    """Further responses to GET for these models, by the path below the dialect's base."""
    listed_at: str = "/models"
    """Path below the dialect's base where a backend lists its models."""
    read: Callable[[object], Sequence[ListedModel]] | None = None
    """Read such a list, parsed from JSON: the models with usable names. Raise BadModelList. None if
    backends of this dialect list none.
    """
    details: tuple[str, Callable[[ModelEntry], bytes]] | None = None
    """Path below the base where clients POST a model's name, and the details of a model whose
    backend cannot be asked in this dialect.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """API format of one client family and of the backends that speak it."""

    name: str
    """Name in the configuration."""
    stream_type: bytes
    """Media type of this dialect's streams. A response of this type can carry an error event."""

    error_body: Callable[[GatewayError, str], bytes]
    """Return the JSON body of an error response. The text is the request id, or empty."""
    error_event: Callable[[GatewayError, str, bytes], bytes]
    """Return one error event that ends a stream, well-formed whatever was sent before it.

    The text is the request id. The bytes are the last ones of the stream that were sent: at least
    `sse.TAIL_BYTES`, or all if fewer were sent.
    """
    passed_error: Callable[[bytes], bytes | None]
    """Return an upstream's error body, already in this dialect, as one stream event; None if the
    bytes are no error document.
    """

    paths: Paths
    headers: frozenset[bytes] = frozenset()
    """Request headers of this dialect alone, in lower case; backends of others do not get them."""
    needed_headers: Mapping[bytes, bytes] = field(default_factory=dict)
    """Request headers that a backend of this dialect needs."""
    credential: bytes = b"Authorization: Bearer %b\r\n"
    """Header line that carries a caller's credential."""

    settings: frozenset[str] = frozenset()
    """Settings of an upstream that only some dialects have: keys of `translation`, the key
    `stream_options`, and the value `continue_final_message` of `continues`.
    """
    asks_for_usage: bool = False
    """True if a stream reports token usage only to callers that ask for it in `stream_options`."""
    keeps_responses: bool = False
    """True if the API has stored responses, with a way of its own to reconnect to a stream."""

    request_schemas: Mapping[str, Schema] = field(default_factory=dict)
    """JSON Schemas of request bodies, by the end of the path. An end that is also the end of
    another comes after it.
    """

    models: ModelLists
    named_models: Callable[[str, Mapping[str, Any]], list[str]] | None = None
    """Return the models that a request names otherwise than by `model`, from its path and body."""

    splitter: Callable[[], Splitter] = EventSplitter
    """Make a splitter for one stream."""
    continuation: Callable[[], Answer] | None = None
    """Make the record of a streamed chat that another backend may continue."""
    streams_by_default: bool = False
    """True if a request that does not name `stream` is answered by a stream."""

    chats: Mapping[str, Chat]
    """Chat endpoints for callers, by the end of the path."""
    chat_backend: ChatBackend
    embeddings: Mapping[str, Embeddings] = field(default_factory=dict)
    """Embeddings endpoints for callers, by the end of the path."""
    embeddings_backend: EmbeddingsBackend | None = None
