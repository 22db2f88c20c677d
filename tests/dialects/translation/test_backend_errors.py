"""Errors in every shape that backends give them."""

from __future__ import annotations

import orjson
import pytest

from gateway.dialects.refusals import too_long
from gateway.dialects.translation.backend_errors import of_answer, of_event
from gateway.dialects.translation.options import TranslationOptions
from gateway.dialects.translation.translation import Translation


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            400,
            b'{"error":{"message":"m","type":"invalid_request_error","code":"bad_value"}}',
            (400, "m", "invalid_request_error", "bad_value"),
        ),
        (
            429,
            b'{"type":"error","error":{"type":"rate_limit_error","message":"m"}}',
            (429, "m", "rate_limit_error", "rate_limit_error"),
        ),
        (529, b'{"error":{"message":"m"}}', (503, "m", "overloaded_error", "backend_error")),
        (404, b'{"error":"m"}', (404, "m", "not_found_error", "backend_error")),
        (
            400,
            b'{"object":"error","message":"m","type":"BadRequestError","code":400}',
            (400, "m", "BadRequestError", "BadRequestError"),
        ),
        (422, b'{"detail":"m"}', (422, "m", "invalid_request_error", "backend_error")),
        (
            502,
            b"<html>",
            (502, "The model backend answered with status 502.", "api_error", "backend_error"),
        ),
        (
            500,
            b"[]",
            (500, "The model backend answered with status 500.", "api_error", "backend_error"),
        ),
    ],
)
def test_status_words_kind_and_code_are_found(
    status: int, body: bytes, expected: tuple[int, str, str, str]
) -> None:
    error = of_answer(status, body)
    assert (error.status, error.message, error.kind, error.code) == expected


@pytest.mark.parametrize(
    ("kind", "status"), [("overloaded_error", 503), ("rate_limit_error", 429), ("other", 502)]
)
def test_inside_a_stream_the_kind_tells_the_status(kind: str, status: int) -> None:
    assert of_event({"error": {"type": kind, "message": "m"}}).status == status


def test_words_without_an_end_are_cut() -> None:
    error = of_answer(400, orjson.dumps({"error": "x" * 100_000}))
    assert len(error.message) == 2000


@pytest.mark.parametrize("caller", ["openai", "anthropic", "ollama"])
def test_a_prompt_that_is_too_long_is_still_known_as_one(caller: str) -> None:
    backend = "openai" if caller != "openai" else "anthropic"
    body = b'{"error":{"message":"prompt is too long: 9 tokens > 8 maximum"}}'
    translation = Translation(caller, backend, TranslationOptions())
    assert too_long(*translation.refusal(400, body, "r", "http://b"))
