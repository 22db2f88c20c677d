"""How much of what a peer sent is parsed in one turn of the event loop.

Parsing costs by the piece, not by the byte: 64 KiB may be one chunk of a body, or 10 000 chunks
that hold every other connection up for tens of milliseconds. Each piece of HTTP/1.1 framing and of
an event stream ends a line, so lines are what is counted. What is over the budget waits for the
next turn, and its connection is not read meanwhile.
"""

from __future__ import annotations

LINES_A_TURN = 128
"""Lines of one connection parsed in one turn of the event loop: 64 chunks, or as many events. That
takes about 0.1 ms, and 0.2 ms where events are translated.
"""
FREE_BYTES = 3 * LINES_A_TURN
"""A read of up to this size is not counted: chunks of one byte are three bytes a line."""
_SHORT_BYTES = 16 * 1024
"""Up to here all lines are counted first: nearly always there are fewer than a turn has."""


def turn_end(data: bytes | bytearray, start: int, stop: int, lines: int) -> int:
    """Return the index behind the first `lines` lines of `data[start:stop]`; `stop` if there are no
    more than that.
    """
    if stop - start <= _SHORT_BYTES and data.count(b"\n", start, stop) <= lines:
        return stop
    for _ in range(lines):
        found = data.find(b"\n", start, stop)
        if found < 0:
            return stop
        start = found + 1
    return start
