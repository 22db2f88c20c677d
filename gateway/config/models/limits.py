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

    requests: Rate | None = Field(None, description="Rate of requests, such as 600/minute.")
    burst: int | None = Field(None, ge=1, description="Largest number of requests at one moment.")
    tokens: Rate | None = Field(
        None, description="Rate of LLM tokens, input and output, such as 1000000/minute."
    )
    token_burst: int | None = Field(
        None, ge=1, description="Largest number of tokens at one moment."
    )
    concurrency: int | None = Field(
        None, ge=1, description="Largest number of requests in progress."
    )
    budget: Budget | None = Field(None, description="Budget, such as 5000 USD/month.")


class Limit(Section):
    """Limit for callers, counted in one or several units. A request must be within each of them."""

    key: Key | tuple[Key, ...] = Field(
        description=f"Callers that share one count: {EXPECTED}; a list means each combination."
    )
    requests: Rate | None = Field(
        None, description="Rate of the token bucket for requests, such as 60/minute."
    )
    burst: int | None = Field(
        None,
        ge=1,
        description="Size of that bucket: requests at one moment; default: the rate's number.",
    )
    tokens: Rate | None = Field(
        None,
        description="Rate of LLM tokens, input and output, such as 200000/minute. An estimate "
        "is reserved, and corrected by the usage in the response.",
    )
    token_burst: int | None = Field(
        None, ge=1, description="Tokens at one moment; default: the rate's number."
    )
    concurrency: int | None = Field(
        None, ge=1, description="Largest number of requests in progress."
    )
    budget: Budget | None = Field(
        None,
        description="Budget for a calendar day, week or month in UTC: 500 USD/month, by the "
        "models' prices, or 10000000 tokens/day.",
    )
    tiers: dict[str, Tier] = Field(
        default_factory=dict, description="Different amounts by the caller's tier."
    )
    on_store_error: Literal["open", "closed", "local"] = Field(
        "local",
        description="Mode while the store is away. `open`: let requests through. `closed`: "
        "refuse them with 503. `local`: count in this process alone.",
    )


class StoreSettings(Section):
    """Store that counts limits, and keeps resumable streams, channels and cached answers."""

    url: StoreUrl | Secret = Field(
        "memory://",
        description="memory:// for one gateway; sqlite:///PATH, an absolute path, for the "
        "gateways of one machine, and budgets that outlive a restart; redis://, "
        "redis+sentinel:// or redis+cluster:// for replicas, rediss… with TLS.",
    )
    stream_bytes: Size = Field(
        256 * 1024**2,
        ge=1024,
        description="Memory of each worker for resumable streams; beyond it, the oldest "
        "finished streams are dropped.",
    )

    channel_bytes: Size = Field(
        64 * 1024**2,
        ge=1024**2,
        description="Memory of each worker for the histories of channels; beyond it, the oldest "
        "events of the largest channel are dropped.",
    )

    cache_bytes: Size = Field(
        64 * 1024**2,
        ge=1024**2,
        description="Memory for cached answers, of each worker, or in Redis of all together; "
        "beyond it, the least recently used are dropped.",
    )

    @property
    def location(self) -> Location:
        """Kind and URL of the store. Not for logs: the URL may contain a password."""
        if not isinstance(self.url, str) and self.url.is_placeholder:
            return UNREAD
        return locate(self.url if isinstance(self.url, str) else self.url.reveal().decode())

    @property
    def known_location(self) -> Location:
        """The same; of unknown kind if the URL is a secret that has not been read."""
        read = isinstance(self.url, str) or self.url.known is not None
        return self.location if read else UNREAD


class ShareSettings(Section):
    """Shares of a busy backend. They have no effect while no request waits."""

    weights: dict[str, Annotated[int, Field(ge=1, le=1000)]] = Field(
        default_factory=dict,
        description="Turns in a queue relative to the others' one, by tenant, or by subject for "
        "callers without a tenant.",
    )
    priorities: dict[str, int] = Field(
        default_factory=dict,
        description="Priority by tier; default 0. Requests of a higher priority always go first.",
    )
