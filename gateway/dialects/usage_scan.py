"""Search for token usage in one JSON document, the only such search: a unary response, a stream
event and a WebSocket message are documents.

A document of up to 64 KiB is stored and read at its end. In most of them `usage` is one of the
last members, and only these are parsed. A longer document is scanned as it arrives, without storing
it. The scanner tracks the nesting depth, so only a `usage` at the top level counts. The work is
linear in the number of bytes, however they are chunked, and nearly all of it is done inside the
`re` module.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from gateway.dialects.usage import COUNTS, HOLDERS, ReportedUsage, plain
from gateway.usage import Usage

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_FLAT = rb'(?:[^"{}\[\]]++|%b)*+' % _STRING
_RUN = re.compile(_FLAT, re.DOTALL)
"""Match up to the next bracket outside of strings, or up to a string whose end has not arrived."""
_DEEP_RUN = re.compile(rb'(?:[^"{}\[\]]++|%b|\{%b\}|\[%b\])*+' % (_STRING, _FLAT, _FLAT), re.DOTALL)
"""Match like `_RUN`, and also skip objects and arrays that contain no others.

Used where no usage can occur.
"""
_STRING_END = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_KEY = re.compile(
    rb'(?<!\\)"(%b)"\s*:\s*\{\Z' % b"|".join(name.encode() for name in ("usage", *HOLDERS))
)
_COUNT = re.compile(
    rb'(?<!\\)"(%b)"\s*:\s*(\d{1,12})(?=\D)' % b"|".join(name.encode() for name in COUNTS)
)
_USAGE = b'"usage"'
_COUNT_END = b'eval_count"'
_NULLS = (b":null", b": null")
_HELD_BYTES = 64 * 1024
"""Maximum bytes of a document that is stored and parsed, which is cheaper than scanning: even the
worst document of this size is parsed in 20 ms.
"""
PIECE_BYTES = 64
"""Memory that a stored piece takes in addition to its bytes."""
_TAIL_BYTES = 96
"""Bytes kept of the text before a bracket: the longest key, with white space around its colon."""
_CAP_BYTES = 8 * 1024
"""Maximum bytes of a usage object; a longer one is ignored."""
_QUOTE, _OBJECT, _ARRAY = b'"{['


def last_report(data: bytes, end: int | None = None) -> int:
    """Return the index of the last key that reports usage, before index `end`; -1 if none does.

    Many backends write `"usage":null` into every event but the last, which is no report.
    """
    # Searching backward takes a quarter of the time: JSON has many quotes, the last byte of a key.
    at = data.rfind(_USAGE, 0, end)
    while at >= 0 and data.startswith(_NULLS, at + len(_USAGE)):
        at = data.rfind(_USAGE, 0, at)
    if at < 0:
        return data.rfind(_COUNT_END, 0, end)
    return max(at, data.rfind(_COUNT_END, at, end))


def read_usage(
    data: bytes, reported: ReportedUsage, *, complete: bool, at: int | None = None
) -> None:
    """Add a document's usage to `reported`. `complete` is False if the document may be cut off.
    `at` is the index of its `last_report`, if that is known.
    """
    if at is None:
        at = last_report(data)
    if at < 0:
        return
    if complete and data.startswith(_USAGE, at):
        usage = _last_members(data, at).get("usage")
        if isinstance(usage, dict):
            reported.add(usage)
            return
    try:
        document = orjson.loads(data[data.index(b"{") : data.rindex(b"}") + 1])
    except ValueError:  # the document is cut off, or there is more than one
        UsageScanner(reported).feed(data)
    else:
        if isinstance(document, dict):
            reported.read(document)


def plain_usage(document: bytes) -> Usage | None:
    """Return the usage that a complete document reports in its last members and in the plain form,
    as nearly every answer does. None if `read_usage` has to look.
    """
    at = document.rfind(_USAGE)
    if at < 0:
        return None
    try:
        # See `_last_members`. What follows the members of an inner object is no JSON.
        found = orjson.loads(b"{" + document[at:])
    except orjson.JSONDecodeError:
        return None
    usage = found["usage"]
    return plain(usage) if type(usage) is dict else None


def _last_members(data: bytes, at: int) -> dict[str, Any]:
    """Return the members of a complete document's outermost object, from the key at index `at` on.
    Return an empty dict if the key belongs to an inner object.
    """
    # The outermost object ends with the document. So its last members and one bracket before them
    # are an object, while after the members of an inner object a bracket would be left over.
    members = data[at : data.rfind(b"}") + 1]
    if members.count(b"}") != members.count(b"{") + 1:
        return {}  # nearly always an inner object; it takes longer to let the parser say so
    try:
        found = orjson.loads(b"{" + members)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


class UsageDocument:
    """One JSON document that may report usage, fed in pieces."""

    __slots__ = ("_held", "_held_bytes", "_reported", "_scanner")

    def __init__(self, reported: ReportedUsage) -> None:
        self._reported = reported
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._scanner: UsageScanner | None = None

    def feed(self, data: bytes) -> bytes:
        """Add a piece of the document. Return the bytes that are not stored, or no longer."""
        if self._scanner is None:
            self._held.append(data)
            self._held_bytes += len(data) + PIECE_BYTES
            if self._held_bytes <= _HELD_BYTES:
                return b""
            self._scanner = UsageScanner(self._reported)
            data = self.held
            self._held.clear()
        self._scanner.feed(data)
        return data

    @property
    def held(self) -> bytes:
        """Stored bytes: the whole document, or none if it is scanned."""
        held = self._held
        return held[0] if len(held) == 1 else b"".join(held)

    def end(self, *, complete: bool = True) -> None:
        """End the document. `complete` is False if it may be cut off."""
        if self._held:
            read_usage(self.held, self._reported, complete=complete)


class UsageScanner:
    """Scanner for one JSON object, or several without brackets or quotes between them."""

    __slots__ = (
        "_captured",
        "_depth",
        "_escaped",
        "_holder",
        "_in_string",
        "_path",
        "_reported",
        "_tail",
    )

    def __init__(self, reported: ReportedUsage) -> None:
        """Create a scanner that adds the usage it finds to `reported`."""
        self._reported = reported
        self._depth = 0
        self._path = 1
        """Depth at which `usage` is looked for: 1, or 2 inside an object that may hold it."""
        self._holder = ""
        """Name of the object that may hold `usage`; empty at depth 1."""
        self._in_string = False
        self._escaped = False
        """True if the next byte, inside a string, is escaped."""
        self._tail = b""
        """Last bytes received at the depth where `usage` is looked for."""
        self._captured: bytearray | None = None
        """Usage object whose bytes are being collected, or None."""

    def feed(self, data: bytes) -> None:
        """Scan the next chunk of the response."""
        at = self._past_string(data) if self._in_string and data else 0
        size = len(data)
        while at < size:
            looks = self._depth == self._path
            match = (_RUN if looks else _DEEP_RUN).match(data, at)
            assert match is not None  # the pattern also matches the empty string
            end = match.end()
            if end == size or data[end] == _QUOTE:
                self._read_pieces(data[at:], looks)
                if end < size:
                    self._in_string = True
                    self._escaped = _ends_escaped(data, end + 1)
                return
            bracket = data[end]
            self._read_pieces(data[at : end + 1], looks)
            at = end + 1
            if bracket == _OBJECT:
                self._open(looks)
            elif bracket == _ARRAY:
                self._depth += 1
            else:
                self._close()

    def _past_string(self, data: bytes) -> int:
        """Return the index after the string that an earlier chunk began, or the end of the data."""
        start = 1 if self._escaped else 0
        match = _STRING_END.match(data, start)
        if match is None:
            end = len(data)
            self._escaped = _ends_escaped(data, start)
        else:
            end = match.end()
            self._in_string = self._escaped = False
        self._read_pieces(data[:end], self._depth == self._path)
        return end

    def _read_pieces(self, piece: bytes, looks: bool) -> None:
        """Record a piece at the current depth, up to and including the bracket that ends it."""
        captured = self._captured
        if captured is not None:
            captured += piece
            if len(captured) > _CAP_BYTES:
                self._captured = None
        elif looks:
            text = self._tail + piece
            if self._path == 1 and b'eval_count"' in text:
                self._reported.add({name.decode(): int(n) for name, n in _COUNT.findall(text)})
            self._tail = text[-_TAIL_BYTES:]

    def _open(self, looks: bool) -> None:
        self._depth += 1
        if not looks:
            return
        match = _KEY.search(self._tail)
        self._tail = b""
        if match is None:
            return
        if match[1] == b"usage":
            self._captured = bytearray(b"{")
        elif self._path == 1:
            self._path, self._holder = 2, match[1].decode()

    def _close(self) -> None:
        self._depth = depth = max(0, self._depth - 1)
        if depth > self._path:
            return
        self._tail = b""
        captured, self._captured = self._captured, None
        if depth < self._path:
            self._path, self._holder = 1, ""
        elif captured is not None:
            usage = _parsed(captured)
            if isinstance(usage, dict):
                self._reported.add(usage, self._holder)


def _parsed(captured: bytearray) -> Any:
    try:
        return orjson.loads(captured)
    except orjson.JSONDecodeError:
        # The object contains NaN, or spans several data lines of one event.
        try:
            return json.loads(captured.replace(b"\ndata:", b"\n"))
        except (ValueError, RecursionError):
            return None


def _ends_escaped(data: bytes, start: int) -> bool:
    """True if a part of a string ends with the backslash of an unfinished escape sequence."""
    size = len(data) - start
    return (size - len(data[start:].rstrip(b"\\"))) % 2 == 1
