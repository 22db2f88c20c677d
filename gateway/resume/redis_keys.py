"""Where streams are in Redis. The keys of one stream are on one node of a Cluster."""

from __future__ import annotations

_PREFIX = "llm-gateway:stream:"


def events(stream: str) -> str:
    """A Redis stream. The id of an entry is the number of the last event in it; see `entry`."""
    return f"{_PREFIX}{{{stream}}}:events"


def meta(stream: str) -> str:
    """A hash: whose it is, which process runs it."""
    return f"{_PREFIX}{{{stream}}}:meta"


def alive(process: str) -> str:
    """There as long as that process is."""
    return f"{_PREFIX}{{{process}}}:alive"


def claim(key: bytes) -> str:
    """What an Idempotency-Key stands for."""
    return f"{_PREFIX}{{{key.hex()}}}:claim"


def channel(process: str) -> str:
    """Where a process is told things."""
    return f"{_PREFIX}{process}:told"
