"""Queries on the local trace store: list of requests, single traces, usage by day, size."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson

_BUSY_S = 2.0
_LONGEST_LIST = 500
_COUNTS = (
    *("requests", "errors", "limited", "counted", "tokens_in", "tokens_out", "cached", "cost"),
)
USAGE_BY = ("day", "tenant", "team", "subject", "key", "tag", "route", "model")
"""Columns that usage can be grouped by."""
USAGE_OF = ("tenant", "team", "subject", "key", "tag", "route", "model")
"""Columns that usage can be filtered by."""
_SPLIT = """(
    WITH RECURSIVE split AS (
        SELECT usage.*, '' AS tag, tags || ',' AS rest FROM usage
        UNION ALL
        SELECT day, tenant, subject, key, route, model, currency, requests, errors, limited,
            counted, tokens_in, tokens_out, cached, cost, last, team, tags,
            substr(rest, 1, instr(rest, ',') - 1), substr(rest, instr(rest, ',') + 1)
        FROM split WHERE rest <> '')
    SELECT * FROM split WHERE tag <> '' OR tags = '' AND rest = '')"""
"""Usage with a row for each tag. Usage without tags has the empty tag."""
_TAGGED = "instr(',' || tags || ',', ',' || ? || ',') > 0"

Row = dict[str, Any]


class Sort(StrEnum):
    """Sort orders of a list, by their names in a query."""

    AT = "at"
    TOOK = "took"
    TTFT = "ttft"
    TOKENS = "tokens"
    SILENT = "silent"


_SORTED_BY = {
    Sort.AT: "at",
    Sort.TOOK: "seconds",
    Sort.TTFT: "coalesce(ttft, -1.0)",
    Sort.TOKENS: "coalesce(tokens, -1)",
    Sort.SILENT: "coalesce(silent, -1.0)",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Filters, sort order and page of a list of requests. None: no filter."""

    route: str | None = None
    model: str | None = None
    """Model requested, or model that served the request."""
    tenant: str | None = None
    subject: str | None = None
    upstream: str | None = None
    status: str | None = None
    """Status code, or a class such as 5xx."""
    end: str | None = None
    error: str | None = None
    """Error code."""
    stream: str | None = None
    """Kept stream, as records name it."""
    kept: str | None = None
    """Reason for keeping: sampled, error, slow, limited or aborted."""
    slower_s: float | None = None
    """Minimum time to the first token; of requests without tokens, minimum duration."""
    silent_s: float | None = None
    """Minimum of the longest time in which the backend sent nothing."""
    id: str | None = None
    """Prefix of a trace id or request id."""
    since: float | None = None
    until: float | None = None
    """Seconds since the epoch."""
    before: str | None = None
    """Value of `next` from the previous page."""
    limit: int = 50
    sort: Sort = Sort.AT
    ascending: bool = False


