"""A log: what is read is what was appended, without a gap or anything twice, or an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import StreamLost
from gateway.resume.log import StreamLog, StreamState, Trimmed
from gateway.resume.streams import Streams

sizes = st.lists(st.integers(1, 60), max_size=40)


def event(number: int, size: int = 10) -> bytes:
    """One that is told from all others."""
    return b"%d:" % number + b"x" * size + b"\n\n"


def log_of(count: int, *, cap_bytes: int = 10**6) -> StreamLog:
    log = StreamLog("0" * 34, b"o", cap_bytes, Streams(10**9))
    for number in range(1, count + 1):
        log.append((event(number),))
    return log


def read_all(log: StreamLog, after: int, most_bytes: int) -> bytes:
    """Piece by piece."""
    read = b""
    while after < log.last:
        data, after = log.read(after, most_bytes)
        read += data
    return read


@given(st.integers(0, 40), st.data())
def test_a_reader_gets_all_that_is_behind_its_place(count: int, data: st.DataObject) -> None:
    log = log_of(count)
    after = data.draw(st.integers(0, count))
    most = data.draw(st.integers(1, 200))
    rest = [event(number) for number in range(after + 1, count + 1)]
    assert read_all(log, after, most) == b"".join(rest)
    assert log.pieces(after, 10**6) == rest


@given(sizes, st.integers(20, 400))
def test_a_log_that_outgrows_its_cap_keeps_its_end(sizes: list[int], cap_bytes: int) -> None:
    streams = Streams(10**9)
    log = StreamLog("0" * 34, b"o", cap_bytes, streams)
    events = [event(number, size) for number, size in enumerate(sizes, 1)]
    for one in events:
        log.append((one,))
    assert log.last == len(events)
    assert log.size_bytes <= max([cap_bytes, *map(len, events)])
    assert streams.size_bytes == log.size_bytes
    assert log.pieces(log.first - 1, 10**9) == events[log.first - 1 :]
    for after in range(log.first - 1):
        with pytest.raises(Trimmed):
            log.read(after)
    log.clear()
    assert streams.size_bytes == log.size_bytes == 0
    assert log.last == len(events)


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 8)), max_size=20), st.integers(0, 20))
def test_what_is_told_twice_or_late_is_kept_once(told: list[tuple[int, int]], after: int) -> None:
    """As a mirror is: entries may come again, longer, or with one missing before them."""
    log = StreamLog("0" * 34, b"o", 10**6, Streams(10**9), first=after + 1)
    for first, count in told:
        try:
            log.extend(first, [event(number) for number in range(first, first + count)])
        except Trimmed:
            assert first > log.last + 1
    kept = log.pieces(log.first - 1, 10**6)
    assert kept == [event(number) for number in range(log.first, log.last + 1)]


class Woken:
    """A reader that counts."""

    count = 0
    after = 0

    def wake(self) -> None:
        self.count += 1


def test_readers_are_woken_by_what_comes_and_by_the_end() -> None:
    log, one, two = log_of(1), Woken(), Woken()
    changes = []
    log.on_readers = lambda: changes.append(len(log.readers))
    for reader in (one, two):
        log.join(reader)
    log.wake()
    log.leave(two)
    log.leave(two)
    log.end(StreamState.COMPLETE)
    log.end(StreamState.BROKEN)
    log.leave(one)
    assert (one.count, two.count) == (2, 1)
    assert changes == [1, 0]
    assert log.state is StreamState.COMPLETE


class Taking:
    """A reader that takes all that it may get."""

    def __init__(self, log: StreamLog) -> None:
        self.after = 0
        self.taken = b""
        self._log = log

    def wake(self) -> None:
        data, self.after = self._log.read(self.after)
        self.taken += data


def test_readers_get_only_events_that_are_stored() -> None:
    log = StreamLog("0" * 34, b"o", 10**6, Streams(10**9))
    log.show(0)
    reader = Taking(log)
    log.join(reader)
    for event in (b"1", b"2", b"3"):
        log.append((event,))
        log.wake()
    assert reader.taken == b""
    assert log.shown == 0
    log.show(2)
    assert reader.taken == b"12"
    log.show(None)
    assert reader.taken == b"123"
    assert log.shown == log.last == 3


def test_a_stream_is_settled_when_its_last_event_is_stored() -> None:
    log = StreamLog("0" * 34, b"o", 10**6, Streams(10**9))
    settled: list[bool] = []
    log.show(0)
    log.append((b"1",))
    log.on_settled = settled.append
    log.show(1)
    assert settled == []  # more may come
    log.append((b"2",))
    log.end(StreamState.COMPLETE)
    log.show(2)
    log.show(2)
    assert settled == [True]


def test_a_lost_stream_has_no_event_that_is_not_stored() -> None:
    streams = Streams(10**9)
    log = StreamLog("0" * 34, b"o", 10**6, streams)
    settled: list[bool] = []
    log.show(0)
    for event in (b"1", b"22", b"333"):
        log.append((event,))
    log.show(1)
    log.on_settled = settled.append
    log.end(StreamState.COMPLETE)
    log.lose(StreamLost())
    assert settled == [False]
    assert log.state is StreamState.LOST
    assert log.last == 1
    assert streams.size_bytes == log.size_bytes == 1
