"""Answers of backends to a prompt that is too long."""

from __future__ import annotations

import pytest

from gateway.dialects.refusals import too_long

TEXTS = [
    b'{"error": {"code": "context_length_exceeded"}}',
    b"This model's maximum context length is 4096 tokens",
    b"longer than the maximum model length of 4096",
    b'{"type": "exceed_context_size_error"}',
    b"prompt is too long: 210000 tokens > 200000 maximum",
    b"input length and `max_tokens` exceed context limit",
    b"exceeds the maximum number of tokens allowed (1048576)",
    b"maximum prompt length is 131072",
    b"`inputs` tokens + `max_new_tokens` must be <= 4096",
]


@pytest.mark.parametrize("text", TEXTS)
def test_each_backends_words_are_understood(text: bytes) -> None:
    assert too_long(400, text)
    assert too_long(422, text.upper())
    assert not too_long(500, text)


@pytest.mark.parametrize("text", [b"", b"max_tokens is too large", b"the list is too long"])
def test_other_refusals_are_not_taken_for_it(text: bytes) -> None:
    assert not too_long(400, text)
