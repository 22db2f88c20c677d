"""One exchange after the other on a connection, without sockets."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from gateway.errors import UpstreamInvalidResponse, UpstreamReset
from gateway.upstream.connection import State, UpstreamConnection
from gateway.upstream.response import UpstreamResponse

REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Transport:
    """Takes everything and sends nothing."""

    def __init__(self) -> None:
        self.aborted = False

    def write(self, data: bytes) -> None:
        pass

    def abort(self) -> None:
        self.aborted = True


class Connected:
    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(64 * 1024))
        self.transport = Transport()
        self.connection = UpstreamConnection(
            asyncio.get_running_loop(), lambda _: None, lambda _: None, self._buffer
        )
        self.connection.connection_made(cast(asyncio.Transport, self.transport))

    def send(self) -> asyncio.Future[UpstreamResponse]:
        return self.connection.send(b"GET / HTTP/1.1\r\n\r\n", first_byte_s=5.0, idle_s=5.0)

    def receive(self, data: bytes) -> None:
        self._buffer[: len(data)] = data
        self.connection.buffer_updated(len(data))


@pytest.mark.parametrize("given_up", ["before-the-answer", "after-the-answer"])
async def test_who_gives_up_too_late_does_not_end_the_next_exchange(given_up: str) -> None:
    connected = Connected()
    connection = connected.connection
    first = connected.send()
    if given_up == "before-the-answer":
        first.cancel()
    connected.receive(REPLY)
    assert connection.state is State.IDLE
    second = connected.send()
    connection.forget(first)
    assert (connection.state, connected.transport.aborted) == (State.ACTIVE, False)
    connected.receive(REPLY)
    assert (await second).complete
    connection.close()


@pytest.mark.parametrize("came", [b"", REPLY[:20], REPLY[:-2], REPLY[:-1]])
async def test_who_gives_up_in_time_ends_its_exchange(came: bytes) -> None:
    connected = Connected()
    answer = connected.send()
    if came:
        connected.receive(came)
    connected.connection.forget(answer)
    assert (connected.connection.state, connected.transport.aborted) == (State.CLOSED, True)


async def test_a_connection_that_is_lost_ends_the_exchange_it_carries() -> None:
    connected = Connected()
    answer = connected.send()
    connected.connection.connection_lost(None)
    with pytest.raises(UpstreamReset):
        await answer


@pytest.mark.parametrize("interim", [b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"])
@pytest.mark.parametrize(
    ("fields", "accepted"),
    [
        (b"X: " + 16_000 * b"a" + b"\r\n", True),
        (b"X: " + 17_000 * b"a" + b"\r\n", False),
        (20 * (b"X: " + 1_500 * b"a" + b"\r\n"), True),
        (23 * (b"X: " + 1_500 * b"a" + b"\r\n"), False),
    ],
    ids=["long-field", "too-long-field", "long-head", "too-long-head"],
)
async def test_a_head_is_capped_in_one_packet_too(
    interim: bytes, fields: bytes, accepted: bool
) -> None:
    connected = Connected()
    answer = connected.send()
    connected.receive(interim + REPLY.replace(b"\r\n", b"\r\n" + fields, 1))
    if accepted:
        assert (await answer).complete
    else:
        with pytest.raises(UpstreamInvalidResponse):
            await answer
