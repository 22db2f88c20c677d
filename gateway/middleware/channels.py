"""Channels of a route: publish events to one, follow one, or ask how many follow it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl

import orjson
from aiohttp import web
from aiohttp.hdrs import CONTENT_ENCODING, CONTENT_TYPE

from gateway.auth.principal import Principal
from gateway.channels.blocks import block_of, block_of_event
from gateway.channels.channel import Channel
from gateway.channels.channels import Channels
from gateway.channels.follower import StreamFollower
from gateway.channels.ids import is_name, parsed, written
from gateway.channels.position import FollowerPosition
from gateway.channels.socket_follower import SocketFollower
from gateway.channels.space import ChannelAddress, ChannelSpace, Once, address
from gateway.client_connection import ClientConnection
from gateway.errors import (
    BodyTooLarge,
    ChannelNotFound,
    CredentialExpired,
    GatewayError,
    InvalidEvent,
    RateLimited,
    RequestError,
    UnsupportedCoding,
)
from gateway.exchange import Exchange
from gateway.heartbeat import Heartbeats
from gateway.limiting.keys import ip_key
from gateway.request import Request
from gateway.request_body.reader import BodyReader
from gateway.resume.access import digest
from gateway.resume.read_limit import ReadLimit
from gateway.sse import Event, EventSplitter, EventTooLarge, is_event_stream
from gateway.websocket.handshake import answer_of_ours, handshake_of
from gateway.websocket.response import WebSocketResponse
from gateway.websocket.watch import SessionOptions, Validity

_PRESENCE = "/presence"
_KEY_CHARS = 255
_BATCH_EVENTS = 256
"""Maximum number of events in one call of the store."""
ValidityOf = Callable[[Principal], Validity]


@dataclass(frozen=True, slots=True)
class ChannelOptions:
    """Options of a route for its channels. Sizes are in bytes, times in seconds."""

    space: ChannelSpace
    path: str
    """Path prefix of the route's channels; ends in a slash."""
    per_tenant: bool
    max_event_bytes: int
    events: tuple[float, float] | None
    """Rate limit on the events of one caller: events per second, and burst size."""
    reader: BodyReader
    """Reader of single events."""
    stream_reader: BodyReader
    """Reader of streams of events."""
    session: SessionOptions
    """Settings of WebSocket followers."""
    validity: ValidityOf
    ends_streams: bool
    """True if streams of followers and publishers end when their credential expires or is revoked.
    """
    heartbeats: Heartbeats | None = None
    preface: bytes = b""

    def address(self, exchange: Exchange, name: str) -> ChannelAddress:
        """Return the caller's channel of this name. Raise ChannelNotFound."""
        if not is_name(name):
            raise ChannelNotFound
        principal = exchange.principal
        tenant = principal.tenant if self.per_tenant and principal is not None else None
        return address(self.space, tenant, name)


class FollowChannel:
    """Handler of GET requests."""

    def __init__(self, options: ChannelOptions, channels: Channels) -> None:
        self._options = options
        self._channels = channels

    def __call__(self, request: Request) -> web.StreamResponse | Awaitable[web.StreamResponse]:
        """Follow a channel, or count its followers.

        Raise ChannelNotFound, InvalidEventId, TooManyFollowers, TooManyChannels,
        ChannelsUnavailable or Draining.
        """
        exchange, options = request.exchange, self._options
        name = exchange.path.removeprefix(options.path)
        if name.endswith(_PRESENCE):
            return self._count(options.address(exchange, name.removesuffix(_PRESENCE)))
        where = options.address(exchange, name)
        asked = dict(parse_qsl(exchange.query, keep_blank_values=True)).get("after")
        # EventSource requests its first URL again, with the last event it has seen in the header.
        last_id = request.headers.get("Last-Event-ID") or asked
        after = parsed(last_id) if last_id else None
        self._channels.check(where, self._channels.find(where.key), caller_of(exchange))
        channel = self._channels.here(where)
        if channel is None:
            return self._open(request, where, after)
        return self._follow(request, channel, after)

    async def _open(
        self, request: Request, where: ChannelAddress, after: int | None
    ) -> web.StreamResponse:
        channel = await self._channels.open(where)
        self._channels.check(where, channel, caller_of(request.exchange))
        return self._follow(request, channel, after)

    def _follow(self, request: Request, channel: Channel, after: int | None) -> web.StreamResponse:
        exchange, options, channels = request.exchange, self._options, self._channels
        caller, principal = caller_of(exchange), exchange.principal
        position = FollowerPosition(channel, after)
        validity = None if principal is None else options.validity(principal)
        if exchange.session is None:
            return StreamFollower(
                channels,
                position,
                caller,
                exchange,
                holds=validity.holds if validity is not None and options.ends_streams else None,
                heartbeats=options.heartbeats,
                preface=options.preface,
            )

        def begin(client: ClientConnection) -> SocketFollower:
            return SocketFollower(
                channels, position, caller, exchange, client, options.session, validity=validity
            )

        return WebSocketResponse(answer_of_ours(handshake_of(exchange.session)), exchange, begin)

    async def _count(self, where: ChannelAddress) -> web.StreamResponse:
        return _json({"followers": await self._channels.presence(where)}, 200)


