"""Acceptor of a listening socket: how many it takes at a time, and when it cannot take any."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from gateway.server.acceptor import Acceptor
from tests.support.waiting import eventually

CLIENTS = 64


class Listening(socket.socket):
    """Listening socket. `fails` has the errors that its next accepts end with."""

    def __init__(self) -> None:
        super().__init__()
        self.fails: list[int] = []
        self.bind(("127.0.0.1", 0))

    def accept(self) -> tuple[socket.socket, Any]:
        if self.fails:
            raise OSError(self.fails.pop(), "as if")
        return super().accept()

    def connect_clients(self, stack: ExitStack, count: int) -> None:
        """Connect clients, in one turn of the loop."""
        for _ in range(count):
            stack.enter_context(socket.create_connection(self.getsockname(), timeout=20))


@pytest.fixture
def listening() -> Iterator[Listening]:
    with Listening() as made:
        yield made


async def test_many_clients_that_wait_are_accepted_in_few_turns(listening: Listening) -> None:
    loop, turn = asyncio.get_running_loop(), 0
    seen: list[int] = []

    def next_turn() -> None:
        nonlocal turn
        turn += 1
        if len(seen) < CLIENTS:
            loop.call_soon(next_turn)

    async def begin(client: socket.socket) -> None:
        client.close()
        seen.append(turn)

    acceptor = Acceptor(listening, begin)
    acceptor.start(CLIENTS)
    with ExitStack() as stack:
        listening.connect_clients(stack, CLIENTS)
        next_turn()
        await eventually(lambda: len(seen) == CLIENTS, patience_s=20)
    acceptor.close()
    assert len(set(seen)) <= CLIENTS // 8


async def accept_after(listening: Listening, failure: int) -> None:
    """Accept a client, after one accept that ends with this error."""
    accepted = asyncio.Event()

    async def begin(client: socket.socket) -> None:
        client.close()
        accepted.set()

    listening.fails = [failure]
    acceptor = Acceptor(listening, begin)
    acceptor.start(CLIENTS)
    with ExitStack() as stack:
        listening.connect_clients(stack, 1)
        async with asyncio.timeout(20):
            await accepted.wait()
    acceptor.close()


async def test_a_process_without_files_accepts_again_later(listening: Listening) -> None:
    await accept_after(listening, errno.EMFILE)


@pytest.mark.parametrize("lost", [errno.ECONNABORTED, errno.EPROTO, errno.ENETUNREACH])
async def test_a_connection_lost_before_it_is_accepted_is_passed_over(
    listening: Listening, lost: int
) -> None:
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    await accept_after(listening, lost)
    assert not faults


async def test_closing_waits_for_accepted_sockets_but_not_for_long(listening: Listening) -> None:
    began, go_on, done = 0, asyncio.Event(), []

    async def begin(client: socket.socket) -> None:
        nonlocal began
        began += 1
        try:
            await (go_on.wait() if began == 1 else asyncio.Event().wait())
            done.append("connected")
        except asyncio.CancelledError:
            done.append("given up")
            raise
        finally:
            client.close()

    acceptor = Acceptor(listening, begin)
    acceptor.start(CLIENTS)
    with ExitStack() as stack:
        listening.connect_clients(stack, 2)
        await eventually(lambda: began == 2, patience_s=20)
        acceptor.close()
        go_on.set()
        async with asyncio.timeout(20):
            await acceptor.closed()
        await eventually(lambda: done == ["connected", "given up"], patience_s=20)


async def test_closing_twice_does_no_harm(listening: Listening) -> None:
    async def begin(client: socket.socket) -> None:
        client.close()

    acceptor = Acceptor(listening, begin)
    acceptor.start(CLIENTS)
    acceptor.close()
    acceptor.close()
    assert listening.fileno() < 0
