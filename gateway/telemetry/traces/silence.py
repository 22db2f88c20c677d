"""The longest silence of a backend in a request that has ended. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def longest_silence_s(record: Mapping[str, Any]) -> float:
    """Return the longest time in seconds in which the backend sent nothing of its answer.

    It is the wait for the first byte, a gap between two chunks, or the time from the last chunk to
    the end of the request. Time in the gateway's queue does not count, nor a request that was not
    sent to a backend.
    """
    whole_s: float = record["s"]
    first_s = record.get("first_byte_s")
    if not record.get("upstream"):
        return 0.0
    waited_s = (whole_s if first_s is None else first_s) - (record.get("queue_s") or 0.0)
    gaps: Mapping[str, Any] = record.get("gaps") or {}
    last_s = gaps.get("last_s")
    return max(
        waited_s,
        gaps.get("longest_s") or 0.0,
        0.0 if last_s is None else whole_s - last_s,
    )
