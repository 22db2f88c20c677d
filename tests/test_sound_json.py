"""JSON with halves of characters."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import sound_json


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (r"cut\ud83d", "cut\ufffd"),
        (r"\uDE00cut", "\ufffdcut"),
        (r"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (r"\\ud83d \ud83d", "\\ud83d \ufffd"),
        (r"\n\u00e9\ud83d\n", "\n\u00e9\ufffd\n"),
    ],
)
def test_half_a_character_becomes_the_replacement_character(text: str, read: str) -> None:
    assert sound_json.loads(f'{{"content":"{text}"}}'.encode()) == {"content": read}


@pytest.mark.parametrize(
    "body", [b"", b"{", rb'{"a":"\ud83d', rb'{"a":"\ud8', rb'{"a":\ud83d}', b"\\"]
)
def test_broken_json_stays_refused(body: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        sound_json.loads(body)


def test_very_many_halves_are_refused() -> None:
    with pytest.raises(orjson.JSONDecodeError):
        sound_json.loads(b'"' + rb"\ud83d" * 100_000 + b'"')


@given(st.text(st.characters()))
def test_any_text_is_read_as_its_characters(text: str) -> None:
    expected = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert sound_json.loads(json.dumps(text).encode()).encode("utf-16") == expected.encode("utf-16")
