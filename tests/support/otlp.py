"""Collectors for OTLP over HTTP and gRPC, which decode what they receive; and two that fail."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service_grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.waiting import PATIENCE_S


@dataclass
class Received:
    """Data that a collector received."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    schema_urls: set[str] = field(default_factory=set)
    raw: bytearray = field(default_factory=bytearray)
    """Bytes of all messages."""
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self, message: service.ExportTraceServiceRequest) -> None:
        """Keep the spans of a message."""
        with self._changed:
            self.raw += message.SerializeToString()
            for resource in message.resource_spans:
                self.resources.append(plain(resource.resource.attributes))
                for scope in resource.scope_spans:
                    self.schema_urls.add(scope.schema_url or resource.schema_url)
                    self.spans += scope.spans
            self._changed.notify_all()

    def wait(self, count: int) -> list[Span]:
        """Block until there are so many spans. Return all spans."""
        with self._changed:
            enough = self._changed.wait_for(lambda: len(self.spans) >= count, PATIENCE_S)
            assert enough, f"{len(self.spans)} spans of {count}: {[s.name for s in self.spans]}"
            return list(self.spans)


def plain(attributes: Any) -> dict[str, Any]:
    """Return attributes as plain values."""
    found: list[KeyValue] = list(attributes)
    return {one.key: _value(one.value) for one in found}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind) if kind else None


@contextmanager
def http_collector(status: int = 200) -> Iterator[Received]:
    """Run a collector over HTTP that answers with this status."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            received.paths.append(self.path)
            received.headers.append({k.lower(): v for k, v in self.headers.items()})
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            received.take(service.ExportTraceServiceRequest.FromString(body))

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    received.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def grpc_collector() -> Iterator[Received]:
    """Run a collector over gRPC."""
    received = Received()

    class Servicer(service_grpc.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> service.ExportTraceServiceResponse:
            received.headers.append({k: str(v) for k, v in context.invocation_metadata()})
            received.take(request)
            return service.ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(2))
    add: Any = service_grpc.add_TraceServiceServicer_to_server  # it has no types
    add(Servicer(), server)
    received.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield received
    finally:
        server.stop(None).wait()


@contextmanager
def hanging_collector() -> Iterator[str]:
    """Yield the URL of a collector that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def dead_collector() -> Iterator[str]:
    """Yield a URL at which nothing listens. The port stays reserved during the block."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{holder.getsockname()[1]}"
