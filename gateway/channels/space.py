"""Options of the channels of one route."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b


@dataclass(frozen=True, slots=True)
class ChannelRetention:
    """Bounds of a channel's history. An event beyond any of them is dropped."""

    events: int
    size_bytes: int
    age_s: float


@dataclass(frozen=True, slots=True)
class ChannelSpace:
    """Options that all channels of a route share. Numbers of followers are those in one worker."""

    name: str
    """Name of the route."""
    retention: ChannelRetention
    max_channels: int
    """Maximum number of channels of one tenant."""
    max_followers: int
    """Maximum number of followers of one channel."""
    max_per_caller: int
    """Maximum number of followers of one caller."""
    drops: bool
    """True if a follower that lags loses events, False if it is disconnected."""
    presence: bool
    """True if followers learn how many others follow."""


@dataclass(frozen=True, slots=True)
class ChannelAddress:
    """Channel of a tenant."""

    key: str
    """Digest of route, tenant and name. It names the channel in stores and between workers."""
    group: str
    """Digest of route and tenant, for the cap on their channels."""
    space: ChannelSpace


@dataclass(frozen=True, slots=True)
class Once:
    """Mark of a publication that a client may repeat. It is published once."""

    key: str
    """Digest of the caller and its Idempotency-Key."""
    content: str
    """Digest of the event."""


def address(space: ChannelSpace, tenant: str | None, name: str) -> ChannelAddress:
    """Return the address of a channel. `tenant` is None if channels belong to no tenant."""
    parts = [
        space.name.encode(),
        b"" if tenant is None else b"t" + tenant.encode("utf-8", "surrogatepass"),
    ]
    return ChannelAddress(_digest(*parts, name.encode()), _digest(*parts), space)


def _digest(*parts: bytes) -> str:
    hashed = blake2b(digest_size=16)
    for part in parts:
        hashed.update(b"%d:%b" % (len(part), part))
    return hashed.hexdigest()
