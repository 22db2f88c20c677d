"""Admin API for traces and usage, from the local store."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gateway.admin import documents
from gateway.admin.answer import answer
from gateway.admin.bad_input import BadInput
from gateway.admin.exports import as_csv, as_json_lines, download
from gateway.admin.operation import Operation, Parameter
from gateway.admin.operator import operator_of
from gateway.admin.record_collector import RecordCollector
from gateway.admin.request_query import FILTERS, PAGING, wanted_by
from gateway.admin.roles import CONTENT
from gateway.telemetry.semconv import GenAiNames
from gateway.telemetry.traces.log_line import line_of
from gateway.telemetry.traces.reader import USAGE_BY, USAGE_OF, TraceReader, Wanted
from gateway.telemetry.traces.silence import longest_silence_s
from gateway.telemetry.traces.spans import build
from gateway.telemetry.traces.store import TraceStore
from gateway.telemetry.traces.verdict import verdict

if TYPE_CHECKING:
    from gateway.telemetry.traces.export import Export

_LONGEST_EXPORT = 10_000
_PAGE_OF_EXPORT = 500
_COLUMNS = (
    *("at", "request_id", "trace", "method", "path", "route", "model", "served", "tenant"),
    *("subject", "client", "upstream", "endpoint", "status", "end", "error", "reason", "limit"),
    *(
        "retry_after_s",
        "queue_s",
        "first_byte_s",
        "ttft_s",
        "silent_s",
        "s",
        "tokens_in",
        "tokens_out",
    ),
    *("bytes_in", "bytes_out", "kept", "fault", "verdict"),
)
"""Columns of the CSV export."""
_INNER = ("marks", "attempts", "events", "gaps", "said", "content", "words")
"""Fields of a record that its spans show, and its outline omits."""

_USAGE = (
    Parameter(
        "by",
        f"Columns to group by, separated by commas: {', '.join(f'`{one}`' for one in USAGE_BY)}.",
        {"type": "string", "default": "day"},
    ),
    Parameter("since", "First day.", {"type": "string", "format": "date"}),
    Parameter("until", "Last day.", {"type": "string", "format": "date"}),
    *(Parameter(name, f"Only the usage of this {name}.") for name in USAGE_OF),
)
_UNREADABLE = {503: "The local store cannot be read."}
_STORE_ERRORS = {
    **_UNREADABLE,
    400: "A parameter is malformed.",
    404: "There is no local store; see `telemetry.traces.local`.",
}


@dataclass(frozen=True, slots=True)
class TracesApi:
    """Handlers for traces and usage."""

    reader: TraceReader | None
    """Reader of the local store; None if there is none."""
    names: GenAiNames
    collector: RecordCollector | None = None
    store: TraceStore | None = None
    export: Export | None = None

    @Operation(
        "GET",
        "/api/traces",
        "Kept requests, the newest first.",
        returns=documents.TracePage,
        parameters=(*FILTERS, *PAGING),
        errors=_STORE_ERRORS,
    )
    async def _traces(self, request: web.Request) -> web.Response:
        wanted = wanted_by(request.query)

        def read(reader: TraceReader) -> Any:
            page = reader.requests(wanted)
            return {**page, "requests": [outline(one) for one in page["requests"]]}

        return answer(await self._read(read))

    @Operation(
        "GET",
        "/api/traces.csv",
        "All kept requests that match, at most 10 000, for spreadsheets.",
        media="text/csv",
        parameters=FILTERS,
        errors=_STORE_ERRORS,
    )
    async def _traces_csv(self, request: web.Request) -> web.Response:
        def written(rows: Iterable[Mapping[str, Any]]) -> str:
            return as_csv(map(_csv_row, rows), _COLUMNS)

        return download("requests.csv", await self._written(request, written))

    @Operation(
        "GET",
        "/api/traces.jsonl",
        "The same as JSON lines: rows of `/api/traces`.",
        media="application/jsonl",
        parameters=FILTERS,
        errors=_STORE_ERRORS,
    )
    async def _traces_jsonl(self, request: web.Request) -> web.Response:
        return download("requests.jsonl", await self._written(request, as_json_lines))

    async def _written(
        self, request: web.Request, write: Callable[[Iterable[Mapping[str, Any]]], str]
    ) -> str:
        """Return all requests that the query finds, up to the cap of an export, as a text."""
        wanted = wanted_by(request.query)
        text: str = await self._read(lambda reader: write(map(outline, _all(reader, wanted))))
        return text

    @Operation(
        "GET",
        "/api/traces/{id}",
        "A trace or a request with its spans. Recorded prompts and answers are for the role "
        "`admin` only.",
        returns=documents.WholeTrace,
        parameters=(Parameter("id", "Complete id of a trace or a request."),),
        errors={**_UNREADABLE, 404: "It is not kept, or there is no local store."},
    )
    async def _trace(self, request: web.Request) -> web.Response:
        identity, role = request.match_info["id"], operator_of(request).role

        def read(reader: TraceReader) -> Any:
            records = reader.trace(identity)
            if not records:
                return None
            if role is None or role < CONTENT:
                records = [without_content(one) for one in records]
            return {
                "trace_id": records[0]["trace"],
                "requests": [
                    {
                        **outline(one),
                        "spans": [span.document for span in build(one, self.names)],
                        "same_stream": _same_stream(reader, one),
                        "line": line_of(one),
                    }
                    for one in records
                ],
            }

        found = await self._read(read)
        if found is None:
            return answer({"error": "No trace of this request is kept."}, 404)
        return answer(found)

    async def newest(self) -> dict[str, Any]:
        """Return a document that changes when another request is kept."""
        reader = self.reader
        if reader is None:
            return {"newest": None}
        try:
            return {"newest": await asyncio.to_thread(reader.newest)}
        except sqlite3.Error:
            return {"newest": None}

    @Operation(
        "GET",
        "/api/usage.csv",
        "The same for spreadsheets.",
        media="text/csv",
        parameters=_USAGE,
        errors=_STORE_ERRORS,
    )
    async def _usage_csv(self, request: web.Request) -> web.Response:
        return download("usage.csv", as_csv(await self._usage_rows(request)))

    @Operation(
        "GET",
        "/api/usage.jsonl",
        "The same as JSON lines: one object for each row.",
        media="application/jsonl",
        parameters=_USAGE,
        errors=_STORE_ERRORS,
    )
    async def _usage_lines(self, request: web.Request) -> web.Response:
        return download("usage.jsonl", as_json_lines(await self._usage_rows(request)))

    @Operation(
        "GET",
        "/api/usage",
        "Requests, tokens and cost of all requests, kept or not.",
        returns=documents.UsageTable,
        parameters=_USAGE,
        errors=_STORE_ERRORS,
    )
    async def _usage(self, request: web.Request) -> web.Response:
        return answer({"usage": await self._usage_rows(request)})

    async def _usage_rows(self, request: web.Request) -> list[dict[str, Any]]:
        by = [name for name in request.query.get("by", "day").split(",") if name]
        if wrong := [name for name in by if name not in USAGE_BY]:
            raise BadInput(f"by: '{wrong[0]}' is none of {', '.join(USAGE_BY)}")
        since, until = _day(request.query, "since"), _day(request.query, "until")
        of = {name: request.query[name] for name in USAGE_OF if name in request.query}
        rows: list[dict[str, Any]] = await self._read(
            lambda reader: reader.usage(since=since, until=until, by=by, of=of)
        )
        return rows

    @Operation(
        "GET",
        "/api/telemetry",
        "The local store, the export of traces, and what was lost.",
        returns=documents.Telemetry,
        errors=_UNREADABLE,
    )
    async def _telemetry(self, _: web.Request) -> web.Response:
        collector, store, export = self.collector, self.store, self.export
        told: dict[str, Any] = {
            "records": collector.records if collector else 0,
            "dropped": collector.dropped if collector else 0,
            "store": None,
            "export": asdict(export.counts) if export else None,
            "names": {},
        }
        reader = self.reader
        if reader is None:
            return answer(told)

        def read(reader: TraceReader) -> Any:
            told["store"] = {**reader.size(), "lost": store.lost if store else 0}
            return {**told, "names": reader.names()}

        return answer(await self._read(read))

    async def _read(self, read: Callable[[TraceReader], Any]) -> Any:
        """Return what `read` finds. Raise HTTPNotFound or HTTPServiceUnavailable."""
        reader = self.reader
        if reader is None:
            reason = "there is no local store; see telemetry.traces.local"
            raise web.HTTPNotFound(reason=reason)
        try:
            return await asyncio.to_thread(read, reader)
        except (sqlite3.Error, OSError) as exc:
            reason = f"the local store cannot be read: {exc}"
            raise web.HTTPServiceUnavailable(reason=" ".join(reason.split())) from exc


def _all(reader: TraceReader, wanted: Wanted) -> Iterator[Mapping[str, Any]]:
    """Yield the records a query finds, page by page, up to the cap of an export."""
    wanted = replace(wanted, limit=_PAGE_OF_EXPORT)
    for _ in range(_LONGEST_EXPORT // _PAGE_OF_EXPORT):
        page = reader.requests(wanted)
        yield from page["requests"]
        if page["next"] is None:
            return
        wanted = replace(wanted, before=page["next"])


def _same_stream(reader: TraceReader, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the other requests of a kept stream: the one that began it, and its readers."""
    stream = record.get("stream")
    if stream is None:
        return []
    return [
        {
            **{name: one.get(name) for name in ("request_id", "at", "s", "status", "end")},
            "reads": one["reads"],
        }
        for one in reader.of_stream(stream)
        if one["span"] != record["span"]
    ]


def _csv_row(outlined: Mapping[str, Any]) -> dict[str, Any]:
    said = outlined["verdict"]
    at = datetime.fromtimestamp(outlined["at"], UTC).isoformat()
    told = {**outlined, "at": at, "fault": said["fault"], "verdict": said["text"]}
    return {name: told.get(name) for name in _COLUMNS}


def without_content(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record without recorded prompts and answers."""
    return {name: value for name, value in record.items() if name != "content"}


def outline(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record as a list shows it: with its verdict, without the details of its spans."""
    told = {name: value for name, value in record.items() if name not in _INNER}
    silent_s = round(longest_silence_s(record), 3)
    return {**told, "silent_s": silent_s, "verdict": verdict(record).document}


def _day(query: Mapping[str, str], name: str) -> str | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise BadInput(f"{name}: send a day as YYYY-MM-DD") from None
