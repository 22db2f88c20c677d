"""The access line of a request from its record in the store, and the record from the line.

A request that was not kept has only its line, and the lines in a worker's memory are soon replaced
by newer ones. So a request's page makes each from the other, with the fields that both have. Field
names are those of `gateway/middleware/access_log.py` and `gateway/middleware/tracing.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

_SAME = (
    *("request_id", "client", "method", "path", "route", "bridge", "subject", "tenant", "model"),
    *("continued", "served", "fallbacks", "upstream", "endpoint", "status", "error", "reason"),
    *("limit", "retry_after_s", "end", "bytes_in", "bytes_out", "tokens_in", "tokens_out"),
    *("queue_position", "cache"),
)
"""Fields that both have, by the same name."""
_TIMES = {
    "queue_ms": "queue_s",
    "first_byte_ms": "first_byte_s",
    "ttft_ms": "ttft_s",
    "duration_ms": "s",
}
"""Fields of the line in milliseconds, and those of the record in seconds."""
_LEAST_FLOW_MS = 1.0
"""Minimum time from the first token to the end of an answer that came in several pieces."""


def line_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the access line of a record. Missing are the worker, and what records do not have:
    bytes saved by compression, and the messages of a WebSocket.
    """
    ended = datetime.fromtimestamp(record["at"] + record["s"], UTC)
    attempts = record.get("attempts") or ()
    line = {
        "time": ended.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "level": "info",
        "event": "request",
        "trace_id": record["trace"],
        **{name: record.get(name) for name in _SAME},
        "attempts": len(attempts) if len(attempts) > 1 else None,
        **{
            name: None if (value := record.get(given)) is None else round(value * 1e3, 3)
            for name, given in _TIMES.items()
        },
    }
    return {name: value for name, value in line.items() if value is not None}


def record_of(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a record that a verdict needs, from the access line. Its attempts have no
    times, and all but the last have failed.
    """
    times = {
        given: None if (value := line.get(name)) is None else value / 1e3
        for name, given in _TIMES.items()
    }
    whole_s = times["s"] or 0.0
    record = {name: line.get(name) for name in _SAME}
    flow_ms = line.get("duration_ms", 0.0) - line.get("ttft_ms", 0.0)
    return {
        **record,
        **times,
        "s": whole_s,
        "at": _seconds_of(line.get("time")) - whole_s,
        "streamed": line.get("ttft_ms") is None or flow_ms >= _LEAST_FLOW_MS,
        "attempts": _attempts(line),
    }


def _attempts(line: Mapping[str, Any]) -> list[list[Any]]:
    """Return attempts as records have them."""
    endpoint, error = line.get("endpoint"), line.get("error") or ""
    if endpoint is None:
        return []
    made: int = line.get("attempts", 1)
    failed = "" if line.get("first_byte_ms") is not None else error
    status = line.get("status") or 0
    last = [made, 0.0, 0.0, endpoint, line.get("upstream"), None, "", status, failed]
    return [[number, *last[1:8], error or "failed"] for number in range(1, made)] + [last]


def _seconds_of(time: object) -> float:
    """Return a line's time in seconds since the epoch; 0 if it has none."""
    try:
        return datetime.fromisoformat(str(time)).timestamp()
    except ValueError:
        return 0.0
