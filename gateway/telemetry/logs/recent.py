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
        self._groups: deque[bytes] = deque()
        """Lines, as they came together."""
        self._count = 0
        """Number of lines in all groups."""

    def __call__(self, lines: bytes) -> None:
        groups = self._groups
        groups.append(lines)
        self._count += lines.count(b"\n")
        # The group with the 2000th line is kept whole.
        while (left := self._count - groups[0].count(b"\n")) >= _LINES:
            groups.popleft()
            self._count = left
        self._sink(lines)

    def of(self, identity: str) -> list[dict[str, Any]]:
        """Return the lines with a request id or trace id, oldest first. Searches all lines."""
        wanted = identity.encode("utf-8", "surrogateescape")
        return [
            _read(line)
            for group in self._groups
            if wanted in group
            for line in group.splitlines()
            if wanted in line
        ]


def _read(line: bytes) -> dict[str, Any]:
    """Parse a JSON line. Of a line for people, return the text as `event`."""
    try:
        document: dict[str, Any] = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {"event": _COLOURS.sub("", line.decode("utf-8", "replace")).rstrip("\n")}
    return document
