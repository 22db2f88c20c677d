"""The writer of a body: framing, backpressure, comments, and the one end."""

from __future__ import annotations

import asyncio
import zlib
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client_connection import ClientConnection
from gateway.errors import Draining, GatewayError
from gateway.exchange import Exchange
from gateway.heartbeat import COMMENT
from gateway.proxy.client_stream import ClientStream
from gateway.proxy.compression import encoder
from tests.support.upstream import LAST_CHUNK, chunk

EVENT = b"data: 1\n\n"
ERROR = b"data: error\n\n"
CAP_BYTES = 32 * 1024


class Transport(asyncio.Transport):
    """Transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.buffered = 0
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def writelines(self, list_of_data: object) -> None:
        self.write(b"".join(cast(list[bytes], list_of_data)))

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return self.buffered


class Client:
    """Connection that knows who is attached."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.attached: list[object] = []

    def attach(self, writer: object) -> None:
        self.attached.append(writer)

    def detach(self) -> None:
        self.attached.clear()


class Source:
    """Source that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.error: GatewayError | None = None

    def pause(self) -> None:
        self.told.append("pause")

    def caught_up(self) -> None:
        self.told.append("go on")

    def fail(self, error: GatewayError) -> None:
        self.error = error


class Rig:
    """A writer and both its neighbours."""

    def __init__(self, *, chunked: bool = True, gzip: bool = False) -> None:
        self.source, self.transport = Source(), Transport()
        self.client = Client(self.transport)
        self.exchange = Exchange("GET", "127.0.0.1", trusted_peer=False)
        self.stream = ClientStream(
            cast(ClientConnection, self.client),
            self.exchange,
            self.source,
            chunked=chunked,
            encoder=encoder("gzip") if gzip else None,
        )
        self.transport.write(b"head")
        self.stream.follow(None)

    @property
    def sent(self) -> bytes:
        return b"".join(self.transport.writes[1:])


@pytest.mark.parametrize(("event", "last"), [(None, LAST_CHUNK), (ERROR, chunk(ERROR)), (b"", b"")])
def test_a_body_ends_once_and_in_one_way(event: bytes | None, last: bytes) -> None:
    rig = Rig()
    rig.stream.feed(EVENT)
    assert rig.client.attached == [rig.stream]
    rig.stream.end(event)
    rig.stream.end()
    rig.stream.end(ERROR)
    rig.stream.fail(Draining())
    rig.stream.resume()
    assert not rig.stream.probe()
    assert rig.sent == chunk(EVENT) + last
    assert rig.client.attached == []
    assert rig.source.error is None


def test_a_body_with_a_length_gets_no_chunks_and_no_event() -> None:
    rig = Rig(chunked=False)
    rig.stream.feed(b"{")
    assert not rig.stream.probe()
    rig.stream.end(ERROR)
    assert rig.sent == b"{"


@given(st.lists(st.binary(min_size=1, max_size=60_000), max_size=4), st.data())
def test_what_waits_is_written_in_order_and_counted_once(
    pieces: list[bytes], data: st.DataObject
) -> None:
    rig = Rig(chunked=False)
    for piece in pieces:
        if data.draw(st.booleans()):
            rig.stream.pause()
        elif data.draw(st.booleans()):
            rig.stream.resume()
        rig.stream.feed(piece)
    rig.stream.end()
    assert rig.sent == b"".join(pieces)
    assert rig.exchange.bytes_out == len(rig.sent)


def test_the_source_pauses_above_the_cap_until_the_client_has_caught_up() -> None:
    rig = Rig()
    rig.stream.pause()
    rig.stream.feed(b"x" * CAP_BYTES)
    assert rig.source.told == []
    rig.stream.feed(b"x")
    assert rig.source.told == ["pause"]
    assert rig.sent == b""
    rig.stream.resume()
    assert rig.source.told == ["pause", "go on"]
    assert rig.sent == chunk(b"x" * (CAP_BYTES + 1))


def test_bytes_that_the_transport_holds_count_as_waiting() -> None:
    rig = Rig()
    rig.transport.buffered = CAP_BYTES + 1
    rig.stream.pause()
    assert rig.source.told == ["pause"]


def test_an_event_is_one_write_and_is_inspected_once() -> None:
    rig = Rig()
    seen: list[bytes] = []

    def look(data: bytes) -> bytes:
        seen.append(data)
        return data

    rig.stream.look = look
    rig.stream.pause()
    rig.stream.feed(EVENT)
    rig.stream.resume()
    rig.stream.feed(ERROR)
    assert seen == [EVENT, ERROR]
    assert rig.transport.writes == [b"head", chunk(EVENT), chunk(ERROR)]


def test_a_comment_stands_between_events_and_not_before_unread_bytes() -> None:
    rig = Rig()
    assert rig.stream.beat()
    rig.stream.feed(EVENT[:-1])
    assert not rig.stream.beat()
    rig.stream.feed(b"\n")
    rig.transport.buffered = 1
    assert not rig.stream.beat()
    rig.transport.buffered = 0
    assert rig.stream.beat()
    assert rig.sent == chunk(COMMENT) + chunk(EVENT[:-1]) + chunk(b"\n") + chunk(COMMENT)


def test_a_byte_order_mark_goes_when_a_comment_came_before_it() -> None:
    rig = Rig()
    rig.stream.beat()
    rig.stream.feed(b"\xef\xbb\xbf" + EVENT)
    assert rig.sent == chunk(COMMENT) + chunk(EVENT)


def test_everything_in_a_compressed_body_is_compressed() -> None:
    rig = Rig(gzip=True)
    rig.stream.feed(EVENT)
    rig.stream.comment()
    rig.stream.end(ERROR)
    data = b""
    rest = rig.sent
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        data, rest = data + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    assert zlib.decompressobj(wbits=31).decompress(data) == EVENT + COMMENT + ERROR
    assert rig.exchange.bytes_saved == len(EVENT) - rig.exchange.bytes_out
