"""Resumable streams: event streams of a route are stored, and their caller may reconnect to them.

The middleware runs after authentication and before the limits, since reconnecting to an admitted
stream is no new request. Before it reads the body of a new request, it has the limits checked that
need no body. A caller cannot tell a stream of another caller from one that does not exist.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from aiohttp import web
from multidict import CIMultiDict

from gateway import json_body
from gateway.dialects import Dialect
from gateway.errors import (
    IdempotencyConflict,
    InvalidEventId,
    MethodNotAllowed,
    ModelNotFound,
    RateLimited,
    RequestError,
    ResumeUnavailable,
    StreamLost,
    StreamNotFound,
    StreamTrimmed,
)
from gateway.exchange import Exchange
from gateway.facts import UnfinishedAnswer
from gateway.heartbeat import Heartbeats
from gateway.limiting.keys import ip_key
from gateway.middleware.limits import HeadLimits
from gateway.proxy.early_head import heeds_retry, open_if_silent
from gateway.proxy.event_batch import BatchOptions
from gateway.proxy.relay import RelayedResponse
from gateway.request import Request
from gateway.request_body.reader import LARGE_BYTES, BodyReader
from gateway.resume import responses
from gateway.resume.access import StreamAccess, digest
from gateway.resume.claims import Claim, body_digest
from gateway.resume.generation import Generation
from gateway.resume.ids import Position, parse_after, parse_event_id, slot_of
from gateway.resume.log import StreamLog, StreamState
from gateway.resume.policy import HEADER, Allowed, Policy
from gateway.resume.read_limit import ReadLimit
from gateway.resume.replay import STREAM_ID, Replay
from gateway.resume.saved_request import is_complete, saved_request
from gateway.resume.sharing import StreamTerms
from gateway.resume.streams import Streams
from gateway.sse import is_event_stream
from gateway.store.records import StoreUnavailable

RESUME = "X-Resume"
DEFERRED = "deferred"
"""Value of X-Resume for a stream that the store does not know yet. Until the store answers again,
only this process can resume it.
"""
_KEY_CHARS = 255
_AGAIN_S = 0.05
Handler = Callable[[Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class ResumeOptions:
    """Options of a route for resumable streams. Sizes are in bytes, times in seconds."""

    access: StreamAccess
    streams_path: str
    """Path prefix of the route's streams; ends in a slash."""
    allowed: Allowed
    ttl_s: float
    cap_bytes: int
    responses: bool
    """True if callers speak OpenAI's dialect, whose Responses API has its own way to reconnect."""
    own_background: bool
    """True if only the gateway handles background streams; the upstream is not told of them."""
    refuses: bool
    """True if requests are refused without the store, instead of served as streams that cannot be
    resumed.
    """
    continues: bool
    """True if another process continues a stream whose process dies."""
    dialect: Dialect
    reader: BodyReader
    reads: tuple[float, float] | None = None
    """Read limit of one caller: reads per second, and burst size."""
    heartbeats: Heartbeats | None = None
    """Heartbeats of silent streams."""
    preface: bytes = b""
    """Bytes that open a stream for a client that `heeds_retry`."""
    batch: BatchOptions | None = None
    """How events are gathered; None if each is sent at once."""


