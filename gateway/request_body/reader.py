"""Reading of request bodies: whole or piece by piece, within the route's size cap and timeouts.

A body that is read whole is decoded. It is kept until the request ends or its response has begun.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import EMPTY_PAYLOAD, StreamReader, web
from aiohttp.hdrs import CONTENT_ENCODING, EXPECT

from gateway import json_body
from gateway.aiohttp_adaptor import arrived_pieces, buffered_bytes, more_of, whole
from gateway.errors import (
    BodyTooLarge,
    ExpectationFailed,
    Overloaded,
    RequestError,
    RequestTimeout,
)
from gateway.exchange import Exchange
from gateway.http.decoding import decoder
from gateway.json_body import JsonBody
from gateway.load.offload import Offload
from gateway.load.overload import BodyBudget, HeldBody
from gateway.request import Request

SMALL_BYTES = 32 * 1024
"""A body of this size may come in one piece: aiohttp does not pause a connection for so little."""
LARGE_BYTES = 1024 * 1024
"""Above this size, reading a body yields to the event loop between its steps."""
_ENOUGH_BYTES = 64 * 1024
"""Bytes of a body that must arrive before memory is reserved for it; aiohttp buffers twice as
many.
"""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class BodyReader:
    """Rules by which a route reads bodies. Sizes are in bytes, times in seconds."""

    cap_bytes: int
    silence_s: float
    """The longest wait for a byte, and the longest time that a client may be behind
    `rate_bytes`.
    """
    budget: BodyBudget
    offload: Offload
    rate_bytes: int = 0
    """Bytes a second that a client must send while the gateway waits for it; 0 for no minimum."""

    def check(self, request: Request) -> None:
        """Check what the request head says about the body, and take a body that came with a known
        head. Raise BodyTooLarge or ExpectationFailed.
        """
        length = request.content_length
        if length is not None and length > self.cap_bytes:
            raise BodyTooLarge(self.cap_bytes)
        if request.known is not None:  # such a head has no Expect
            if request.received is None and request.arrived is not None:
                request.received = request.arrived
                request.exchange.bytes_in = len(request.arrived)
            return
        expect = request.headers.get(EXPECT)
        if expect is not None and expect.lower() != "100-continue":
            raise ExpectationFailed

    def ask(self, request: Request) -> None:
        """Send `100 Continue` if the client waits for it before it sends the body.

        Called once the request has passed every check that can refuse it by its head (RFC 9110
        section 10.1.1).
        """
        content = request.content
        if (
            EXPECT in request.headers
            and request.client.transport is not None
            and not content.total_bytes
            and not content.is_eof()
        ):
            request.client.transport.write(_CONTINUE)

    async def begun(self, request: Request) -> None:
        """Wait until the whole body or 64 KiB of it has arrived; it stays unread.

        A client that announces a body and sends little of it thus occupies no memory. Raise what
        `pieces` raises.
        """
        content: StreamReader = request.content
        left_s = self.silence_s
        while (size_bytes := buffered_bytes(content)) < _ENOUGH_BYTES and not content.is_eof():
            left_s -= await self._wait(content, left_s)
            left_s = self._earned(left_s, buffered_bytes(content) - size_bytes)

    async def pieces(self, request: Request) -> AsyncIterator[bytes]:
        """Yield the body as it arrives, without decoding it.

        Raise BodyTooLarge above the cap; RequestTimeout after `silence_s` without a byte, or if the
        client is that far behind the minimum rate; RequestError if the framing is broken.
        """
        content = request.content
        exchange = request.exchange
        left_s = self.silence_s
        while not content.at_eof():
            if not content.is_eof() and not buffered_bytes(content):
                left_s -= await self._wait(content, left_s)
            try:
                arrived = arrived_pieces(content)
            except web.RequestPayloadError as exc:
                raise _malformed(exc) from exc
            for data in arrived:
                left_s = self._earned(left_s, len(data))
                exchange.bytes_in += len(data)
                if exchange.bytes_in > self.cap_bytes:
                    raise BodyTooLarge(self.cap_bytes)
                yield data

    async def _wait(self, content: StreamReader, longest_s: float) -> float:
        """Wait for more of the body and return the seconds waited. Only this time counts against
        the client: while an upstream accepts nothing, the client cannot send.
        """
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.timeout(longest_s):
                await more_of(content)
        except TimeoutError:
            raise RequestTimeout from None
        except web.RequestPayloadError as exc:
            raise _malformed(exc) from exc
        return clock() - began

    def _earned(self, left_s: float, size_bytes: int) -> float:
        """Return how many seconds the client may still be waited for, after `size_bytes` more
        bytes.
        """
        if not self.rate_bytes:
            return self.silence_s
        return min(self.silence_s, left_s + size_bytes / self.rate_bytes)

    def here(self, request: Request) -> bytes | None:
        """Return the whole body if it has arrived, otherwise None. Nearly all bodies arrive in one
        packet with the head; a body that was read before is returned, too. It is not decoded unless
        `exchange.decoded`. Raise BodyTooLarge.
        """
        body = request.received
        if body is None:
            content: StreamReader = request.content
            if request.arrived is not None:
                body = request.arrived
            elif content is EMPTY_PAYLOAD:
                return b""
            else:
                body = whole(content, SMALL_BYTES)
                if body is None:
                    return None
                request.content = EMPTY_PAYLOAD  # the empty reader takes a KiB
            request.exchange.bytes_in = len(body)
            if len(body) > self.cap_bytes:
                raise BodyTooLarge(self.cap_bytes)
            request.received = body
        return body

    def readable(self, request: Request) -> bytes | None:
        """Return the whole body if it has arrived and has no content coding, otherwise None."""
        if (
            request.known is None  # such a head has no Content-Encoding
            and CONTENT_ENCODING in request.headers
            and not request.exchange.decoded
        ):
            return None
        return request.received or self.here(request)

    def comes_late(self, request: Request) -> bool:
        """Whether a body still has to be read, or is larger than what comes with a head. Raise
        BodyTooLarge.
        """
        body = self.readable(request)
        return body is None or len(body) > SMALL_BYTES

    async def held(self, request: Request) -> bytes:
        """Wait for the whole body and return it, without decoding it. The caller has already sent
        `100 Continue` where needed (`ask`).

        Raise what `pieces` raises, and Overloaded if bodies already occupy too much memory.
        """
        body = await self._small(request)
        if body is None:
            length = request.content_length
            held = self._hold(request.exchange, self.cap_bytes if length is None else length)
            body = b"".join([piece async for piece in self.pieces(request)])
            held.shrink(len(body))
            request.received = body
        return body

    async def whole(self, request: Request) -> bytes:
        """Wait for the whole body and return it decoded. Raise what `held` raises,
        UnsupportedCoding, and RequestError if the body does not match its Content-Encoding.
        """
        body = self.readable(request)
        if body is not None:
            return body
        exchange = request.exchange
        coding = decoder(",".join(request.headers.getall(CONTENT_ENCODING, ())))
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
        request.received = body
        return body

    async def _small(self, request: Request) -> bytes | None:
        """Return the whole body if it needs no memory besides the buffer of its connection."""
        body = self.here(request)
        if body is None:
            await self.begun(request)
            body = self.here(request)
        return body

    def _hold(self, exchange: Exchange, size_bytes: int) -> HeldBody:
        """Reserve memory for a body until the exchange ends. Raise Overloaded."""
        principal = exchange.principal
        caller = principal.tenant or principal.subject if principal else exchange.client_ip
        if not self.budget.take(size_bytes, caller):
            raise Overloaded("body memory")
        held = exchange.held = HeldBody(self.budget, size_bytes, caller)
        exchange.at_end(held.end)
        return held

    async def _come(self, request: Request) -> AsyncIterator[bytes]:
        """Yield the body that was already read, or else the pieces as they arrive."""
        if request.received is not None:
            yield request.received
        else:
            async for piece in self.pieces(request):
                yield piece

    def replace(self, request: Request, body: bytes) -> None:
        """Use this body instead of the one that the client sent."""
        request.received, request.exchange.json = body, None

    async def parsed(self, request: Request, body: bytes) -> JsonBody:
        """Return the body as JSON and keep it in the exchange. A heavy body is parsed in a helper
        process. Raise RequestError or Overloaded.
        """
        read = request.exchange.json
        if read is None:
            read = request.exchange.json = await self._parse(body)
        return read

    async def _parse(self, body: bytes) -> JsonBody:
        if len(body) > LARGE_BYTES:
            await asyncio.sleep(0)  # joining the pieces has just taken a while
        plain = json_body.is_plain(body)
        heavy = json_body.is_heavy_to_read(body, plain=plain)
        if len(body) > LARGE_BYTES:
            await asyncio.sleep(0)
        if heavy:
            read = await self.offload.run(json_body.read_elsewhere, body)
            read.raw = body
            return read
        read = json_body.read(body, plain=plain)
        if len(body) > LARGE_BYTES:
            await asyncio.sleep(0)
        return read


def _malformed(exc: web.RequestPayloadError) -> RequestError:
    return RequestError("The request body is malformed.", reason=str(exc))
