"""When a heartbeat is due, and where it may stand."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.heartbeat import COMMENT, Heartbeat, Heartbeats
from gateway.sse import TAIL_BYTES, EventSplitter, between_events
from tests.support.waiting import PATIENCE_S

INTERVAL_S = 0.04


def now() -> float:
    return asyncio.get_running_loop().time()


class Stream(Heartbeat):
    """One whose silence is broken."""

    def __init__(self) -> None:
        self.slot = None
        self.size = 0
        self.may_beat = True
        self.asked: list[float] = []
        self.changed = asyncio.Event()
        self.looks = 0

    def written(self) -> int:
        self.looks += 1
        return self.size

    def beat(self) -> bool:
        self.asked.append(now())
        self.changed.set()
        return self.may_beat

    def watched(self) -> Stream:
        """This stream, whose silence is watched from now on."""
        Heartbeats(INTERVAL_S).watch(self)
        return self

    async def asked_times(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.asked) < count:
                self.changed.clear()
                await self.changed.wait()


async def test_a_silent_stream_beats_after_each_interval_and_not_before() -> None:
    started = now()
    stream = Stream().watched()
    await stream.asked_times(3)
    stream.stop_beating()
    # uvloop's timers count milliseconds.
    assert all(at - started > (n + 1) * (INTERVAL_S - 0.005) for n, at in enumerate(stream.asked))


async def test_a_stream_that_writes_does_not_beat() -> None:
    stream = Stream().watched()
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    ended = now() + 5 * INTERVAL_S

    def write() -> None:
        # In every turn of the loop: however late a timer is, something was written before it.
        stream.size += 1
        if now() > ended:
            done.set_result(None)
        else:
            loop.call_soon(write)

    write()
    await done
    stream.stop_beating()
    assert stream.asked == []


async def test_a_beat_that_may_not_be_now_is_asked_for_again_before_an_interval_is_over() -> None:
    stream = Stream()
    stream.may_beat = False
    started = now()
    stream.watched()
    await stream.asked_times(1)
    first = now() - started
    await stream.asked_times(2)
    stream.may_beat = True
    await stream.asked_times(3)
    stream.stop_beating()
    assert first > INTERVAL_S - 0.005
    assert len(stream.asked) == 3


async def test_one_that_is_closed_is_silent() -> None:
    stream = Stream().watched()
    stream.stop_beating()
    stream.stop_beating()
    await asyncio.sleep(2 * INTERVAL_S)
    assert stream.asked == []


async def test_silence_before_it_was_watched_counts() -> None:
    heartbeats = Heartbeats(60.0)
    impatient, patient = Stream(), Stream()
    heartbeats.watch(impatient, 100.0)
    heartbeats.watch(patient)
    impatient.check()
    patient.check()
    assert len(impatient.asked) == 1
    assert patient.asked == []
    impatient.stop_beating()
    patient.stop_beating()


async def test_many_streams_share_one_timer_and_are_looked_at_a_few_at_a_time() -> None:
    heartbeats = Heartbeats(1.6)
    streams = [Stream() for _ in range(40)]
    for at, stream in enumerate(streams):
        heartbeats.watch(stream)
        if at % 10 == 9:
            heartbeats.tick()
    looks = [sum(stream.looks for stream in streams)]
    for _ in range(4 * 5):  # five looks at each
        heartbeats.tick()
        looks.append(sum(stream.looks for stream in streams))
    assert [b - a for a, b in pairwise(looks)] == [10] * 20
    assert all(stream.asked for stream in streams)
    for stream in streams:
        stream.stop_beating()
    heartbeats.tick()
    assert not heartbeats.running


PIECES = st.lists(
    st.sampled_from([b"\n", b"\r", b"\r\n", b"\n\n", b"data: x", b": c", b"id: 1", b"x"]),
    max_size=12,
)


@given(PIECES, PIECES)
def test_a_comment_between_events_changes_none_of_them(
    before: list[bytes], after: list[bytes]
) -> None:
    head, rest = b"".join(before), b"".join(after)
    if between_events(head[-TAIL_BYTES:]):
        assert said(head + COMMENT + rest) == said(head + rest)


@given(PIECES)
def test_a_comment_is_let_in_after_every_whole_event_whose_end_is_sure(pieces: list[bytes]) -> None:
    for ending in (b"\n\n", b"\r\n\r\n", b"\r\r"):
        assert between_events((b"".join(pieces) + b"data: x" + ending)[-TAIL_BYTES:])


def test_none_is_let_in_within_an_event_or_a_line_end() -> None:
    for head in (b"data: x", b"data: x\n", b"data: x\r\n", b"data: x\r", b"data: x\r\n\r", b"\xef"):
        assert not between_events(head[-TAIL_BYTES:])


def said(stream: bytes) -> list[tuple[bytes, bytes | None, bytes | None]]:
    """What a client hears."""
    return [
        (event.type, event.data, event.id)
        for event in EventSplitter().feed(stream)
        if event.data is not None
    ]
