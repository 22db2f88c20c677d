"""Response body as the client is to receive it: inspected, filtered, and continued by another
upstream if the first one fails. This module does not know the receiver, nor the framing there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from time import perf_counter

from gateway.dialects import Dialect, backend_words
from gateway.dialects.continuation import Splitter
from gateway.dialects.first_token import FirstToken
from gateway.dialects.usage_chunk import UsageFilter
from gateway.dialects.usage_cost import UsageCost
from gateway.errors import (
    CREDENTIAL_REFUSED,
    Cancelled,
    ContentRefused,
    CredentialExpired,
    Draining,
    GatewayError,
    HookUnavailable,
    StreamCancelled,
    StreamExpired,
    UpstreamIdleTimeout,
    UpstreamTotalTimeout,
)
from gateway.exchange import Exchange
from gateway.outcome import EndReason, Stalls
from gateway.proxy.continuation import Continuation
from gateway.sse import is_event_stream
from gateway.telemetry.traces.content import RecordedContent
from gateway.telemetry.traces.gaps import Gaps
from gateway.upstream.response import BodySink, UpstreamResponse
from gateway.usage import Usage

_TOLD_ERROR = "backend_error"
"""Code of an error that a backend reported inside a stream with a clean end."""
_CREDENTIAL_STATUSES = (401, 403)
_ENDING_BYTES = 8 * 1024
_ENDS: dict[type[GatewayError], EndReason] = {
    UpstreamIdleTimeout: EndReason.TIMEOUT,
    UpstreamTotalTimeout: EndReason.TIMEOUT,
    Draining: EndReason.DRAIN,
    Cancelled: EndReason.CANCELLED,
    CredentialExpired: EndReason.REFUSED,
    StreamExpired: EndReason.TIMEOUT,
    StreamCancelled: EndReason.CLIENT_ABORT,
    ContentRefused: EndReason.REFUSED,
    HookUnavailable: EndReason.REFUSED,
}
"""End reason by error; every other error is the upstream's."""


