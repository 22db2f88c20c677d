"""Hypothesis strategies for event streams, in pieces: any stream, cut in any way."""

from __future__ import annotations

import itertools

from hypothesis import strategies as st

BOM = b"\xef\xbb\xbf"
TEXT = "Größe, 中文, 👩‍🚀, \u2028, e\u0301"
LINE_ENDS = [b"\n", b"\r\n", b"\r"]


def pieces(stream: bytes, size: int) -> list[bytes]:
    return [stream[start : start + size] for start in range(0, len(stream), size)]


NAMES = [b"data", b"event", b"id", b"retry", b"", b"dat", b"data ", b" data", b"DATA", BOM + b"id"]
SEPARATORS = [b":", b": ", b":  ", b" :", b""]
VALUES = [b"", b"x", b"a: b", b" ", b"12", b"007", b"1.5", b"\xc2\xb2", b"\0", b"a\0b", b"\xff"]
fields = st.builds(
    lambda *parts: b"".join(parts),
    st.sampled_from(NAMES),
    st.sampled_from(SEPARATORS),
    st.sampled_from([*VALUES, TEXT.encode()]),
)
lines = st.one_of(fields, fields, st.just(b""), st.just(b": comment"), st.binary(max_size=6))
line_ends = st.sampled_from(LINE_ENDS)
mixed_blocks = st.lists(st.builds(lambda line, end: line + end, lines, line_ends), max_size=4)
uniform_blocks = st.builds(
    lambda block, end: end.join([*block, b"", b""]), st.lists(fields, max_size=3), line_ends
)
blocks = st.one_of(
    mixed_blocks.map(b"".join),
    uniform_blocks,
    st.lists(st.sampled_from(list(b"\r\n\r\n\r\nadi:t \0\xef\xbb\xbf")), max_size=20).map(bytes),
    st.sampled_from([b"data: 1\n\n", b"event: a\ndata: 1\n\n", b"data: 1\r\n\r\n", b"\n"]),
)
beginnings = st.sampled_from([b"", b"", BOM, BOM[:2], 2 * BOM])


@st.composite
def cut_streams(draw: st.DrawFn) -> list[bytes]:
    """A stream in pieces: byte by byte, or between blocks and in any places (the same, too)."""
    parts = [draw(beginnings), *draw(st.lists(blocks, max_size=6)), draw(lines)]
    stream = b"".join(parts)
    if draw(st.integers(0, 4)) == 0:
        return pieces(stream, 1)
    between = list(itertools.accumulate(map(len, parts)))
    cuts = draw(st.lists(st.sampled_from(between), max_size=6))
    cuts += draw(st.lists(st.integers(0, len(stream)), max_size=4))
    edges = [0, *sorted(cuts), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(edges)]
