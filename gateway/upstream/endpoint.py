"""An endpoint of an upstream: its address, fixed request headers, health and load."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import KW_ONLY, dataclass, field

from gateway.upstream.health import Health
from gateway.upstream.pool import EndpointPool
from gateway.upstream.provider_quota import ProviderQuota
from gateway.upstream.speed import Speed


def _nobody() -> None:
    pass


@dataclass(slots=True, eq=False, repr=False)
class Endpoint:
    """An endpoint with its connection pool and health. The upstream keeps `weight` up to date."""

    pool: EndpointPool
    health: Health
    _: KW_ONLY
    full_weight: int
    priority: int
    """Priority; lower numbers are used first."""
    max_requests: int
    fixed_lines: bytes
    """Host, credentials and configured headers, identical in every request."""
    signature: object = None
    """Settings that make it a different endpoint when one of them changes."""
    name: str = ""
    """Name in the configuration, if it has one."""
    weight: float = field(init=False)
    key: str = field(init=False)
    """Name in logs, metrics and the admin API: `name`, or the URL."""
    url: str = field(init=False)
    base: str = field(init=False)
    in_flight: int = field(default=0, init=False)
    """Requests in flight, from the pick to the end of the response."""
    begun: int = field(default=0, init=False)
    """Responses whose first byte has arrived and whose end has not."""
    carried: int = field(default=0, init=False)
    """Upper bound on requests in flight from before the probes, which are no probes."""
    speed: Speed = field(default_factory=Speed, init=False)
    """Speed of its latest answers, if the balancer needs it."""
    quota: ProviderQuota = field(default_factory=ProviderQuota, init=False)
    """Quota that its provider reports."""
    cost: float = field(default=1.0, init=False)
    """Cost relative to others: endpoints of an upstream cost the same."""
    progress_at: float = field(default=float("-inf"), init=False)
    """Time of the last begin or end of a response, in seconds of the upstream's clock."""
    waiting: Collection[object] = field(default=(), init=False)
    """Requests that wait until an endpoint of the upstream has room."""
    freed: Callable[[], None] = field(default=_nobody, init=False)
    """Called when the endpoint has room again, if requests are `waiting`."""

    def __post_init__(self) -> None:
        self.weight = float(self.full_weight)
        self.url = self.pool.address.url
        self.key = self.name or self.url
        self.base = self.pool.address.base
