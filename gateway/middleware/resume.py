"""Resumable streams: event streams of a route are stored, and their caller may reconnect to them.

The middleware runs after authentication and before the limits, since reconnecting to an admitted
stream is no new request. Before it reads the body of a new request, it has the limits checked that
need no body. A caller cannot tell a stream of another caller from one that does not exist.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web
from multidict import istr

from gateway import json_body
from gateway.errors import (
    IdempotencyConflict,
    RequestError,
    ResumeUnavailable,
    StreamLost,
    StreamNotFound,
    StreamTrimmed,
)
from gateway.exchange import Exchange
from gateway.facts import UnfinishedAnswer
from gateway.middleware.limits import HeadLimits
from gateway.pipeline import Outcome, Result
from gateway.proxy.early_head import may_ask, open_if_silent
from gateway.proxy.relay import RelayedResponse
from gateway.request import Request
from gateway.request_body.reader import LARGE_BYTES
from gateway.resume import responses
from gateway.resume.access import digest
from gateway.resume.claims import Claim, body_digest
from gateway.resume.generation import Generation
from gateway.resume.ids import parse_event_id
from gateway.resume.log import StreamLog, StreamState
from gateway.resume.options import ResumeOptions
from gateway.resume.policy import HEADER, Policy
from gateway.resume.reads import StreamReads
from gateway.resume.saved_request import is_complete, saved_request
from gateway.resume.sharing import Sharing, StreamTerms
from gateway.resume.streams import Streams
from gateway.sse import is_event_stream
from gateway.store.records import StoreUnavailable

RESUME = "X-Resume"
DEFERRED = "deferred"
"""Value of X-Resume for a stream that the store does not know yet. Until the store answers again,
only this process can resume it.
"""
_LAST_EVENT_ID, _KEY = istr("Last-Event-ID"), istr("Idempotency-Key")
_POLICY = istr(HEADER)
_KEY_CHARS = 255
_AGAIN_S = 0.05


class NewStream:
    """Stream of a request that has no response yet. The response is kept if it is a stream."""

    __slots__ = ("_id", "_streams", "claim", "policy")

    def __init__(self, streams: Streams, policy: Policy) -> None:
        self.policy = policy
        self.claim: bytes | None = None
        """Digest of owner, path and Idempotency-Key, if the request has such a key."""
        self._streams = streams
        self._id: str | None = None

    @property
    def id(self) -> str:
        """Id of the stream, drawn when it is first asked for: most responses are no streams."""
        if self._id is None:
            self._id = self._streams.new_id()
        return self._id


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
        self._cancelled: dict[Exchange, str] = {}
        """Ids of responses whose stream was cancelled here, and which the upstream is asked to
        cancel, too.
        """
        self._reads = StreamReads(options, streams)

    def on_request(self, request: Request) -> Outcome:
        """Serve a stored stream, or note the stream that the request begins.

        Raise StreamNotFound, StreamTrimmed, InvalidEventId, IdempotencyConflict, ResumeUnavailable,
        RateLimited, ModelNotFound, MethodNotAllowed or RequestError.
        """
        exchange, options = request.exchange, self._options
        if exchange.delegated is not None and exchange.delegated.unfinished is not None:
            return self._take_up(request, exchange.delegated.unfinished)
        if exchange.path.startswith(options.streams_path):
            return self._reads.at_stream(request)
        if request.method not in ("GET", "POST"):
            return None
        headers = request.headers
        last_id = headers.get(_LAST_EVENT_ID)
        if last_id:
            return self._reads.read(request, parse_event_id(last_id))
        if options.responses and (asked := responses.asked_for(exchange.path)) is not None:
            return self._at_response(request, *asked)
        policy = options.allowed.policy(headers.get(_POLICY))
        sharing = self._streams.sharing
        if options.refuses and sharing is not None and not sharing.available:
            raise ResumeUnavailable
        new = NewStream(self._streams, policy)
        key = headers.get(_KEY) if request.method == "POST" else None
        if key is not None:
            return self._once(request, new, key)
        return self._begin(request, new)

    def on_response(self, request: Request, response: web.StreamResponse) -> Result:
        """Store the response if it is a stream, and return a response that reads it. Raise
        ResumeUnavailable.
        """
        exchange = request.exchange
        new = exchange.new_stream
        if isinstance(new, NewStream):
            if exchange.delegated is not None and exchange.delegated.unfinished is not None:
                return self._continue(request, response, exchange.delegated.unfinished, new.policy)
            if isinstance(response, RelayedResponse) and _is_kept(response):
                return self._keep(request, response, new)
            self._give_up(exchange, new)
        elif self._cancelled and response.status >= 400:
            cancelled = self._cancelled.pop(exchange, None)
            if cancelled is not None:
                body = responses.cancelled(cancelled)
                return web.Response(body=body, content_type="application/json")
        return response

    def on_end(self, exchange: Exchange) -> None:
        """Forget the stream of a request that failed before it had a response."""
        new = exchange.new_stream
        if isinstance(new, NewStream):
            self._give_up(exchange, new)
        if self._cancelled:
            self._cancelled.pop(exchange, None)

    def _give_up(self, exchange: Exchange, new: NewStream) -> None:
        """Note that the response is no stream."""
        exchange.new_stream = None
        if new.claim is not None:
            self._streams.claims.drop(new.claim, new.id)
            self._streams.settled(new.id)

    # -- existing streams ----------------------------------------------------------------------

    async def _at_response(
        self, request: Request, response: str, cancels: bool
    ) -> web.StreamResponse | None:
        """Serve GET or cancel of a response at OpenAI's path. The upstream is asked if no stored
        stream belongs to the response.
        """
        exchange, streams = request.exchange, self._streams
        after = responses.starting_after(exchange.query) if request.method == "GET" else None
        if after is None and not (cancels and request.method == "POST"):
            return None
        owners = self._reads.readable(exchange)
        try:
            stream = await streams.named(digest(self._reads.owner(exchange), response.encode()))
            if stream is not None and after is not None:
                self._reads.count(exchange)
                log = await streams.find(stream, owners, 0)
                if log is not None:
                    return self._reads.replay(log, responses.place(log, after), request)
            found = stream is not None and await streams.cancel(stream, owners)
        except StoreUnavailable as exc:
            raise ResumeUnavailable from exc
        if found:
            self._cancelled[exchange] = response
        return None

    # -- new streams ---------------------------------------------------------------------------

    async def _once(self, request: Request, new: NewStream, key: str) -> web.StreamResponse | None:
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
        whose = self._reads.owner(exchange)
        place = digest(whose, exchange.path.encode(), key.encode("utf-8", "surrogatepass"))
        mine, counted = await self._arrived(request, place, new.id)
        streams.expect(new.id)
        try:
            while (claim := await self._claim(place, mine)) != mine:
                for one in self._limits:
                    one.undo(exchange)
                if claim.body != mine.body:
                    raise IdempotencyConflict
                self._open_if_silent(request)
                await streams.arrived(claim.stream)
                log = await self._reads.followed(exchange, claim.stream)
                if log is not None:
                    if log.first > 1:
                        raise StreamTrimmed
                    if not counted:
                        self._reads.count(exchange)
                    if exchange.let_body_go():
                        request.received = b""
                    streams.settled(new.id)
                    return self._reads.replay(log, 0, request)
                # The other request has failed, or its stream has not begun elsewhere yet.
                await asyncio.sleep(_AGAIN_S if streams.sharing is not None else 0)
        except BaseException:
            streams.settled(new.id)
            raise
        new.claim = place
        waiting = self._begin(request, new)
        if waiting is not None:
            await waiting
        return None

    async def _arrived(self, request: Request, place: bytes, stream: str) -> tuple[Claim, bool]:
        """Wait for the body. Return the claim of the request for a new stream, and whether it
        counted as a read.

        A body that did not come with the head is read only if the head admits it: `reads` if the
        key is known, the limits if it is new. Raise RateLimited, LimitsUnavailable,
        ResumeUnavailable, and what reading a body raises.
        """
        exchange, reader = request.exchange, self._options.reader
        reader.check(request)
        repeats = False
        if reader.comes_late(request):
            repeats = place in self._arriving or await self._is_claimed(place)
            if repeats:
                self._reads.count(exchange)
            for one in () if repeats else self._limits:
                await one.decide(request)
        if not repeats:  # a repeat has passed no limit, so it must not admit another one
            self._arriving[place] += 1
        try:
            body = await reader.whole(request)
            return Claim(await body_digest(body, exchange.query), stream), repeats
        finally:
            if not repeats:
                self._arriving[place] -= 1
                if not self._arriving[place]:
                    del self._arriving[place]

    def _open_if_silent(self, request: Request) -> None:
        """Open the client's stream early, as for the request that is followed. The stream id is not
        sent, because this request may still have to begin a stream of its own.
        """
        options = self._options
        if options.heartbeats is not None and is_event_stream(options.dialect.stream_type):
            asks = may_ask(request, request.received)
            open_if_silent(request, asks, options.dialect, options.heartbeats, options.preface)

    def _begin(self, request: Request, new: NewStream) -> Awaitable[None] | None:
        """Note the stream that the request begins. If its head goes out before there is an answer,
        the head names it.
        """
        request.exchange.new_stream = new
        return self._set_background(request, new) if self._begins_a_response(request) else None

    async def _set_background(self, request: Request, new: NewStream) -> None:
        """Let a response continue without readers, if its caller asks for it in the background."""
        if await self._in_background(request):
            new.policy = self._options.allowed.longest

    def _keep(self, request: Request, response: RelayedResponse, new: NewStream) -> Result:
        """Store the stream of a response, and return a response that reads it: at once, unless
        other processes have to know the stream.
        """
        exchange, options, streams = request.exchange, self._options, self._streams
        owner = options.access.stream(exchange.principal, exchange.model)
        saved = None
        if options.continues and response.may_be_continued:
            saved = saved_request(request, new.policy)
        terms = StreamTerms(owner, options.cap_bytes, options.ttl_s, new.claim, saved)
        if streams.sharing is not None:
            return self._share(request, response, new, terms, streams.sharing)
        return self._generate(request, response, new, streams.open_here(new.id, terms))

    async def _share(
        self,
        request: Request,
        response: RelayedResponse,
        new: NewStream,
        terms: StreamTerms,
        sharing: Sharing,
    ) -> web.StreamResponse:
        """Store the stream where other processes find it. Raise ResumeUnavailable."""
        deferred = False
        try:
            log = await self._streams.open(new.id, terms, sharing)
        except StoreUnavailable as exc:
            if self._options.refuses:
                raise ResumeUnavailable from exc
            log = self._streams.open_later(new.id, terms, sharing)
            deferred = True
        return self._generate(request, response, new, log, deferred=deferred)

    def _generate(
        self,
        request: Request,
        response: RelayedResponse,
        new: NewStream,
        log: StreamLog,
        *,
        deferred: bool = False,
    ) -> web.StreamResponse:
        """Fill the log of a stream from now on, and return a response that reads it."""
        exchange, options = request.exchange, self._options
        headers = response.headers  # of a response that is not sent itself
        headers.pop("Content-Length", None)
        headers.setdefault("Cache-Control", "no-cache")
        headers["X-Accel-Buffering"] = "no"
        headers[HEADER] = str(new.policy)
        if deferred:
            headers[RESUME] = DEFERRED
        response.let_body_go(request)
        generation = Generation(
            self._streams, log, response.body, exchange, options.dialect, new.policy
        )
        if self._begins_a_response(request):
            generation.on_begun = self._named_by(log, self._reads.owner(exchange))
        generation.start()
        exchange.new_stream = None
        return self._reads.replay(log, 0, request, headers=headers, generation=generation)

    def _take_up(self, request: Request, unfinished: UnfinishedAnswer) -> web.Response | None:
        """Take up an answer of a process that died, unless it is complete. Raise StreamLost if that
        is not possible.
        """
        policy = self._options.allowed.policy(request.headers.get(HEADER))
        log = self._streams.local(unfinished.stream)
        if log is None or log.ended:
            raise StreamLost
        if is_complete(unfinished.events):
            log.end(StreamState.COMPLETE)
            self._streams.ended(log)
            return web.Response(status=204)
        request.exchange.new_stream = NewStream(self._streams, policy)
        return None

    async def _continue(
        self,
        request: Request,
        response: web.StreamResponse,
        unfinished: UnfinishedAnswer,
        policy: Policy,
    ) -> web.StreamResponse:
        """Continue an answer of a process that died with this response. Raise StreamLost if it is
        no stream.
        """
        exchange, streams = request.exchange, self._streams
        log = streams.local(unfinished.stream)
        if log is None or not isinstance(response, RelayedResponse) or not _is_kept(response):
            raise StreamLost
        body = response.body
        if exchange.tap is not None:
            exchange.tap.feed(unfinished.events)  # the usage is that of the whole answer
        generation = Generation(streams, log, body, exchange, self._options.dialect, policy)
        generation.start()
        exchange.new_stream = None
        return self._reads.replay(log, log.last, request, generation=generation)

    def _begins_a_response(self, request: Request) -> bool:
        """Tell whether the request creates a response of OpenAI's Responses API."""
        return self._options.responses and responses.begins(request.method, request.exchange.path)

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


def no_stream(request: Request) -> web.StreamResponse:
    """Last handler of the chain below a route's streams path, which no request should reach. Raise
    StreamNotFound.
    """
    raise StreamNotFound


def _is_kept(response: RelayedResponse) -> bool:
    return response.status == 200 and not response.prepared and response.is_event_stream
