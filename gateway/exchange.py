"""One request's state: everything known about it, from its first byte to its end.

The exchange is made by the listener and reached from the request in one attribute. Whatever
has to happen when the last byte has left (a log line, a released slot) is an `at_end` callback,
called exactly once, however the request ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

from gateway.usage import Estimate, Usage, estimate, estimate_unread

if TYPE_CHECKING:
    from gateway.auth.principal import Principal
    from gateway.backlog import Backlog
    from gateway.dialects.translation.pieces import Skip
    from gateway.dialects.usage_tap import UsageTap
    from gateway.errors import GatewayError
    from gateway.limiting.demand import Demand, Verdict
    from gateway.limiting.rules import Rule
    from gateway.proxy.attempt import Attempt
    from gateway.proxy.body import HeldBody
    from gateway.proxy.early_head import EarlyHead
    from gateway.proxy.json_body import JsonBody
    from gateway.proxy.resolve import Target
    from gateway.proxy.usage_chunk import UsageFilter
    from gateway.telemetry.traces.recording import Trace
    from gateway.websocket.endings import Tally
    from gateway.websocket.handshake import Handshake

    Decided = tuple[Sequence[Rule], Sequence[Demand], Verdict]

RawHeaders = tuple[tuple[bytes, bytes], ...]


class EndReason(StrEnum):
    """Why an exchange ended."""

    COMPLETE = "complete"
    """The response was sent in full; it may have been an error response."""
    CLIENT_ABORT = "client_abort"
    """The client left, or took no byte for too long."""
    UPSTREAM_RESET = "upstream_reset"
    """The upstream broke off after its response had begun."""
    TIMEOUT = "timeout"
    """The upstream fell silent after its response had begun."""
    DRAIN = "drain"
    """The gateway stopped before the response was complete."""
    REFUSED = "refused"
    """A session broke a rule, or what it was allowed ran out; the error says which."""
    CANCELLED = "cancelled"
    """An operator ended it."""
    INTERNAL = "internal_error"
    """A fault of the gateway's own."""


class Commit(Enum):
    """How far an exchange is bound. This is the one place that says so."""

    OPEN = "open"
    """Nothing was sent: what goes wrong is told with a status."""
    EARLY = "early"
    """The head of an event stream was sent, and no answer yet: what goes wrong is told in one event
    that ends it. Others may still be asked for the answer, since nobody has seen any of it.
    """
    ANSWERED = "answered"
    """The head of the answer was sent."""


class BodyWriter(Protocol):
    """What writes a response body to a client; a relay."""

    @property
    def is_stream(self) -> bool:
        """Whether it writes a stream of events, which ends with its caller's credential."""

    def pause(self) -> None:
        """The client is behind: stop the source."""

    def resume(self) -> None:
        """The client has caught up."""

    def fail(self, error: GatewayError) -> None:
        """End the body now, so that the client sees why."""

    def probe(self) -> bool:
        """Send bytes that mean nothing, to learn whether the client is there. False: cannot."""


class ByteSink(Protocol):
    """Who takes a client's bytes once they are HTTP no more."""

    def received(self, data: bytes) -> None:
        """The next of them."""


class ClientConnection(Protocol):
    """The client's connection, as a relay sees it."""

    transport: asyncio.Transport | None

    @property
    def backlog(self) -> Backlog:
        """Where work for later turns of the event loop goes."""

    def may_keep_alive(self) -> bool:
        """Whether the connection may serve another request after this one."""

    def attach(self, writer: BodyWriter) -> None:
        """Tell `writer` when to pause and resume, until `detach`."""

    def detach(self) -> None:
        """The body is done."""

    def take_over(self, sink: ByteSink) -> bytes:
        """Give what the client sends from now on to `sink`; what it has sent since its request."""

    def pause_reading(self) -> None:
        """Take nothing more from the client for now."""

    def resume_reading(self) -> None:
        """Take more."""

    def branch(self, voucher: Voucher) -> Branch:
        """Another connection of the same client, for a request of its session."""


@dataclass(frozen=True, slots=True)
class Voucher:
    """What a session answers for, of a request that it makes."""

    principal: Principal | None
    """Whom its handshake was from; None where nobody is asked."""
    route: str
    """The one that may serve it."""
    request_id: str
    """Of the handshake."""


class Branch(Protocol):
    """A connection as a session sees it that makes requests: told what a transport would tell."""

    exchange: Exchange | None
    """What it serves at the moment."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Where its bytes go."""

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""

    def pause_writing(self) -> None:
        """What it writes goes nowhere for now."""

    def resume_writing(self) -> None:
        """It goes on."""

    def connection_lost(self, exc: BaseException | None) -> None:
        """Nobody waits for its answer."""

    def end(self, error: GatewayError) -> None:
        """End what it serves with an error."""


class Meter(Protocol):
    """What a session spends of the limits of its route."""

    def count(self, usage: Usage) -> None:
        """Tokens were used."""

    async def exhausted(self) -> GatewayError | None:
        """Why no more may be used, if so."""


