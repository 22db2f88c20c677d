"""Mid-stream failover: when an upstream fails in the middle of an answer, another one continues it.

The text so far goes to the next endpoint as the beginning of the assistant's answer. Its
continuation is appended to the same client stream. Only complete events are passed on, so the
client never sees a broken one.

Backends differ in how they are asked to continue. Anthropic's API, Ollama and llama.cpp do so if
the last message is the assistant's; vLLM and SGLang need `continue_final_message` as well.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence

from gateway import sse
from gateway.dialects import Dialect
from gateway.dialects.continuation import Answer, Splitter
from gateway.errors import (
    GatewayError,
    UpstreamIdleTimeout,
    UpstreamInvalidResponse,
    UpstreamReset,
    UpstreamToldError,
    UpstreamTruncated,
)
from gateway.json_body import continued, is_heavy
from gateway.proxy.attempt import SendOptions
from gateway.proxy.attempts import Attempts
from gateway.proxy.translated import send_translated
from gateway.request import Request
from gateway.routing.applied_rules import apply_rules
from gateway.routing.deployments import assign, unassign
from gateway.routing.target import Target
from gateway.sse import Event, EventTooLarge, is_event_stream
from gateway.upstream.deployment import Assignment
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.options import Continues
from gateway.upstream.response import UpstreamResponse

_Candidate = tuple[str | None, Target, Sequence[Endpoint], Assignment | None]
"""Name of the fallback, if it is one; its target; endpoints to leave out; place at a deployment."""
Judge = Callable[[UpstreamResponse], Awaitable[UpstreamResponse]]
_MOST = 3
"""Maximum number of continuations of one answer."""
_CONTINUABLE = (
    UpstreamReset,
    UpstreamIdleTimeout,
    UpstreamInvalidResponse,
    UpstreamToldError,
    UpstreamTruncated,
)


class Continuation:
    """Mid-stream failover of one exchange."""

    def __init__(
        self,
        request: Request,
        body: bytes,
        answer: Answer,
        dialect: Dialect,
        send: SendOptions,
        judge: Judge | None = None,
    ) -> None:
        """`body` is the request's body, a JSON object. `judge` passes the streams of other backends
        through the hooks of the route.
        """
        self.count = 0
        """Number of times another upstream continued the answer."""
        self._request = request
        self._body = body
        self._answer = answer
        self._send = send
        self._judge = judge
        self._stream_type = dialect.stream_type
        self._new_splitter = dialect.splitter
        self._splitter: Splitter | None = dialect.splitter()
        self._events = 0

    def feed(self, data: bytes) -> bytes:
        """Return the complete events that can be sent now."""
        splitter = self._splitter
        if splitter is None:
            return data
        try:
            events = splitter.feed(data)
        except EventTooLarge as exc:
            # No usual answer has such a large event: pass the bytes on, and do not continue it.
            self._splitter = None
            return self._heard(exc.events) + splitter.flush()
        return self._heard(events)

    def flush(self) -> bytes:
        """Return the bytes held back, at the regular end of the stream; with a comment if the
        answer was continued and the stream type has comments.
        """
        rest = b"" if self._splitter is None else self._splitter.flush()
        if self.count and is_event_stream(self._stream_type):
            rest += sse.comment(b"continued by another backend")
        return rest

    async def go_on(self, error: GatewayError) -> UpstreamResponse | None:
        """Return a stream of another endpoint, or of a fallback, that continues the answer; None if
        there is none.
        """
        exchange = self._request.exchange
        target = exchange.target
        if (
            self._splitter is None
            or not self._answer.open
            or self.count >= _MOST
            or not isinstance(error, _CONTINUABLE)
            or not isinstance(target, Target)
        ):
            return None
        assert exchange.attempt is not None
        exchange.attempt.lost(error)
        upstream = target.upstream.latest
        failed = [e for e in upstream.endpoints if e.key == exchange.endpoint]
        return await self._next(target, failed, retries=True)

    async def take_up(self, events: bytes) -> UpstreamResponse | None:
        """Return a stream that continues an answer of which another process has sent these events;
        None if there is none.
        """
        self.feed(events)
        target = self._request.exchange.target
        open_ = self._splitter is not None and self._answer.open
        if not open_ or not isinstance(target, Target):
            return None
        return await self._next(target, (), retries=False)

    async def _next(
        self, target: Target, failed: Sequence[Endpoint], *, retries: bool
    ) -> UpstreamResponse | None:
        """Ask the target's other endpoints, then the fallbacks. `retries`: take the request from
        the retry budget of its upstream.
        """
        exchange = self._request.exchange
        for name, other, tried, assignment in self._candidates(target, failed):
            if other.upstream.options.continues is None:
                continue
            if retries and not other.upstream.budget.withdraw():
                continue
            if name is not None and not other.serves(name, exchange.principal):
                continue
            model = None
            if other is not target:
                model = other.rename_to or name or exchange.served or exchange.model
            response = await self._ask(other, model, tried)
            if response is not None:
                self.count += 1
                self._answer.answered.broke_off()
                self._splitter = self._new_splitter()
                if assignment is not None:
                    assign(exchange, assignment)
                elif name is not None:
                    unassign(exchange)
                exchange.continues(name, other)
                return response
        return None

    def _candidates(self, target: Target, failed: Sequence[Endpoint]) -> Iterator[_Candidate]:
        """Yield the candidates for a continuation: another endpoint, another deployment of the
        model, a fallback.
        """
        request = self._request
        exchange = request.exchange
        yield None, target, failed, None
        for name, other in [(None, target), *target.fallbacks]:
            if other.deployed is None:
                if name is not None:
                    yield name, other, (), None
                continue
            tried: set[str] = set()
            if name is None and exchange.assignment is not None:
                tried.add(exchange.assignment.deployment.key)
            while found := other.deployed.choose(exchange, request.headers, self._body, tried):
                tried.add(found[1].deployment.key)
                yield name, found[0], (), found[1]

    async def _ask(
        self, target: Target, model: str | None, tried: Sequence[Endpoint]
    ) -> UpstreamResponse | None:
        request, send, translation = self._request, self._send, target.translation
        try:
            body = await self._continued(target, model)
            if translation is None:
                response = await Attempts(request, target, body, send, tried).send()
            else:
                response = await send_translated(request, target, translation, body, send, tried)
        except GatewayError:
            return None
        head = response.head
        if head.status != 200 or not head.content_type.lower().startswith(self._stream_type):
            response.abort()
            return None
        return response if self._judge is None else await self._judge(response)

    async def _continued(self, target: Target, model: str | None) -> bytes:
        """Return the request body with the answer so far appended, for another upstream. `model` is
        the upstream's name of the model, if it is another one.
        """
        continues = target.upstream.options.continues
        final = target.translation is None and continues is Continues.CONTINUE_FINAL_MESSAGE
        body = self._body if model is None else await self._ruled(target)
        asked = body, self._answer.answered.text, self._events, model, final
        if is_heavy(body):
            return await self._send.reader.offload.run(continued, *asked)
        return continued(*asked)

    async def _ruled(self, target: Target) -> bytes:
        """Return the request body with the parameters of another model. Raise
        UnsupportedParameter.
        """
        exchange = self._request.exchange
        before = exchange.json
        waiting = apply_rules(self._request, target, self._send.reader)
        if waiting is not None:
            await waiting
        if exchange.json is not before and exchange.body is not None:
            self._body = exchange.body
        return self._body

    def _heard(self, events: Sequence[Event]) -> bytes:
        self._events += len(events)
        if self.count:
            return b"".join(self._answer.join(event) for event in events)
        for event in events:
            self._answer.read(event)
        return b"".join(event.raw for event in events)


def continuation_of(
    request: Request, dialect: Dialect, send: SendOptions, judge: Judge | None = None
) -> Continuation | None:
    """Return the failover of a streamed chat request, or None for any other request. `dialect` is
    the caller's. Called where the target or a fallback supports continuation.
    """
    kind = dialect.continuation
    parsed = request.exchange.json
    body = request.exchange.body or request.received
    if kind is None or parsed is None or body is None:
        return None
    stream = parsed.document.get("stream", dialect.streams_by_default)
    if stream is not True or not isinstance(parsed.document.get("messages"), list):
        return None
    return Continuation(request, body, kind(), dialect, send, judge)
