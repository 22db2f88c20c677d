"""Export of spans to a collector: OTLP over HTTP or gRPC, by OpenTelemetry's own exporters.

A thread of the admin process sends. If the collector is down or hangs, spans are lost and counted,
and nothing else is affected. The variables OTEL_EXPORTER_OTLP_* supply what the configuration
leaves open.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

from gateway import __version__
from gateway.telemetry.traces.spans import Span

_KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}
_SERVICE = "llm-gateway"


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Target of the export. A field that is None comes from the environment, or from the exporter's
    default.
    """

    url: str | None = None
    protocol: str | None = None
    headers: Mapping[str, str] | None = None


@dataclass(slots=True)
class ExportCounts:
    """Numbers of exported and lost spans."""

    sent: int = 0
    lost: int = 0
    """Number of spans that the collector refused, or did not take in time."""
    why: str = ""
    """Reason for the last loss."""


class Export:
    """Sender of spans, with a thread of its own."""

    def __init__(
        self,
        exporter: Callable[[], SpanExporter],
        schema_url: str,
        report: Callable[[str | None], None],
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """`exporter` is called in that thread, because importing one takes long. So is `report`:
        with the reason when sending starts to fail, and with None when it works again.
        """
        self.counts = ExportCounts()
        self._make = exporter
        self._report = report
        # The SDK's batch processor reads the same variables.
        self._most = _number(environ, "OTEL_BSP_MAX_QUEUE_SIZE", 8192)
        self._batch = min(_number(environ, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512), self._most)
        self._delay_s = _number(environ, "OTEL_BSP_SCHEDULE_DELAY", 1000) / 1e3
        self._resource = _resource(environ)
        self._scope = InstrumentationScope("gateway", __version__, schema_url)
        self._queue: deque[ReadableSpan] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._failing = False
        self._is_replaced = False
        self._exporter: SpanExporter | None = None
        self._thread = threading.Thread(target=self._run, name="trace-export", daemon=True)
        self._thread.start()

    def add(self, trace_id: str, spans: Sequence[Span]) -> None:
        """Queue spans. Never blocks: if too many are waiting, the spans are dropped and counted."""
        if len(self._queue) + len(spans) > self._most:
            self.counts.lost += len(spans)
            self.counts.why = "the collector is too slow"
            return
        self._queue.extend(self._readable(trace_id, span) for span in spans)
        if len(self._queue) >= self._batch:
            self._wake.set()

    def replace_exporter(self, exporter: Callable[[], SpanExporter]) -> None:
        """Send with another exporter from the next batch on, such as with another credential."""
        self._make = exporter
        self._is_replaced = True

    @property
    def waiting(self) -> int:
        """Number of spans that wait to be sent."""
        return len(self._queue)

    def close(self, timeout_s: float = 1.0) -> None:
        """Send the remaining spans, for at most `timeout_s` seconds."""
        self._closing = True
        self._wake.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive() and self._exporter is not None:
            self._exporter.shutdown()

    # -- the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._exporter = exporter = self._make()
        except (ImportError, ValueError, OSError) as exc:
            self._told(f"{type(exc).__name__}: {exc}")
            return
        while True:
            self._wake.wait(self._delay_s)
            self._wake.clear()
            closing = self._closing
            while self._queue:
                if self._is_replaced:
                    self._is_replaced = False
                    exporter.shutdown()
                    self._exporter = exporter = self._make()
                count = min(len(self._queue), self._batch)
                self._send(exporter, [self._queue.popleft() for _ in range(count)])
            if closing:
                exporter.shutdown()
                return

    def _send(self, exporter: SpanExporter, spans: Sequence[ReadableSpan]) -> None:
        why: str | None
        try:
            done = exporter.export(spans)
            why = None if done is SpanExportResult.SUCCESS else "the collector did not take it"
        except Exception as exc:  # an error in the exporter must not end the thread
            why = f"{type(exc).__name__}: {exc}"
        if why is None:
            self.counts.sent += len(spans)
        else:
            self.counts.lost += len(spans)
            self.counts.why = why
        self._told(why)

    def _told(self, why: str | None) -> None:
        failing = why is not None
        if failing != self._failing:
            self._failing = failing
            self._report(why)

    # -- OpenTelemetry's types -------------------------------------------------------------

    def _readable(self, trace_id: str, span: Span) -> ReadableSpan:
        trace = int(trace_id, 16)
        context = _context(trace, span.span_id)
        return ReadableSpan(
            name=span.name,
            context=context,
            parent=_context(trace, span.parent_id) if span.parent_id else None,
            resource=self._resource,
            attributes=span.attributes,
            events=[Event(e.name, e.attributes, _ns(e.at)) for e in span.events],
            links=[Link(_context(int(other, 16), theirs)) for other, theirs in span.links],
            kind=_KINDS[span.kind],
            status=Status(StatusCode.ERROR, span.error) if span.error else Status(),
            start_time=_ns(span.start),
            end_time=_ns(span.end),
            instrumentation_scope=self._scope,
        )


def otlp_exporter(options: ExportOptions, environ: Mapping[str, str]) -> SpanExporter:
    """Return the exporter for a collector. Raise ImportError or ValueError."""
    protocol = (
        options.protocol
        or environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or "http"
    )
    headers = dict(options.headers) if options.headers else None
    # Imported here, because both take long to import and only this function needs them.
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc

        lowered = tuple((k.lower(), v) for k, v in headers.items()) if headers else None
        return grpc.OTLPSpanExporter(endpoint=options.url, headers=lowered)
    from opentelemetry.exporter.otlp.proto.http import trace_exporter as http

    url = options.url
    if url is not None and not url.endswith("/v1/traces"):
        url = url.rstrip("/") + "/v1/traces"
    return http.OTLPSpanExporter(endpoint=url, headers=headers)


def _resource(environ: Mapping[str, str]) -> Resource:
    """Return the resource: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES, or the default."""
    found = Resource.create({"service.version": __version__})
    if str(found.attributes.get("service.name", "")).startswith("unknown_service"):
        found = found.merge(Resource({"service.name": _SERVICE}))
    return found


def _context(trace: int, span_id: str) -> SpanContext:
    return SpanContext(
        trace,
        int(span_id, 16),
        is_remote=False,
        trace_flags=TraceFlags(1),
        trace_state=TraceState(),
    )


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    try:
        return max(1, int(environ.get(name, default)))
    except ValueError:
        return default
