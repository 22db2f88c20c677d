"""Reading request bodies: whole, or piece by piece, within the route's cap and in time.

A body that is read whole is decoded, and held until its request is over or its answer has begun.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import StreamReader, web
from aiohttp.hdrs import CONTENT_ENCODING, EXPECT
from aiohttp.streams import EMPTY_PAYLOAD

from gateway.errors import (
    BodyTooLarge,
    ExpectationFailed,
    Overloaded,
    RequestError,
    RequestTimeout,
)
from gateway.exchange import Exchange, GatewayRequest
from gateway.offload import Offload
from gateway.overload import BodyBudget
from gateway.proxy import json_body
from gateway.proxy.decoding import decoder
from gateway.proxy.json_body import JsonBody

SMALL_BYTES = 32 * 1024
"""A body in one piece: aiohttp pauses no connection for so little."""
_LARGE_BYTES = 1024 * 1024
"""Above this the event loop has its turn between the steps of reading a body."""
_ENOUGH_BYTES = 64 * 1024
"""Bytes of a body that come before memory is taken for it; aiohttp buffers twice that."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class HeldBody:
    """The share of a `BodyBudget` that one body has."""

    __slots__ = ("_budget", "_caller", "_size_bytes")

    def __init__(self, budget: BodyBudget, size_bytes: int, caller: str) -> None:
        self._budget = budget
        self._caller = caller
        self._size_bytes = size_bytes

    def shrink(self, size_bytes: int) -> None:
        """It turned out to be smaller."""
        less = self._size_bytes - size_bytes
        if less:
            self._budget.give_back(less, self._caller)
            self._size_bytes = size_bytes

    def end(self, _: Exchange) -> None:
        """It is held no more."""
        self.shrink(0)


