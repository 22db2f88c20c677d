"""JSON strings of log lines: printable ASCII, with secrets masked."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.logs.json_text import masked, quoted

SECRET = "sk-proj-0123456789abcdefghijklmnop"


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_is_one_printable_line_that_reads_back(text: str) -> None:
    line = quoted(text)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line) == text


def test_secrets_are_masked_in_short_and_in_long_texts() -> None:
    for text in (f"key {SECRET}", f"key {SECRET} " + "x" * 1000):
        for _ in range(2):  # the second time from the cache
            assert SECRET not in masked(text)
            assert masked(text).startswith('"key ')
