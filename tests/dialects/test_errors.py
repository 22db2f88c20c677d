"""What the error bodies of all dialects share."""

from __future__ import annotations

import pytest

from gateway.dialects.errors import advice, error_document
from gateway.errors import RateLimited, RequestError


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"error": null}', b'"error"'])
def test_a_body_without_an_error_is_none(body: bytes) -> None:
    assert error_document(body) is None


@pytest.mark.parametrize("body", [b'{"error": {"message": "m"}}', b'{"error": "text"}'])
def test_a_body_with_an_error_is_one(body: bytes) -> None:
    assert error_document(body)


def test_an_error_with_a_delay_tells_when_to_come_back_in_ms() -> None:
    assert advice(RateLimited("own", 2)) == b"retry: 2000\n"
    assert advice(RequestError("no")) == b""
