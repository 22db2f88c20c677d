"""Observe a response body to find its token usage. Bytes in, numbers out; the body is not changed.

Pieces of the body are collected by reference and read in batches of a few KiB, so a stream event
costs a list entry. A batch costs one search for the name of a usage member; only events that
contain it are parsed, and of many such events only the last ones. A response that is not a stream
is read at its end, or scanned as it arrives if it is long.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

from gateway.dialects.backend_words import is_error
from gateway.dialects.paths import answers_text, fetches, generates
from gateway.dialects.usage import ReportedUsage
from gateway.dialects.usage_scan import (
    PIECE_BYTES,
    UsageDocument,
    last_report,
    plain_usage,
    read_usage,
)
from gateway.sse import EVENT_STREAM
from gateway.usage import Estimate, Usage

_BATCH_BYTES = 3 * 1024
_HEAD_BYTES, _TAIL_BYTES = 1024, 2048
_BYTES_PER_TOKEN = 4
_BLOB_BYTES = 1024
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

    @property
    def method(self) -> str:
        """Method of the request."""

    @property
    def path(self) -> str:
        """Path of the request."""

    @property
    def asked(self) -> Estimate:
        """Estimate of the tokens the request may use."""

    @property
    def well(self) -> bool:
        """True if the response has ended, complete and without an error."""

    @property
    def failed_early(self) -> bool:
        """True if the response failed before its first token."""


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    """Request whose response has arrived whole."""

    method: str
    path: str
    asked: Estimate
    well: bool = True
    failed_early: bool = False


class UsageTap:
    """Observer of the response body of one exchange."""

    __slots__ = (
        "_bytes",
        "_edge",
        "_ends",
        "_events",
        "_head",
        "_partial",
        "_pieces",
        "_reported",
        "_room",
        "_status",
        "_tail",
        "_text_bytes",
    )

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        """Pieces of the body that are not read yet."""
        self._room = _BATCH_BYTES
        """Bytes that may still be collected before the pieces are read."""
        self._status = 200
        self._ends: tuple[bytes, ...] | None = _EVENT_ENDS
        """Separators that end an event. Empty if the body is one document; None if not text."""
        self._reported: ReportedUsage | None = None
        """Usage reported so far; None before anything was read."""
        self._partial: UsageDocument | None = None
        """Event that has begun, or the whole body."""
        self._edge = self._head = self._tail = b""
        """Last bytes of the event that has begun; first and last bytes of the body."""
        self._bytes = 0
        self._events = 0
        """Number of stream events, about one per token. For Ollama: the number of lines."""
        self._text_bytes = 0
        """Bytes of text in the part of a document that is not stored."""

    def begin(self, status: int, content_type: bytes, *, encoded: bool) -> None:
        """Record the response head. `encoded`: the body is compressed, so it is not read."""
        self._status = status
        self._ends = None if encoded else _ends_of(content_type)

    def whole(self, status: int, content_type: bytes, body: bytes, *, encoded: bool) -> None:
        """Record the head and the whole body of a response that has arrived completely."""
        self._status = status
        self._ends = None if encoded else _ends_of(content_type)
        self._pieces.append(body)

    def feed(self, data: bytes) -> None:
        """Record a piece of the body. Runs for every piece."""
        self._pieces.append(data)
        self._room = room = self._room - len(data) - PIECE_BYTES
        if room < 0:
            self._read()

    @property
    def ends(self) -> tuple[bytes, bytes]:
        """First and last bytes of the body."""
        self._read()
        return self._head, self._tail

    def usage(self, request: Asking) -> Usage | None:
        """Return the usage of the response; None if none is known.

        Use the numbers that the backend reported. If there are none and the response succeeded,
        estimate them from the text received.
        """
        method, path = request.method, request.path
        if fetches(method, path, stream=bool(self._ends)):
            return None
        rest = b""
        if self._ends or self._partial is not None:
            self._read()
            if self._partial is not None:
                self._partial.end(complete=request.well)
                rest = self._partial.held
        else:
            if self._ends is not None and len(self._pieces) == 1:
                plain = plain_usage(self._pieces[0])
                if plain is not None:
                    return plain
            rest = self._taken()
            if self._ends is not None:
                read_usage(rest, self._report(), complete=request.well)
        reported = self._report()
        usage = reported.usage
        failed = not 200 <= self._status < 300 or request.failed_early
        if usage is None:
            if failed or not self._bytes or not generates(method, path) or self._is_error:
                return None
            return Usage(request.asked.input, self._shown(path, rest), estimated=True)
        if not reported.final and not failed:
            output = max(usage.output, self._shown(path, rest))
            usage = replace(usage, output=output, estimated=True)
        if not usage.input:  # older Ollama omits the count of a cached prompt
            usage = replace(usage, input=request.asked.input, estimated=True)
        return usage

    @property
    def _is_error(self) -> bool:
        """True if the body is an error document, whatever its status."""
        return not self._ends and self._bytes == len(self._tail) and is_error(self._tail)

    def _shown(self, path: str, rest: bytes) -> int:
        """Return the approximate number of tokens received. `rest` is the stored part of a
        document.
        """
        if self._ends != _WHOLE:
            return self._events
        if not answers_text(path):
            return 0
        return (self._text_bytes + _text_bytes(rest)) // _BYTES_PER_TOKEN

    # -- private -----------------------------------------------------------------------------

    def _report(self) -> ReportedUsage:
        """Return the usage reported so far."""
        if self._reported is None:
            self._reported = ReportedUsage()
        return self._reported

    def _taken(self) -> bytes:
        """Take the collected pieces, and return their bytes."""
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._room = _BATCH_BYTES
        if self._bytes < _HEAD_BYTES:
            self._head += data[: _HEAD_BYTES - self._bytes]
        self._bytes += len(data)
        before = self._tail if len(data) < _TAIL_BYTES else b""
        self._tail = (before + data)[-2 * _TAIL_BYTES :]
        return data

    def _read(self) -> None:
        """Read the collected pieces."""
        if not self._pieces:
            return
        data, ends = self._taken(), self._ends
        if ends and self._partial is None and data.endswith(ends[0]):
            self._look(data, ends)
        elif ends:
            self._cut(data, ends)
        elif ends is not None:
            if self._partial is None:
                self._partial = UsageDocument(self._report())
            self._text_bytes += _text_bytes(self._partial.feed(data))

    def _look(self, data: bytes, ends: tuple[bytes, ...]) -> None:
        """Count whole events, and read the usage in them."""
        if ends is _EVENT_ENDS:
            self._events += data.startswith(b"data:") + data.count(b"\ndata:")
        else:
            self._events += data.count(b"\n")
        if (at := last_report(data)) >= 0:
            self._read_pieces(data, ends[0], at)

    def _read_pieces(self, data: bytes, end: bytes, at: int) -> None:
        """Parse the newest event that reports usage, by its key at index `at`, and the first, which
        may hold more numbers.
        """
        if end == _EVENT_ENDS[0] and data.find(b"\r") >= 0:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            at = last_report(data)
        reported = self._report()
        before = reported.found
        begun, ended = data.rfind(end, 0, at), data.find(end, at)
        start = begun + len(end) if begun >= 0 else 0
        event = data[start:ended] if ended >= 0 else data[start:]
        read_usage(event, reported, complete=True, at=at - start)
        if start and reported.found == before:  # it is the usage of an inner object
            older = data[:start].split(end)
            start += len(end)
            for event in reversed(older):
                start -= len(event) + len(end)
                if last_report(event) >= 0:
                    read_usage(event, reported, complete=True)
                    if reported.found > before:
                        break
        if start and not before and last_report(data, start) >= 0:
            first = next(event for event in data.split(end) if last_report(event) >= 0)
            read_usage(first, reported, complete=True)

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
                self._events += 1
            if first < last:
                self._look(data[first:last], ends)
            data, joined = data[last:], data[last:]
        if data:
            if self._partial is None:
                self._partial = UsageDocument(self._report())
            self._partial.feed(data)
        self._edge = joined[-_EDGE_BYTES:]


@lru_cache(maxsize=256)
def _ends_of(content_type: bytes) -> tuple[bytes, ...] | None:
    """Return the separators between the events of a body: see `UsageTap._ends`."""
    kind = content_type.decode("latin-1").partition(";")[0].strip().lower()
    if kind == EVENT_STREAM:
        return _EVENT_ENDS
    if kind in _LINES:
        return _LINE_ENDS
    is_text = not kind or (kind.startswith(_READ) and kind not in _NOT_READ)
    return _WHOLE if is_text else None


def _text_bytes(data: bytes) -> int:
    """Return the size of a JSON part that may be text, else 0: base64 has no spaces or escapes."""
    is_text = len(data) < _BLOB_BYTES or not data.isascii()
    is_text = is_text or (data.count(b" ") + data.count(b"\\")) * 64 > len(data)
    return len(data) if is_text else 0
