"""Responses built from others: a head adapted to another body, and a body collected whole."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from gateway.errors import GatewayError, UpstreamInvalidResponse
from gateway.upstream.head import RawHeader, ResponseHead
from gateway.upstream.response import UpstreamResponse

WHOLE_CAP_BYTES = 64 * 1024 * 1024
"""Size cap of a body that is collected whole: responses with embeddings are long."""
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
"""Headers that describe the bytes of the original body, and are wrong for another one."""


class _Collected:
    """Sink that collects the whole body."""

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
    """Wait for the whole body and return it. Raise the error that broke it off, or
    UpstreamInvalidResponse above the cap.
    """
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
    """Abort the response on the next turn of the event loop, so not from within its connection's
    callback.
    """
    asyncio.get_running_loop().call_soon(raw.abort)


def made(
    head: ResponseHead, status: int, body: bytes, content_type: bytes = b"application/json"
) -> UpstreamResponse:
    """Return a complete response with this body and the adapted head."""
    response = UpstreamResponse(head_for(head, status, content_type, len(body)), None)
    response.feed(body)
    response.finish(None)
    return response


def head_for(
    head: ResponseHead, status: int, content_type: bytes, length: int | None
) -> ResponseHead:
    """Return the upstream's head, adapted to another body. `length` is None for a stream."""
    fields: list[RawHeader] = [f for f in head.fields if f[0].lower() not in _OF_THE_BODY]
    fields.append((b"Content-Type", content_type))
    if length is not None:
        fields.append((b"Content-Length", b"%d" % length))
    reason = head.reason if status == head.status else HTTPStatus(status).phrase.encode()
    made = ResponseHead(status, reason, fields, "1.1")
    made.server, made.accel = head.server, head.accel
    return made
