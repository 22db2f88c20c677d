"""The model name in answers that are not translated: the one the caller asked for, in place of the
backend's, without parsing any event.

The backend's name is looked for in the first bytes of the answer; from then on `"model":"…"` with
just this name is replaced wherever it stands. Inside a JSON string it would have escaped quotes,
so what a model says is never changed.
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
"""A stream in which no model was found in so many bytes passes as it is. A line that has not ended
is searched again with every piece, and counts again.
"""
_PARSED_BYTES = 1024 * 1024


class NameReplacer:
    """Replaces the name in one stream. The work is linear in its bytes."""

    __slots__ = ("_held", "_left", "_new", "_old")

    def __init__(self, name: str) -> None:
        self._new = b'"model":' + orjson.dumps(name)
        self._old = b""
        """The field as the backend writes it; empty until it was seen."""
        self._left = _SEARCHED_BYTES
        """How many more bytes are searched for it."""
        self._held = b""
        """The end of the bytes so far, if more may make it the field."""

    def feed(self, data: bytes) -> bytes:
        """What may pass now."""
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
        if not data.endswith(b"\n"):  # the field holds no line break
            last = data.rfind(old)
            least = last + len(old) if last >= 0 else 0
            start = data.find(b'"', max(least, len(data) - len(old) + 1))
            while start >= 0 and not old.startswith(data[start:]):
                start = data.find(b'"', start + 1)
            if start >= 0:
                data, self._held = data[:start], data[start:]
        return data.replace(old, self._new)

    def flush(self) -> bytes:
        """What is left at the end of the stream."""
        held, self._held = self._held, b""
        return held

    def _unseen(self, data: bytes) -> bytes:
        """Whole lines pass; a line that has begun may become one with the field."""
        self._left -= len(data)
        if self._left > 0:
            end = data.rfind(b"\n") + 1
            data, self._held = data[:end], data[end:]
        return data


class _Renaming:
    """Between two responses: a sink to the upstream's, and the source of the caller's."""

    def __init__(self, raw: UpstreamResponse, name: str) -> None:
        self._raw = raw
        self._names = NameReplacer(name)
        self.response = UpstreamResponse(raw.head, self)
        if raw.unread:
            self.feed(raw.take_unread())
        if raw.complete or raw.error is not None:
            self.finish(raw.error)
        else:
            raw.attach(self)

    # The upstream's response calls these two.

    def feed(self, data: bytes) -> None:
        """Pass it on."""
        data = self._names.feed(data)
        if data:
            self.response.feed(data)

    def finish(self, error: GatewayError | None) -> None:
        """The upstream's body is complete, or broke off."""
        rest = self._names.flush()
        if rest:
            self.response.feed(rest)
        self.response.finish(error)

    # The caller's response calls these.

    @property
    def silent_s(self) -> float | None:
        """For how long the upstream has sent nothing."""
        return self._raw.silent_s

    def pause(self) -> None:
        """The caller is behind."""
        self._raw.pause()

    def resume(self) -> None:
        """The caller has caught up."""
        self._raw.resume()

    def fail(self, error: GatewayError) -> None:
        """End it with an error."""
        self._raw.fail(error)

    def abort(self) -> None:
        """Drop it."""
        self._raw.abort()


def _renamed(body: bytes, name: str) -> bytes:
    """A whole answer. What it says is looked for at its top level, if it is of a usual size."""
    document = parsed(body) if len(body) <= _PARSED_BYTES else None
    told = None if document is None else document.get("model")
    for match in _NAMED.finditer(body):
        if told is None or orjson.loads(match[1]) == told:
            return body.replace(match[0], b'"model":' + orjson.dumps(name))
    return body


async def told_as_asked(raw: UpstreamResponse, exchange: Exchange) -> UpstreamResponse:
    """The response with the model name that the caller asked for. Raise what broke it off."""
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
    attempt.response = response  # whose end tells how well the endpoint did
    return response
