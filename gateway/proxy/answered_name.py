"""Model name in responses that are not translated: replace the backend's name with the one the
caller requested, without parsing any event.

The backend's name is searched for in the first bytes of the response. From then on, `"model":"…"`
with exactly this name is replaced wherever it occurs. Inside a JSON string the quotes would be
escaped, so text that the model generates is never changed.
"""

from __future__ import annotations

import re

import orjson

from gateway.dialects.translation.values import parsed
from gateway.errors import GatewayError
from gateway.exchange import Exchange
from gateway.proxy.remade import WHOLE_CAP_BYTES, made, whole
from gateway.upstream.response import UpstreamResponse

_NAMED = re.compile(rb'"model"[ \t]*:[ \t]*("(?:[^"\\\r\n]|\\.)*+")')
_SEARCHED_BYTES = 1024 * 1024
"""Bytes of a stream that are searched for a model name; after that the stream passes unchanged. An
incomplete line is searched again with every piece, and is counted each time.
"""
_PARSED_BYTES = 1024 * 1024


class NameReplacer:
    """Replaces the model name in one stream. The work is linear in the number of bytes."""

    __slots__ = ("_held", "_left", "_new", "_old")

    def __init__(self, name: str) -> None:
        self._new = b'"model":' + orjson.dumps(name)
        self._old = b""
        """The field as the backend writes it; empty until it has been seen."""
        self._left = _SEARCHED_BYTES
        """Bytes still to be searched for the field."""
        self._held = b""
        """Trailing bytes that may turn out to be the start of the field."""

    def feed(self, data: bytes) -> bytes:
        """Return the bytes that can be sent now."""
        if self._held:
            data, self._held = self._held + data, b""
        old = self._old
        if not old:
            if self._left <= 0:
                return data
            match = _NAMED.search(data)
            if match is None:
                return self._unseen(data)
            old = self._old = match[0]
        if not data.endswith(b"\n"):  # the field contains no line break
            last = data.rfind(old)
            least = last + len(old) if last >= 0 else 0
            start = data.find(b'"', max(least, len(data) - len(old) + 1))
            while start >= 0 and not old.startswith(data[start:]):
                start = data.find(b'"', start + 1)
            if start >= 0:
                data, self._held = data[:start], data[start:]
        return data.replace(old, self._new)

    def flush(self) -> bytes:
        """Return the bytes held back, at the end of the stream."""
        held, self._held = self._held, b""
        return held

    def _unseen(self, data: bytes) -> bytes:
        """Pass complete lines; hold back an incomplete one, which may still come to contain the
        field.
        """
        self._left -= len(data)
        if self._left > 0:
            end = data.rfind(b"\n") + 1
            data, self._held = data[:end], data[end:]
        return data


class _Renaming:
    """Sink of the upstream's response, which is the source of the caller's response."""

    def __init__(self, raw: UpstreamResponse, name: str) -> None:
        self._raw = raw
        self._names = NameReplacer(name)
        self.response = UpstreamResponse(raw.head, raw)
        raw.read_into(self)

    def feed(self, data: bytes) -> None:
        """Pass the bytes on, with the name replaced."""
        data = self._names.feed(data)
        if data:
            self.response.feed(data)

    def finish(self, error: GatewayError | None) -> None:
        """End the caller's response: the upstream's body is complete or broke off."""
        rest = self._names.flush()
        if rest:
            self.response.feed(rest)
        self.response.ending = self._raw.ending
        self.response.finish(error)


def _renamed(body: bytes, name: str) -> bytes:
    """Return a complete body with the name replaced. A body of up to 1 MiB is parsed to learn the
    name at its top level; in a larger one, the first name found is replaced.
    """
    document = parsed(body) if len(body) <= _PARSED_BYTES else None
    told = None if document is None else document.get("model")
    for match in _NAMED.finditer(body):
        if told is None or orjson.loads(match[1]) == told:
            return body.replace(match[0], b'"model":' + orjson.dumps(name))
    return body


async def told_as_asked(raw: UpstreamResponse, exchange: Exchange) -> UpstreamResponse:
    """Return the response with the model name that the caller requested. Raise the error that broke
    off the upstream's body.
    """
    head, name, attempt = raw.head, exchange.model, exchange.attempt
    textual = head.content_type.lower().startswith((b"application/", b"text/event-stream"))
    if name is None or attempt is None or head.status != 200 or head.encoded or not textual:
        return raw
    if exchange.method != "POST" or (head.content_length or 0) > WHOLE_CAP_BYTES:
        return raw
    if head.content_length is None:
        response = _Renaming(raw, name).response
    else:
        body = _renamed(await whole(raw), name)
        response = made(head, 200, body, head.content_type)
    # Its end decides whether the attempt counts as a success of the endpoint.
    attempt.response = response
    return response
