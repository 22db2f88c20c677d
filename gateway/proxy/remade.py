"""Responses made of others: a head for another body, and a body that is taken as a whole."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from gateway.errors import GatewayError, UpstreamInvalidResponse
from gateway.upstream.head import RawHeader, ResponseHead
from gateway.upstream.response import UpstreamResponse

WHOLE_CAP_BYTES = 64 * 1024 * 1024
"""Of an answer that is taken as a whole: embeddings are long."""
_OF_THE_BODY = frozenset(
    {
        b"content-type",
        b"content-length",
        b"content-encoding",
        b"content-md5",
        b"digest",
        b"repr-digest",
        b"content-digest",
        b"etag",
    }
)
"""Headers that say something about the bytes of the body, which are others now."""


class _Collected:
    """A sink that keeps the whole body."""

    def __init__(self, raw: UpstreamResponse) -> None:
        self._raw = raw
        self._pieces: list[bytes] = []
        self._bytes = 0
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def feed(self, data: bytes) -> None:
        self._pieces.append(data)
        self._bytes += len(data)
        if self._bytes > WHOLE_CAP_BYTES:
            abort_soon(self._raw)
            self.finish(UpstreamInvalidResponse(f"more than {WHOLE_CAP_BYTES} bytes"))

    def finish(self, error: GatewayError | None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(b"".join(self._pieces))
        else:
            self.done.set_exception(error)


async def whole(raw: UpstreamResponse) -> bytes:
    """Its body. Raise what broke it off."""
    if raw.complete:
        return raw.take_unread()
    if raw.error is not None:
        raise raw.error
    collected = _Collected(raw)
    if raw.unread:
        collected.feed(raw.take_unread())
    raw.attach(collected)
    return await collected.done


def abort_soon(raw: UpstreamResponse) -> None:
    """Drop it, but not from within its connection's reading."""
    asyncio.get_running_loop().call_soon(raw.abort)


def made(
    head: ResponseHead, status: int, body: bytes, content_type: bytes = b"application/json"
) -> UpstreamResponse:
    """A response that is here as a whole."""
    response = UpstreamResponse(head_for(head, status, content_type, len(body)), _NOWHERE)
    response.feed(body)
    response.finish(None)
    return response


def head_for(
    head: ResponseHead, status: int, content_type: bytes, length: int | None
) -> ResponseHead:
    """The upstream's head, for another body."""
    fields: list[RawHeader] = [f for f in head.fields if f[0].lower() not in _OF_THE_BODY]
    fields.append((b"Content-Type", content_type))
    if length is not None:
        fields.append((b"Content-Length", b"%d" % length))
    reason = head.reason if status == head.status else HTTPStatus(status).phrase.encode()
    made = ResponseHead(status, reason, fields, "1.1")
    made.server, made.accel = head.server, head.accel
    return made


class _Nowhere:
    """The source of a response that is complete."""

    silent_s = None

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def fail(self, error: GatewayError) -> None:
        pass

    def abort(self) -> None:
        pass


_NOWHERE = _Nowhere()
