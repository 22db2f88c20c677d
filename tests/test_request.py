"""Facts of a request."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from aiohttp.streams import EMPTY_PAYLOAD
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.exchange import Exchange
from gateway.request import Request


def made(content: Any, **headers: str) -> Request:
    fields = CIMultiDictProxy(CIMultiDict(headers))
    message = cast(Any, SimpleNamespace(method="POST", headers=fields, raw_headers=((b"A", b"b"),)))
    return Request(message, content, cast(Any, None), Exchange("POST", "192.0.2.1", False))


def test_a_request_without_a_body_has_neither_body_nor_length() -> None:
    request = made(EMPTY_PAYLOAD)
    assert not request.body_exists
    assert request.content_length is None


def test_the_length_of_a_body_is_what_the_head_says() -> None:
    request = made(object(), **{"content-length": "12"})
    assert request.body_exists
    assert request.content_length == 12
    assert request.raw_headers == ((b"A", b"b"),)
