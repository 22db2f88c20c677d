"""Whole responses as bytes."""

from __future__ import annotations

import pytest
from aiohttp import web

from gateway.server.whole import whole_response


def parsed(
    response: web.StreamResponse, method: str = "GET"
) -> tuple[bytes, dict[str, str], bytes]:
    made = whole_response(response, method)
    assert made is not None
    head, body = made
    first, *lines = head.removesuffix(b"\r\n\r\n").decode().split("\r\n")
    return first.encode(), dict(line.lower().split(": ", 1) for line in lines), body


def test_status_fields_and_body_are_written() -> None:
    first, fields, body = parsed(web.Response(status=404, text="gone", headers={"X-A": "b"}))
    assert first == b"HTTP/1.1 404 Not Found"
    assert fields["content-length"] == "4"
    assert fields["content-type"] == "text/plain; charset=utf-8"
    assert fields["x-a"] == "b"
    assert "date" in fields
    assert body == b"gone"


def test_a_head_response_has_the_length_and_no_body() -> None:
    _, fields, body = parsed(web.Response(body=b"gone"), "HEAD")
    assert fields["content-length"] == "4"
    assert body == b""


def test_a_response_that_cannot_have_a_body_has_no_length() -> None:
    _, fields, body = parsed(web.Response(status=204))
    assert "content-length" not in fields
    assert "content-type" not in fields
    assert body == b""


def test_a_connection_that_will_be_closed_is_announced() -> None:
    response = web.Response()
    response.force_close()
    assert parsed(response)[1]["connection"] == "close"


def test_cookies_are_set_one_by_one() -> None:
    response = web.Response()
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    made = whole_response(response, "GET")
    assert made is not None
    assert made[0].count(b"Set-Cookie: ") == 2


def test_a_line_break_in_a_field_is_refused() -> None:
    with pytest.raises(ValueError, match=r"."):
        whole_response(web.Response(headers={"X-A": "b\r\nX-C: d"}), "GET")


@pytest.mark.parametrize("kind", ["stream", "file", "compressed", "chunked"])
def test_what_is_more_than_bytes_is_left_to_aiohttp(kind: str) -> None:
    response: web.StreamResponse = web.Response(body=b"x")
    if kind == "stream":
        response = web.StreamResponse()
    elif kind == "file":
        response = web.FileResponse(__file__)
    elif kind == "compressed":
        response.enable_compression()
    else:
        response.enable_chunked_encoding()
    assert whole_response(response, "GET") is None
