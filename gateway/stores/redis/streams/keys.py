"""Redis keys of streams. All keys of one stream are on one node of a Redis Cluster."""

from __future__ import annotations

_PREFIX = "llm-gateway:stream:"


def events(stream: str) -> str:
    """Redis stream of the events. An entry's id is the number of its last event; see `entry`."""
    return f"{_PREFIX}{{{stream}}}:events"


def meta(stream: str) -> str:
    """Hash with the stream's owner, the process that runs it, and its size limit."""
    return f"{_PREFIX}{{{stream}}}:meta"


def alive(process: str) -> str:
    """Key that exists while the process is alive."""
    return f"{_PREFIX}{{{process}}}:alive"


def claim(key: bytes) -> str:
    """Key of the claim for an Idempotency-Key."""
    return f"{_PREFIX}{{{key.hex()}}}:claim"


def channel(process: str) -> str:
    """Channel for messages to a process."""
    return f"{_PREFIX}{process}:told"
