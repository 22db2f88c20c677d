"""Fallbacks: if one model cannot answer, another one is asked, without the caller noticing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.dialects import refusals
from gateway.errors import (
    GatewayError,
    Unavailable,
    UpstreamError,
    UpstreamTotalTimeout,
)
from gateway.proxy.attempt import SendOptions
from gateway.proxy.relay import RelayedResponse
from gateway.proxy.translated import understands
from gateway.request import Request
from gateway.routing.applied_rules import apply_rules, fits
from gateway.routing.resolve import rename_model
from gateway.routing.target import Target, target_of

_LONGEST_REASON = 200
"""Maximum characters of a backend's message in the list of models that failed."""


class Fallbacks:
    """Policy that tries the target's fallbacks in order, as long as no part of an answer was
    sent.
    """

    def __init__(self, sending: SendOptions) -> None:
        self._sending = sending

    async def around(
        self, request: Request, handler: Callable[[Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Return the first usable response. If all fail, return the last response or raise the last
        error.
        """
        exchange = request.exchange
        others = target_of(exchange).fallbacks
        if not others:
            return await handler(request)
        body = exchange.body
        mark = exchange.mark()
        left = [one for one in others if one[1].serves(one[0], exchange.principal)]
        while left:
            failure: GatewayError | None = None
            response: web.StreamResponse | None = None
            try:
                response = await handler(request)
                reason = await _shortcoming(response)
                if reason is None:
                    return response
            except (UpstreamError, Unavailable) as exc:
                if isinstance(exc, UpstreamTotalTimeout):
                    raise  # no time is left for another model
                failure, reason = exc, exc.code
            while left and not await self._takes(left[0][1], request):
                del left[0]
            if not left:
                if response is None:
                    assert failure is not None
                    raise failure
                return response
            name, target = left.pop(0)
            exchange.unwind(mark)
            failed = f"{exchange.served or exchange.model}: {reason}"
            exchange.falls_back(name, target, failed)
            rename_model(request, body, target.rename_to or name)
            waiting = apply_rules(request, target, self._sending.reader)
            if waiting is not None:
                await waiting
        return await handler(request)

    async def _takes(self, target: Target, request: Request) -> bool:
        """Tell whether the target can be asked at all."""
        return fits(request, target) and await understands(request, target, self._sending)


async def _shortcoming(response: web.StreamResponse) -> str | None:
    """Return why a fallback should be asked instead of using this response; None if it is
    usable.
    """
    status = response.status
    if status < 400:
        return None
    if status == 429 or status >= 500:
        words = response.words if isinstance(response, RelayedResponse) else None
        return f"status {status}: {words[:_LONGEST_REASON]}" if words else f"status {status}"
    if status in refusals.STATUSES and isinstance(response, RelayedResponse):
        body = await response.held(refusals.LONGEST_BYTES)
        if body is not None and refusals.too_long(status, body):
            return "prompt too long"
    return None
