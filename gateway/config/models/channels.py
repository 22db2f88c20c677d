"""Channels of a route: who may publish and follow, and what is kept."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gateway.config.models.section import Section
from gateway.config.types import Name, Rate
from gateway.config.units import Duration, Size


class ChannelSettings(Section):
    """Channels of a route: one publishes events, many follow them."""

    publish: tuple[str, ...] = Field(
        (),
        description="Scopes that a publisher needs besides the route's own, all of them. Empty: "
        "nobody may publish.",
    )
    follow: tuple[str, ...] = Field(
        (), description="Scopes that a follower needs besides the route's own, all of them."
    )
    public: bool = Field(
        False,
        description="Let anybody follow, without a credential. Publishing still needs one. Not "
        "with `per_tenant`.",
    )
    per_tenant: bool = Field(
        True,
        description="Keep the channels of each tenant apart: a name means another channel for "
        "another tenant. false: all callers of the route share its channels.",
    )
    publish_limits: tuple[Name, ...] = Field(
        (), description="Limits that each request to publish must pass."
    )
    follow_limits: tuple[Name, ...] = Field(
        (),
        description="Limits that each follower must pass when it connects. A `concurrency` limit "
        "counts followers in all workers and replicas.",
    )
    events: Rate | None = Field(
        "6000/minute",
        description="Events that one caller may publish, in each worker; a single event above it "
        "is 429, a stream is read more slowly. null: no limit.",
    )
    history: int = Field(
        1000,
        ge=1,
        le=1_000_000,
        description="Events kept of each channel, for clients that return.",
    )
    history_bytes: Size = Field(
        1024**2, ge=16 * 1024, description="Bytes kept of each channel's events."
    )
    history_age: Duration = Field(600.0, gt=0, description="Longest time that an event is kept.")
    max_event: Size = Field(
        64 * 1024, ge=256, description="Largest event that may be published; more is 413."
    )
    max_channels: int = Field(
        1000,
        ge=1,
        description="Channels of one tenant in which events are published, and as many that are "
        "only followed; one more is 429. Counted in each worker, and by a Redis store together.",
    )
    max_followers: int = Field(
        10_000, ge=1, description="Followers of one channel in each worker; one more is 429."
    )
    max_per_caller: int = Field(
        100,
        ge=1,
        description="Followers of one caller in each worker; one more is 429. Without a credential "
        "each address is a caller.",
    )
    slow: Literal["disconnect", "drop"] = Field(
        "disconnect",
        description="Policy for a follower that is too slow to receive an event before it is "
        "dropped from the history. `disconnect`: it is disconnected, and may return. `drop`: it "
        "misses these events, and gets a notice.",
    )
    presence: bool = Field(
        False,
        description="Tell followers their number: an event `gateway.presence` after each "
        "change, at most once a second.",
    )
    silence: Duration = Field(
        600.0,
        gt=0,
        description="Longest silence of a publisher within a stream; then 408.",
    )
