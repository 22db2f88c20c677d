"""Observe a response body to find its token usage. Bytes in, numbers out; the body is not changed.

A stream event costs one search for the word "usage"; only events that contain it are parsed, and of
many such events only the last ones. A response that is not a stream is parsed at its end, or
scanned as it arrives if it is long.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Protocol

import orjson

from gateway.dialects.backend_words import is_error
from gateway.dialects.usage import Told, answers_text, fetches, generates
from gateway.dialects.usage_scan import UsageScanner
from gateway.sse import EVENT_STREAM
from gateway.usage import Estimate, Usage

_PARSED_BYTES = 16 * 1024
"""Maximum bytes of a document that is stored and parsed whole, which is cheaper than scanning."""
_HEAD_BYTES, _TAIL_BYTES = 1024, 2048
_PENDING, _PENDING_BYTES = 8, 32 * 1024
_BYTES_PER_TOKEN = 4
_BLOB_BYTES = 1024
_OBJECT = re.compile(rb'"usage"\s*:\s*\{')
_EVENT_ENDS = (b"\n\n", b"\n\r\n", b"\r\r")
_LINE_ENDS = (b"\n",)
_WHOLE = ()
_EDGE_BYTES = 2
"""Length of the longest event end, minus its last byte."""
_LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl")
_READ = ("application/", "text/")
_NOT_READ = ("application/octet-stream", "application/pdf", "application/ogg")


class Asking(Protocol):
    """Request that is being answered; an exchange implements it."""

    method: str
    path: str

    @property
    def asked(self) -> Estimate:
        """Estimate of the tokens the request may use."""

    @property
    def failed_early(self) -> bool:
        """True if the response failed before its first token."""


class Document:
    """One JSON document that may report usage, fed in chunks. A stream event is a document, too."""

    __slots__ = ("_held", "_scanner", "_told")

    def __init__(self, told: Told) -> None:
        self._told = told
        self._held = bytearray()
        self._scanner: UsageScanner | None = None

    def feed(self, data: bytes) -> None:
        """Add a chunk of the document."""
        if self._scanner is not None:
            self._scanner.feed(data)
            return
        self._held += data
        if len(self._held) > _PARSED_BYTES:
            self._scanner = UsageScanner(self._told)
            self._scanner.feed(bytes(self._held))
            self._held.clear()

    def end(self) -> None:
        """End the document, which is complete or was cut off."""
        if self._held:
            hear(bytes(self._held), self._told)
            self._held.clear()


def hear(data: bytes, told: Told) -> None:
    """Add the usage in a document to `told`. The document may be incomplete."""
    if b'"usage"' not in data and b'eval_count"' not in data:
        return
    try:
        document = orjson.loads(data[data.index(b"{") : data.rindex(b"}") + 1])
    except ValueError:  # the document is cut off, or there is more than one
        UsageScanner(told).feed(data)
    else:
        if isinstance(document, dict):
            told.hear(document)


class UsageTap:
    """Observer of the response body of one exchange."""

    __slots__ = (
        "_edge",
        "_ends",
        "_head",
        "_partial",
        "_pending",
        "_pending_bytes",
        "_status",
        "_tail",
        "_text_bytes",
        "_told",
        "bytes",
        "events",
    )

    def __init__(self) -> None:
        self.bytes = 0
        self.events = 0
        """Number of stream events, about one per token. For Ollama: the number of lines."""
        self._status = 200
        self._ends: tuple[bytes, ...] | None = _EVENT_ENDS
        """Separators that end an event. Empty if the body is one document; None if not text."""
        self._told = Told()
        self._partial: Document | None = None
        """Event that has begun, or the whole body."""
        self._edge = b""
        """Last bytes of the event that has begun."""
        self._pending: list[bytes] = []
        """Events that may report usage, oldest first. The newest usually reports the most."""
        self._pending_bytes = 0
        self._text_bytes = 0
        self._head = b""
        self._tail = bytearray()

    def begin(self, status: int, content_type: bytes, *, encoded: bool) -> None:
        """Record the response head. `encoded`: the body is compressed, so it is not read."""
        self._status = status
        kind = content_type.decode("latin-1").partition(";")[0].strip().lower()
        if kind == EVENT_STREAM:
            self._ends = _EVENT_ENDS
        elif kind in _LINES:
            self._ends = _LINE_ENDS
        else:
            is_text = not kind or (kind.startswith(_READ) and kind not in _NOT_READ)
            self._ends = _WHOLE if is_text else None
        if encoded:
            self._ends = None

    def feed(self, data: bytes) -> None:
        """Record a chunk of the body. Runs for every chunk."""
        if self.bytes < _HEAD_BYTES:
            self._head += data[: _HEAD_BYTES - self.bytes]
        self.bytes += len(data)
        tail = self._tail
        tail += data
        if len(tail) > 2 * _TAIL_BYTES:
            del tail[:-_TAIL_BYTES]
        ends = self._ends
        if ends and self._partial is None and data.endswith(ends[0]):
            self._look(data)
        elif ends:
            self._cut(data, ends)
        elif ends is not None:
            if self._partial is None:
                self._partial = Document(self._told)
            self._partial.feed(data)
            if _is_text(data):
                self._text_bytes += len(data)

    @property
    def ends(self) -> tuple[bytes, bytearray]:
        """First and last bytes of the body."""
        return self._head, self._tail

    def usage(self, request: Asking) -> Usage | None:
        """Return the usage of the response; None if none is known.

        Use the numbers that the backend reported. If there are none and the response succeeded,
        estimate them from the text received.
        """
        method, path = request.method, request.path
        if fetches(method, path, stream=bool(self._ends)):
            return None
        if self._partial is not None:
            self._partial.end()
        self._hear_pending()
        told, usage = self._told, self._told.usage
        failed = not 200 <= self._status < 300 or request.failed_early
        if usage is None:
            if failed or not self.bytes or not generates(method, path) or self._is_error:
                return None
            return Usage(request.asked.input, self._shown(path), estimated=True)
        if not told.final and not failed:
            output = max(usage.output, self._shown(path))
            usage = replace(usage, output=output, estimated=True)
        if not usage.input:  # older Ollama omits the count of a cached prompt
            usage = replace(usage, input=request.asked.input, estimated=True)
        return usage

    @property
    def _is_error(self) -> bool:
        """True if the body is an error document, whatever its status."""
        return not self._ends and self.bytes == len(self._tail) and is_error(bytes(self._tail))

    def _shown(self, path: str) -> int:
        """Return the approximate number of tokens received."""
        if self.events or not answers_text(path):
            return self.events
        return self._text_bytes // _BYTES_PER_TOKEN

    # -- private -----------------------------------------------------------------------------

    def _look(self, data: bytes) -> None:
        """Count whole events and collect those that may report usage."""
        if self._ends is _EVENT_ENDS:
            self.events += data.startswith(b"data:") + data.count(b"\ndata:")
            if b'"usage"' not in data or _OBJECT.search(data) is None:
                return
        else:
            self.events += data.count(b"\n")
            if b'eval_count"' not in data and b'"usage"' not in data:
                return
        self._pending.append(data)
        self._pending_bytes += len(data)
        if len(self._pending) >= _PENDING or self._pending_bytes >= _PENDING_BYTES:
            self._hear_pending()

    def _hear_pending(self) -> None:
        """Parse the newest event that reports usage, and the first, which may hold more numbers."""
        pending, told = self._pending, self._told
        if not pending:
            return
        assert self._ends
        if not told.heard:
            self._hear(pending.pop(0), self._ends)
        before = told.heard
        while pending and told.heard == before:
            self._hear(pending.pop(), self._ends)
        pending.clear()
        self._pending_bytes = 0

    def _hear(self, data: bytes, ends: tuple[bytes, ...]) -> None:
        for event in data.split(ends[0]):
            hear(event, self._told)

    def _cut(self, data: bytes, ends: tuple[bytes, ...]) -> None:
        """Split data that begins or ends inside an event."""
        joined = self._edge + data
        before = len(self._edge)
        stops = [at + len(end) for end in ends if (at := joined.rfind(end)) >= 0]
        last = max(stops, default=0) - before
        if last > 0:
            first = 0
            if self._partial is not None:
                starts = [at + len(end) for end in ends if (at := joined.find(end)) >= 0]
                first = min(starts) - before
                self._partial.feed(data[:first])
                self._partial.end()
                self._partial = None
                self.events += 1
            if first < last:
                self._look(data[first:last])
            data, joined = data[last:], data[last:]
        if data:
            if self._partial is None:
                self._partial = Document(self._told)
            self._partial.feed(data)
        self._edge = joined[-_EDGE_BYTES:]


def _is_text(data: bytes) -> bool:
    """True if a chunk of a JSON response may be text: base64 has neither spaces nor escapes."""
    if len(data) < _BLOB_BYTES or not data.isascii():
        return True
    return (data.count(b" ") + data.count(b"\\")) * 64 > len(data)
