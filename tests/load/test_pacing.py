"""What of a peer's bytes is parsed in one turn of the event loop."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.load.pacing import turn_end

lined = st.lists(st.sampled_from([b"\n", b"a", b"\r\n", b"bc"])).map(b"".join)


@given(lined, st.integers(0, 20), st.integers(0, 5), st.integers(1, 10), st.booleans())
def test_a_turn_ends_behind_its_last_line_or_with_the_data(
    data: bytes, start: int, behind: int, lines: int, long: bool
) -> None:
    data += 20_000 * b"a" if long else b""
    stop = max(0, len(data) - behind)
    start = min(start, stop)
    end = turn_end(data, start, stop, lines)
    taken = data[start:end]
    if end == stop:
        assert taken.count(b"\n") <= lines
    else:
        assert taken.count(b"\n") == lines
        assert taken.endswith(b"\n")
