"""Micro-batching: which events wait for the next one, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange import Exchange
from gateway.proxy.event_batch import BatchOptions, EventBatch
from gateway.response_writer import ResponseWriter

DELAY_S = 0.05
TOKEN = b'data: {"n":1}\n\n'


class Clock:
    """Event loop whose time the test sets."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, at: float, callback: Callable[[], None]) -> Timer:
        self.timers.append(timer := Timer(self, at, callback))
        return timer

    def pass_to(self, at: float) -> None:
        """Let time pass, and call what is due."""
        while due := [timer for timer in self.timers if timer.at <= at]:
            first = min(due, key=lambda timer: timer.at)
            self.timers.remove(first)
            self.now = max(self.now, first.at)
            first.callback()
        self.now = at


class Timer:
    def __init__(self, clock: Clock, at: float, callback: Callable[[], None]) -> None:
        self.clock, self.at, self.callback = clock, at, callback

    def cancel(self) -> None:
        if self in self.clock.timers:
            self.clock.timers.remove(self)


class Writer:
    """Writer that notes what it gets, and when."""

    def __init__(self, clock: Clock) -> None:
        self.behind = False
        self.clock = clock
        self.writes: list[bytes] = []
        self.times: list[float] = []

    def feed(self, data: bytes) -> None:
        self.writes.append(data)
        self.times.append(self.clock.now)


class Rig:
    """A batch with its writer and its clock; after the first token if `begun`."""

    def __init__(self, *, begun: bool = True, **options: Any) -> None:
        self.clock = Clock()
        self.writer = Writer(self.clock)
        self.exchange = Exchange("POST", "127.0.0.1", trusted_peer=False)
        settings = {"max_delay_s": DELAY_S, "max_bytes": 10_000, "max_events": 100, **options}
        self.batch = EventBatch(
            BatchOptions(**settings),
            self.exchange,
            cast(ResponseWriter, self.writer),
            self.writer.feed,
            cast(asyncio.AbstractEventLoop, self.clock),
        )
        if begun:
            self.exchange.first_token_at = 0.0
            self.batch.feed(b"data: token\n\n")

    def feed(self, *pieces: bytes, after_s: float = 0.001) -> None:
        """Feed pieces, each some time after the one before."""
        for piece in pieces:
            self.clock.pass_to(self.clock.now + after_s)
            self.batch.feed(piece)

    @property
    def writes(self) -> list[bytes]:
        """What was written after the beginning."""
        return self.writer.writes[1:]


def test_events_that_come_together_are_one_write() -> None:
    rig = Rig()
    rig.feed(TOKEN, TOKEN, TOKEN)
    assert rig.writes == []
    rig.clock.pass_to(1)
    assert rig.writes == [3 * TOKEN]
    assert not rig.clock.timers


def test_no_event_waits_longer_than_the_delay() -> None:
    rig = Rig()
    rig.feed(*20 * [TOKEN], after_s=0.009)
    rig.clock.pass_to(1)
    assert b"".join(rig.writes) == 20 * TOKEN
    assert rig.writer.times[1] == pytest.approx(0.009 + DELAY_S)
    assert all(b - a <= DELAY_S + 0.0091 for a, b in pairwise(rig.writer.times[1:]))


def test_an_event_behind_a_pause_does_not_wait() -> None:
    rig = Rig()
    rig.feed(TOKEN, after_s=DELAY_S)
    assert rig.writes == [TOKEN]
    rig.feed(TOKEN)
    rig.clock.pass_to(1)
    rig.feed(TOKEN)
    assert rig.writes == [TOKEN, TOKEN, TOKEN]


def test_nothing_waits_before_the_first_token_nor_the_token_itself() -> None:
    rig = Rig(begun=False)

    def look(data: bytes) -> bytes:
        if data == TOKEN and rig.exchange.first_token_at is None:
            rig.exchange.first_token_at = 1.0
        return data

    rig.batch.look = look
    role = b'data: {"role":"assistant"}\n\n'
    rig.feed(role, role, TOKEN)
    assert rig.writer.writes == [role, role, TOKEN]
    rig.feed(TOKEN)
    assert rig.writer.writes == [role, role, TOKEN]


@pytest.mark.parametrize(
    ("options", "written"),
    [({"max_events": 2}, [2 * TOKEN, 2 * TOKEN]), ({"max_bytes": 40}, [3 * TOKEN])],
)
def test_a_full_batch_is_written_at_once(options: dict[str, Any], written: list[bytes]) -> None:
    rig = Rig(**options)
    rig.feed(*4 * [TOKEN])
    assert rig.writes == written


def test_another_type_of_event_ends_the_wait_of_those_before_it() -> None:
    delta, stop = b"event: delta\ndata: {}\n\n", b"event: stop\ndata: {}\n\n"
    rig = Rig()
    rig.feed(delta, delta, delta, stop, stop)
    assert rig.writes == [delta, delta + delta + stop]
    rig.feed(delta + stop)
    assert rig.writes[2:] == [stop + delta + stop]
    rig.feed(stop, TOKEN, TOKEN)
    assert rig.writes[3:] == [stop + TOKEN]


def test_the_last_event_does_not_wait() -> None:
    rig = Rig()
    rig.feed(TOKEN, b"data: [DONE]\n\n")
    assert rig.writes == [TOKEN + b"data: [DONE]\n\n"]


def test_nothing_waits_for_a_client_that_is_behind() -> None:
    rig = Rig()
    rig.feed(TOKEN)
    rig.writer.behind = True
    rig.feed(TOKEN, TOKEN)
    assert rig.writes == [2 * TOKEN, TOKEN]


def test_what_waits_is_dropped_with_the_client() -> None:
    rig = Rig()
    rig.feed(TOKEN)
    rig.batch.close()
    rig.clock.pass_to(1)
    assert rig.writes == []
    assert not rig.clock.timers


def test_a_piece_that_is_filtered_out_does_not_count() -> None:
    rig = Rig(max_events=2)
    rig.batch.look = lambda data: b"" if data == b"x" else data
    rig.feed(TOKEN, b"x", b"x")
    assert rig.writes == []
    rig.feed(TOKEN)
    assert rig.writes == [2 * TOKEN]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([TOKEN, b"data: a\n", b"\n", b"event: x\ndata: b\r\n\r\n", b": c\n"]),
            st.sampled_from([0.0, 0.001, 0.02, DELAY_S, 0.3]),
            st.booleans(),
        )
    ),
    st.sampled_from([2, 4, 100]),
    st.sampled_from([16, 64, 10_000]),
)
def test_bytes_are_joined_and_never_changed_delayed_too_long_or_lost(
    pieces: list[tuple[bytes, float, bool]], max_events: int, max_bytes: int
) -> None:
    rig = Rig(begun=False, max_events=max_events, max_bytes=max_bytes)
    arrived: list[tuple[int, float]] = []
    total = 0
    for number, (piece, after_s, behind) in enumerate(pieces):
        rig.writer.behind = behind
        rig.feed(piece, after_s=after_s)
        if not number:
            assert rig.writer.writes == [piece]
            rig.batch.begun = True
        total += len(piece)
        arrived.append((total, rig.clock.now))
        written = sum(map(len, rig.writer.writes))
        for end, at in arrived:
            assert end <= written or rig.clock.now - at <= DELAY_S + 1e-9
    rig.batch.flush()
    assert b"".join(rig.writer.writes) == b"".join(piece for piece, _, _ in pieces)
    assert all(rig.writer.writes)
