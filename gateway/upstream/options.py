"""Runtime options of an upstream, built from the validated configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from gateway.upstream.health import HealthOptions
from gateway.upstream.latencies import SlownessOptions


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Time limits in seconds. `total_s` runs from the request's arrival to the last byte."""

    connect_s: float
    first_byte_s: float
    idle_s: float
    total_s: float | None = None


@dataclass(frozen=True, slots=True)
class RetryOptions:
    """Rules for sending a request again. Times in seconds."""

    attempts: int = 2
    """Maximum number of retries, in addition to the first attempt."""
    post: bool = False
    """Retry non-idempotent requests too: the model may have begun an answer that was lost."""
    statuses: frozenset[int] = frozenset({502, 503, 504})
    rotate: frozenset[int] = frozenset({429})
    """Statuses by which one endpoint refuses what another one may take."""
    per_try_s: float | None = None
    """First-byte timeout while another attempt may follow; replaces that of `Timeouts`."""
    backoff_s: float = 0.025
    longest_backoff_s: float = 0.25
    hedge: bool = False
    hedge_after_s: float | None = None
    """Delay before the hedged request. None: the p95 of the time to first byte."""


class Continues(Enum):
    """Method to ask an upstream to continue an answer that has begun (mid-stream failover)."""

    PREFILL = "prefill"
    """Append the text so far as a last message of role assistant."""
    CONTINUE_FINAL_MESSAGE = "continue_final_message"
    """Append that message, and set the field `continue_final_message`."""


@dataclass(frozen=True, slots=True)
class UpstreamOptions:
    """Configuration of an upstream. Times in seconds."""

    timeouts: Timeouts
    replaced: frozenset[bytes]
    """Lower-cased names of headers that `fixed_lines` sets. The client's own are dropped."""
    retries: RetryOptions = field(default_factory=RetryOptions)
    keeps_host: bool = False
    """Send the client's Host header. If False, `fixed_lines` contains the Host header."""
    continues: Continues | None = None
    """Method to ask this upstream to continue an answer that another one began, if it can."""
    balance: object = None
    """Balancing policy and its key. If a reload does not change it, its state is kept."""
    budget_share: float = 0.2
    budget_reserve: float = 3.0
    health: HealthOptions = field(default_factory=HealthOptions)
    outliers: bool = True
    """Eject endpoints that answer with errors (outlier detection)."""
    slowness: SlownessOptions | None = field(default_factory=SlownessOptions)
    max_ejected: float = 0.1
    """Maximum share of endpoints that may be ejected at the same time. One is always allowed."""
    panic: float = 0.5
    """Panic threshold: if the share of healthy endpoints is lower, ejections are ignored."""
    pending: int = 1024
    """Maximum number of requests that wait for an endpoint with room."""
    pending_s: float = 5.0
