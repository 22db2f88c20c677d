"""Reads of a route's kept streams: at a stream's own path, by Last-Event-ID, or by a repeated
request.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from urllib.parse import parse_qsl

from aiohttp import web
from multidict import CIMultiDict

from gateway.errors import (
    InvalidEventId,
    MethodNotAllowed,
    ModelNotFound,
    RateLimited,
    ResumeUnavailable,
    StreamNotFound,
    StreamTrimmed,
)
from gateway.exchange import Exchange
from gateway.limiting.keys import ip_key
from gateway.proxy.early_head import heeds_retry
from gateway.request import Request
from gateway.resume.access import digest
from gateway.resume.generation import Generation
from gateway.resume.ids import Position, parse_after, slot_of
from gateway.resume.log import StreamLog, StreamState
from gateway.resume.options import ResumeOptions
from gateway.resume.read_limit import ReadLimit
from gateway.resume.replay import Replay
from gateway.resume.streams import Streams
from gateway.store.records import StoreUnavailable


class StreamReads:
    """Reads of one route. A caller cannot tell a stream of another caller from one that does not
    exist.
    """

    def __init__(self, options: ResumeOptions, streams: Streams) -> None:
        self._options = options
        self._streams = streams
        self._limit = None if options.reads is None else ReadLimit(*options.reads)

    async def at_stream(self, request: Request) -> web.StreamResponse:
        """Serve GET or DELETE of a stream's own path."""
        exchange = request.exchange
        stream = exchange.path.removeprefix(self._options.streams_path)
        if request.method not in ("GET", "DELETE"):
            raise MethodNotAllowed("GET, DELETE")
        if slot_of(stream) is None:
            raise StreamNotFound
        if request.method == "DELETE":
            try:
                found = await self._streams.cancel(stream, self.readable(exchange))
            except StoreUnavailable as exc:
                raise ResumeUnavailable from exc
            if not found:
                raise StreamNotFound
            return web.Response(status=204)
        # EventSource requests its first URL again, with the last event it has seen in the header.
        asked = dict(parse_qsl(exchange.query, keep_blank_values=True)).get("after")
        last_id = request.headers.get("Last-Event-ID") or asked
        return await self.read(
            request, parse_after(last_id, stream) if last_id else Position(stream, 0)
        )

    async def read(self, request: Request, position: Position) -> web.StreamResponse:
        """Return the events after a position. Raise StreamNotFound, StreamTrimmed, InvalidEventId,
        RateLimited or ResumeUnavailable.
        """
        self.count(request.exchange)
        owners = self.readable(request.exchange)
        try:
            log = await self._streams.find(position.stream, owners, position.after)
        except StoreUnavailable as exc:
            raise ResumeUnavailable from exc
        if log is None:
            raise StreamNotFound
        if position.after + 1 < log.first:
            raise StreamTrimmed
        if position.after > log.last and self._streams.local(log.id) is log:
            raise InvalidEventId
        read = position.after >= log.last and log.state in (
            StreamState.COMPLETE,
            StreamState.BROKEN,
        )
        if read and request.method == "GET":
            # Only this status stops EventSource from reconnecting (WHATWG HTML section 9.2.3).
            return web.Response(status=204)
        return self.replay(log, position.after, request)

    def replay(
        self,
        log: StreamLog,
        after: int,
        request: Request,
        *,
        headers: CIMultiDict[str] | None = None,
        generation: Generation | None = None,
    ) -> Replay:
        """Return the response that follows a stream. `headers` and `generation` are as for
        `Replay`.
        """
        options = self._options
        if (trace := request.exchange.trace) is not None:
            trace.stream, trace.reads = log.id, generation is None
        return Replay(
            log,
            after,
            request.exchange,
            options.dialect,
            headers=headers,
            generation=generation,
            heartbeats=options.heartbeats,
            preface=options.preface if options.preface and heeds_retry(request) else b"",
            batch=options.batch,
        )

    async def followed(self, exchange: Exchange, stream: str) -> StreamLog | None:
        """Return the stream begun by a request with the same Idempotency-Key, or None. Raise
        ModelNotFound if this credential does not allow the model that both requests name, and
        ResumeUnavailable.
        """
        try:
            return await self._streams.find(stream, self.readable(exchange), 0)
        except StreamNotFound:
            raise ModelNotFound from None
        except StoreUnavailable as exc:
            raise ResumeUnavailable from exc

    def owner(self, exchange: Exchange) -> bytes:
        """Return the digest of the caller's identity."""
        return self._options.access.owner(exchange.principal)

    def readable(self, exchange: Exchange) -> Collection[bytes]:
        """Return the labels of all streams that the caller may read."""
        return self._options.access.readable(exchange.principal)

    def count(self, exchange: Exchange) -> None:
        """Count a read of the caller. Raise RateLimited if it reads too often."""
        if self._limit is None:
            return
        caller = self.owner(exchange)
        if exchange.principal is None:
            caller = digest(caller, ip_key(exchange).encode())
        wait_s = self._limit.wait_s(caller, time.monotonic())
        if wait_s > 0:
            raise RateLimited("resume.reads", math.ceil(wait_s))
