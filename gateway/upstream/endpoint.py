"""An endpoint of an upstream: its address, fixed request headers, health and load."""

from __future__ import annotations

from collections.abc import Callable

from gateway.upstream.health import Health
from gateway.upstream.pool import EndpointPool


class Endpoint:
    """An endpoint with its connection pool and health. The upstream keeps `weight` up to date."""

    __slots__ = (
        "base",
        "begun",
        "carried",
        "fixed_lines",
        "freed",
        "full_weight",
        "health",
        "in_flight",
        "key",
        "max_requests",
        "pool",
        "priority",
        "progress_at",
        "signature",
        "url",
        "weight",
    )

    def __init__(
        self,
        pool: EndpointPool,
        health: Health,
        *,
        weight: int,
        priority: int,
        max_requests: int,
        fixed_lines: bytes,
        signature: object = None,
    ) -> None:
        self.pool = pool
        self.health = health
        self.key = self.url = pool.address.url
        self.base = pool.address.base
        self.full_weight = weight
        self.weight = float(weight)
        self.priority = priority
        """Priority; lower numbers are used first."""
        self.max_requests = max_requests
        self.in_flight = 0
        """Requests in flight, from the pick to the end of the response."""
        self.begun = 0
        """Responses whose first byte has arrived and whose end has not."""
        self.carried = 0
        """Upper bound on requests in flight from before the probes, which are no probes."""
        self.progress_at = float("-inf")
        """Time of the last begin or end of a response, in seconds of the upstream's clock."""
        self.freed: Callable[[], None] = _nobody
        """Called when the endpoint has room again."""
        self.signature = signature
        """Settings that make it a different endpoint when one of them changes."""
        self.fixed_lines = fixed_lines
        """Host, credentials and configured headers, identical in every request."""


def _nobody() -> None:
    pass
