"""Admin API for the history of the metrics: ranges from five minutes to a week."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from gateway.admin import documents
from gateway.admin.answer import answer
from gateway.admin.operation import Operation, Parameter
from gateway.telemetry.metrics.history import STEP_S, History
from gateway.telemetry.metrics.minute import Minute
from gateway.telemetry.metrics.minutes import (
    NAMES,
    MinuteLog,
    covering,
    joined,
    minute_of,
    values,
)

_DAY_S = 86400.0
_MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class _Range:
    seconds: float
    step_s: float
    """Time between two points. Up to a minute: as it was measured."""


RANGES: Mapping[str, _Range] = {
    "5m": _Range(300.0, STEP_S),
    "15m": _Range(900.0, _MINUTE_S),
    "1h": _Range(3600.0, _MINUTE_S),
    "6h": _Range(6 * 3600.0, 120.0),
    "1d": _Range(_DAY_S, 300.0),
    "7d": _Range(7 * _DAY_S, 1800.0),
}
"""Ranges by their names in a query."""


@dataclass(frozen=True, slots=True)
class HistoryApi:
    """Handler of the history."""

    history: History
    minutes: MinuteLog
    now: Callable[[], float] = time.time

    @Operation(
        "GET",
        "/api/history",
        "Rates, latencies and loads over a range up to now.",
        returns=documents.MetricsHistory,
        parameters=(
            Parameter(
                "range",
                "Length of the range. It ends now.",
                {"type": "string", "enum": list(RANGES), "default": "1h"},
            ),
            Parameter(
                "compare",
                "`yesterday` adds the same times of the day before.",
                {"type": "string", "enum": ["yesterday"]},
            ),
        ),
        errors={400: "A parameter is malformed.", 503: "The local store cannot be read."},
    )
    async def _history(self, request: web.Request) -> web.Response:
        name, compare = request.query.get("range", "1h"), request.query.get("compare")
        if name not in RANGES:
            return answer({"error": f"range: send one of {', '.join(RANGES)}"}, 400)
        if compare not in (None, "yesterday"):
            return answer({"error": "compare: send yesterday, or leave it out"}, 400)
        # Copied here: the metrics are added to it by the loop, and the rest runs in a thread.
        recent = [minute_of(one) for one in self.history.fine()] if name == "5m" else []
        begun = self.history.begun()
        current = [minute_of(begun)] if begun is not None else []
        try:
            document = await asyncio.to_thread(
                self._document, RANGES[name], recent, current, yesterday=compare is not None
            )
        except (sqlite3.Error, OSError) as exc:
            return answer({"error": f"the local store cannot be read: {exc}"}, 503)
        return answer({"range": name, **document})

    def _document(
        self, asked: _Range, recent: list[Minute], current: list[Minute], *, yesterday: bool
    ) -> dict[str, Any]:
        until = self.now()
        since = until - asked.seconds
        if asked.step_s < _MINUTE_S:
            now = [one for one in recent if one.at > since]
        else:
            now = [*self.minutes.read(since, until), *current]
        if asked.step_s <= _MINUTE_S:
            now = _with_gaps(now, asked.step_s)
            ends = [one.at for one in now]
            rows = [values(one) for one in now]
        else:
            last = math.ceil(until / asked.step_s)
            ends = [
                number * asked.step_s
                for number in range(last - round(asked.seconds / asked.step_s) + 1, last + 1)
            ]
            rows = joined(now, ends, asked.step_s)
        before = None
        if yesterday:
            span = (since - _DAY_S - asked.step_s, until - _DAY_S + max(asked.step_s, _MINUTE_S))
            known = self.minutes.read(*span)
            times = [end - _DAY_S for end in ends]
            before = _columns(
                covering(known, times)
                if asked.step_s <= _MINUTE_S
                else joined(known, times, asked.step_s)
            )
        return {
            "since": since,
            "until": until,
            "step_s": asked.step_s,
            "at": ends,
            "values": _columns(rows),
            "yesterday": before,
        }


def _with_gaps(minutes: Sequence[Minute], step_s: float) -> list[Minute]:
    """Add an empty period wherever nothing was measured for longer than a step."""
    found: list[Minute] = []
    for one in minutes:
        if found and one.at - one.seconds - found[-1].at > step_s:
            found.append(Minute(found[-1].at + step_s, 0.0))
        found.append(one)
    return found


def _columns(rows: Sequence[Mapping[str, float | None]]) -> dict[str, list[float | None]]:
    return {name: [row[name] for row in rows] for name in NAMES}
