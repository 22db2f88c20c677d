"""Spans on their way to a collector: real ones over HTTP and gRPC, dead ones, hanging ones."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from gateway.telemetry.semconv import NAMES
from gateway.telemetry.traces.export import Export, ExportOptions, otlp_exporter
from gateway.telemetry.traces.spans import build
from tests.support.otlp import (
    Received,
    dead_collector,
    grpc_collector,
    hanging_collector,
    http_collector,
    plain,
)
from tests.support.records import SPAN, TRACE, attempt, record
from tests.telemetry.traces.stored import Reports

LONG = 20.0
StartExport = Callable[..., Export]
FAST = {"OTEL_BSP_SCHEDULE_DELAY": "10", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}


@pytest.fixture
def start_export(monkeypatch: pytest.MonkeyPatch, reports: Reports) -> Iterator[StartExport]:
    running: list[Export] = []

    def start(
        url: str | None = None,
        protocol: str | None = None,
        headers: Mapping[str, str] | None = None,
        **environ: str,
    ) -> Export:
        found = {**FAST, **environ}
        for name, value in found.items():
            monkeypatch.setenv(name, value)
        options = ExportOptions(url, protocol, headers)
        one = Export(
            lambda: otlp_exporter(options, found), NAMES["1.44"].schema_url, reports, found
        )
        running.append(one)
        return one

    yield start
    for one in running:
        one.close(LONG)


def send(export: Export, **changes: Any) -> int:
    """How many spans it makes."""
    one = record(**changes)
    spans = build(one, NAMES["1.44"])
    export.add(one["trace"], spans)
    return len(spans)


@pytest.fixture(params=["http", "grpc"])
def collector(request: pytest.FixtureRequest) -> Iterator[tuple[str, Received]]:
    with http_collector() if request.param == "http" else grpc_collector() as received:
        yield request.param, received


def test_a_collector_gets_every_span_whole(
    start_export: StartExport, collector: tuple[str, Received], reports: Reports
) -> None:
    protocol, received = collector
    export = start_export(received.url, protocol)
    theirs = ["4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b8", True]
    count = send(
        export,
        link=theirs,
        attempts=[attempt(1, 0.1, 0.2, status=503), attempt(2, 0.3, 0.4)],
        end="upstream_reset",
        error="upstream_reset",
        said={"finish": "stop"},
    )
    spans = {span.name: span for span in received.wait(count)}
    server = spans["POST /v1/chat/completions"]
    assert server.trace_id.hex() == TRACE
    assert server.span_id.hex() == SPAN
    assert server.parent_span_id == b""
    assert server.kind == 2
    assert server.start_time_unix_nano == 1_800_000_000 * 10**9
    assert server.end_time_unix_nano == 1_800_000_002 * 10**9
    assert server.status.code == 2
    assert server.status.message == "upstream_reset"
    assert server.links[0].trace_id.hex() == theirs[0]
    assert spans["auth"].parent_span_id.hex() == SPAN
    call = plain(spans["chat llama"].attributes)
    assert call["gen_ai.response.finish_reasons"] == ["stop"]
    assert call["gen_ai.usage.output_tokens"] == 30
    assert [event.name for event in spans["stream"].events] == ["first_chunk", "break"]
    assert received.schema_urls == {"https://opentelemetry.io/schemas/1.44.0"}
    assert received.resources[0]["service.name"] == "llm-gateway"
    export.close(LONG)
    assert export.counts.sent == count
    assert export.counts.lost == 0
    assert reports == []


def test_headers_of_the_configuration_are_sent(
    start_export: StartExport, collector: tuple[str, Received]
) -> None:
    protocol, received = collector
    export = start_export(received.url, protocol, {"X-Api-Key": "k-1"})
    received.wait(send(export))
    assert received.headers[0]["x-api-key"] == "k-1"


def test_other_headers_are_sent_from_the_next_batch_on(
    start_export: StartExport, collector: tuple[str, Received]
) -> None:
    protocol, received = collector
    export = start_export(received.url, protocol, {"x-token": "old"})
    received.wait(count := send(export))
    options = ExportOptions(received.url, protocol, {"x-token": "new"})
    export.replace_exporter(lambda: otlp_exporter(options, FAST))
    send(export)
    received.wait(2 * count)
    assert [one["x-token"] for one in received.headers] == ["old", "new"]


@pytest.mark.parametrize("end", ["", "/", "/v1/traces"])
def test_the_path_is_added_where_it_is_not_there(start_export: StartExport, end: str) -> None:
    with http_collector() as received:
        export = start_export(received.url + end)
        received.wait(send(export))
    assert received.paths[0] == "/v1/traces"


def test_what_the_configuration_leaves_open_the_environment_says(
    start_export: StartExport, collector: tuple[str, Received]
) -> None:
    protocol, received = collector
    export = start_export(
        OTEL_EXPORTER_OTLP_ENDPOINT=received.url,
        OTEL_EXPORTER_OTLP_PROTOCOL={"http": "http/protobuf"}.get(protocol, protocol),
        OTEL_EXPORTER_OTLP_HEADERS="x-tenant=ann",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        OTEL_SERVICE_NAME="the-door",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test",
    )
    received.wait(send(export))
    assert received.headers[0]["x-tenant"] == "ann"
    assert received.resources[0]["service.name"] == "the-door"
    assert received.resources[0]["deployment.environment.name"] == "test"


def test_o9_a_collector_that_is_down_costs_spans_that_are_counted_and_one_line(
    start_export: StartExport, reports: Reports
) -> None:
    with dead_collector() as url:
        export = start_export(url)
        count = send(export) + send(export)
        export.close(LONG)
    assert export.counts.lost == count
    assert export.counts.why
    assert len(reports) == 1


def test_an_error_of_the_collectors_too(start_export: StartExport, reports: Reports) -> None:
    with http_collector(400) as received:
        export = start_export(received.url)
        count = send(export)
        export.close(LONG)
    assert (export.counts.sent, export.counts.lost) == (0, count)
    assert len(reports) == 1


class Stuck(SpanExporter):
    """Takes one batch, and does not come back until it is let go."""

    def __init__(self) -> None:
        self.entered, self.release = threading.Event(), threading.Event()
        self.taken = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        self.entered.set()
        self.release.wait(LONG)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.release.set()


def test_o9_what_waits_for_one_that_hangs_is_bounded_and_nobody_waits(reports: Reports) -> None:
    stuck = Stuck()
    environ = {
        "OTEL_BSP_SCHEDULE_DELAY": "1",
        "OTEL_BSP_MAX_QUEUE_SIZE": "100",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10",
    }
    export = Export(lambda: stuck, "", reports, environ)
    each = send(export)
    assert stuck.entered.wait(LONG)
    added = each + sum(send(export) for _ in range(200))
    assert export.waiting <= 100
    assert export.counts.lost >= added - 100 - stuck.taken - each
    assert export.counts.lost + export.waiting + stuck.taken == added
    stuck.release.set()
    export.close(LONG)
    assert export.counts.sent + export.counts.lost == added


def test_o9_the_end_does_not_wait_for_one_that_hangs(start_export: StartExport) -> None:
    with hanging_collector() as url:
        export = start_export(url, OTEL_EXPORTER_OTLP_TIMEOUT="30")
        send(export)
        time.sleep(0.1)  # it is being sent, or about to be
        started = time.monotonic()
        export.close(0.2)
        assert time.monotonic() - started < 20.0, "the exporter's patience is 30 s"


def test_an_exporter_that_cannot_be_made_is_told(reports: Reports) -> None:
    def broken() -> SpanExporter:
        raise ValueError("no such thing")

    export = Export(broken, "", reports, FAST)
    export.close(LONG)
    assert reports == ["ValueError: no such thing"]


def test_a_fault_of_the_exporters_ends_nothing(reports: Reports) -> None:
    class Faulty(SpanExporter):
        calls = 0

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            self.calls += 1
            if self.calls == 1:
                raise RuntimeError("once")
            return SpanExportResult.SUCCESS

    faulty = Faulty()
    environ = {"OTEL_BSP_SCHEDULE_DELAY": "1", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1"}
    export = Export(lambda: faulty, "", reports, environ)
    count = send(export)
    export.close(LONG)
    assert (export.counts.sent, export.counts.lost) == (count - 1, 1)
    assert reports == ["RuntimeError: once", None]