class Resume:
    """Policy of one route."""

    def __init__(
        self, options: ResumeOptions, streams: Streams, limits: Sequence[HeadLimits] = ()
    ) -> None:
        """`limits` check what needs no body."""
        self._options = options
        self._streams = streams
        self._limits = tuple(limits)
        self._arriving: Counter[bytes] = Counter()
        """Number of admitted requests whose body is arriving, by digest of owner, path and key."""
        self._reads = None if options.reads is None else ReadLimit(*options.reads)

    async def around(self, request: Request, handler: Handler) -> web.StreamResponse:
        """Serve a stored stream, or send the request on and store its stream.

        Raise StreamNotFound, StreamTrimmed, InvalidEventId, IdempotencyConflict, ResumeUnavailable,
        RateLimited, ModelNotFound, MethodNotAllowed or RequestError.
        """
        exchange, options = request.exchange, self._options
        if exchange.voucher is not None and exchange.voucher.unfinished is not None:
            return await self._continue(request, handler, exchange.voucher.unfinished)
        if exchange.path.startswith(options.streams_path):
            return await self._at_stream(request)
        if request.method not in ("GET", "POST"):
            return await handler(request)
        headers = request.headers
        last_id = headers.get("Last-Event-ID")
        if last_id:
            return await self._read(request, parse_event_id(last_id))
        if options.responses and (asked := responses.asked_for(exchange.path)) is not None:
            return await self._at_response(request, handler, *asked)
        policy = options.allowed.policy(headers.get(HEADER))
        sharing = self._streams.sharing
        if options.refuses and sharing is not None and not sharing.available:
            raise ResumeUnavailable
        key = headers.get("Idempotency-Key") if request.method == "POST" else None
        if key is None:
            return await self._begin(request, handler, policy, self._streams.new_id(), None)
        return await self._once(request, handler, policy, key)

    # -- existing streams ----------------------------------------------------------------------

    async def _at_stream(self, request: Request) -> web.StreamResponse:
        """Serve GET or DELETE of a stream's own path."""
        exchange = request.exchange
        stream = exchange.path.removeprefix(self._options.streams_path)
        if request.method not in ("GET", "DELETE"):
            raise MethodNotAllowed("GET, DELETE")
        if slot_of(stream) is None:
            raise StreamNotFound
        if request.method == "DELETE":
            try:
                found = await self._streams.cancel(stream, self._readable(exchange))
            except StoreUnavailable as exc:
                raise ResumeUnavailable from exc
            if not found:
                raise StreamNotFound
            return web.Response(status=204)
        # EventSource requests its first URL again, with the last event it has seen in the header.
        asked = dict(parse_qsl(exchange.query, keep_blank_values=True)).get("after")
        last_id = request.headers.get("Last-Event-ID") or asked
        return await self._read(
            request, parse_after(last_id, stream) if last_id else Position(stream, 0)
        )

    async def _read(self, request: Request, position: Position) -> web.StreamResponse:
        self._count_read(request.exchange)
        owners = self._readable(request.exchange)
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
        return self._replay(log, position.after, request)

    def _replay(
        self,
        log: StreamLog,
        after: int,
        request: Request,
        *,
        headers: CIMultiDict[str] | None = None,
        generation: Generation | None = None,
    ) -> Replay:
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

    async def _at_response(
        self, request: Request, handler: Handler, response: str, cancels: bool
    ) -> web.StreamResponse:
        """Serve GET or cancel of a response at OpenAI's path. The upstream is asked if no stored
        stream belongs to the response.
        """
        exchange, streams = request.exchange, self._streams
        after = responses.starting_after(exchange.query) if request.method == "GET" else None
        if after is None and not (cancels and request.method == "POST"):
            return await handler(request)
        owners = self._readable(exchange)
        try:
            stream = await streams.named(digest(self._owner(exchange), response.encode()))
            if stream is not None and after is not None:
                self._count_read(exchange)
                log = await streams.find(stream, owners, 0)
                if log is not None:
                    return self._replay(log, responses.place(log, after), request)
            found = stream is not None and await streams.cancel(stream, owners)
        except StoreUnavailable as exc:
            raise ResumeUnavailable from exc
        answer = await handler(request)
        if found and answer.status >= 400:
            return web.Response(body=responses.cancelled(response), content_type="application/json")
        return answer

    # -- new streams ---------------------------------------------------------------------------

    async def _once(
        self, request: Request, handler: Handler, policy: Policy, key: str
    ) -> web.StreamResponse:
        """Send the request on, unless one with the same Idempotency-Key was sent before: then
        follow its stream.
        """
        if not 0 < len(key) <= _KEY_CHARS:
            raise RequestError(
                f"An Idempotency-Key has 1 to {_KEY_CHARS} characters.",
                code="invalid_idempotency_key",
                param="Idempotency-Key",
            )
        exchange, streams = request.exchange, self._streams
        whose = self._owner(exchange)
        place = digest(whose, exchange.path.encode(), key.encode("utf-8", "surrogatepass"))
        mine, counted = await self._arrived(request, place)
        stream = mine.stream
        streams.expect(stream)
        try:
            while (claim := await self._claim(place, mine)) != mine:
                for one in self._limits:
                    one.undo(exchange)
                if claim.body != mine.body:
                    raise IdempotencyConflict
                self._open_if_silent(request)
                await streams.arrived(claim.stream)
                log = await self._followed(exchange, claim.stream)
                if log is not None:
                    if log.first > 1:
                        raise StreamTrimmed
                    if not counted:
                        self._count_read(exchange)
                    if exchange.let_body_go():
                        request.received = b""
                    return self._replay(log, 0, request)
                # The other request has failed, or its stream has not begun elsewhere yet.
                await asyncio.sleep(_AGAIN_S if streams.sharing is not None else 0)
            try:
                response = await self._begin(request, handler, policy, stream, place)
            except BaseException:
                streams.claims.drop(place, stream)
                raise
            if not isinstance(response, Replay):
                streams.claims.drop(place, stream)
            return response
        finally:
            streams.settled(stream)

    async def _arrived(self, request: Request, place: bytes) -> tuple[Claim, bool]:
        """Wait for the body. Return the claim of the request, and whether it counted as a read.

        A body that did not come with the head is read only if the head admits it: `reads` if the
        key is known, the limits if it is new. Raise RateLimited, LimitsUnavailable,
        ResumeUnavailable, and what reading a body raises.
        """
        exchange, reader, streams = request.exchange, self._options.reader, self._streams
        reader.check(request)
        repeats = False
        if reader.comes_late(request):
            repeats = place in self._arriving or await self._is_claimed(place)
            if repeats:
                self._count_read(exchange)
            for one in () if repeats else self._limits:
                await one.decide(request)
        if not repeats:  # a repeat passed no limit, so it admits no other
            self._arriving[place] += 1
        try:
            body = await reader.whole(request)
            return Claim(await body_digest(body, exchange.query), streams.new_id()), repeats
        finally:
            if not repeats:
                self._arriving[place] -= 1
                if not self._arriving[place]:
                    del self._arriving[place]

    def _open_if_silent(self, request: Request) -> None:
        """Open the client's stream early, as for the request that is followed. The stream id is not
        sent, because this request may still have to begin a stream of its own.
        """
        options, body = self._options, request.received
        if options.heartbeats is not None and is_event_stream(options.dialect.stream_type):
            open_if_silent(request, body, options.dialect, options.heartbeats, options.preface)

    async def _begin(
        self,
        request: Request,
        handler: Handler,
        policy: Policy,
        stream: str,
        claim: bytes | None,
    ) -> web.StreamResponse:
        """Send the request on, and store the response if it is a stream."""
        exchange, options = request.exchange, self._options
        names = options.responses and responses.begins(request.method, exchange.path)
        if names and await self._in_background(request):
            policy = options.allowed.longest
        # If the head goes out before there is an answer, it already names the stream.
        told = (STREAM_ID, stream)
        exchange.response_headers.append(told)
        try:
            response = await handler(request)
        except BaseException:
            exchange.response_headers.remove(told)
            raise
        if not isinstance(response, RelayedResponse) or not _is_kept(response):
            exchange.response_headers.remove(told)
            return response
        headers = CIMultiDict(response.headers)
        headers.pop("Content-Length", None)
        headers.setdefault("Cache-Control", "no-cache")
        headers["X-Accel-Buffering"] = "no"
        headers[HEADER] = str(policy)
        owner = options.access.stream(exchange.principal, exchange.model)
        saved = None
        if options.continues and response.may_be_continued:
            saved = saved_request(request, policy)
        terms = StreamTerms(owner, options.cap_bytes, options.ttl_s, claim, saved)
        try:
            log = await self._streams.open(stream, terms)
        except StoreUnavailable as exc:
            if options.refuses:
                raise ResumeUnavailable from exc
            log = self._streams.open_later(stream, terms)
            headers[RESUME] = DEFERRED
        response.let_body_go(request)
        generation = Generation(
            self._streams, log, response.body, exchange, options.dialect, policy
        )
        if names:
            generation.on_begun = self._named_by(log, self._owner(exchange))
        generation.start()
        return self._replay(log, 0, request, headers=headers, generation=generation)

    async def _continue(
        self, request: Request, handler: Handler, unfinished: UnfinishedAnswer
    ) -> web.StreamResponse:
        """Continue an answer of a process that died. Raise StreamLost if that is not possible."""
        exchange, options, streams = request.exchange, self._options, self._streams
        policy = options.allowed.policy(request.headers.get(HEADER))
        log = streams.local(unfinished.stream)
        if log is None or log.ended:
            raise StreamLost
        if is_complete(unfinished.events):
            log.end(StreamState.COMPLETE)
            streams.ended(log)
            return web.Response(status=204)
        response = await handler(request)
        if not isinstance(response, RelayedResponse) or not _is_kept(response):
            raise StreamLost
        body = response.body
        if exchange.tap is not None:
            exchange.tap.feed(unfinished.events)  # the usage is that of the whole answer
        generation = Generation(streams, log, body, exchange, options.dialect, policy)
        generation.start()
        return self._replay(log, log.last, request, generation=generation)

    async def _in_background(self, request: Request) -> bool:
        """Tell whether the request asks to continue without its client, by `background` and with no
        header that overrides it. Raise RateLimited, before the body is read.
        """
        options = self._options
        options.reader.check(request)
        for one in self._limits:
            await one.decide(request)
        body = await options.reader.whole(request)
        if not responses.may_be_background(body):
            return False
        try:
            parsed = await options.reader.parsed(request, body)
        except RequestError:
            return False  # model resolution reports the error later
        if not (parsed.document.get("background") is True and parsed.streams):
            return False
        if options.own_background:
            without = responses.without_background
            heavy = len(body) > LARGE_BYTES or json_body.is_heavy(body)
            rest = await options.reader.offload.run(without, body) if heavy else without(body)
            options.reader.replace(request, rest)
        return HEADER not in request.headers

    def _named_by(self, log: StreamLog, owner: bytes) -> Callable[[bytes], None]:
        """Return a callback that registers a stream under the response id in its first event."""

        def name(first: bytes) -> None:
            found = responses.response_id(first)
            if found is not None:
                self._streams.name(log.id, digest(owner, found.encode()))

        return name

    async def _claim(self, place: bytes, mine: Claim) -> Claim:
        """Return the claim that holds an Idempotency-Key: `mine`, or another one. Raise
        ResumeUnavailable.
        """
        claims = self._streams.claims
        try:
            return await claims.take(place, mine)
        except StoreUnavailable as exc:
            if self._options.refuses:
                raise ResumeUnavailable from exc
            return claims.hold(place, mine)

    async def _is_claimed(self, place: bytes) -> bool:
        """Tell whether an Idempotency-Key is known to be in use. Raise ResumeUnavailable."""
        try:
            return await self._streams.claims.find(place) is not None
        except StoreUnavailable as exc:
            if self._options.refuses:
                raise ResumeUnavailable from exc
            return False

    async def _followed(self, exchange: Exchange, stream: str) -> StreamLog | None:
        """Return the stream begun by a request with the same Idempotency-Key, or None. Raise
        ModelNotFound if this credential does not allow the model that both requests name, and
        ResumeUnavailable.
        """
        try:
            return await self._streams.find(stream, self._readable(exchange), 0)
        except StreamNotFound:
            raise ModelNotFound from None
        except StoreUnavailable as exc:
            raise ResumeUnavailable from exc

    def _owner(self, exchange: Exchange) -> bytes:
        return self._options.access.owner(exchange.principal)

    def _readable(self, exchange: Exchange) -> Collection[bytes]:
        return self._options.access.readable(exchange.principal)

    def _count_read(self, exchange: Exchange) -> None:
        """Count a read of the caller. Raise RateLimited if it reads too often."""
        if self._reads is None:
            return
        caller = self._owner(exchange)
        if exchange.principal is None:
            caller = digest(caller, ip_key(exchange).encode())
        wait_s = self._reads.wait_s(caller, time.monotonic())
        if wait_s > 0:
            raise RateLimited("resume.reads", math.ceil(wait_s))


def no_stream(request: Request) -> web.StreamResponse:
    """Last handler of the chain below a route's streams path, which no request should reach. Raise
    StreamNotFound.
    """
    raise StreamNotFound


def _is_kept(response: RelayedResponse) -> bool:
    content_type = response.headers.get("Content-Type", "").encode("latin-1", "replace")
    return (
        response.status == 200
        and not response.prepared
        and is_event_stream(content_type)
        and "Content-Encoding" not in response.headers
    )
