"""Heads that a client repeats: what is taken for the same, and what is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp.http import HttpRequestParser, RawRequestMessage
from hypothesis import given
from hypothesis import strategies as st

from gateway.known_head import LONGEST_BYTES, KnownHead, KnownHeads

POST = b"POST /v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nX-A: b\r\n\r\n"
GET = b"GET /v1/x HTTP/1.1\r\nHost: h\r\n\r\n"


def parsed(head: bytes) -> RawRequestMessage:
    loop = asyncio.new_event_loop()
    try:
        parser: Any = HttpRequestParser(Mock(), loop, 2**16, max_field_size=2**16)
        ((message, _),), _, _ = parser.feed_data(head)
    finally:
        loop.close()
    assert isinstance(message, RawRequestMessage)
    return message


def known(head: bytes) -> KnownHead:
    found = KnownHead.of(head, parsed(head))
    assert found is not None
    return found


def test_a_known_head_says_whether_its_client_accepts_only_events() -> None:
    assert known(POST.replace(b"X-A: b", b"Accept: text/event-stream")).accepts_only_events
    assert not known(POST.replace(b"X-A: b", b"Accept: text/event-stream, */*")).accepts_only_events
    assert not known(POST).accepts_only_events


def test_the_same_head_with_another_length_is_known() -> None:
    assert known(POST).match(POST + b"hello") == len(POST)
    longer = POST.replace(b"5", b"1234")
    assert known(POST).match(longer + 1234 * b"x") == len(longer)
    assert known(GET).match(GET) == len(GET)


@pytest.mark.parametrize(
    ("head", "body"), [(POST, b""), (POST, b"hell"), (POST, b"helloGET"), (GET, b"GET")]
)
def test_a_request_with_less_or_more_than_its_body_is_parsed(head: bytes, body: bytes) -> None:
    assert known(head).match(head + body) == 0


@pytest.mark.parametrize(
    "head",
    [
        GET.replace(b"GET", b"PUT"),
        GET.replace(b"/v1/x", b"/v1/y"),
        POST.replace(b"X-A: b", b"X-A: c"),
        POST.replace(b"X-A: b\r\n", b"X-A: b\r\nX-B: c\r\n"),
        POST.replace(b"X-A: b\r\n", b""),
        POST.replace(b": 5", b":5"),
        POST.replace(b": 5", b": +5"),
        POST.replace(b": 5", b": 5 "),
        POST.replace(b": 5", b": 0x5"),
        POST.replace(b": 5", b": "),
        POST.replace(b": 5", b": 5, 5"),
        POST.replace(b": 5", b": " + 16 * b"1"),
        POST.replace(b": 5\r\n", b": 5\n"),
        b"\r\n" + POST,
        POST[:-2],
        b"",
    ],
)
def test_any_other_head_is_parsed(head: bytes) -> None:
    assert known(POST).match(head) is None


@pytest.mark.parametrize(
    "line",
    [
        b"Transfer-Encoding: chunked",
        b"Connection: upgrade\r\nUpgrade: websocket",
        b"Upgrade: h2c",
        b"Expect: 100-continue",
        b"Content-Encoding: gzip",
        b"X-Long: " + LONGEST_BYTES * b"x",
    ],
)
def test_a_head_that_is_not_plain_is_not_remembered(line: bytes) -> None:
    head = GET.replace(b"Host: h", b"Host: h\r\n" + line)
    assert KnownHead.of(head, parsed(head)) is None


def test_a_head_that_came_in_pieces_is_not_remembered() -> None:
    assert KnownHead.of(POST[10:], parsed(POST)) is None or known(POST).match(POST[10:]) is None
    assert KnownHead.of(POST[:-4], parsed(POST)) is None


def test_a_value_that_looks_like_the_length_is_not_taken_for_it() -> None:
    head = POST.replace(b"X-A: b", b"X-A: Content-Length: 7")
    assert known(head).match(head.replace(b": 5", b": 6") + b"hello!") == len(head)
    assert known(head).match(head.replace(b": 7", b": 8")) is None


@given(st.integers(0, 10**14), st.integers(0, 20) | st.integers(0, 10**14), st.binary(max_size=20))
def test_a_match_is_what_the_parser_says(first: int, second: int, body: bytes) -> None:
    head = known(POST.replace(b": 5", b": %d" % first))
    again = POST.replace(b": 5", b": %d" % second)
    assert head.match(again + body) == (len(again) if second == len(body) else 0)
    assert parsed(again).headers["Content-Length"] == str(second)


def test_lines_are_kept_for_a_few_keys() -> None:
    head = known(GET)
    for number in range(100):
        head.keep_lines(number, b"%d" % number)
    assert head.lines.get(99) == b"99"
    assert len(head.lines) <= 8


PEER = ("192.0.2.1", False)


def remembering(*heads: bytes) -> KnownHeads:
    """Return what a worker knows after these heads of one peer."""
    made = KnownHeads(Mock())
    for head in heads:
        made.add(PEER, head, parsed(head))
    return made


@pytest.mark.parametrize(
    "head",
    [
        GET,
        POST,
        POST.replace(b"Content-Length", b"content-length"),
        POST.replace(b"Content-Length", b"CONTENT-LENGTH"),
        POST.replace(b"Host", b"Connection: close\r\nHost"),
    ],
)
def test_a_head_of_another_connection_is_known(head: bytes) -> None:
    heads = remembering(GET, POST, head)
    found = heads.find(PEER, head + b"hello")
    assert found is not None
    assert found.match(head + (b"hello" if head != GET else b"")) == len(head)
    assert heads.find(PEER, head) is found


def test_a_head_of_another_connection_may_have_another_length() -> None:
    found = remembering(POST).find(PEER, POST.replace(b": 5", b": 1234"))
    assert found is not None
    assert found.message.path == "/v1/x"


@pytest.mark.parametrize("peer", [("192.0.2.2", False), ("192.0.2.1", True)])
def test_a_head_of_another_peer_is_not_known(peer: tuple[str, bool]) -> None:
    assert remembering(POST).find(peer, POST) is None


@pytest.mark.parametrize(
    "head",
    [
        GET.replace(b"Host", b"Expect: 100-continue\r\nHost"),
        GET.replace(b"Host", b"X-Long: " + LONGEST_BYTES * b"x" + b"\r\nHost"),
    ],
)
def test_a_head_that_is_not_plain_is_never_known(head: bytes) -> None:
    heads = remembering(head)
    for _ in range(2):
        assert heads.find(PEER, head) is None
        heads.add(PEER, head, parsed(head))


@pytest.mark.parametrize("data", [b"", POST[:-2], b"\r\n\r\n", 2 * LONGEST_BYTES * b"x"])
def test_bytes_that_are_no_whole_head_are_not_known(data: bytes) -> None:
    assert remembering(POST, GET).find(PEER, data) is None


def test_heads_are_forgotten_unless_they_come_again() -> None:
    heads = remembering(POST, GET)
    message = parsed(POST)
    for number in range(10_000):
        heads.add(PEER, POST.replace(b"X-A: b", b"X-A: %d" % number), message)
        if number % 100 == 0:
            assert heads.find(PEER, GET) is not None
    assert heads.find(PEER, POST) is None


def test_a_head_that_does_not_come_for_two_minutes_is_forgotten() -> None:
    timers: list[Callable[[], None]] = []
    heads = KnownHeads(lambda _, call: timers.append(call))
    for head in (POST, GET):
        heads.add(PEER, head, parsed(head))
    for _ in range(4):
        assert heads.find(PEER, GET) is not None
        [minute] = timers
        timers.clear()
        minute()
    assert heads.find(PEER, POST) is None
    while timers:  # the last one forgets all, and no other follows
        timers.pop()()
    assert heads.find(PEER, GET) is None
