"""Handler at the end of a pipeline: sends the request and returns the response."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from copy import copy
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.hdrs import HOST

from gateway.errors import RequestError, StreamLost
from gateway.facts import UnfinishedAnswer
from gateway.hooks.answers import AnswerHooks
from gateway.pipeline import Result
from gateway.proxy.answered_name import told_as_asked
from gateway.proxy.asking_usage import asking_body, sent_without_asking, takes_asking
from gateway.proxy.attempt import SendOptions
from gateway.proxy.attempts import Attempts, send_again
from gateway.proxy.continuation import Continuation, continuation_of
from gateway.proxy.first_attempt import Finish, first_attempt
from gateway.proxy.hooked import AnswerJudgement
from gateway.proxy.locations import Exposure, rewrite
from gateway.proxy.relay import RelayedResponse, RelayOptions
from gateway.proxy.translated import send_translated
from gateway.request import Request
from gateway.routing.target import Target, target_of
from gateway.upstream.head import LOCATIONS
from gateway.upstream.response import UpstreamResponse


@dataclass(frozen=True, slots=True)
class ForwardOptions:
    """Options of a route for forwarding."""

    sending: SendOptions
    relay: RelayOptions
    switched: Callable[[UpstreamResponse, Request], web.StreamResponse] | None = None
    """Factory of the response after the upstream has switched protocols."""
    hooks: AnswerHooks | None = None
    """Hooks that judge answers."""


class Forward:
    """Handler that forwards the requests of one route."""

    def __init__(self, options: ForwardOptions) -> None:
        self._options = options
        # One bound method each for all requests.
        self._relayed: Finish = self._relay_first
        if options.hooks is not None:
            self._relayed = self._judge_first
        self._relayed_if_usage_may_be_asked: Finish = self._relay_if_usage_may_be_asked

    def __call__(self, request: Request) -> Result:
        """Send the request. Return the response to relay, or an awaitable of it. Raise GatewayError
        if there is none.
        """
        sending = self._options.sending
        exchange = request.exchange
        target, body = exchange.target, exchange.body
        assert isinstance(target, Target)  # as `target_of` says, without its call
        exchange.upstream = target.upstream.name
        if body is None and request.body_exists:
            # A body that has already arrived is sent with the head, in one write.
            body = request.received or sending.reader.here(request)
            if body is None and target.upstream.latest.is_full_of_uploads:
                return self._hold(request, target)
        if target.reads_json and body is not None and exchange.json is None:
            return self._parse(request, target, body)
        return self._forward(request, target, body)

    async def _hold(self, request: Request, target: Target) -> web.StreamResponse:
        """Read the body before it is sent: too many uploads occupy the upstream."""
        body = await self._options.sending.reader.held(request)
        if target.reads_json and request.exchange.json is None:
            return await self._parse(request, target, body)
        return await _response(self._forward(request, target, body))

    async def _parse(self, request: Request, target: Target, body: bytes) -> web.StreamResponse:
        with contextlib.suppress(RequestError):  # such a route does not require valid JSON
            await self._options.sending.reader.parsed(request, body)
        return await _response(self._forward(request, target, body))

    def _forward(self, request: Request, target: Target, body: bytes | None) -> Result:
        sending, exchange = self._options.sending, request.exchange
        if exchange.delegated is not None and exchange.delegated.unfinished is not None:
            return self._continued(request, target, exchange.delegated.unfinished)
        if target.translation is not None:
            return self._translated(request, target, body)
        finish = self._relayed
        if exchange.filter is not None and body is not None:
            body, asks = asking_body(exchange, target, body)
            if asks:
                finish = self._relayed_if_usage_may_be_asked
        first = first_attempt(request, target, body, sending, finish, send_again)
        if first is not None:
            return first
        return _finished(request, Attempts(request, target, body, sending).send(), finish)

    async def _continued(
        self, request: Request, target: Target, unfinished: UnfinishedAnswer
    ) -> web.StreamResponse:
        """Continue the answer of a process that died. Raise StreamLost if that is not possible."""
        options = self._options
        judgement = self._judgement(request)
        continuation = self._continuation(request, judgement)
        if continuation is None or not target.continues:
            raise StreamLost
        response = await continuation.take_up(unfinished.events)
        if response is None:
            raise StreamLost
        relay = RelayOptions(options.relay.dialect, options.relay.hide_server)
        return RelayedResponse(response, request.exchange, relay, continuation)

    async def _translated(
        self, request: Request, target: Target, body: bytes | None
    ) -> web.StreamResponse:
        sending = self._options.sending
        assert target.translation is not None
        if request.exchange.body is None:
            body = await sending.reader.whole(request)
        assert body is not None
        response = await send_translated(request, target, target.translation, body, sending)
        judgement = self._judgement(request)
        if judgement is not None:
            response = await judgement.through(response)
        return self._relay(request, target, response, judgement)

    def _relay_if_usage_may_be_asked(self, request: Request, response: UpstreamResponse) -> Result:
        """Relay the response to a request that asks for usage on the gateway's own account, or send
        the request again without.
        """
        if takes_asking(request.exchange, response):
            return self._relayed(request, response)
        return self._without_asking(request, response)

    async def _without_asking(
        self, request: Request, response: UpstreamResponse
    ) -> web.StreamResponse:
        response = await sent_without_asking(request, response, self._options.sending)
        return await _response(self._relayed(request, response))

    def _relay_first(self, request: Request, response: UpstreamResponse) -> Result:
        """Relay a response that was not translated."""
        target = request.exchange.target
        assert isinstance(target, Target)  # as `target_of` says, without its call
        if response.tunnel is not None:
            # Only a route with this option requests a switch.
            assert self._options.switched is not None
            return self._options.switched(response, request)
        if target.tells_asked:
            return self._tell_asked(request, target, response)
        return self._relay(request, target, response)

    def _judge_first(self, request: Request, response: UpstreamResponse) -> Result:
        """Relay a response that was not translated, once the hooks have seen it."""
        if response.tunnel is not None:
            return self._relay_first(request, response)
        return self._judge(request, target_of(request.exchange), response)

    async def _judge(
        self, request: Request, target: Target, response: UpstreamResponse
    ) -> web.StreamResponse:
        judgement = self._judgement(request)
        assert judgement is not None
        if target.tells_asked:
            response = await told_as_asked(response, request.exchange)
        response = await judgement.through(response)
        return self._relay(request, target, response, judgement)

    async def _tell_asked(
        self, request: Request, target: Target, response: UpstreamResponse
    ) -> web.StreamResponse:
        response = await told_as_asked(response, request.exchange)
        return self._relay(request, target, response)

    def _judgement(self, request: Request) -> AnswerJudgement | None:
        options = self._options
        if options.hooks is None:
            return None
        return AnswerJudgement(options.hooks, request.exchange, options.relay.dialect)

    def _continuation(
        self, request: Request, judgement: AnswerJudgement | None
    ) -> Continuation | None:
        options = self._options
        judge = None if judgement is None else judgement.through
        return continuation_of(request, options.relay.dialect, options.sending, judge)

    def _relay(
        self,
        request: Request,
        target: Target,
        response: UpstreamResponse,
        judgement: AnswerJudgement | None = None,
    ) -> RelayedResponse:
        if response.head.located:
            exposure = _exposure(request, target, self._options.sending.strip)
            # A copy, because equal heads share one object.
            response.head = head = copy(response.head)
            head.fields, head.rendered = rewrite(head.fields, LOCATIONS, exposure), {}
        continuation = self._continuation(request, judgement) if target.continues else None
        return RelayedResponse(response, request.exchange, self._options.relay, continuation)


async def _finished(
    request: Request, response: Awaitable[UpstreamResponse], finish: Finish
) -> web.StreamResponse:
    return await _response(finish(request, await response))


async def _response(result: Result) -> web.StreamResponse:
    return result if isinstance(result, web.StreamResponse) else await result


def _exposure(request: Request, target: Target, strip: int) -> Exposure:
    """Return the addresses under which the client and the answering endpoint know this request."""
    exchange = request.exchange
    assert exchange.attempt is not None  # the response has arrived
    base = exchange.attempt.endpoint.base
    authorities = [request.headers[HOST]] if target.keeps_host else []
    for endpoint in target.upstream.latest.endpoints:
        # Addresses of the sibling endpoints are hidden from the client like the endpoint's own.
        address = endpoint.pool.address
        authorities += (address.authority, urlsplit(address.url).netloc)
    return Exposure(
        exchange.public_url, exchange.path, exchange.path[:strip], base, tuple(authorities)
    )