class TraceReader:
    """Queries on the file. All methods block, so call them in a thread."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def requests(self, wanted: Wanted) -> Row:
        """Return `requests` in sort order, and `next` for the following page, or None."""
        clauses, values = _conditions(wanted)
        limit = max(1, min(wanted.limit, _LONGEST_LIST))
        column, order = _SORTED_BY[wanted.sort], "ASC" if wanted.ascending else "DESC"
        where = f"WHERE {' AND '.join(clauses)}" if clauses else ""
        rows = self._select(
            f"SELECT id, {column}, record FROM requests {where} "  # noqa: S608 -- clauses are ours
            f"ORDER BY {column} {order}, id {order} LIMIT ?",
            (*values, limit + 1),
        )
        more = len(rows) > limit
        rows = rows[:limit]
        return {
            "requests": [orjson.loads(record) for _, _, record in rows],
            "next": f"{rows[-1][1]!r}:{rows[-1][0]}" if more else None,
        }

    def trace(self, identity: str) -> list[Row]:
        """Return the records of a trace or of one request, by its complete id, oldest first."""
        rows = self._select(
            "SELECT record FROM requests WHERE trace = ? OR request = ? ORDER BY at LIMIT 100",
            (identity, identity),
        )
        return [orjson.loads(record) for (record,) in rows]

    def of_stream(self, stream: str) -> list[Row]:
        """Return the records of the requests that began or read a kept stream, oldest first."""
        rows = self._select(
            "SELECT record FROM requests WHERE stream = ? ORDER BY at LIMIT 100", (stream,)
        )
        return [orjson.loads(record) for (record,) in rows]

    def usage(
        self,
        *,
        since: str | None = None,
        until: str | None = None,
        by: Sequence[str] = (),
        of: Mapping[str, str] = MappingProxyType({}),
        keys: Sequence[str] | None = None,
    ) -> list[Row]:
        """Return sums for the days from `since` to `until` (YYYY-MM-DD, inclusive).

        There is one row for each combination of the columns in `by`, some of `USAGE_BY`. A request
        with several tags is in the row of each. Different currencies are never added. `last` is
        the time of the last request, or None. `of` selects rows by their values in columns of
        `USAGE_OF`, and `keys` selects those of these API keys.
        """
        columns = [name for name in USAGE_BY if name in by]
        names = [*columns, "currency"]
        conditions = [_TAGGED if name == "tag" else f"{name} = ?" for name in of]
        if keys is not None:
            conditions.append("key <> '' AND key IN (SELECT value FROM json_each(?))")
        rows = self._select(
            f"SELECT {', '.join(names)}, {', '.join(f'sum({one})' for one in _COUNTS)}, max(last) "  # noqa: S608 -- names are ours
            f"FROM {_SPLIT if 'tag' in columns else 'usage'} "
            f"WHERE {' AND '.join(('day >= ?', 'day <= ?', *conditions))} "
            f"GROUP BY {', '.join(names)} ORDER BY {', '.join(names)}",
            (
                *(since or "", until or "9999-12-31", *of.values()),
                *([] if keys is None else [orjson.dumps(list(keys)).decode()]),
            ),
        )
        return [dict(zip((*names, *_COUNTS, "last"), row, strict=True)) for row in rows]

    def minutes(self, since: float, until: float) -> list[bytes]:
        """Return the stored minutes that end after `since` and not after `until`, oldest first."""
        rows = self._select(
            "SELECT minute FROM minutes WHERE at > ? AND at <= ? ORDER BY at", (since, until)
        )
        return [data for (data,) in rows]

    def newest(self) -> int | None:
        """Return a number that grows with every stored request, or None if there are none."""
        rows = self._select("SELECT max(id) FROM requests")
        return rows[0][0] if rows else None

    def names(self) -> dict[str, list[str]]:
        """Return all routes, models, upstreams, tenants, subjects, ends and errors, for filters.

        Models that are not served are left out, because clients invent them.
        """
        served = "error IS NOT 'model_not_found'"
        return {
            "routes": self._distinct("route"),
            "models": sorted({*self._distinct("model", served), *self._distinct("asked", served)}),
            "upstreams": self._distinct("upstream"),
            "tenants": self._distinct("tenant"),
            "subjects": self._distinct("subject"),
            "ends": self._distinct("ended"),
            "errors": self._distinct("error"),
        }

    def _distinct(self, column: str, condition: str = "1") -> list[str]:
        rows = self._select(
            f"SELECT DISTINCT {column} FROM requests WHERE {column} IS NOT NULL AND {condition} "  # noqa: S608 -- columns are ours
            f"ORDER BY {column} LIMIT 200"
        )
        return [value for (value,) in rows]

    def size(self) -> Row:
        """Return the number of requests, oldest and newest time, and size on disk in bytes."""
        rows = self._select("SELECT count(*), min(at), max(at) FROM requests")
        count, oldest, newest = rows[0] if rows else (0, None, None)
        files = [self.path.with_name(self.path.name + end) for end in ("", "-wal", "-shm")]
        on_disk = sum(file.stat().st_size for file in files if file.exists())
        return {"requests": count, "oldest": oldest, "newest": newest, "bytes": on_disk}

    def _select(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a query. Return no rows if there is no file yet. Raise sqlite3.Error."""
        if not self.path.exists():
            return []
        with contextlib.closing(
            sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=_BUSY_S)
        ) as db:
            try:
                return db.execute(statement, values).fetchall()
            except sqlite3.OperationalError as exc:
                if "no such table" in str(exc):
                    return []
                raise


def _conditions(wanted: Wanted) -> tuple[list[str], list[Any]]:
    clauses: list[str] = []
    values: list[Any] = []

    def add(clause: str, *given: Any) -> None:
        clauses.append(clause)
        values.extend(given)

    equal: Mapping[str, str | None] = {
        "route": wanted.route,
        "tenant": wanted.tenant,
        "subject": wanted.subject,
        "upstream": wanted.upstream,
        "ended": wanted.end,
        "error": wanted.error,
        "stream": wanted.stream,
        "kept": wanted.kept,
    }
    for column, value in equal.items():
        if value is not None:
            add(f"{column} = ?", value)
    if wanted.model is not None:
        add("(model = ? OR asked = ?)", wanted.model, wanted.model)
    if wanted.status is not None:
        if wanted.status.endswith("xx"):
            first = int(wanted.status[:-2]) * 100
            add("status BETWEEN ? AND ?", first, first + 99)
        else:
            add("status = ?", int(wanted.status))
    if wanted.slower_s is not None:
        add("coalesce(ttft, seconds) >= ?", wanted.slower_s)
    if wanted.silent_s is not None:
        add("silent >= ?", wanted.silent_s)
    if wanted.id is not None:
        after = wanted.id[:-1] + chr(ord(wanted.id[-1]) + 1) if wanted.id else "\U0010ffff"
        add(
            "((trace >= ? AND trace < ?) OR (request >= ? AND request < ?))",
            *[wanted.id, after] * 2,
        )
    if wanted.since is not None:
        add("at >= ?", wanted.since)
    if wanted.until is not None:
        add("at < ?", wanted.until)
    if wanted.before is not None:
        at, _, row = wanted.before.partition(":")
        after = ">" if wanted.ascending else "<"
        add(f"({_SORTED_BY[wanted.sort]}, id) {after} (?, ?)", float(at), int(row))
    return clauses, values
