"""Fallbacks: if one deployment or model cannot answer, another one is asked, without the caller
noticing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.dialects import refusals
from gateway.errors import (
    GatewayError,
    Unavailable,
    UpstreamBusy,
    UpstreamError,
    UpstreamTotalTimeout,
)
from gateway.proxy.attempt import SendOptions
from gateway.proxy.relay import RelayedResponse
from gateway.proxy.translated import understands
from gateway.request import Request
from gateway.routing.applied_rules import apply_rules, fits
from gateway.routing.deployments import assign, unassign
from gateway.routing.resolve import rename_model
from gateway.routing.target import Deployed, Target, target_of
from gateway.upstream.deployment import Assignment

_LONGEST_REASON = 200
"""Maximum characters of a backend's message in the list of models that failed."""
_TOO_LONG = "prompt too long"


class Fallbacks:
    """Policy that asks the other deployments of the model, and then its fallbacks, as long as no
    part of an answer was sent.
    """

    def __init__(self, sending: SendOptions) -> None:
        self._sending = sending

    def surrounds(self, request: Request) -> bool:
        """Tell whether there is anything else to ask."""
        target = target_of(request.exchange)
        return bool(target.fallbacks) or target.deployed is not None

    async def around(
        self, request: Request, handler: Callable[[Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Return the first usable response. If all fail, return the last response or raise the last
        error.
        """
        exchange = request.exchange
        target = target_of(exchange)
        body, mark = exchange.body, exchange.mark()
        others = _Others(request, self._sending)
        while True:
            failure: GatewayError | None = None
            response: web.StreamResponse | None = None
            try:
                if target.deployed is not None and exchange.assignment is None:
                    raise UpstreamBusy("no deployment has room")
                response = await handler(request)
                reason = await _shortcoming(response, target)
                if reason is None:
                    return response
            except (UpstreamError, Unavailable) as exc:
                if isinstance(exc, UpstreamTotalTimeout):
                    raise  # no time is left for another model
                failure, reason = exc, exc.code
            found = await others.next(target, same_model=reason != _TOO_LONG)
            if found is None:
                if response is None:
                    assert failure is not None
                    raise failure
                return response
            name, following, assignment = found
            exchange.unwind(mark)
            failed = exchange.served or exchange.model
            if target.deployed is not None:
                failed = f"{failed} at {target.upstream.name}"
            exchange.falls_back(name, following, f"{failed}: {reason}")
            if assignment is None:
                unassign(exchange)
            else:
                assign(exchange, assignment)
            target = following
            own_name = target.rename_to or exchange.served or exchange.model
            assert own_name is not None
            rename_model(request, body, own_name)
            waiting = apply_rules(request, target, self._sending.reader)
            if waiting is not None:
                await waiting


class _Others:
    """Targets that may be asked after one has failed."""

    def __init__(self, request: Request, sending: SendOptions) -> None:
        self._request = request
        self._sending = sending
        exchange = request.exchange
        self._models = [
            one
            for one in target_of(exchange).fallbacks
            if one[1].serves(one[0], exchange.principal)
        ]
        self._tried: set[str] = set()
        """Keys of the model's deployments that were asked."""

    async def next(
        self, failed: Target, *, same_model: bool
    ) -> tuple[str | None, Target, Assignment | None] | None:
        """Return the next target: the name of the fallback, or None for another deployment of the
        same model; the target; and its place at a deployment, if it has one. None if there is no
        other target.
        """
        if (assignment := self._request.exchange.assignment) is not None:
            self._tried.add(assignment.deployment.key)
        if same_model and failed.deployed is not None:
            found = await self._deployment(failed.deployed)
            if found is not None:
                return None, *found
        while self._models:
            name, target = self._models.pop(0)
            self._tried.clear()
            if target.deployed is not None:
                found = await self._deployment(target.deployed)
                if found is not None:
                    return name, *found
            elif await self._takes(target):
                return name, target, None
        return None

    async def _deployment(self, model: Deployed) -> tuple[Target, Assignment] | None:
        """Return a deployment of the model that was not asked and understands the request."""
        request = self._request
        while True:
            exchange = request.exchange
            found = model.choose(exchange, request.headers, exchange.body, self._tried)
            if found is None or await self._takes(found[0]):
                return found
            self._tried.add(found[1].deployment.key)

    async def _takes(self, target: Target) -> bool:
        """Tell whether the target can be asked at all."""
        request = self._request
        return fits(request, target, surely=True) and await understands(
            request, target, self._sending
        )


async def _shortcoming(response: web.StreamResponse, target: Target) -> str | None:
    """Return why another target should be asked instead of using this response; None if it is
    usable.
    """
    status = response.status
    if status < 400:
        return None
    rotates = target.deployed is not None and status in target.upstream.options.retries.rotate
    if status == 429 or status >= 500 or rotates:
        words = response.words if isinstance(response, RelayedResponse) else None
        return f"status {status}: {words[:_LONGEST_REASON]}" if words else f"status {status}"
    if status in refusals.STATUSES and isinstance(response, RelayedResponse):
        body = await response.held(refusals.LONGEST_BYTES)
        if body is not None and refusals.too_long(status, body):
            return _TOO_LONG
    return None
