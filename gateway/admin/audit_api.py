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
from gateway.admin.operation import Operation, Parameter, routes
from gateway.admin.request_query import BadQuestion, check_names, moment
from gateway.admin.traces_api import as_csv
from gateway.config import Config
from gateway.store.records import StoreUnavailable

_PAGE = 100
_LONGEST_PAGE = 1000
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
        {"type": "integer", "minimum": 1, "maximum": _LONGEST_PAGE, "default": _PAGE},
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

    @property
    def routes(self) -> list[web.RouteDef]:
        """Routes to add to the application."""
        return routes(self)

    @Operation(
        "GET",
        "/api/audit",
        "Audit log: what operators did, the newest first.",
        returns=operator_documents.AuditPage,
        parameters=(*_FILTERS, *_PAGING),
        errors=_ERRORS,
    )
    async def _page(self, request: web.Request) -> web.Response:
        try:
            wanted = audit_filter(request.query, (*_FILTERS, *_PAGING))
            limit = request.query.get("limit", str(_PAGE))
            if not limit.isdecimal() or not 0 < int(limit) <= _LONGEST_PAGE:
                raise BadQuestion(f"limit: send a number from 1 to {_LONGEST_PAGE}")
        except BadQuestion as exc:
            return answer({"error": str(exc)}, 400)
        try:
            found, more = await self.audit.find(wanted, request.query.get("after", ""), int(limit))
        except StoreUnavailable as exc:
            return answer({"error": f"the store does not answer: {exc}"}, 503)
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
        return await self._exported(request, "csv", "text/csv", _csv)

    @Operation(
        "GET",
        "/api/audit.jsonl",
        "The same as JSON lines.",
        media="application/jsonl",
        parameters=_FILTERS,
        errors=_ERRORS,
    )
    async def _lines(self, request: web.Request) -> web.Response:
        return await self._exported(request, "jsonl", "application/jsonl", _lines)

    async def _exported(
        self,
        request: web.Request,
        kind: str,
        content_type: str,
        written: Callable[[list[AuditEntry]], str],
    ) -> web.Response:
        found: list[AuditEntry] = []
        after: str | None = ""
        try:
            wanted = audit_filter(request.query, _FILTERS)
            while after is not None and len(found) < _LONGEST_EXPORT:
                page, after = await self.audit.find(wanted, after, _LONGEST_PAGE)
                found += page
        except BadQuestion as exc:
            return answer({"error": str(exc)}, 400)
        except StoreUnavailable as exc:
            return answer({"error": f"the store does not answer: {exc}"}, 503)
        return web.Response(
            text=written(found),
            content_type=content_type,
            charset="utf-8",
            headers={"Content-Disposition": f'attachment; filename="audit.{kind}"'},
        )


def audit_filter(query: Mapping[str, str], known: tuple[Parameter, ...]) -> AuditFilter:
    """Return the filter that a query describes. Raise BadQuestion."""
    check_names(known, query)
    result = query.get("result")
    if result is not None and result not in _RESULTS:
        raise BadQuestion(f"result: send one of {', '.join(_RESULTS)}")
    return AuditFilter(
        query.get("who"),
        query.get("action"),
        query.get("object"),
        result,
        moment(query, "since"),
        moment(query, "until"),
    )


def _csv(found: list[AuditEntry]) -> str:
    return as_csv([_row(one) for one in found], _COLUMNS)


def _row(one: AuditEntry) -> dict[str, Any]:
    row = {name: value for name, value in one.document.items() if name in _COLUMNS}
    for name in ("details", "before", "after"):
        row[name] = orjson.dumps(row[name]).decode() if row[name] else ""
    return {**row, "at": datetime.fromtimestamp(one.at, UTC).isoformat()}


def _lines(found: list[AuditEntry]) -> str:
    return "".join(orjson.dumps(one.document).decode() + "\n" for one in found)
