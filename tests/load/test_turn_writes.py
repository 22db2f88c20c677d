"""Writes of one turn: nothing is lost, reordered or held back."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.load.turn_writes import MOST_BYTES, MOST_WAITING, TurnTransport, TurnWrites


class Kernel(asyncio.Transport):
    """Transport that notes each call to the kernel, with the connection's number."""

    def __init__(self, calls: list[tuple[int, object]], number: int = 0) -> None:
        super().__init__()
        self._calls, self._number = calls, number
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.closing:
            raise RuntimeError("the handler is closed")  # as uvloop does
        self._calls.append((self._number, bytes(data)))

    def writelines(self, list_of_data: object) -> None:
        self._calls.append((self._number, b"".join(list_of_data)))  # type: ignore[arg-type]

    def write_eof(self) -> None:
        self._calls.append((self._number, "eof"))

    def close(self) -> None:
        self._calls.append((self._number, "close"))
        self.closing = True

    def abort(self) -> None:
        self._calls.append((self._number, "abort"))
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        self._calls.append((self._number, "size"))
        return 0


async def turn() -> None:
    """Let the loop end its turn."""
    await asyncio.sleep(0)


async def test_writes_of_a_turn_leave_together_at_its_end() -> None:
    calls: list[tuple[int, object]] = []
    writes = TurnWrites()
    for number in range(5):
        TurnTransport(Kernel(calls, number), writes).write(b"%d" % number)
    assert calls == []
    await turn()
    assert calls == [(number, b"%d" % number) for number in range(5)]


async def test_several_writes_of_one_connection_are_one_call() -> None:
    calls: list[tuple[int, object]] = []
    transport = TurnTransport(Kernel(calls), TurnWrites())
    for piece in (b"head", b"first", b"second"):
        transport.write(piece)
    await turn()
    assert calls == [(0, b"headfirstsecond")]


async def test_a_crowd_does_not_wait_for_the_end_of_the_turn() -> None:
    calls: list[tuple[int, object]] = []
    writes = TurnWrites()
    for number in range(MOST_WAITING):
        TurnTransport(Kernel(calls, number), writes).write(b"x")
    assert len(calls) == MOST_WAITING


async def test_after_a_turn_with_few_writes_the_next_do_not_wait() -> None:
    calls: list[tuple[int, object]] = []
    transport = TurnTransport(Kernel(calls), TurnWrites())
    transport.write(b"alone")
    await turn()
    transport.write(b"at once")
    assert calls == [(0, b"alone"), (0, b"at once")]


async def test_writes_wait_again_once_there_are_many() -> None:
    calls: list[tuple[int, object]] = []
    writes = TurnWrites()
    transports = [TurnTransport(Kernel(calls, number), writes) for number in range(8)]
    transports[0].write(b"alone")
    await turn()
    while writes.at_once:
        transports[0].write(b"at once")
    calls.clear()
    for each in transports:
        each.write(b"x")
    assert calls == []
    await turn()
    assert len(calls) == 8


@pytest.mark.parametrize("end", ["close", "abort", "write_eof"])
async def test_the_end_of_a_connection_comes_after_what_was_written(end: str) -> None:
    calls: list[tuple[int, object]] = []
    transport = TurnTransport(Kernel(calls), TurnWrites())
    transport.write(b"last words")
    getattr(transport, end)()
    assert calls == [(0, b"last words"), (0, end.removeprefix("write_"))]
    await turn()
    assert len(calls) == 2


async def test_the_size_of_the_buffer_is_told_after_the_kernel_had_all() -> None:
    calls: list[tuple[int, object]] = []
    transport = TurnTransport(Kernel(calls), TurnWrites())
    transport.write(b"x")
    assert transport.get_write_buffer_size() == 0
    assert calls == [(0, b"x"), (0, "size")]


