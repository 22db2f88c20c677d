"""Spans, built from a worker's record of a request, for collectors and operators.

SERVER    POST /v1/chat/completions  the whole request
INTERNAL  ├ auth, limits, admission
CLIENT    ├ chat demo-llama         every attempt; the one that answered ends with the answer
INTERNAL  │ └ stream                from the first byte to the last
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

from gateway.dialects.paths import operation
from gateway.telemetry.semconv import GenAiNames, http_route, provider
from gateway.telemetry.traces.gaps import BOUNDS_S

Attributes = dict[str, Any]
_METHODS = frozenset(
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "QUERY"]
)
# Ids of attempts count up from the request's own span, by the attempt's number; other ids from
# here.
_MARKS_FROM = 1 << 16
_STREAM = 1 << 17
_WHO = {
    "complete": "upstream",
    "client_abort": "client",
    "upstream_reset": "upstream",
    "timeout": "upstream",
    "drain": "gateway",
    "refused": "gateway",
    "cancelled": "operator",
    "internal_error": "gateway",
}
"""Party that ended a stream, by the reason for its end."""


@dataclass(slots=True)
class SpanEvent:
    """An event in a span. Times are in seconds since the epoch."""

    name: str
    at: float
    attributes: Attributes = field(default_factory=dict)


@dataclass(slots=True)
class Span:
    """A span with OpenTelemetry's fields. Times are in seconds since the epoch."""

    name: str
    kind: str
    """Span kind: server, client or internal."""
    span_id: str
    parent_id: str | None
    start: float
    end: float
    attributes: Attributes = field(default_factory=dict)
    events: list[SpanEvent] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    """Links to other spans: trace id and span id."""
    error: str | None = None
    """Error of the span, or None."""

    @property
    def document(self) -> dict[str, Any]:
        """The span as a document for JSON."""
        return asdict(self)


def build(record: Mapping[str, Any], names: GenAiNames) -> list[Span]:
    """Return the spans of a request, its own first, and every span before its children."""
    server = _server(record, names)
    spans = [server]
    base, start = int(record["span"], 16), record["at"]
    for number, (name, begun, ended) in enumerate(record["marks"]):
        span = Span(
            name,
            "internal",
            f"{base + _MARKS_FROM + number:016x}",
            server.span_id,
            start + begun,
            start + (record["s"] if ended is None else ended),
        )
        if ended is None:
            span.error = record.get("error") or record.get("end")
            span.attributes["error.type"] = span.error
            if record.get("reason"):
                span.attributes["gateway.reason"] = record["reason"]
            span.attributes |= _known(_limit(record))
        if name == "admission" and record.get("queue_position"):
            span.attributes["gateway.queue.position"] = record["queue_position"]
        spans.append(span)
    attempts = _attempts(record, server, names)
    spans += attempts
    if attempts and _first_byte_s(record) is not None:
        spans.append(_stream(record, attempts[-1], base + _STREAM))
    return spans


def _server(record: Mapping[str, Any], names: GenAiNames) -> Span:
    method = record["method"] if record["method"] in _METHODS else "_OTHER"
    route_path = record.get("route_path")
    route = http_route(route_path, record["path"]) if route_path else None
    status, end = record.get("status"), record.get("end")
    parent = record.get("parent")
    span = Span(
        f"{method if method != '_OTHER' else 'HTTP'} {route}" if route else method,
        "server",
        record["span"],
        parent[1] if parent else None,
        record["at"],
        record["at"] + record["s"],
        _known(
            {
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": status,
                "url.path": record["path"],
                "url.scheme": "http",
                "network.protocol.version": "1.1",
                "server.address": record.get("host"),
                "client.address": record["client"],
                "http.request.body.size": record["bytes_in"] or None,
                "http.response.body.size": record["bytes_out"] or None,
                "enduser.id": record.get("subject"),
                "gateway.request_id": record["request_id"],
                "gateway.route": record.get("route"),
                "gateway.tenant": record.get("tenant"),
                "gateway.model": record.get("model"),
                "gateway.served_model": record.get("served"),
                "gateway.upstream": record.get("upstream"),
                "gateway.cache": record.get("cache"),
                "gateway.shadow_of": record.get("shadow_of"),
                "gateway.end": end,
                "gateway.error": record.get("error"),
                "gateway.reason": record.get("reason"),
                "gateway.kept": record["kept"],
                **_limit(record),
                **_content(record, names),  # here too, as trace stores show a trace's root span
            }
        ),
    )
    failed = (status or 0) >= 500 or end not in ("complete", "client_abort")
    if failed or end == "client_abort":
        span.attributes["error.type"] = record.get("error") or (
            str(status) if end == "complete" else end
        )
    if failed:
        span.error = span.attributes["error.type"]
    if record.get("link"):
        trace_id, span_id, _ = record["link"]
        span.links.append((trace_id, span_id))
    return span


