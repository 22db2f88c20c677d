"""What a configuration says of an upstream, as it is used."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from gateway.upstream.health import HealthOptions
from gateway.upstream.latencies import SlownessOptions


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds each phase may take; `total_s` from the request's arrival to its last byte."""

    connect_s: float
    first_byte_s: float
    idle_s: float
    total_s: float | None = None


@dataclass(frozen=True, slots=True)
class RetryOptions:
    """When a request is sent again. Times in seconds."""

    attempts: int = 2
    """Beside the first."""
    post: bool = False
    """What is not idempotent too: the model would have begun, and nobody saw it."""
    statuses: frozenset[int] = frozenset({502, 503, 504})
    per_try_s: float | None = None
    """Instead of the first-byte timeout, while another attempt may follow."""
    backoff_s: float = 0.025
    longest_backoff_s: float = 0.25
    hedge: bool = False
    hedge_after_s: float | None = None
    """None: after the p95 of what it takes to begin."""


class Continues(Enum):
    """How an upstream is asked to go on with an answer that has begun."""

    PREFILL = "prefill"
    """By a last message that is the assistant's."""
    CONTINUE_FINAL_MESSAGE = "continue_final_message"
    """And by the field of that name."""


@dataclass(frozen=True, slots=True)
class UpstreamOptions:
    """What the configuration says of an upstream. Times in seconds."""

    timeouts: Timeouts
    replaced: frozenset[bytes]
    """Lower-cased header names that `fixed_lines` sets: the client's own are dropped."""
    retries: RetryOptions = field(default_factory=RetryOptions)
    keeps_host: bool = False
    """The Host of each request is the client's; else it is in `fixed_lines`."""
    continues: Continues | None = None
    """How it is asked to go on with an answer that another one has begun."""
    balance: object = None
    """Which policy, and by what: one that is equal goes on with what it has learnt."""
    budget_share: float = 0.2
    budget_reserve: float = 3.0
    health: HealthOptions = field(default_factory=HealthOptions)
    outliers: bool = True
    """Whether endpoints are taken out for what they answer."""
    slowness: SlownessOptions | None = field(default_factory=SlownessOptions)
    max_ejected: float = 0.1
    """Share of the endpoints that may be out for what they answered; one may always."""
    panic: float = 0.5
    """With a smaller share left, ejections are not heeded."""
    pending: int = 1024
    """Requests that may wait for an endpoint with room."""
    pending_s: float = 5.0
