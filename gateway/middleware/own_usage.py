"""Past usage of a caller, by day, model and key, from the local store of traces."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from gateway.auth.principal import Principal
from gateway.errors import InvalidField
from gateway.telemetry.traces.reader import TraceReader

BY = ("day", "model", "key", "team", "tag", "route")
"""Columns by which a caller can group its usage."""
_DEFAULT_BY = "day,model,key"
_DEFAULT_DAYS = 30
_ROWS_CAP = 10_000
_COUNTS = ("requests", "errors", "limited", "tokens_in", "tokens_out", "cached", "cost")


class OwnUsage:
    """Reader of the usage of single callers."""

    def __init__(self, path: Path | None) -> None:
        """`path` is the file of the local store; None: there is none."""
        self._reader = None if path is None else TraceReader(path)

    async def of(self, principal: Principal, query: str) -> Mapping[str, Any]:
        """Return the usage of a caller: of all its keys and tokens in its tenant. `usage` is None
        if there is no local store, or it cannot be read now. Raise InvalidField.
        """
        given = dict(parse_qsl(query))
        by = [name for name in given.get("by", _DEFAULT_BY).split(",") if name]
        if not set(BY).issuperset(by):
            raise InvalidField("by", f"has to be names from {', '.join(BY)}, separated by commas")
        until = _day(given, "until", datetime.now(UTC).date())
        since = _day(given, "since", until - timedelta(days=_DEFAULT_DAYS - 1))
        rows = await self._rows(principal, since.isoformat(), until.isoformat(), by)
        names = (*(name for name in BY if name in by), "currency", *_COUNTS)
        shown = None if rows is None else [{name: row[name] for name in names} for row in rows]
        return {
            "since": since.isoformat(),
            "until": until.isoformat(),
            "usage": None if shown is None else shown[:_ROWS_CAP],
            "more": shown is not None and len(shown) > _ROWS_CAP,
        }

    async def _rows(
        self, principal: Principal, since: str, until: str, by: Sequence[str]
    ) -> list[dict[str, Any]] | None:
        if self._reader is None:
            return None
        # A caller without a tenant is counted under its subject.
        of = {"subject": principal.subject, "tenant": principal.tenant or principal.subject}
        try:
            return await asyncio.to_thread(
                self._reader.usage, since=since, until=until, by=by, of=of
            )
        except (sqlite3.Error, OSError):
            return None


def _day(given: Mapping[str, str], name: str, default: date) -> date:
    text = given.get(name)
    if text is None:
        return default
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidField(name, "has to be a day such as 2026-11-30") from None