def _limit(record: Mapping[str, Any]) -> Attributes:
    """Return the limit that refused the request, and the time to wait."""
    return {
        "gateway.limit": record.get("limit"),
        "gateway.retry_after_s": record.get("retry_after_s"),
    }


def _attempts(record: Mapping[str, Any], server: Span, names: GenAiNames) -> list[Span]:
    """Return a span for each attempt. The one whose answer was used comes last."""
    spans: list[tuple[bool, Span]] = []
    listed = sorted(record["attempts"])
    first_byte_s = _first_byte_s(record)
    for index, one in enumerate(listed):
        number, begun, ended, url, upstream, model, dialect, status, outcome = one
        # Of several attempts with a head, the last is the answer. Earlier ones are streams that
        # broke off, or errors that were not passed on.
        later = [other for other in listed[index + 1 :] if not other[8]]
        taken = not outcome and (not later or (first_byte_s or 0.0) < later[0][1])
        end = ended
        if taken and status < 400:
            end = later[0][1] if later else record["s"]
        elif taken and not later:
            end = record["s"]
        span = Span(
            "",
            "client",
            f"{int(record['span'], 16) + number:016x}",
            server.span_id,
            record["at"] + begun,
            record["at"] + end,
        )
        where = urlsplit(url)
        asked = model or record.get("served") or record.get("model")
        kind = operation(record["path"]) if asked else None
        span.name = f"{kind} {asked}" if kind else record["method"]
        span.attributes = _known(
            {
                "http.request.method": record["method"],
                "http.response.status_code": status or None,
                "http.request.resend_count": number - 1 or None,
                "server.address": where.hostname,
                "server.port": where.port or (443 if where.scheme == "https" else 80),
                "gateway.upstream": upstream,
                "gateway.endpoint": url,
                "gateway.attempt.number": number,
                "gateway.reason": (record.get("words") or {}).get(str(number)),
                "gateway.attempt.reason": _reason(listed, index, first_byte_s),
                "gateway.attempt.head_s": None if outcome else round(ended - begun, 6),
            }
        )
        if kind:
            span.attributes[names.operation] = kind
            span.attributes[names.provider] = provider(dialect, where.hostname or "")
            span.attributes[names.request_model] = asked
        if outcome or status >= 400:
            span.error = span.attributes["error.type"] = outcome or str(status)
        elif taken and not later and record.get("end") in ("upstream_reset", "timeout"):
            span.error = span.attributes["error.type"] = record.get("error") or record["end"]
        spans.append((taken, span))
    spans.sort(key=lambda one: one[0])
    ordered = [span for _, span in spans]
    if spans and spans[-1][0] and names.operation in ordered[-1].attributes:
        ordered[-1].attributes |= _answer(record, names)
    return ordered


def _reason(attempts: list[Any], index: int, first_byte_s: float | None) -> str | None:
    """Return the reason for the attempt, derived from those before it; None for the first."""
    if not index:
        return None
    begun, upstream, model = (attempts[index][place] for place in (1, 4, 5))
    before = attempts[index - 1]
    if begun < before[2]:
        return "hedge"
    if first_byte_s is not None and first_byte_s < begun:
        return "continuation"
    why = before[8] or f"status {before[7]}"
    return f"{'retry' if (upstream, model) == (before[4], before[5]) else 'fallback'}: {why}"


