"""Listen to the body of an answer for its usage. Bytes in, numbers out; nothing is changed.

An event of a stream costs one search for the word; only events that have it are parsed, and of many
only the last ones. An answer that is not a stream is parsed when it is over, or, if it is long,
scanned while it passes.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Protocol

import orjson

from gateway.dialects.usage import Told, answers_text, fetches, generates
from gateway.dialects.usage_scan import UsageScanner
from gateway.sse import EVENT_STREAM
from gateway.usage import Estimate, Usage

_PARSED_BYTES = 16 * 1024
"""A document up to this size is kept and parsed whole, which is cheaper than to scan it."""
_HEAD_BYTES, _TAIL_BYTES = 1024, 2048
_PENDING, _PENDING_BYTES = 8, 32 * 1024
_BYTES_PER_TOKEN = 4
_BLOB_BYTES = 1024
_OBJECT = re.compile(rb'"usage"\s*:\s*\{')
_EVENT_ENDS = (b"\n\n", b"\n\r\n", b"\r\r")
_LINE_ENDS = (b"\n",)
_WHOLE = ()
_EDGE_BYTES = 2
"""Of the longest end of an event, all but its last byte."""
_LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl")
_READ = ("application/", "text/")
_NOT_READ = ("application/octet-stream", "application/pdf", "application/ogg")


class Asking(Protocol):
    """The request that is answered: an exchange."""

    method: str
    path: str

    @property
    def asked(self) -> Estimate:
        """What it may use."""

    @property
    def failed_early(self) -> bool:
        """Whether its answer came to an error before the first token."""


class Document:
    """One JSON document that may tell usage, in pieces. An event of a stream is one, too."""

    __slots__ = ("_held", "_scanner", "_told")

    def __init__(self, told: Told) -> None:
        self._told = told
        self._held = bytearray()
        self._scanner: UsageScanner | None = None

    def feed(self, data: bytes) -> None:
        """A piece of it."""
        if self._scanner is not None:
            self._scanner.feed(data)
            return
        self._held += data
        if len(self._held) > _PARSED_BYTES:
            self._scanner = UsageScanner(self._told)
            self._scanner.feed(bytes(self._held))
            self._held.clear()

    def end(self) -> None:
        """It is complete, or broke off."""
        if self._held:
            hear(bytes(self._held), self._told)
            self._held.clear()


def hear(data: bytes, told: Told) -> None:
    """Have `told` hear a document, however much of it there is."""
    if b'"usage"' not in data and b'eval_count"' not in data:
        return
    try:
        document = orjson.loads(data[data.index(b"{") : data.rindex(b"}") + 1])
    except ValueError:  # it broke off, or there is more than one
        UsageScanner(told).feed(data)
    else:
        if isinstance(document, dict):
            told.hear(document)


class UsageTap:
    """Listens to the body of one exchange's answer."""

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
        """Events of a stream, about one for each token; lines, of Ollama's."""
        self._status = 200
        self._ends: tuple[bytes, ...] | None = _EVENT_ENDS
        """What events end with; nothing: the body is one document; None: it is no text."""
        self._told = Told()
        self._partial: Document | None = None
        """The event that has begun, or the whole body."""
        self._edge = b""
        """The last bytes of that event."""
        self._pending: list[bytes] = []
        """Events that have the word, oldest first. The newest tells the most."""
        self._pending_bytes = 0
        self._text_bytes = 0
        self._head = b""
        self._tail = bytearray()

    def begin(self, status: int, content_type: bytes, *, encoded: bool) -> None:
        """The head of the answer. `encoded`: its body is compressed."""
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
        """A piece of the body. Called for each."""
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
        """Its beginning and its end."""
        return self._head, self._tail

    def usage(self, request: Asking) -> Usage | None:
        """What the answer used: what the backend told; else, of an answer that succeeded, what it
        has shown. None: nothing, as far as anybody knows.
        """
        method, path = request.method, request.path
        if fetches(method, path, stream=bool(self._ends)):
            return None
        if self._partial is not None:
            self._partial.end()
        self._hear_pending()
        told, usage = self._told, self._told.usage
        failed = self._status >= 400 or request.failed_early
        if usage is None:
            if failed or not self.bytes or not generates(method, path):
                return None
            return Usage(request.asked.input, self._shown(path), estimated=True)
        if not told.final and not failed:
            output = max(usage.output, self._shown(path))
            usage = replace(usage, output=output, estimated=True)
        if not told.tells_input:
            usage = replace(usage, input=request.asked.input, estimated=True)
        return usage

    def _shown(self, path: str) -> int:
        """About how many tokens came."""
        if self.events or not answers_text(path):
            return self.events
        return self._text_bytes // _BYTES_PER_TOKEN

    # -- private -----------------------------------------------------------------------------

    def _look(self, data: bytes) -> None:
        """Whole events."""
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
        """Hear the newest that tells something, and the first of all, which may tell more."""
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
        """Data that begins or ends within an event."""
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
    """Whether a piece of a JSON answer may be text: base64 has neither spaces nor escapes."""
    if len(data) < _BLOB_BYTES or not data.isascii():
        return True
    return (data.count(b" ") + data.count(b"\\")) * 64 > len(data)
