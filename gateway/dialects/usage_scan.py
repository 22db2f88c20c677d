"""Find the usage in a JSON answer of any size while it passes, without keeping the answer.

The scanner tracks the nesting depth, so only a `usage` at the top level counts. The work is linear
in the bytes, however they are cut, and nearly all of it is done inside the `re` module.
"""

from __future__ import annotations

import re

import orjson

from gateway.dialects.usage import COUNTS, HOLDERS, Told

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_FLAT = rb'(?:[^"{}\[\]]++|%b)*+' % _STRING
_RUN = re.compile(_FLAT, re.DOTALL)
"""Up to the next bracket outside of strings, or to a string that does not end in the data."""
_DEEP_RUN = re.compile(rb'(?:[^"{}\[\]]++|%b|\{%b\}|\[%b\])*+' % (_STRING, _FLAT, _FLAT), re.DOTALL)
"""The same, past objects and arrays that hold no others: for what cannot hold usage."""
_STRING_END = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_KEY = re.compile(
    rb'(?<!\\)"(%b)"\s*:\s*\{\Z' % b"|".join(name.encode() for name in ("usage", *HOLDERS))
)
_COUNT = re.compile(
    rb'(?<!\\)"(%b)"\s*:\s*(\d{1,12})(?=\D)' % b"|".join(name.encode() for name in COUNTS)
)
_TAIL_BYTES = 96
"""Kept of what stands before a bracket: the longest key, with white space around its colon."""
_CAP_BYTES = 8 * 1024
"""Of an object of usage; a longer one is not read."""
_QUOTE, _OBJECT, _ARRAY = b'"{['


class UsageScanner:
    """Reads one JSON object, or several with neither brackets nor quotes between them."""

    __slots__ = (
        "_captured",
        "_depth",
        "_escaped",
        "_holder",
        "_in_string",
        "_path",
        "_tail",
        "_told",
    )

    def __init__(self, told: Told) -> None:
        """`told` hears of the usage that is found."""
        self._told = told
        self._depth = 0
        self._path = 1
        """The depth at which `usage` is looked for: 1, or 2 within an object that may hold it."""
        self._holder = ""
        """The name of that object."""
        self._in_string = False
        self._escaped = False
        """Whether the next byte is escaped, within a string."""
        self._tail = b""
        """The end of what came at the depth where `usage` is looked for."""
        self._captured: bytearray | None = None
        """The object of usage that is being read."""

    def feed(self, data: bytes) -> None:
        """A piece of the answer."""
        at = self._past_string(data) if self._in_string else 0
        size = len(data)
        while at < size:
            looks = self._depth == self._path
            match = (_RUN if looks else _DEEP_RUN).match(data, at)
            assert match is not None  # it matches the empty text, too
            end = match.end()
            if end == size or data[end] == _QUOTE:
                self._hear(data[at:], looks)
                if end < size:
                    self._in_string = True
                    self._escaped = _ends_escaped(data, end + 1)
                return
            bracket = data[end]
            self._hear(data[at : end + 1], looks)
            at = end + 1
            if bracket == _OBJECT:
                self._open(looks)
            elif bracket == _ARRAY:
                self._depth += 1
            else:
                self._close()

    def _past_string(self, data: bytes) -> int:
        """Where the string that began earlier has ended, or the end of the data."""
        start = 1 if self._escaped and data else 0
        match = _STRING_END.match(data, start)
        if match is None:
            end = len(data)
            self._escaped = _ends_escaped(data, start)
        else:
            end = match.end()
            self._in_string = self._escaped = False
        self._hear(data[:end], self._depth == self._path)
        return end

    def _hear(self, piece: bytes, looks: bool) -> None:
        """A piece at the present depth, up to and with the bracket that ends it."""
        captured = self._captured
        if captured is not None:
            captured += piece
            if len(captured) > _CAP_BYTES:
                self._captured = None
        elif looks:
            text = self._tail + piece
            if self._path == 1 and b'eval_count"' in text:
                self._told.add({name.decode(): int(n) for name, n in _COUNT.findall(text)})
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
            try:
                usage = orjson.loads(captured)
            except orjson.JSONDecodeError:
                return
            if isinstance(usage, dict):
                self._told.add(usage, self._holder)


def _ends_escaped(data: bytes, start: int) -> bool:
    """Whether a part of a string ends in the first half of an escape."""
    size = len(data) - start
    return (size - len(data[start:].rstrip(b"\\"))) % 2 == 1
