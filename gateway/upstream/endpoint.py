"""One address of an upstream: where it is, what is said to it, how it is, how much it carries."""

from __future__ import annotations

from collections.abc import Callable

from gateway.upstream.health import Health
from gateway.upstream.pool import EndpointPool


class Endpoint:
    """With its pool and its health. `weight` is kept up to date by the upstream."""

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
        """The lower the sooner."""
        self.max_requests = max_requests
        self.in_flight = 0
        """Requests it carries, from being picked to the end of the response."""
        self.begun = 0
        """Answers of which a first byte has come and the end has not."""
        self.carried = 0
        """How many of them, at most, are older than its probes: these end when they end."""
        self.progress_at = float("-inf")
        """When an answer of it last began or ended, in seconds of the upstream's clock."""
        self.freed: Callable[[], None] = _nobody
        """Called when it has room again."""
        self.signature = signature
        """What makes it another endpoint if it changes."""
        self.fixed_lines = fixed_lines
        """Host, credentials and configured headers: the same on every request."""


def _nobody() -> None:
    pass
