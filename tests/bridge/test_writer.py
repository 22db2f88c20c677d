"""The writer of a response to a bridge: order, counts, pauses, and the one end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bridge.writer import BridgeWriter
from gateway.client_connection import ClientConnection, MakeWriter
from gateway.errors import Draining, GatewayError
from gateway.exchange import Exchange

CAP_BYTES = 32 * 1024
EVENT = b"data: 1\n\n"
ERROR = b"data: error\n\n"
BOM = b"\xef\xbb\xbf"


class Neighbour:
    """Receiver, source, head and connection of a writer, which note what they are told."""

    status = 200

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.told: list[str] = []
        self.attached: list[object] = []
        self.unread_bytes = 0
        self.closing = False

    def header_fields(self) -> Mapping[str, str]:
        return {"Content-Type": "text/event-stream"}

    def http_bytes(self, *, chunked: bool) -> bytes:
        raise AssertionError("no HTTP is written")

    @property
    def make_writer(self) -> MakeWriter:
        raise AssertionError("there is a writer already")

    def is_closing(self) -> bool:
        return self.closing

    def head(self, status: int, fields: Mapping[str, str]) -> None:
        self.said.append((status, *fields.values()))

    def body(self, data: bytes) -> None:
        self.said.append(data)

    def complete(self) -> None:
        self.said.append("complete")

    def pause(self) -> None:
        self.told.append("pause")

    def caught_up(self) -> None:
        self.told.append("go on")

    def fail(self, error: GatewayError) -> None:
        self.told.append(error.code)

    def attach(self, writer: object) -> None:
        self.attached.append(writer)

    def detach(self) -> None:
        self.attached.clear()


class Rig:
    def __init__(self) -> None:
        self.by = by = Neighbour()
        self.exchange = Exchange("POST", "127.0.0.1", trusted_peer=False)
        client = cast(ClientConnection, by)
        self.writer = BridgeWriter(by, client, self.exchange, by)

    @property
    def body(self) -> bytes:
        return b"".join(piece for piece in self.by.said if isinstance(piece, bytes))


def test_a_whole_response_is_a_head_its_body_and_an_end() -> None:
    rig = Rig()
    rig.writer.look = bytes.upper
    rig.writer.begin(rig.by, b"retry: 7\n", b"data: a\n\n", lambda: b"data: rest\n\n")
    assert rig.by.said == [
        (200, "text/event-stream"),
        b"retry: 7\n",
        b"DATA: A\n\n",
        b"data: rest\n\n",
        "complete",
    ]
    assert rig.exchange.bytes_out == len(b"data: a\n\ndata: rest\n\n")
    assert rig.exchange.first_byte_at is not None
    assert rig.exchange.first_byte_at <= time.perf_counter()


@pytest.mark.parametrize(("event", "last"), [(None, ["complete"]), (ERROR, [ERROR]), (b"", [])])
def test_a_body_ends_once_and_in_one_way(event: bytes | None, last: list[object]) -> None:
    rig = Rig()
    rig.writer.begin(rig.by)
    rig.writer.follow(None)
    rig.writer.feed(EVENT)
    assert rig.by.attached == [rig.writer]
    rig.writer.end(event)
    rig.writer.end()
    rig.writer.end(ERROR)
    rig.writer.fail(Draining())
    rig.writer.resume()
    assert rig.by.said[1:] == [EVENT, *last]
    assert (rig.by.attached, rig.by.told) == ([], [])
    assert not rig.writer.probe()


def test_the_source_pauses_above_the_cap_until_the_client_has_caught_up() -> None:
    rig = Rig()
    rig.writer.begin(rig.by)
    rig.writer.pause()
    rig.by.unread_bytes = CAP_BYTES
    rig.writer.feed(EVENT)
    assert rig.by.told == []
    rig.by.unread_bytes += 1
    rig.writer.feed(EVENT)
    assert (rig.by.told, rig.writer.behind) == (["pause"], True)
    rig.writer.resume()
    assert (rig.by.told, rig.writer.behind) == (["pause", "go on"], False)


def test_a_comment_waits_for_the_end_of_an_event() -> None:
    rig = Rig()
    rig.writer.begin(rig.by)
    assert rig.writer.comment()
    rig.writer.feed(b"data: 1\n")
    assert not rig.writer.comment()
    rig.writer.feed(b"\n")
    assert rig.writer.comment()


def test_nothing_is_counted_after_the_client_has_left() -> None:
    rig = Rig()
    rig.writer.begin(rig.by)
    rig.by.closing = True
    rig.writer.feed(EVENT)
    assert rig.writer.is_closing()
    assert (rig.body, rig.exchange.bytes_out) == (b"", 0)


def test_events_that_a_source_has_counted_are_counted_apart() -> None:
    rig = Rig()
    rig.writer.begin(rig.by)
    assert rig.writer.events(EVENT) == len(EVENT)
    assert (rig.writer.counted, rig.exchange.bytes_out) == (len(EVENT), 0)


@given(st.lists(st.integers(1, 4)), st.booleans(), st.booleans())
def test_a_byte_order_mark_goes_where_it_is_not_the_start_any_more(
    sizes: list[int], joins: bool, comments: bool
) -> None:
    rig = Rig()
    rig.writer.begin(None if joins else rig.by)
    own = b""
    if comments:
        rig.writer.comment(own := b": x\n")
    rest = BOM + EVENT + BOM
    while rest:
        size = sizes.pop() if sizes else 5
        rig.writer.feed(rest[:size])
        rest = rest[size:]
    rig.writer.rest(b"")
    kept = b"" if joins or comments else BOM
    assert rig.body == own + kept + EVENT + BOM