class ResponseBody:
    """Response body of one exchange. Arriving bytes go directly to a sink, which passes them
    through `look` itself. For most bodies `look` is None, and nothing stands between upstream and
    sink.
    """

    __slots__ = (
        "_closely",
        "_content",
        "_continuation",
        "_exchange",
        "_filter",
        "_first_token",
        "_gaps",
        "_going_on",
        "_paused_at",
        "_refusal",
        "_tap",
        "_tee",
        "is_stream",
        "on_seen",
        "paused",
        "upstream",
    )

    def __init__(
        self,
        upstream: UpstreamResponse,
        exchange: Exchange,
        dialect: Dialect,
        continuation: Continuation | None = None,
    ) -> None:
        head = upstream.head
        self.upstream = upstream
        """Current source of the body."""
        self._exchange = exchange
        self._gaps: Gaps | None = None
        self._content: RecordedContent | None = None
        trace = exchange.trace
        if trace is not None and trace.sampled:
            if head.content_length is None:
                self._gaps = trace.gaps = Gaps()
            self._content = trace.content
        self._tap = exchange.tap
        if self._tap is not None:
            self._tap.begin(head.status, head.content_type, encoded=head.encoded)
        self._tee: Callable[[bytes], None] | None = None
        self._filter: UsageFilter | UsageCost | None = None
        self.is_stream = False
        """True if the body is an event stream, or a stream of the caller's dialect."""
        self._continuation: Continuation | None = None
        self._first_token: FirstToken | None = None
        """Detector of the first token; None once it has arrived."""
        self._going_on: asyncio.Task[None] | None = None
        self.on_seen: Callable[[], None] | None = None
        """Called once nothing inspects the rest of a body that `look` inspected."""
        self._closely = self._content is not None
        """True while something inspects the body that most streams do not have, or only until their
        first token.
        """
        self._refusal: bytearray | None = None
        """Beginning of an error response, for the log."""
        if head.status >= 400:
            self._refusal, self._closely = bytearray(), True
            exchange.at_end(self._say_refusal)
        if head.content_length is None:
            streams, spoken = _kind(head.content_type, dialect.stream_type)
            if streams or spoken:
                exchange.streamed = self.is_stream = True
                if head.status == 200 and not head.encoded:
                    self._first_token, self._closely = FirstToken(not streams), True
            if streams and not head.encoded:
                self._filter = exchange.filter
            if spoken and head.status == 200 and not head.encoded:
                # The body is a stream, whose first token is awaited.
                self._continuation = continuation
        self.paused = False
        """True while the receiver reads too slowly."""
        self._paused_at = 0.0

    @property
    def look(self) -> Callable[[bytes], bytes] | None:
        """Function that inspects a piece of the body and returns the part to send; None if nothing
        does.

        The caller keeps it: if this object kept it, there would be a reference cycle, and only the
        garbage collector would free the request.
        """
        if (
            self._closely
            or self._tap is not None
            or self._gaps is not None
            or self._filter is not None
            or self._tee is not None
        ):
            return self._looked_at
        return None

    def tell_cost(self, cost: Callable[[Usage], float], splitter: Callable[[], Splitter]) -> None:
        """Add the cost to the last usage that a stream reports. `cost` returns the price of usage,
        `splitter` makes the splitter of the dialect. Call this before `look` is asked for.
        """
        if self.is_stream and not self.upstream.head.encoded:
            before = self._filter if isinstance(self._filter, UsageFilter) else None
            self._filter = UsageCost(cost, splitter(), before)

    def tee(self, receive: Callable[[bytes], None]) -> None:
        """Pass the body to `receive` as well. Call this before `look` is asked for."""
        before = self._tee
        self._tee = receive if before is None else _both(before, receive)

    def rest(self) -> bytes:
        """Return the bytes held back, at the end of the body."""
        if self.is_stream:
            self._say_error()
        rest = self._continuation.flush() if self._continuation is not None else b""
        if rest and self._tap is not None:
            self._tap.feed(rest)
        if self._filter is not None:
            rest = self._filter.feed(rest) + self._filter.flush()
        if rest and self._tee is not None:
            self._tee(rest)
        return rest

    def goes_on(self, error: GatewayError, sink: BodySink) -> bool:
        """Start failover for a body that broke off. Return False if the error is final. If no
        upstream can continue, the sink is finished with the error.
        """
        continuation = self._continuation
        if continuation is None:
            return False
        self._continuation = None
        self._going_on = going_on = asyncio.create_task(self._go_on(continuation, error, sink))
        self._exchange.at_end(lambda _: _cancel(going_on))
        return True

    def abort(self) -> None:
        """Drop the body, and do not continue it."""
        if self._going_on is not None:
            self._going_on.cancel()
        self.upstream.abort()

    async def _go_on(self, continuation: Continuation, error: GatewayError, sink: BodySink) -> None:
        response = await continuation.go_on(error)
        if response is None:
            self._filter = None  # the bytes held back are no complete event
            sink.finish(error)
            return
        self._continuation = continuation
        self.upstream = response
        if self._first_token is not None:
            self._first_token.restart()
        self._tell("continued", error.code)
        response.read_into(sink)
        if self.paused:
            response.pause()

    def pause(self) -> None:
        """Pause the upstream: the receiver reads too slowly."""
        if not self.paused:
            self.paused = True
            self._paused_at = perf_counter()
            exchange = self._exchange
            stalls = exchange.stalls = exchange.stalls or Stalls()
            stalls.count += 1
            self._tell("client_behind")
        self.upstream.pause()

    def resume(self) -> None:
        """Resume the upstream if it is paused: the receiver has caught up."""
        if self.paused:
            self.left()
            self.upstream.resume()

    def left(self) -> None:
        """End a pause in the statistics: the receiver has caught up or left."""
        if self.paused:
            self.paused = False
            stalls = self._exchange.stalls
            assert stalls is not None  # the pause has begun
            stalls.seconds += perf_counter() - self._paused_at
            self._tell("client_caught_up")

    def _say_refusal(self, exchange: Exchange) -> None:
        """Record the message of an error response, for the log."""
        failure = exchange.failure
        if self._refusal and (failure is None or failure.reason is None):
            words = backend_words.words_of(bytes(self._refusal), exchange.backend_url)
            if words is not None:
                exchange.passed_on(words)
        attempt = exchange.attempt
        if (
            self.upstream.head.status in _CREDENTIAL_STATUSES
            and attempt is not None
            and attempt.endpoint.pool.has_credential
        ):
            exchange.passed_on(None, CREDENTIAL_REFUSED)

    def _say_error(self) -> None:
        """Record an error that ends a stream, for the log: the status does not show it."""
        exchange = self._exchange
        if self.upstream.head.encoded or exchange.error_code is not None:
            return
        # An error is the last event of a stream, or the last before `[DONE]`.
        ending = self.upstream.ending[-_ENDING_BYTES:]
        words = backend_words.stream_error(ending, exchange.backend_url)
        if words is not None:
            exchange.passed_on(words, _TOLD_ERROR)

    def _tell(self, event: str, detail: str = "") -> None:
        if self._exchange.trace is not None:
            self._exchange.trace.event(event, detail)

    def _looked_at(self, data: bytes) -> bytes:
        """Pass a piece of the body to everything that inspects it, and return the part to send.
        Runs for every event: an event of a traced stream with usage takes about 0.5 µs here.
        """
        if self._gaps is not None:
            self._gaps.feed(perf_counter())
        if self._closely:
            data = self._looked_at_closely(data)
        if self._tap is not None:
            self._tap.feed(data)
        if self._filter is not None:
            data = self._filter.feed(data)
        if self._tee is not None:
            self._tee(data)
        return data

    def _looked_at_closely(self, data: bytes) -> bytes:
        if self._refusal is not None and len(self._refusal) < backend_words.LONGEST_BYTES:
            self._refusal += data[: backend_words.LONGEST_BYTES]
        if self._first_token is not None and self._first_token.feed(data):
            self._first_token = None
            self._exchange.first_token_at = perf_counter()
            self._closely = not (
                self._refusal is None and self._content is None and self._continuation is None
            )
            if self.on_seen is not None and self.look is None:
                self.on_seen()
        if self._content is not None:
            self._content.feed(data)
        if self._continuation is not None:
            data = self._continuation.feed(data)  # from here on, several streams are one answer
        return data


def end_reason(error: GatewayError) -> EndReason:
    """Return the end reason of an exchange whose body broke off with this error."""
    return _ENDS.get(type(error), EndReason.UPSTREAM_RESET)


@lru_cache(maxsize=256)
def _kind(content_type: bytes, stream_type: bytes) -> tuple[bool, bool]:
    """Tell whether a body is an event stream, and whether it is a stream of the dialect whose media
    type is `stream_type`.
    """
    return is_event_stream(content_type), content_type.lower().startswith(stream_type)


def _both(
    first: Callable[[bytes], None], second: Callable[[bytes], None]
) -> Callable[[bytes], None]:
    def receive(data: bytes) -> None:
        first(data)
        second(data)

    return receive


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
