"""How much of what a peer sent is parsed in one turn of the event loop.

Parsing costs by the piece, not by the byte: 64 KiB may be one chunk of a body, or 10 000 chunks
that hold every other connection up for tens of milliseconds. Each piece of HTTP/1.1 framing and of
an event stream ends a line, so lines are what is counted. What is over the budget waits for the
next turn, and its connection is not read meanwhile.
"""

from __future__ import annotations

LINES_A_TURN = 256
"""Lines of one connection parsed in one turn of the event loop: 128 chunks, or as many events."""
FREE_BYTES = 512
"""A read of up to this size is not counted: it cannot hold much more than the budget."""


def turn_end(data: bytes, start: int, stop: int, lines: int) -> int:
    """Return the index behind the first `lines` lines of `data[start:stop]`; `stop` if there are no
    more than that.
    """
    if data.count(b"\n", start, stop) <= lines:
        return stop
    for _ in range(lines):
        start = data.index(b"\n", start) + 1
    return start
