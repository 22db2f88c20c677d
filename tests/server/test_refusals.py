"""Answers to bytes that are no valid request: fixed, and without those bytes."""

from __future__ import annotations

import json

import pytest
from aiohttp.http import HttpVersion
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError, LineTooLong

from gateway.errors import GatewayError, HeadersTooLarge, Overloaded, RequestError
from gateway.server.refusals import fixed_response, refusal_for, refusal_for_version


@pytest.mark.parametrize(
    ("exc", "status"),
    [
        (LineTooLong(b"canary", 8190), 431),
        (BadHttpMessage("Too many headers received"), 431),
        (BadHttpMessage("canary"), 400),
    ],
)
def test_a_rejected_head_is_told_by_its_kind(exc: HttpProcessingError, status: int) -> None:
    error = refusal_for(exc)
    assert error.status == status
    assert b"canary" not in fixed_response(error, "id")


@pytest.mark.parametrize(("version", "status"), [((0, 9), 400), ((1, 0), 505), ((2, 0), 505)])
def test_another_version_is_refused(version: tuple[int, int], status: int) -> None:
    assert refusal_for_version(HttpVersion(*version)).status == status


@pytest.mark.parametrize(
    "error", [HeadersTooLarge(), RequestError("Not valid."), Overloaded("requests")]
)
def test_a_fixed_response_is_whole_and_closes(error: GatewayError) -> None:
    head, _, body = fixed_response(error, "an-id").partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0].startswith(b"HTTP/1.1 %d " % error.status)
    assert b"Content-Length: %d" % len(body) in lines
    assert {b"Connection: close", b"X-Request-ID: an-id"} <= set(lines)
    assert json.loads(body)["error"]["message"] == error.message
