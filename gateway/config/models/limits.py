"""Sections `limits`, `store` and `shares`: limits of callers, and where they are counted."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.config.models.section import Section
from gateway.config.secrets import Secret
from gateway.config.types import Budget, Key, Rate, StoreUrl
from gateway.config.units import Size
from gateway.limiting.keys import EXPECTED
from gateway.store.location import UNREAD, Location, locate


class Tier(Section):
    """Amounts for the callers of one tier. They replace those of the limit."""

    requests: Rate | None = Field(None, description="Rate, such as 600/minute.")
    burst: int | None = Field(None, ge=1, description="How many requests at once.")
    tokens: Rate | None = Field(None, description="LLM tokens, in and out, such as 1000000/minute.")
    token_burst: int | None = Field(None, ge=1, description="How many tokens at once.")
    concurrency: int | None = Field(None, ge=1, description="Requests under way at once.")
    budget: Budget | None = Field(None, description="Such as 5000 USD/month.")


class Limit(Section):
    """Limit for callers, counted in one or several units. A request must be within each of them."""

    key: Key | tuple[Key, ...] = Field(
        description=f"Who shares: {EXPECTED}; a list means each combination."
    )
    requests: Rate | None = Field(None, description="A token bucket's rate, such as 60/minute.")
    burst: int | None = Field(
        None, ge=1, description="That bucket's size: requests at once; default: the rate's number."
    )
    tokens: Rate | None = Field(
        None,
        description="LLM tokens, in and out, such as 200000/minute: an estimate is reserved, and "
        "settled with what the response says it used.",
    )
    token_burst: int | None = Field(
        None, ge=1, description="Tokens at once; default: the rate's number."
    )
    concurrency: int | None = Field(None, ge=1, description="Requests under way at once.")
    budget: Budget | None = Field(
        None,
        description="For a calendar day, week or month in UTC: 500 USD/month, by the models' "
        "prices, or 10000000 tokens/day.",
    )
    tiers: dict[str, Tier] = Field(
        default_factory=dict, description="Other amounts, by the tier of the caller."
    )
    on_store_error: Literal["open", "closed", "local"] = Field(
        "local",
        description="Without the store: let requests through, refuse them with 503, or count in "
        "this process alone.",
    )


class StoreSettings(Section):
    """Store that counts limits, and keeps resumable streams, channels and cached answers."""

    url: StoreUrl | Secret = Field(
        "memory://",
        description="memory:// for one gateway; sqlite:///PATH, from the root on, for the gateways "
        "of a machine, and budgets that outlive a restart; redis://, redis+sentinel:// or "
        "redis+cluster:// for replicas, rediss… with TLS.",
    )
    stream_bytes: Size = Field(
        256 * 1024**2,
        ge=1024,
        description="What each worker keeps of resumable streams in memory; beyond it the oldest "
        "finished ones are forgotten.",
    )

    channel_bytes: Size = Field(
        64 * 1024**2,
        ge=1024**2,
        description="What each worker keeps of channels' histories in memory; beyond it the oldest "
        "events of the largest are forgotten.",
    )

    cache_bytes: Size = Field(
        64 * 1024**2,
        ge=1024**2,
        description="What is kept of cached answers: by each worker in memory, or by all together "
        "in Redis; beyond it the least recently used are forgotten.",
    )

    @property
    def location(self) -> Location:
        """Where the store is. Not for logs: the URL may contain a password."""
        if not isinstance(self.url, str) and self.url.is_placeholder:
            return UNREAD
        return locate(self.url if isinstance(self.url, str) else self.url.reveal().decode())

    @property
    def known_location(self) -> Location:
        """Where the store is; of unknown kind if the URL is a secret that is not read."""
        read = isinstance(self.url, str) or self.url.known is not None
        return self.location if read else UNREAD


class ShareSettings(Section):
    """Shares of a busy backend. They have no effect while no request waits."""

    weights: dict[str, Annotated[int, Field(ge=1, le=1000)]] = Field(
        default_factory=dict,
        description="By tenant, or by subject of those without: turns for each of the others' one.",
    )
    priorities: dict[str, int] = Field(
        default_factory=dict,
        description="By tier: a higher one goes first, always; without one it is 0.",
    )