class Keeper(Protocol):
    """What may go on with an exchange after its client has left."""

    def client_left(self) -> None:
        """The client is gone, or has all it wanted. May release the exchange."""

    def fail(self, error: GatewayError) -> None:
        """End it now, with this error. Releases the exchange."""


class Exchange:
    """The state of one request. Times are `time.perf_counter` seconds; None until known."""

    __slots__ = (
        "_asked",
        "_at_end",
        "_client_left",
        "_outcome",
        "attempt",
        "attempts",
        "body",
        "bytes_in",
        "bytes_out",
        "bytes_saved",
        "checks_model",
        "client_ip",
        "commit",
        "continued",
        "deadline",
        "decided",
        "decoded",
        "early",
        "end_reason",
        "endpoint",
        "error_code",
        "expires_at",
        "fallbacks",
        "filter",
        "first_byte_at",
        "first_token_at",
        "forwarded",
        "handshake",
        "held",
        "host",
        "json",
        "keeper",
        "limit",
        "meter",
        "method",
        "model",
        "must_close",
        "on_drain",
        "on_first_byte",
        "path",
        "principal",
        "public_url",
        "query",
        "queue_position",
        "queue_s",
        "reason",
        "refusal",
        "request_id",
        "response_headers",
        "retry_after_s",
        "route",
        "served",
        "skipped",
        "stall_s",
        "stalls",
        "started_at",
        "status",
        "streamed",
        "tally",
        "tap",
        "target",
        "trace",
        "trace_id",
        "trusted_peer",
        "upstream",
        "usage",
        "voucher",
    )

    def __init__(self, method: str, client_ip: str, trusted_peer: bool) -> None:
        self.method = method
        self.client_ip = client_ip
        self.trusted_peer = trusted_peer
        self.started_at = time.perf_counter()
        self.first_byte_at: float | None = None
        """When the first byte of the response's body went out, of whatever kind it was."""
        self.first_token_at: float | None = None
        """When the first content, reasoning or tool call of the answer did; see `end`."""
        self.request_id = ""
        self.trace: Trace | None = None
        """What is written down of it, where requests are traced."""
        self.trace_id: str | None = None
        """Of the trace it is part of, in hexadecimal digits; None: it is not sampled."""
        self.host = ""
        self.path = ""
        """The canonical path: what routes were matched on and what is forwarded."""
        self.query = ""
        self.route: str | None = None
        self.principal: Principal | None = None
        self.expires_at: float | None = None
        """When a stream that answers it has to end, in seconds since the epoch."""
        self.voucher: Voucher | None = None
        """Of the session that makes it."""
        self.model: str | None = None
        self.served: str | None = None
        """The fallback that serves it instead of its model."""
        self.fallbacks: list[str] = []
        """The models that did not, and why."""
        self.skipped: dict[Skip, int] | None = None
        """What its translation left out of the backend's answer, and how often."""
        self.continued = 0
        """How often another upstream went on with its answer."""
        self.target: Target | None = None
        """Where it goes, once that was decided."""
        self.body: bytes | None = None
        """Its body as it is to be sent, where it had to be read whole."""
        self.json: JsonBody | None = None
        """The same, parsed, where it is a JSON object and somebody had to look into it."""
        self.decoded = False
        """The body came in a content coding, and is sent without."""
        self.held: HeldBody | None = None
        """What its body takes of the memory for bodies."""
        self.checks_model: Callable[[str], bool] | None = None
        """Whether its caller may use a model, where not every caller may use every model."""
        self.upstream: str | None = None
        self.queue_position: int | None = None
        """How many went before it when it had to wait; 1 or more."""
        self.queue_s: float | None = None
        """How long it waited."""
        self.tap: UsageTap | None = None
        """Listens to the response body, where its tokens are counted."""
        self.filter: UsageFilter | None = None
        """Takes out of an event stream what only the gateway asked for."""
        self.usage: Usage | None = None
        """Tokens of the request: what logs, metrics, traces and limits all report. None until it
        ends, and after that if it used none.
        """
        self.decided: Decided | None = None
        """What limits said to it, where there are any."""
        self.handshake: Handshake | None = None
        """It asks for a WebSocket, on a route that serves it."""
        self.tally: Tally | None = None
        """What passed through the WebSocket."""
        self.meter: Meter | None = None
        """Counts tokens while they pass, where that cannot wait for the end."""
        self.deadline: float | None = None
        """When it has to be over, if it has to."""
        self.endpoint: str | None = None
        self.attempt: Attempt | None = None
        """The one whose answer is taken."""
        self.attempts = 0
        """How often it was sent to an upstream."""
        self.on_first_byte: Callable[[float], None] | None = None
        """Called with the moment the first byte of the body goes out."""
        self.on_drain: Callable[[], None] | None = None
        """Called when the gateway begins to stop."""
        self.forwarded = b""
        """Header lines that tell the upstream who is calling."""
        self.public_url = ""
        """Scheme and authority that the client used."""
        self.commit = Commit.OPEN
        self.early: EarlyHead | None = None
        """What opens its stream if it has to wait."""
        self.status: int | None = None
        self.error_code: str | None = None
        self.reason: str | None = None
        """Details of an error, for the log only: the backend's words, where it told them."""
        self.limit: str | None = None
        """The limit that refused it, by its name in the configuration."""
        self.retry_after_s: int | None = None
        """How long the client was told to wait."""
        self.refusal: GatewayError | None = None
        """Why no route serves it."""
        self.must_close = False
        """The connection must not serve another request."""
        self.bytes_in = 0
        self.bytes_out = 0
        self.bytes_saved = 0
        """Of the answer, by compression."""
        self.streamed = False
        """Its response is a stream of events."""
        self.stalls = 0
        """How often that stood still because the client took nothing."""
        self.stall_s = 0.0
        """For how long."""
        self.response_headers: list[tuple[str, str]] = []
        """Headers every response to this request carries, whoever makes it."""
        self.end_reason: EndReason | None = None
        self.keeper: Keeper | None = None
        """Who goes on with it after its client has left."""
        self._asked: Estimate | None = None
        self._client_left = False
        self._outcome: EndReason | None = None
        self._at_end: list[Callable[[Exchange], None]] = []

    def begun(self) -> None:
        """The first byte of its body goes out now."""
        self.first_byte_at = now = time.perf_counter()
        if self.first_token_at is not None:
            self.first_token_at = now  # it is in the same piece, which was looked at before
        if self.on_first_byte is not None:
            self.on_first_byte(now)

    @property
    def well(self) -> bool:
        """Whether it came to its end, and not to an error that its status does not tell."""
        error = self.error_code is not None and (self.status or 0) < 400
        return self.end_reason is EndReason.COMPLETE and not error

    @property
    def failed_early(self) -> bool:
        """Whether it came to an error before the first token of an answer."""
        return self.error_code is not None and self.first_token_at is None

    @property
    def asked(self) -> Estimate:
        """What it may use, by its body; estimated when somebody first asks."""
        if self._asked is None:
            if self.json is not None:
                self._asked = self.json.asked
            elif self.body is None:
                return estimate_unread(self.bytes_in)
            else:
                self._asked = estimate({}, len(self.body))
        return self._asked

    @property
    def detached(self) -> bool:
        """Whether it goes on without the client that began it."""
        return self.keeper is not None and self._client_left

    def let_body_go(self) -> bool:
        """Nobody sends the body again: give its memory back. Called once the answer is chosen.
        False: it is recorded, or not counted.
        """
        if self.held is None or (self.trace is not None and self.trace.content is not None):
            return False
        self._asked = self.asked
        self.held.end(self)
        self.body = self.json = self.held = None
        if self.attempt is not None:
            self.attempt.let_body_go()
        return True

    def failed(self, error: GatewayError) -> None:
        """It ends with this error, of which the log, its span and its page tell."""
        self.error_code, self.reason = error.code, error.reason
        self.limit, self.retry_after_s = error.limit, error.retry_after_s
        if self.reason is None and error.limit is None and error.message != error.default_message:
            self.reason = error.message  # it says what is wrong with this very request

    def at_end(self, callback: Callable[[Exchange], None]) -> None:
        """Call back once when the exchange has ended; newest first, as a stack unwinds."""
        self._at_end.append(callback)

    def mark(self) -> int:
        """Where `unwind` is to go back to."""
        return len(self._at_end)

    def unwind(self, mark: int) -> None:
        """Undo what was done since: what it was done for is given up, but the exchange goes on. A
        callback that fails does not stop the others, which have slots to give back.
        """
        callbacks = self._at_end
        while len(callbacks) > mark:
            callback = callbacks.pop()
            try:
                callback(self)
            except Exception as exc:
                asyncio.get_running_loop().call_exception_handler(
                    {"message": f"at the end of request {self.request_id}", "exception": exc}
                )

    def leave(self, reason: EndReason) -> None:
        """The client's side is over; without a keeper that is the end."""
        self._client_left = True
        if self.keeper is not None:
            self.keeper.client_left()
        else:
            self.end(self._outcome or reason)

    def release(self, reason: EndReason) -> None:
        """The keeper is done with it; it ends when the client's side is over, too."""
        self.keeper = None
        if self._client_left:
            self.end(reason)
        elif reason is not EndReason.COMPLETE:
            self._outcome = reason

    def end(self, reason: EndReason) -> None:
        """End the exchange. The first reason given stands; callbacks run on the first call."""
        if self.end_reason is not None:
            return
        self.end_reason = reason
        if not self.streamed and reason is EndReason.COMPLETE and self.status == 200:
            # An answer in one piece has its first token when it is there.
            self.first_token_at = time.perf_counter() if self.model is not None else None
        self._at_end.append(_count)  # the newest: all others are told what was used
        self.unwind(0)
        # They know the request, which knows this: without the circle all of it is freed at once,
        # and not by the garbage collector, which costs half as much again as the request.
        self.attempt = self.on_first_byte = self.on_drain = self.early = None


def _count(exchange: Exchange) -> None:
    tap = exchange.tap
    if tap is not None and exchange.usage is None:
        exchange.usage = tap.usage(exchange)


class GatewayRequest(web.Request):
    """aiohttp's request, with the exchange it belongs to."""

    exchange: Exchange
