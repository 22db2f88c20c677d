"""From a backend's bytes to a head, the pieces of a body and its end, without sockets."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import GatewayError, UpstreamInvalidResponse
from gateway.load.backlog import STEPS_A_TURN
from gateway.load.pacing import LINES_A_TURN
from gateway.upstream.connection import ConnectionState
from gateway.upstream.response import UpstreamResponse
from tests.support.upstream_connection import (
    LAST,
    REPLY,
    STREAM,
    TINY,
    Connected,
    Recorder,
)


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


# -- work per turn of the event loop -----------------------------------------------------------


async def turns(count: int) -> None:
    """Let the event loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


class Sink:
    """Keeps what it is fed, piece by piece."""

    def __init__(self, response: UpstreamResponse) -> None:
        self.pieces: list[bytes] = []
        self.ended: list[GatewayError | None] = []
        if response.unread:
            self.feed(response.take_unread())
        response.attach(self)

    def feed(self, data: bytes) -> None:
        self.pieces.append(data)

    def finish(self, error: GatewayError | None) -> None:
        self.ended.append(error)


async def test_tiny_chunks_are_parsed_a_few_in_each_turn_of_the_loop() -> None:
    connected = Connected()
    answer = connected.send()
    connected.receive(STREAM + 10_000 * TINY + LAST)
    assert not connected.transport.reads, "nothing more is taken meanwhile"
    sink = Sink(await answer)
    turns = 0
    while not sink.ended:
        before = len(sink.pieces)
        await asyncio.sleep(0)
        assert len(sink.pieces) - before <= STEPS_A_TURN
        turns += 1
    assert b"".join(sink.pieces) == 10_000 * b"a"
    assert max(map(len, sink.pieces)) <= LINES_A_TURN / 2
    assert turns >= 2 * 10_000 / LINES_A_TURN / STEPS_A_TURN
    assert (sink.ended, connected.connection.state) == ([None], ConnectionState.IDLE)
    assert connected.transport.reads


async def test_a_body_by_its_length_is_passed_at_once_however_many_lines_it_has() -> None:
    connected = Connected()
    answer = connected.send()
    connected.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n")
    connected.receive(20_000 * b"\n")
    connected.receive(20_000 * b"\n")
    assert (await answer).complete


async def test_a_reader_that_is_behind_stops_the_parsing_of_what_was_read() -> None:
    connected = Connected()
    answer = connected.send()
    connected.receive(STREAM + 5_000 * TINY + LAST)
    response = await answer
    sink = Sink(response)
    response.pause()
    got = len(sink.pieces)
    await turns(10)
    assert len(sink.pieces) == got
    response.resume()
    await turns(5_000)
    assert (len(b"".join(sink.pieces)), sink.ended) == (5_000, [None])


async def test_what_was_read_is_passed_on_although_the_connection_is_lost() -> None:
    connected = Connected()
    answer = connected.send()
    connected.receive(STREAM + 5_000 * TINY + LAST)
    sink = Sink(await answer)
    connected.connection.connection_lost(None)
    assert (len(b"".join(sink.pieces)), sink.ended) == (5_000, [None])


async def test_what_comes_with_a_switch_of_protocols_is_passed_however_many_lines_it_has() -> None:
    connected = Connected()
    answer = connected.send(upgrade=True)
    head = b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    frames = 1_000 * b"\x81\x01\n"
    connected.receive(head + frames)
    sink = Sink(await answer)
    await turns(3)
    assert b"".join(sink.pieces) == frames
    assert (connected.connection.state, sink.ended) == (ConnectionState.ACTIVE, [])
    connected.receive(frames)
    assert b"".join(sink.pieces) == 2 * frames
    connected.connection.close()


# -- reuse -------------------------------------------------------------------------------------


async def test_bytes_behind_a_response_that_wait_for_their_turn_spoil_the_connection() -> None:
    connected = Connected()
    answer = connected.send()
    connected.receive(STREAM + (LINES_A_TURN // 2 - 3) * TINY + LAST + REPLY + 1_000 * TINY)
    response = await answer
    await turns(100)
    assert response.complete
    assert connected.connection.state is ConnectionState.CLOSED


NAMED = b"HTTP/1.1 200 OK\r\nX-Test: known heads\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        NAMED + b"Content-Length: 2\r\n\r\n{}",
        NAMED + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nTrailer: 1\r\n\r\n",
        NAMED + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}",
        NAMED + b"Content-Length: 0\r\n\r\n",
        NAMED + b"Content-Length: 2\r\n\r\n{}\r\n",
        NAMED + b"Content-Length: 2\r\n\r\n{}0",
        NAMED + b"Connection: X-Test\r\nContent-Length: 2\r\n\r\n{}",
        NAMED + b"Content-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + NAMED + b"Content-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 100 Continue\r\n\r\n"
        + NAMED
        + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nx",
        NAMED + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        NAMED + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"\r\n\r\n" + NAMED + b"Content-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + 2_000 * b"a" + b"\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
@pytest.mark.parametrize("head_only", [False, True])
@pytest.mark.parametrize("split", [None, 8, 40, -3])
async def test_a_response_is_the_same_when_its_head_is_known(
    raw: bytes, head_only: bool, split: int | None
) -> None:
    """The first response is parsed in full, the others may use what was remembered of it."""
    seen = []
    for _ in range(3):
        connected, reader = Connected(), Recorder()
        connection = connected.connection
        connection.send(b"GET / HTTP/1.1\r\n\r\n", reader, 5.0, 5.0, head_only=head_only)
        connected.receive(raw[:split])
        if split is not None and connection.state is not ConnectionState.CLOSED:
            connected.receive(raw[split:])
        heads = [(head.status, head.fields, head.chunked) for head in reader.heads]
        calls = [(body, complete, type(error)) for body, complete, error in reader.calls]
        seen.append((heads, calls, connection.state))
        connection.close()
    assert seen[0] == seen[1] == seen[2]


async def test_a_connection_serves_known_and_new_heads_in_turn() -> None:
    connected = Connected()
    for number in (1, 1, 2, 1, 3, 3, 1):
        answer = connected.send()
        connected.receive(NAMED + b"X-Number: %d\r\nContent-Length: 1\r\n\r\n%d" % (number, number))
        response = await answer
        assert (b"X-Number", b"%d" % number) in response.head.fields
        assert (response.take_unread(), response.complete) == (b"%d" % number, True)
        assert connected.connection.state is ConnectionState.IDLE
    connected.connection.close()


async def test_a_piece_of_a_field_that_looks_like_a_known_head_is_a_field() -> None:
    """It arrives as the second read of an exchange, after an interim response."""
    connected = Connected()
    answer = connected.send()
    connected.receive(REPLY)
    await answer
    answer = connected.send()
    connected.receive(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-Quote: ")
    connected.receive(REPLY)
    response = await answer
    assert response.head.fields[0] == (b"X-Quote", b"HTTP/1.1 200 OK")
    assert response.take_unread() == b"{}"
    connected.connection.close()
