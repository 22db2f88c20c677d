"""Log settings that are changed at runtime, in all workers and in those that start later."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from aiohttp import web

from gateway.admin import documents
from gateway.admin.answer import answer
from gateway.admin.audit import note
from gateway.admin.fleet import Fleet
from gateway.admin.operation import Operation
from gateway.telemetry.logs.control import LEVELS, LogControl

_EVERY_S = 1.0


class LogSettings:
    """Log settings of all processes."""

    def __init__(self, fleet: Fleet, own: LogControl) -> None:
        """Create the settings. `own` are those of the admin process, from the configuration."""
        self._fleet = fleet
        self._own = own
        self._changed = False
        self._known: list[int] = []

    @property
    def document(self) -> dict[str, Any]:
        """Current settings as a document."""
        return {"level": self._own.level, "sample": self._own.sample}

    async def keep(self) -> None:
        """Send changed settings to workers that start later. Runs until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            if self._changed:
                replies = await self._fleet.ask("GET", "/status")
                known = [one.document["pid"] for one in replies if one.ok]
                if known != self._known:
                    await self._fleet.ask("PUT", "/log", self.document)
                    self._known = known

    @Operation(
        "GET",
        "/api/log",
        "Settings of the log.",
        returns=documents.LogLevel,
    )
    async def _get(self, _: web.Request) -> web.Response:
        return answer(self.document)

    @Operation(
        "PUT",
        "/api/log",
        "Change settings of the log until the next start.",
        returns=documents.LogLevel,
        body=documents.LogChange,
        errors={400: "The body is malformed, or a value is out of range."},
    )
    async def _put(self, request: web.Request) -> web.Response:
        try:
            asked = orjson.loads(await request.read())
            level, sample = asked.pop("level", self._own.level), asked.pop("sample", None)
        except (orjson.JSONDecodeError, AttributeError, TypeError):
            return answer({"error": 'send {"level": "debug", "sample": 0.1}'}, 400)
        if asked:
            return answer({"error": "there are `level` and `sample`, nothing else"}, 400)
        if not isinstance(level, str) or level not in LEVELS:
            return answer({"error": f"level: one of {', '.join(LEVELS)}"}, 400)
        sample = self._own.sample if sample is None else sample
        if isinstance(sample, bool) or not isinstance(sample, int | float) or not 0 <= sample <= 1:
            return answer({"error": "sample: a number from 0 to 1"}, 400)
        before = self.document
        self._own.set(level, float(sample))
        note(request, "log_changed", before, self.document, to=level, sample=sample)
        self._changed = True
        await self._fleet.ask("PUT", "/log", self.document)
        return answer(self.document)
