"""Reading request bodies: whole, or piece by piece, within the route's cap and in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import StreamReader, web
from aiohttp.hdrs import EXPECT
from aiohttp.streams import EMPTY_PAYLOAD

from gateway.errors import BodyTooLarge, ExpectationFailed, RequestError, RequestTimeout
from gateway.exchange import GatewayRequest

_SMALL_BYTES = 32 * 1024
"""Of a body in one piece: aiohttp pauses no connection for so little."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def admit(request: GatewayRequest, cap_bytes: int) -> None:
    """Refuse a body that is announced too large; ask for one whose sender waits to be asked.

    Called once a request has passed everything that could still refuse it, and before its body
    is read (RFC 9110 section 10.1.1). Raise BodyTooLarge or ExpectationFailed.
    """
    length = request.content_length
    if length is not None and length > cap_bytes:
        raise BodyTooLarge(cap_bytes)
    expect = request._message.headers.get(EXPECT)
    if expect is None:
        return
    if expect.lower() != "100-continue":
        raise ExpectationFailed
    content = request.content
    if request.transport is not None and not content.total_bytes and not content.is_eof():
        request.transport.write(_CONTINUE)


async def pieces(request: GatewayRequest, cap_bytes: int, silence_s: float) -> AsyncIterator[bytes]:
    """The body as it arrives.

    Raise BodyTooLarge past the cap, RequestTimeout after `silence_s` without a byte,
    RequestError if its framing is broken.
    """
    content = request.content
    exchange = request.exchange
    while not content.at_eof():
        try:
            if content.is_eof() or content._buffer:
                data = content.read_nowait(-1)
            else:
                async with asyncio.timeout(silence_s):
                    data = await content.readany()
        except TimeoutError:
            raise RequestTimeout from None
        except web.RequestPayloadError as exc:
            raise RequestError("The request body is malformed.", reason=str(exc)) from exc
        exchange.bytes_in += len(data)
        if exchange.bytes_in > cap_bytes:
            raise BodyTooLarge(cap_bytes)
        if data:
            yield data


def here(request: GatewayRequest, cap_bytes: int) -> bytes | None:
    """The whole body, if it has come: in one packet with the head, as nearly all do, or because
    somebody has read it before. Raise BodyTooLarge.
    """
    body = request._read_bytes
    if body is None:
        content: StreamReader = request._payload
        if content is EMPTY_PAYLOAD:
            return b""
        if not content._eof or content._exception is not None:
            return None
        pieces = content._buffer
        if len(pieces) == 1 and content._size < _SMALL_BYTES and not content._buffer_offset:
            # What the reader would do, less what it does for many pieces and for a paused socket.
            body = pieces.popleft()
            content._size = 0
        else:
            body = content.read_nowait(-1)
        request.exchange.bytes_in = len(body)
        if len(body) > cap_bytes:
            raise BodyTooLarge(cap_bytes)
        request._read_bytes = body
    return body


async def whole(request: GatewayRequest, cap_bytes: int, silence_s: float) -> bytes:
    """The whole body, waited for. Raises what `pieces` raises."""
    body = here(request, cap_bytes)
    if body is None:
        body = b"".join([piece async for piece in pieces(request, cap_bytes, silence_s)])
        request._read_bytes = body
    return body
