"""Parse budget: how much of a peer's data is parsed in one turn of the event loop.

The cost of parsing depends on the number of pieces, not of bytes: 64 KiB may be one chunk of a
body, or 10 000 chunks that delay every other connection by tens of milliseconds. Each piece of
HTTP/1.1 framing and of an event stream ends a line, so the budget counts lines. Data beyond the
budget waits for the next turn, and its connection is not read meanwhile.
"""

from __future__ import annotations

LINES_A_TURN = 512
"""Lines of one connection parsed in one turn of the event loop: 256 chunks, or as many events. That
takes about 0.2 ms, or 0.8 ms if events are translated. With a smaller budget, streams that come as
fast as they can cost noticeably more.
"""
FREE_BYTES = 3 * LINES_A_TURN
"""Size of a read up to which its lines are not counted: with chunks of one byte, a line has three
bytes.
"""
_SHORT_BYTES = 16 * 1024
"""Size up to which all lines are counted first: nearly always they fit into the budget."""


def turn_end(data: bytes | bytearray, start: int, stop: int, lines: int) -> int:
    """Return the index after the first `lines` lines of `data[start:stop]`, or `stop`."""
    if stop - start <= _SHORT_BYTES and data.count(b"\n", start, stop) <= lines:
        return stop
    for _ in range(lines):
        found = data.find(b"\n", start, stop)
        if found < 0:
            return stop
        start = found + 1
    return start
