"""Requests that may ask for a stream, by their heads and bodies."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.exchange import Exchange
from gateway.proxy.early_head import may_ask
from gateway.request import Request

PIECES = [b'"stream"', b'"streams"', b":", b" ", b"true", b"false", b",", b"{", b"}", b'"a"']


def asks(body: bytes | None, method: str = "POST", **headers: str) -> bool | None:
    exchange = Exchange(method, "192.0.2.1", trusted_peer=False)
    fields = CIMultiDictProxy(CIMultiDict(headers))
    return may_ask(
        cast(Request, cast(Any, SimpleNamespace(exchange=exchange, headers=fields, known=None))),
        body,
    )


@pytest.mark.parametrize(
    "body",
    [
        b'{"stream":true}',
        b'{"a":1,"stream" : true,"b":{"stream":false}}',
        b'{"stream":false,"a":"\\"stream\\":","b":{"stream":true}}',
    ],
)
def test_a_body_with_the_member_may_ask_for_a_stream(body: bytes) -> None:
    assert asks(body) is None
    assert asks(body, "PUT") is False


@pytest.mark.parametrize(
    "body", [None, b"", b'{"stream":false}', b'{"streams":true}', b'{"a":"stream","b":true}']
)
def test_another_body_asks_for_none(body: bytes | None) -> None:
    assert asks(body) is False


@given(st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join))
def test_the_member_is_found_wherever_it_is(body: bytes) -> None:
    is_there = re.search(rb'"stream"\s*:\s*true', body) is not None
    assert asks(body) is (None if is_there else False)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("text/event-stream", True),
        ("text/event-stream; q=1, text/event-stream", True),
        ("text/event-stream, application/json", False),
        ("application/json", False),
    ],
)
def test_a_client_that_accepts_nothing_else_asks_for_a_stream(accept: str, expected: bool) -> None:
    assert asks(b"{}", Accept=accept) is expected
    assert asks(None, "GET", Accept=accept) is expected
    assert asks(None, "HEAD", Accept=accept) is False