class PublishEvents:
    """Handler of POST requests."""

    def __init__(self, options: ChannelOptions, channels: Channels) -> None:
        self._options = options
        self._channels = channels
        self._rates = None if options.events is None else ReadLimit(*options.events)

    async def __call__(self, request: Request) -> web.StreamResponse:
        """Publish one event, or a stream of events as they arrive.

        Raise ChannelNotFound, InvalidEvent, BodyTooLarge, RateLimited, TooManyChannels,
        ChannelsUnavailable, IdempotencyConflict, and what reading a body raises.
        """
        exchange, options = request.exchange, self._options
        where = options.address(exchange, exchange.path.removeprefix(options.path))
        if is_event_stream(request.headers.get(CONTENT_TYPE, "").encode("latin-1", "replace")):
            return await self._publish_stream(request, where)
        options.reader.check(request)
        key = _idempotency_key(request)
        wait_s = self.wait_s(exchange)
        if wait_s:
            raise RateLimited("channels.events", max(1, math.ceil(wait_s)))
        data = await options.reader.whole(request)
        kind = dict(parse_qsl(exchange.query, keep_blank_values=True)).get("event", "message")
        block = block_of(data, kind.encode("utf-8", "surrogatepass"))
        once = None
        if key is not None:
            mark = digest(caller_of(exchange), key.encode("utf-8", "surrogatepass"))
            once = Once(mark.hex(), digest(block).hex())
        ids = await self._channels.publish(where, [block], once)
        return _json({"id": written(ids[0]).decode()}, 201)

    async def _publish_stream(self, request: Request, where: ChannelAddress) -> web.StreamResponse:
        options = self._options
        if CONTENT_ENCODING in request.headers:
            raise UnsupportedCoding
        if "Idempotency-Key" in request.headers:
            raise RequestError(
                "An Idempotency-Key is for a single event, not for a stream of events.",
                code="invalid_idempotency_key",
                param="Idempotency-Key",
            )
        options.stream_reader.check(request)
        options.stream_reader.ask(request)
        principal = request.exchange.principal
        validity = None
        if principal is not None and options.ends_streams:
            validity = options.validity(principal)
        relayed = _Relay(self, request.exchange, where, validity)
        splitter = EventSplitter(options.max_event_bytes)
        try:
            async for data in options.stream_reader.pieces(request):
                too_large = False
                try:
                    events = splitter.feed(data)
                except EventTooLarge as exc:
                    events, too_large = exc.events, True
                await relayed.add(events)
                if too_large:
                    raise BodyTooLarge(options.max_event_bytes)
        except GatewayError as error:
            error.headers = (*error.headers, ("X-Events-Published", str(relayed.count)))
            raise
        return _json(relayed.outcome(), 200)

    async def publish(self, where: ChannelAddress, blocks: list[bytes]) -> list[int]:
        """Publish blocks. Raise TooManyChannels or ChannelsUnavailable."""
        return await self._channels.publish(where, blocks)

    def wait_s(self, exchange: Exchange) -> float:
        """Count an event. Return the seconds until it may be published; 0.0 if it may be now."""
        if self._rates is None:
            return 0.0
        return self._rates.wait_s(caller_of(exchange), time.monotonic())


class _Relay:
    """Stream of events that one request publishes as they arrive."""

    def __init__(
        self,
        owner: PublishEvents,
        exchange: Exchange,
        where: ChannelAddress,
        validity: Validity | None,
    ) -> None:
        """`validity` is that of the publisher's credential, None if the stream outlives it."""
        self._owner = owner
        self._validity = validity
        self._exchange = exchange
        self._where = where
        self.count = 0
        """Number of events published."""
        self._waiting: list[bytes] = []
        self._ids = (0, 0)
        """Ids of the first and the last of them."""

    async def add(self, events: Iterable[Event]) -> None:
        """Publish events. Raise InvalidEvent, TooManyChannels, ChannelsUnavailable, or
        CredentialExpired.
        """
        if self._validity is not None and not self._validity.holds():
            raise CredentialExpired
        try:
            for event in events:
                block = block_of_event(event)
                if block is None:
                    continue
                if wait_s := self._owner.wait_s(self._exchange):
                    await self._publish()
                    while wait_s:
                        await asyncio.sleep(wait_s)
                        wait_s = self._owner.wait_s(self._exchange)
                self._waiting.append(block)
                if len(self._waiting) >= _BATCH_EVENTS:
                    await self._publish()
        except InvalidEvent:
            await self._publish()  # those before it
            raise
        await self._publish()

    async def _publish(self) -> None:
        blocks, self._waiting = self._waiting, []
        if blocks:
            ids = await self._owner.publish(self._where, blocks)
            self.count += len(ids)
            self._ids = self._ids[0] or ids[0], ids[-1]

    def outcome(self) -> dict[str, int | str]:
        """Return the response to a publisher whose stream has ended."""
        if not self.count:
            return {"events": 0}
        first, last = (written(event_id).decode() for event_id in self._ids)
        return {"events": self.count, "first_id": first, "last_id": last}


def caller_of(exchange: Exchange) -> bytes:
    """Return the digest of a caller of a route: of its identity, or of its address without a
    credential.
    """
    principal, route = exchange.principal, exchange.route or ""
    if principal is None:
        return digest(route.encode(), ip_key(exchange).encode())
    named = (route, principal.provider, principal.tenant or "", principal.subject)
    return digest(*(part.encode("utf-8", "surrogatepass") for part in named))


def _idempotency_key(request: Request) -> str | None:
    """Return the request's Idempotency-Key, or None. Raise RequestError."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not 0 < len(key) <= _KEY_CHARS:
        raise RequestError(
            f"An Idempotency-Key has 1 to {_KEY_CHARS} characters.",
            code="invalid_idempotency_key",
            param="Idempotency-Key",
        )
    return key


def _json(document: object, status: int) -> web.Response:
    return web.Response(
        status=status,
        body=orjson.dumps(document),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
