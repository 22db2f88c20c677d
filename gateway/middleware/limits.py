"""Limits: every bucket a request falls into has to have a token for it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiohttp import web

from gateway.errors import RateLimited
from gateway.exchange import Exchange, GatewayRequest
from gateway.limiting.bucket import Buckets
from gateway.routing import Handler


def _subject(exchange: Exchange) -> str:
    assert exchange.principal is not None
    return exchange.principal.subject


def _tenant(exchange: Exchange) -> str:
    assert exchange.principal is not None
    # A caller without a tenant has a bucket of its own, not one with all the others.
    principal = exchange.principal
    return f"t:{principal.tenant}" if principal.tenant else f"s:{principal.subject}"


def _ip(exchange: Exchange) -> str:
    return exchange.client_ip


def _route(exchange: Exchange) -> str:
    return exchange.route or ""


KEYS: dict[str, Callable[[Exchange], str]] = {
    "subject": _subject,
    "tenant": _tenant,
    "ip": _ip,
    "route": _route,
}
"""The YAML word to what it takes from an exchange."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A named set of buckets, and whose bucket is taken."""

    name: str
    key: Callable[[Exchange], str]
    buckets: Buckets


class Limits:
    """Checks the limits in order; the first empty bucket answers 429."""

    def __init__(self, limits: Sequence[Limit]) -> None:
        self._limits = tuple(limits)

    async def __call__(self, request: GatewayRequest, handler: Handler) -> web.StreamResponse:
        now = time.monotonic()
        for limit in self._limits:
            decision = limit.buckets.take(limit.key(request.exchange), now)
            if not decision.admitted:
                raise RateLimited(limit.name, max(1, math.ceil(decision.retry_after_s)))
        return await handler(request)