def _answer(record: Mapping[str, Any], names: GenAiNames) -> Attributes:
    """Return the attributes from the model's answer."""
    metadata: Mapping[str, Any] = record.get("said") or {}
    return _known(
        {
            names.request_stream: True if record.get("gaps") else None,
            names.response_id: metadata.get("id"),
            names.response_model: metadata.get("model"),
            names.finish_reasons: [metadata["finish"]] if "finish" in metadata else None,
            names.time_to_first_chunk: _first_byte_s(record) if record.get("gaps") else None,
            names.time_to_first_token: record.get("ttft_s") if record.get("gaps") else None,
            names.input_tokens: record.get("tokens_in"),
            names.output_tokens: record.get("tokens_out"),
            names.cache_read_tokens: record.get("cache_read") or None,
            names.cache_written_tokens: record.get("cache_written") or None,
            names.reasoning_tokens: record.get("reasoning") or None,
            **_content(record, names),
        }
    )


def _content(record: Mapping[str, Any], names: GenAiNames) -> Attributes:
    """Return prompt and answer, if they are recorded."""
    content: Mapping[str, str] = record.get("content") or {}
    return {
        names.system_instructions: content.get("system"),
        names.input_messages: content.get("input"),
        names.output_messages: content.get("output"),
    }


def _stream(record: Mapping[str, Any], attempt: Span, span_id: int) -> Span:
    start, end = record["at"], record.get("end")
    first_s, token_s = _first_byte_s(record) or 0.0, record.get("ttft_s")
    gaps: Mapping[str, Any] = record.get("gaps") or {}
    last_s = max(first_s, gaps.get("last_s") or record["s"])
    if end != "complete":
        last_s = record["s"]
    attributes = {
        "gateway.stream.bytes": record["bytes_out"],
        "gateway.stream.end": end,
        "gateway.stream.ended_by": _WHO.get(end or ""),
    }
    events = [SpanEvent("first_chunk", start + first_s)]
    if gaps and token_s is not None:
        events.append(SpanEvent("first_token", start + token_s))
    if end != "complete" and gaps.get("last_s"):
        events.append(SpanEvent("last_chunk", start + gaps["last_s"]))
    if gaps:
        attributes |= {
            "gateway.stream.pieces": gaps["pieces"],
            "gateway.stream.gap.longest_s": round(gaps["longest_s"], 6),
            "gateway.stream.gap.bounds_s": list(BOUNDS_S),
            "gateway.stream.gap.counts": gaps["counts"],
        }
        for begun, ended in gaps["stalls"]:
            events.append(SpanEvent("stall", start + begun, {"seconds": round(ended - begun, 6)}))
            events.append(SpanEvent("resume", start + ended))
    for name, at, detail in record["events"]:
        events.append(SpanEvent(name, start + at, {"reason": detail} if detail else {}))
    if end != "complete":
        why = _known({"end": end, "error": record.get("error"), "reason": record.get("reason")})
        events.append(
            SpanEvent("cancel" if _WHO.get(end or "") != "upstream" else "break", 0.0, why)
        )
        events[-1].at = start + record["s"]
    events.sort(key=lambda event: event.at)
    return Span(
        "stream",
        "internal",
        f"{span_id:016x}",
        attempt.span_id,
        start + first_s,
        start + last_s,
        _known(attributes),
        events,
        error=None if end in ("complete", "client_abort") else end,
    )


def _first_byte_s(record: Mapping[str, Any]) -> float | None:
    """Return the time to the first byte. In records of older versions this is `ttft_s`."""
    found: float | None = record.get("first_byte_s", record.get("ttft_s"))
    return found


def _known(attributes: Mapping[str, Any]) -> Attributes:
    return {name: value for name, value in attributes.items() if value is not None}
