"""Admin API for the audit log: pages of it, and exports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web

from gateway.admin import operator_documents
from gateway.admin.answer import answer
from gateway.admin.audit import AuditEntry
from gateway.admin.audit_log import AuditFilter, AuditLog
from gateway.admin.bad_input import BadInput
from gateway.admin.exports import as_csv, as_json_lines, download
from gateway.admin.operation import Operation, Parameter
from gateway.admin.record_requests import PAGE, limit_of
from gateway.admin.request_query import check_names, moment
from gateway.config import Config

_DEFAULT_PAGE = 100
_LONGEST_EXPORT = 100_000
_RESULTS = ("done", "refused", "failed")
_COLUMNS = (
    *("at", "who", "how", "role", "subject", "address", "action", "object", "result", "reason"),
    *("details", "before", "after", "request_id"),
)
_FILTERS = (
    Parameter("who", "Only entries with this text in name, subject or address."),
    Parameter("action", "Only entries with this text in the action."),
    Parameter("object", "Only entries with this text in the object."),
    Parameter(
        "result", "Only entries with this result.", {"type": "string", "enum": list(_RESULTS)}
    ),
    Parameter("since", "Time of the oldest entry: seconds since the epoch, or ISO 8601."),
    Parameter("until", "Time of the newest entry."),
)
_PAGING = (
    Parameter(
        "limit",
        "Most entries.",
        {"type": "integer", "minimum": 1, "maximum": PAGE, "default": _DEFAULT_PAGE},
    ),
    Parameter("after", "Value of `next` from the previous page."),
)
_ERRORS = {400: "A parameter is malformed.", 503: "The store does not answer."}


@dataclass(frozen=True, slots=True)
class AuditApi:
    """Handlers for the audit log."""

    audit: AuditLog
    config: Callable[[], Config]
    """Returns the configuration that is served."""

    @Operation(
        "GET",
        "/api/audit",
        "Audit log: what operators did, the newest first.",
        returns=operator_documents.AuditPage,
        parameters=(*_FILTERS, *_PAGING),
        errors=_ERRORS,
    )
    async def _page(self, request: web.Request) -> web.Response:
        wanted = audit_filter(request.query, (*_FILTERS, *_PAGING))
        limit = limit_of(request, _DEFAULT_PAGE)
        found, more = await self.audit.find(wanted, request.query.get("after", ""), limit)
        kept = self.config().store.location.is_shared
        return answer({"entries": [one.document for one in found], "next": more, "kept": kept})

    @Operation(
        "GET",
        "/api/audit.csv",
        "All entries that match, for spreadsheets.",
        media="text/csv",
        parameters=_FILTERS,
        errors=_ERRORS,
    )
    async def _csv(self, request: web.Request) -> web.Response:
        rows = map(_row, await self._all(request))
        return download("audit.csv", as_csv(rows, _COLUMNS))

    @Operation(
        "GET",
        "/api/audit.jsonl",
        "The same as JSON lines.",
        media="application/jsonl",
        parameters=_FILTERS,
        errors=_ERRORS,
    )
    async def _lines(self, request: web.Request) -> web.Response:
        rows = (one.document for one in await self._all(request))
        return download("audit.jsonl", as_json_lines(rows))

    async def _all(self, request: web.Request) -> list[AuditEntry]:
        """Return all entries that the query finds, up to the cap of an export."""
        wanted = audit_filter(request.query, _FILTERS)
        found: list[AuditEntry] = []
        after: str | None = ""
        while after is not None and len(found) < _LONGEST_EXPORT:
            page, after = await self.audit.find(wanted, after, PAGE)
            found += page
        return found


def audit_filter(query: Mapping[str, str], known: tuple[Parameter, ...]) -> AuditFilter:
    """Return the filter that a query describes. Raise BadInput."""
    check_names(known, query)
    result = query.get("result")
    if result is not None and result not in _RESULTS:
        raise BadInput(f"result: send one of {', '.join(_RESULTS)}")
    return AuditFilter(
        query.get("who"),
        query.get("action"),
        query.get("object"),
        result,
        moment(query, "since"),
        moment(query, "until"),
    )


def _row(one: AuditEntry) -> dict[str, Any]:
    row = {name: value for name, value in one.document.items() if name in _COLUMNS}
    for name in ("details", "before", "after"):
        row[name] = orjson.dumps(row[name]).decode() if row[name] else ""
    return {**row, "at": datetime.fromtimestamp(one.at, UTC).isoformat()}
