"""The last lines of a worker's log, kept so that operators can look at those of one request."""

from __future__ import annotations

import re
from collections import deque
from typing import Any

import orjson

from gateway.telemetry.logs.logger import LogSink

_LINES = 2000
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class RecentLines:
    """A sink before a sink."""

    def __init__(self, sink: LogSink) -> None:
        self._sink = sink
        self._lines: deque[bytes] = deque(maxlen=_LINES)

    def __call__(self, line: bytes) -> None:
        self._lines.append(line)
        self._sink(line)

    def of(self, identity: str) -> list[dict[str, Any]]:
        """Those that name a request or a trace, the oldest first. Reads them all."""
        wanted = identity.encode("utf-8", "surrogateescape")
        return [_read(line) for line in self._lines if wanted in line]


def _read(line: bytes) -> dict[str, Any]:
    """As it was written; of a line for people, its text."""
    try:
        document: dict[str, Any] = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {"event": _COLOURS.sub("", line.decode("utf-8", "replace")).rstrip("\n")}
    return document
