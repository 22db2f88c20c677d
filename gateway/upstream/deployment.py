"""A deployment: a model at one upstream, under the upstream's name for it.

A model may have several, which share its requests as endpoints share those of an upstream.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field

from gateway.bucket import TokenBucket
from gateway.upstream.provider_quota import ProviderQuota
from gateway.upstream.speed import Speed
from gateway.upstream.upstream import Upstream


@dataclass(slots=True, eq=False)
class Load:
    """Load of a deployment in this worker. A reload keeps it."""

    in_flight: int = 0
    speed: Speed = field(default_factory=Speed)
    provider: ProviderQuota = field(default_factory=ProviderQuota)
    """Quota that the provider reports."""


class Quota:
    """Rates that a provider grants a deployment, as far as this worker may use them.

    The quota is approximate: it keeps a deployment from refusing most requests that it would
    refuse. Exact limits are those of routes.
    """

    def __init__(
        self, requests: tuple[float, float] | None, tokens: tuple[float, float] | None
    ) -> None:
        """Each rate is the amount per second, and the amount at once; None for no limit."""
        self.rates = requests, tokens
        self._requests = None if requests is None else TokenBucket(*requests)
        self._tokens = None if tokens is None else TokenBucket(*tokens)

    def allows(self, tokens: float, now: float) -> bool:
        """Tell whether a request of so many tokens may be sent now."""
        return (self._requests is None or not self._requests.wait_s(now)) and (
            self._tokens is None or not self._tokens.wait_s(now, tokens)
        )

    def spend(self, tokens: float, now: float) -> None:
        """Count a request."""
        if self._requests is not None:
            self._requests.spend(now, 1.0)
        self.correct(tokens, now)

    def correct(self, tokens: float, now: float) -> None:
        """Count so many tokens more, or fewer if negative."""
        if self._tokens is not None and tokens:
            self._tokens.spend(now, tokens)


@dataclass(slots=True, eq=False)
class Deployment:
    """A model at one upstream. It is a `Candidate` of balancers."""

    upstream: Upstream
    key: str
    """Name of the upstream and the upstream's name of the model."""
    quota: Quota
    _: KW_ONLY
    weight: float = 1.0
    """Weight for the balancer: less than `full_weight` near the limit of the provider's quota."""
    model: str = ""
    """The upstream's name of the model."""
    priority: int = 0
    """Priority; lower numbers are used first."""
    cost: float = 1.0
    concurrency: int | None = None
    """Requests at once in this worker; None for no limit."""
    load: Load = field(default_factory=Load)
    full_weight: float = field(init=False)
    """Weight by the configuration."""

    def __post_init__(self) -> None:
        self.full_weight = self.weight

    @property
    def in_flight(self) -> int:
        """Requests of this worker in flight."""
        return self.load.in_flight

    @property
    def speed(self) -> Speed:
        """Speed of its latest answers."""
        return self.load.speed

    def has_room(self, tokens: float, now: float) -> bool:
        """Tell whether concurrency and quota allow a request of so many tokens."""
        concurrency = self.concurrency
        return (concurrency is None or self.load.in_flight < concurrency) and self.quota.allows(
            tokens, now
        )

    def is_ready(self, tokens: float, now: float) -> bool:
        """Tell whether it has room, and its upstream an endpoint in service that has the model."""
        latest = self.upstream.latest
        return (
            self.has_room(tokens, now)
            and self.load.provider.allows(tokens, now)
            and latest.has_ready(latest.lacking.get(self.model, ()))
        )

    def weigh(self, now: float) -> None:
        """Set the weight by what is left of the provider's quota."""
        self.weight = self.full_weight * self.load.provider.share(now)

    def inherit(self, other: Deployment) -> None:
        """Take over the load, and the quota if its rates are the same."""
        self.load = other.load
        if self.quota.rates == other.quota.rates:
            self.quota = other.quota


@dataclass(slots=True, eq=False)
class Assignment:
    """Place of a request at a deployment."""

    deployment: Deployment
    tokens: float
    """Tokens that the request may use, as counted in the quota."""
    entered: bool = False

    def enter(self, now: float) -> None:
        """Count the request in flight."""
        self.entered = True
        self.deployment.load.in_flight += 1
        self.deployment.quota.spend(self.tokens, now)
        self.deployment.load.provider.spend(self.tokens)

    def leave(self, used: float, now: float) -> None:
        """Count the request out, once, and correct the quota: it used `used` tokens."""
        if self.entered:
            self.entered = False
            self.deployment.load.in_flight -= 1
            self.deployment.quota.correct(used - self.tokens, now)
