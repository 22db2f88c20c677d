"""Redis keys of streams. All keys of one stream are on one node of a Redis Cluster."""

from __future__ import annotations

_PREFIX = "llm-gateway:stream:"


PROCESSES = f"{_PREFIX}processes"
"""Set of the processes that run streams which others may continue."""


def events(stream: str, epoch: int = 0) -> str:
    """Redis stream of the events. An entry's id is the number of its last event; see `entry`.

    `epoch` is the number of processes that died running the stream. Each takeover renames the key,
    so that a process which only seemed to be dead writes to a key that does not exist.
    """
    return f"{_PREFIX}{{{stream}}}:events" + (f":{epoch}" if epoch else "")


def meta(stream: str) -> str:
    """Hash about the stream: its owner (o), the process that runs it (p), its size limit (c), and
    its epoch (k). If another process may continue it: its TTL (t), and its request (r) with its
    body (b), until it ends.
    """
    return f"{_PREFIX}{{{stream}}}:meta"


def runs(process: str) -> str:
    """Set of the streams that a process runs and another may continue."""
    return f"{_PREFIX}{{{process}}}:runs"


def alive(process: str) -> str:
    """Key that exists while the process is alive."""
    return f"{_PREFIX}{{{process}}}:alive"


def claim(key: bytes) -> str:
    """Key of the claim for an Idempotency-Key."""
    return f"{_PREFIX}{{{key.hex()}}}:claim"


def channel(process: str) -> str:
    """Channel for messages to a process."""
    return f"{_PREFIX}{process}:told"