async def test_nothing_is_written_to_a_connection_that_closed_meanwhile() -> None:
    calls: list[tuple[int, object]] = []
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    kernel = Kernel(calls)
    TurnTransport(kernel, TurnWrites()).write(b"x")
    kernel.closing = True
    await turn()
    asyncio.get_running_loop().set_exception_handler(None)
    assert (calls, told) == ([], [])


async def test_a_write_that_fails_leaves_those_of_other_connections() -> None:
    calls: list[tuple[int, object]] = []
    told: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context["message"]))

    class Broken(Kernel):
        def write(self, data: bytes | bytearray | memoryview) -> None:
            raise RuntimeError("unable to write")

    writes = TurnWrites()
    TurnTransport(Broken(calls), writes).write(b"x")
    TurnTransport(Kernel(calls, 1), writes).write(b"y")
    await turn()
    loop.set_exception_handler(None)
    assert calls == [(1, b"y")]
    assert told == ["a write failed"]


async def test_a_small_write_does_not_wait_for_many_large_ones() -> None:
    calls: list[tuple[int, object]] = []
    writes = TurnWrites()
    TurnTransport(Kernel(calls), writes).write(b"event")
    large = TurnTransport(Kernel(calls, 1), writes)
    for _ in range(8):
        large.write(b"L" * 40_000)
    for _ in range(8):
        large.writelines([b"9c40\r\n", b"L" * 40_000])
    assert (0, b"event") in calls[:8]


async def test_a_small_write_does_not_wait_for_many_large_reads() -> None:
    calls: list[tuple[int, object]] = []
    writes = TurnWrites()
    TurnTransport(Kernel(calls), writes).write(b"event")
    writes.passes(20_000)
    assert calls == []
    writes.passes(MOST_BYTES)
    assert calls == [(0, b"event")]


async def test_a_buffer_that_its_owner_reuses_is_sent_as_it_was() -> None:
    calls: list[tuple[int, object]] = []
    transport = TurnTransport(Kernel(calls), TurnWrites())
    transport.write(b"first,")
    buffer = bytearray(b"second")
    transport.write(buffer)
    transport.write(memoryview(buffer))
    buffer[:] = b"******"
    await turn()
    assert b"".join(bytes(data) for _, data in calls) == b"first,secondsecond"  # type: ignore[call-overload]


@contextlib.asynccontextmanager
async def connected(writes: TurnWrites) -> AsyncIterator[tuple[TurnTransport, socket.socket]]:
    """A transport, and the other end of its connection."""
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    made, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    theirs.setblocking(False)
    try:
        yield TurnTransport(made, writes), theirs
    finally:
        made.abort()
        theirs.close()


PIECE = st.one_of(st.binary(max_size=40), st.integers(16_000, 40_000).map(lambda n: b"L" * n))
STEP = st.one_of(
    st.tuples(st.just("write"), PIECE),
    st.tuples(st.just("lines"), st.lists(st.binary(max_size=9), max_size=3)),
    st.tuples(st.just("turn"), st.none()),
    st.tuples(st.just("size"), st.none()),
)


@settings(deadline=None, max_examples=50)
@given(st.lists(STEP, max_size=40))
def test_every_byte_arrives_in_its_order(steps: list[tuple[str, object]]) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        async with connected(TurnWrites()) as (transport, theirs):
            sent = b""
            for step, value in steps:
                if step == "write":
                    assert isinstance(value, bytes)
                    transport.write(value)
                    sent += value
                elif step == "lines":
                    assert isinstance(value, list)
                    transport.writelines(value)
                    sent += b"".join(value)
                elif step == "size":
                    transport.get_write_buffer_size()
                else:
                    await turn()
            transport.close()
            got = b""
            while data := await loop.sock_recv(theirs, 65536):
                got += data
            assert got == sent

    # As in production. From Python 3.12, asyncio's own loop never ends a connection to which only
    # empty lines were written: it tries again for ever.
    uvloop.run(run())
