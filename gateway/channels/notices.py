"""Events that the gateway itself sends to followers: their types begin with `gateway.`."""

from __future__ import annotations

import orjson

from gateway import sse
from gateway.channels.ids import written
from gateway.errors import GatewayError

RESERVED = b"gateway."
"""Prefix of event types that are reserved for the gateway."""


def opened(position: int, followers: int | None) -> bytes:
    """Return the first event of a follower. Its id lets a follower that has seen no other event
    come back without a loss. `followers` is their number, None if it is not told.
    """
    said: dict[str, str | int] = {"position": written(position).decode()}
    if followers is not None:
        said["followers"] = followers
    return sse.event(orjson.dumps(said), b"gateway.open", written(position))


def gap(after: int, until: int) -> bytes:
    """Return the event that reports a loss: events after `after`, up to and including `until`, may
    be missing.
    """
    lost = {"lost_after": written(after).decode(), "lost_until": written(until).decode()}
    return sse.event(orjson.dumps(lost), b"gateway.gap", written(until))


def presence(followers: int) -> bytes:
    """Return the event with the number of followers. It has no id and is not kept."""
    return sse.event(orjson.dumps({"followers": followers}), b"gateway.presence")


def ended(error: GatewayError, retry_ms: int) -> bytes:
    """Return the last event of a follower whom the gateway disconnects. `retry_ms` is the time in
    milliseconds until the client connects again.
    """
    said = orjson.dumps({"error": {"code": error.code, "message": error.message}})
    return sse.retry(retry_ms) + sse.event(said, b"gateway.end")
