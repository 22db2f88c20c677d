"""The latest log lines of a worker, so that operators can see those of one request."""

from __future__ import annotations

import re
from collections import deque
from typing import Any

import orjson

from gateway.telemetry.logs.logger import LogSink

_LINES = 2000
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class RecentLines:
    """A sink that keeps the latest 2000 lines and passes each line on."""

    def __init__(self, sink: LogSink) -> None:
        self._sink = sink
        self._lines: deque[bytes] = deque(maxlen=_LINES)

    def __call__(self, line: bytes) -> None:
        self._lines.append(line)
        self._sink(line)

    def of(self, identity: str) -> list[dict[str, Any]]:
        """Return the lines with a request id or trace id, oldest first. Searches all lines."""
        wanted = identity.encode("utf-8", "surrogateescape")
        return [_read(line) for line in self._lines if wanted in line]


def _read(line: bytes) -> dict[str, Any]:
    """Parse a JSON line. Of a line for people, return the text as `event`."""
    try:
        document: dict[str, Any] = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {"event": _COLOURS.sub("", line.decode("utf-8", "replace")).rstrip("\n")}
    return document
