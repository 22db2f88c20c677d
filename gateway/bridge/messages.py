"""Messages of the bridge protocol: parse and validate a client's, build the gateway's. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.errors import GatewayError, InvalidEventId, RequestError
from gateway.http.headers import (
    ACCEPT_ENCODING,
    CREDENTIALS,
    FORWARDING,
    HOP_BY_HOP,
    IDENTITY,
    OURS,
    WEBSOCKET,
)
from gateway.resume.ids import parse_after, parse_event_id, slot_of

_ID_CHARS = 64
_HEADERS_CAP = 32
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_VALUE = re.compile(r"[\t -~\xa0-\xff]{0,4096}")
_PATH = re.compile(r"/[!-\"$-~]{0,2047}")
_REFUSED_HEADERS = (
    HOP_BY_HOP
    | FORWARDING
    | IDENTITY
    | CREDENTIALS
    | OURS
    | WEBSOCKET
    | ACCEPT_ENCODING
    | {b"content-type", b"content-encoding", b"via"}
)
"""Headers that a client may not set: the handshake decides identity, encoding and connection."""
_FIELDS = {
    "create": frozenset({"op", "id", "body", "path", "headers"}),
    "cancel": frozenset({"op", "id"}),
    "resume": frozenset({"op", "id", "stream", "after"}),
    "ping": frozenset({"op"}),
}

Tag = bytes
"""Id that a client gave to a generation, encoded as JSON."""
PING = b'{"type":"ping"}'
PONG = b'{"type":"pong"}'


@dataclass(frozen=True, slots=True)
class BridgePaths:
    """Paths that the route behind the bridge serves."""

    chats: str
    """Path of a `create` that names none."""
    streams: frozenset[str]
    """Paths at which a body without `stream` is changed to request a stream."""


@dataclass(frozen=True, slots=True)
class CreateMessage:
    """Request to begin a generation."""

    tag: Tag
    body: bytes
    """Request body in JSON."""
    path: str
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class CancelMessage:
    """Request to stop a generation."""

    tag: Tag


@dataclass(frozen=True, slots=True)
class ResumeMessage:
    """Request to continue reading a stream after event number `after`."""

    tag: Tag
    stream: str
    after: int


@dataclass(frozen=True, slots=True)
class PingMessage:
    """Request for a pong."""


class BadMessage(Exception):
    """A message is invalid or cannot be served. `tag` is its generation id, if that is valid."""

    def __init__(self, error: GatewayError, tag: Tag | None = None) -> None:
        super().__init__(error, tag)
        self.error = error
        self.tag = tag


def parse(
    message: bytes, endpoints: BridgePaths
) -> CreateMessage | CancelMessage | ResumeMessage | PingMessage:
    """Parse a client's message. Raise BadMessage.

    Cost: a second for 16 MiB of brackets.
    """
    try:
        said = orjson.loads(message)
    except orjson.JSONDecodeError:
        said = None
    if not isinstance(said, dict):
        raise BadMessage(RequestError("A message is one JSON object.", code="invalid_json"))
    op = said.get("op")
    fields = _FIELDS.get(op) if isinstance(op, str) else None
    if fields is None:
        known = ", ".join(_FIELDS)
        raise BadMessage(
            RequestError(f"'op' has to be one of: {known}.", code="unknown_op", param="op"),
            _tag(said.get("id")),
        )
    if op == "ping":
        return PingMessage()
    tag = _tag(said.get("id"))
    if tag is None:
        raise BadMessage(
            _wrong("id", f"has to be a string of 1 to {_ID_CHARS} characters, or an integer")
        )
    if not fields.issuperset(said):
        raise BadMessage(
            RequestError(
                f"A '{op}' has no other fields than {', '.join(sorted(fields))}.",
                code="invalid_message",
            ),
            tag,
        )
    try:
        if op == "create":
            return _create(said, tag, endpoints)
        return CancelMessage(tag) if op == "cancel" else _resume(said, tag)
    except GatewayError as error:
        raise BadMessage(error, tag) from None


def _create(said: dict[str, Any], tag: Tag, endpoints: BridgePaths) -> CreateMessage:
    body, path, headers = said.get("body"), said.get("path"), said.get("headers", {})
    if not isinstance(body, dict):
        raise _wrong("body", "has to be an object: the body of the request")
    if path is not None and not (isinstance(path, str) and _PATH.fullmatch(path)):
        raise _wrong("path", "has to be the path of an endpoint, such as /v1/responses")
    if not isinstance(headers, dict) or len(headers) > _HEADERS_CAP:
        raise _wrong("headers", f"has to be an object of at most {_HEADERS_CAP} headers")
    for name, value in headers.items():
        if not (isinstance(value, str) and _NAME.fullmatch(name) and _VALUE.fullmatch(value)):
            raise _wrong("headers", "holds what is no header: names and values are strings")
        if name.lower().encode() in _REFUSED_HEADERS:
            raise _wrong(
                "headers", "holds one that the handshake settles, or the gateway writes itself"
            )
    path = path or endpoints.chats
    if "stream" not in body and path in endpoints.streams:
        body = {**body, "stream": True}
    try:
        data = orjson.dumps(body)
    except orjson.JSONEncodeError:
        raise _wrong("body", "is nested too deeply") from None
    return CreateMessage(tag, data, path, tuple(headers.items()))


def _resume(said: dict[str, Any], tag: Tag) -> ResumeMessage:
    """Parse a `resume`. Raise RequestError."""
    stream, after = said.get("stream"), said.get("after")
    if isinstance(after, int) and not isinstance(after, bool):
        after = str(after)
    if stream is None:
        if not isinstance(after, str):
            raise _wrong("after", "has to be the id of the last event you have")
        position = parse_event_id(after)
        return ResumeMessage(tag, position.stream, position.after)
    if not isinstance(stream, str) or slot_of(stream) is None:
        raise _wrong("stream", "has to be a stream's id, as 'created' tells it")
    if after is None:
        return ResumeMessage(tag, stream, 0)
    if not isinstance(after, str):
        raise InvalidEventId
    return ResumeMessage(tag, stream, parse_after(after, stream).after)


def _tag(value: object) -> Tag | None:
    """Encode a generation's id; None if it is not a valid id."""
    if isinstance(value, str):
        return orjson.dumps(value) if 0 < len(value) <= _ID_CHARS else None
    if isinstance(value, int) and not isinstance(value, bool):
        return orjson.dumps(value)
    return None


def _wrong(field: str, what: str) -> RequestError:
    return RequestError(f"'{field}' {what}.", code="invalid_message", param=field)


def build_message(tag: Tag | None, kind: bytes, **fields: object) -> bytes:
    """Build a message about a generation, or about the socket. Fields that are None are omitted."""
    said = {name: value for name, value in fields.items() if value is not None}
    begin = b'{"type":"%b"' % kind if tag is None else b'{"id":%b,"type":"%b"' % (tag, kind)
    return begin + (b"," + orjson.dumps(said)[1:] if said else b"}")


def expiring_message(left_s: float) -> bytes:
    """Build the message that the socket closes in so many seconds."""
    return build_message(None, b"expiring", seconds=round(left_s, 2))


def error_message(tag: Tag | None, status: int, body: bytes, **fields: object) -> bytes:
    """Build an error message from the body of an error response in any dialect."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    error = document.get("error") if isinstance(document, dict) else None
    if error is None:
        error = document or {"message": body[:1000].decode("utf-8", "replace")}
    code = document.get("code") if isinstance(document, dict) else None
    fields.update(status=status or None, code=code if isinstance(code, str) else None, error=error)
    return build_message(tag, b"error", **fields)