@dataclass(frozen=True, slots=True)
class BodyReader:
    """How a route reads bodies. Sizes in bytes, times in seconds."""

    cap_bytes: int
    silence_s: float
    """The longest wait for a byte, and the most that a client may be behind `rate_bytes`."""
    budget: BodyBudget
    offload: Offload
    rate_bytes: int = 0
    """Bytes a second that a client has to send while it is waited for; 0 for any."""

    def check(self, request: GatewayRequest) -> None:
        """Look at what a request's head says of its body. Raise BodyTooLarge or
        ExpectationFailed.
        """
        length = request.content_length
        if length is not None and length > self.cap_bytes:
            raise BodyTooLarge(self.cap_bytes)
        expect = request._message.headers.get(EXPECT)
        if expect is not None and expect.lower() != "100-continue":
            raise ExpectationFailed

    def ask(self, request: GatewayRequest) -> None:
        """Ask for the body where the client waits for that.

        Called once a request has passed everything that can refuse it by its head (RFC 9110
        section 10.1.1).
        """
        content = request.content
        if (
            EXPECT in request._message.headers
            and request.transport is not None
            and not content.total_bytes
            and not content.is_eof()
        ):
            request.transport.write(_CONTINUE)

    async def begun(self, request: GatewayRequest) -> None:
        """Wait until all of a body is here, or 64 KiB of it; it stays unread.

        A client that announces a body and sends little of it takes no memory meanwhile. Raise what
        `pieces` raises.
        """
        content: StreamReader = request._payload
        left_s = self.silence_s
        while content._size < _ENOUGH_BYTES and not content.is_eof():
            size_bytes = content._size
            left_s -= await self._wait(content, left_s)
            left_s = self._earned(left_s, content._size - size_bytes)

    async def pieces(self, request: GatewayRequest) -> AsyncIterator[bytes]:
        """The body as it arrives, in whatever coding.

        Raise BodyTooLarge past the cap, RequestTimeout after `silence_s` without a byte or where
        the client is as much behind the rate, RequestError if its framing is broken.
        """
        content = request.content
        exchange = request.exchange
        left_s = self.silence_s
        while not content.at_eof():
            if not content.is_eof() and not content._buffer:
                left_s -= await self._wait(content, left_s)
            try:
                data = content.read_nowait(-1)
            except web.RequestPayloadError as exc:
                raise _malformed(exc) from exc
            left_s = self._earned(left_s, len(data))
            exchange.bytes_in += len(data)
            if exchange.bytes_in > self.cap_bytes:
                raise BodyTooLarge(self.cap_bytes)
            if data:
                yield data

    async def _wait(self, content: StreamReader, longest_s: float) -> float:
        """Wait for more of a body; how long that took. Only this counts against the client: while
        an upstream takes nothing, it cannot send.
        """
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            if content._exception is not None:
                raise content._exception
            async with asyncio.timeout(longest_s):
                await content._wait("body")
        except TimeoutError:
            raise RequestTimeout from None
        except web.RequestPayloadError as exc:
            raise _malformed(exc) from exc
        return clock() - began

    def _earned(self, left_s: float, size_bytes: int) -> float:
        """How long the client may be waited for after so many bytes more."""
        if not self.rate_bytes:
            return self.silence_s
        return min(self.silence_s, left_s + size_bytes / self.rate_bytes)

    def here(self, request: GatewayRequest) -> bytes | None:
        """The whole body, if it has come: in one packet with the head, as nearly all do, or because
        somebody has read it before. It is in whatever coding unless `exchange.decoded`. Raise
        BodyTooLarge.
        """
        body = request._read_bytes
        if body is None:
            content: StreamReader = request._payload
            if content is EMPTY_PAYLOAD:
                return b""
            if not content._eof or content._exception is not None:
                return None
            pieces = content._buffer
            if len(pieces) == 1 and content._size < SMALL_BYTES and not content._buffer_offset:
                # What the reader would do, less what it does for many pieces and for a paused
                # socket.
                body = pieces.popleft()
                content._size = 0
            else:
                body = content.read_nowait(-1)
            request.exchange.bytes_in = len(body)
            if len(body) > self.cap_bytes:
                raise BodyTooLarge(self.cap_bytes)
            request._read_bytes = body
        return body

    def readable(self, request: GatewayRequest) -> bytes | None:
        """The whole body, if it has come and is in no coding."""
        if CONTENT_ENCODING in request._message.headers and not request.exchange.decoded:
            return None
        return self.here(request)

    async def held(self, request: GatewayRequest) -> bytes:
        """The whole body, waited for, in whatever coding. It is complete when this returns, and was
        asked for before.

        Raise what `pieces` raises, and Overloaded where too much memory is held for bodies.
        """
        body = await self._small(request)
        if body is None:
            length = request.content_length
            held = self._hold(request.exchange, self.cap_bytes if length is None else length)
            body = b"".join([piece async for piece in self.pieces(request)])
            held.shrink(len(body))
            request._read_bytes = body
        return body

    async def whole(self, request: GatewayRequest) -> bytes:
        """The same, decoded. Raise also UnsupportedCoding, and RequestError for a body that is not
        in its coding.
        """
        body = self.readable(request)
        if body is not None:
            return body
        exchange = request.exchange
        coding = decoder(",".join(request._message.headers.getall(CONTENT_ENCODING, ())))
        self.ask(request)
        if coding is None:
            return await self.held(request)
        await self._small(request)
        held = self._hold(exchange, self.cap_bytes)
        pieces: list[bytes] = []
        size_bytes = 0
        async for data in self._come(request):
            for piece in coding.feed(data):
                size_bytes += len(piece)
                if size_bytes > self.cap_bytes:
                    raise BodyTooLarge(self.cap_bytes)
                pieces.append(piece)
                await asyncio.sleep(0)
        coding.finish()
        exchange.decoded = True
        body = b"".join(pieces)
        held.shrink(len(body))
        request._read_bytes = body
        return body

    async def _small(self, request: GatewayRequest) -> bytes | None:
        """The whole body, if it needs no memory but that of its connection."""
        body = self.here(request)
        if body is None:
            await self.begun(request)
            body = self.here(request)
        return body

    def _hold(self, exchange: Exchange, size_bytes: int) -> HeldBody:
        """Take a share of the memory for bodies, until the exchange ends. Raise Overloaded."""
        principal = exchange.principal
        caller = principal.tenant or principal.subject if principal else exchange.client_ip
        if not self.budget.take(size_bytes, caller):
            raise Overloaded("body memory")
        held = exchange.held = HeldBody(self.budget, size_bytes, caller)
        exchange.at_end(held.end)
        return held

    async def _come(self, request: GatewayRequest) -> AsyncIterator[bytes]:
        """The body as it came already, or as it arrives."""
        if request._read_bytes is not None:
            yield request._read_bytes
        else:
            async for piece in self.pieces(request):
                yield piece

    async def parsed(self, request: GatewayRequest, body: bytes) -> JsonBody:
        """The body as JSON, a heavy one parsed in a helper process. The exchange keeps it. Raise
        RequestError or Overloaded.
        """
        read = request.exchange.json
        if read is None:
            read = request.exchange.json = await self._parse(body)
        return read

    async def _parse(self, body: bytes) -> JsonBody:
        if len(body) > _LARGE_BYTES:
            await asyncio.sleep(0)  # it was joined just now
        heavy = json_body.is_heavy(body)
        if len(body) > _LARGE_BYTES:
            await asyncio.sleep(0)
        if heavy:
            read = await self.offload.run(json_body.read_elsewhere, body)
            read.raw = body
            return read
        read = json_body.read(body)
        if len(body) > _LARGE_BYTES:
            await asyncio.sleep(0)
        return read


def _malformed(exc: web.RequestPayloadError) -> RequestError:
    return RequestError("The request body is malformed.", reason=str(exc))
