"""One exchange after the other on a connection, without sockets."""

from __future__ import annotations

import pytest

from gateway.errors import UpstreamInvalidResponse, UpstreamReset
from gateway.upstream.connection import ConnectionState
from gateway.upstream.response import UpstreamResponse
from tests.support.upstream_connection import (
    REPLY,
    STREAM,
    TINY,
    Connected,
    Recorder,
)


async def test_a_late_abandonment_does_not_end_the_next_exchange() -> None:
    connected = Connected()
    connection = connected.connection
    first = connected.send()
    connected.receive(REPLY)
    assert connection.state is ConnectionState.IDLE
    second = connected.send()
    connection.abandon(first)
    assert (connection.state, connected.transport.aborted) == (ConnectionState.ACTIVE, False)
    connected.receive(REPLY)
    assert (await second).complete
    connection.close()


@pytest.mark.parametrize("received", [b"", REPLY[:20], REPLY[:-2], REPLY[:-1]])
async def test_an_abandonment_in_time_ends_the_exchange(received: bytes) -> None:
    connected = Connected()
    answer = connected.send()
    if received:
        connected.receive(received)
    connected.connection.abandon(answer)
    assert (connected.connection.state, connected.transport.aborted) == (
        ConnectionState.CLOSED,
        True,
    )


@pytest.mark.parametrize(
    ("received", "body", "complete"),
    [
        (REPLY, b"{}", True),
        (REPLY[:-1], b"{", False),
        (REPLY[:-2], b"", False),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + REPLY, b"{}", True),
    ],
    ids=["whole", "part", "head", "after-an-interim-response"],
)
async def test_the_reader_gets_the_head_and_the_body_of_the_same_read_at_once(
    received: bytes, body: bytes, complete: bool
) -> None:
    connected, reader = Connected(), Recorder()
    connected.connection.send(b"GET / HTTP/1.1\r\n\r\n", reader, 5.0, 5.0)
    connected.receive(received)
    assert reader.calls == [(body, complete, None)]
    connected.connection.close()


async def test_a_response_that_breaks_in_its_first_read_reaches_the_reader_with_its_error() -> None:
    connected, reader = Connected(), Recorder()
    connected.connection.send(b"GET / HTTP/1.1\r\n\r\n", reader, 5.0, 5.0)
    connected.receive(STREAM + TINY + b"no chunk\r\n")
    ((body, complete, error),) = reader.calls
    assert (body, complete) == (b"a", False)
    assert isinstance(error, UpstreamInvalidResponse)


async def test_the_reader_may_send_the_next_request_from_its_call() -> None:
    connected = Connected()
    second = Recorder()

    class Follower(Recorder):
        def answered(self, response: UpstreamResponse) -> None:
            super().answered(response)
            connected.connection.send(b"GET / HTTP/1.1\r\n\r\n", second, 5.0, 5.0)

    first = Follower()
    connected.connection.send(b"GET / HTTP/1.1\r\n\r\n", first, 5.0, 5.0)
    connected.receive(REPLY)
    assert connected.connection.state is ConnectionState.ACTIVE
    connected.receive(REPLY)
    assert first.calls == second.calls == [(b"{}", True, None)]
    connected.connection.close()


async def test_a_connection_that_is_lost_ends_the_exchange_it_carries() -> None:
    connected = Connected()
    answer = connected.send()
    connected.connection.connection_lost(None)
    with pytest.raises(UpstreamReset):
        await answer


@pytest.mark.parametrize(
    ("status", "fields", "reused"),
    [
        (b"200 OK", b"Content-Length: 10\r\n", False),
        (b"200 OK", b"Transfer-Encoding: chunked\r\n", False),
        (b"200 OK", b"Content-Length: 0\r\n", True),
        (b"304 Not Modified", b"Content-Length: 10\r\n", False),
        (b"304 Not Modified", b"", True),
    ],
)
async def test_a_connection_whose_head_announced_a_body_that_must_not_come_is_not_reused(
    status: bytes, fields: bytes, reused: bool
) -> None:
    """It could come behind the next request, and would be taken for its response."""
    connected = Connected()
    answer = connected.send(head_only=True)
    connected.receive(b"HTTP/1.1 " + status + b"\r\n" + fields + b"\r\n")
    assert (await answer).complete
    assert connected.connection.state is (
        ConnectionState.IDLE if reused else ConnectionState.CLOSED
    )
    connected.connection.close()


async def test_a_connection_is_reused_after_a_response_that_fills_a_read() -> None:
    connected = Connected()
    answer = connected.send()
    body = 40_000 * b"a"
    connected.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n" + body)
    assert (await answer).take_unread() == body
    assert connected.connection.state is ConnectionState.IDLE
    connected.connection.close()


@pytest.mark.parametrize("follows", [REPLY, REPLY[:3], b"x"])
async def test_data_after_the_response_in_the_same_read_closes_the_connection(
    follows: bytes,
) -> None:
    connected = Connected()
    answer = connected.send()
    connected.receive(REPLY + follows)
    response = await answer
    assert (response.take_unread(), response.complete) == (b"{}", True)
    assert connected.connection.state is ConnectionState.CLOSED


async def test_a_body_after_the_head_of_a_head_response_is_dropped() -> None:
    connected = Connected()
    answer = connected.send(head_only=True)
    connected.receive(REPLY)
    response = await answer
    assert (response.unread, response.complete) == ([], True)
    assert connected.connection.state is ConnectionState.CLOSED


# -- known heads -------------------------------------------------------------------------------
