"""What a model's answer says of itself, found in the beginning and the end of its bytes."""

from __future__ import annotations

import re

_HEAD_BYTES = 1024
_TAIL_BYTES = 2048
_NAME = re.compile(rb'\s*:\s*"([\w./:@+-]{1,128})"')
_COUNT = re.compile(rb"\s*:\s*(\d{1,12})")
_BEGINNING = {"model": b'"model"', "id": b'"id"'}
_FINISHES = (b'"finish_reason"', b'"stop_reason"', b'"done_reason"')
_COUNTS = {
    b'"cached_tokens"': "cache_read",
    b'"cache_read_input_tokens"': "cache_read",
    b'"cache_creation_input_tokens"': "cache_written",
    b'"reasoning_tokens"': "reasoning",
}


def said(head: bytes, tail: bytes | bytearray) -> dict[str, str | int]:
    """Its `model`, `id`, `finish` reason and tokens by kind, where they are there.

    Quotes inside an answer's text are escaped, so nothing a model writes passes for them. Plain
    searches: patterns would cost ten times as much.
    """
    head, end = head[:_HEAD_BYTES], bytes(tail[-_TAIL_BYTES:])
    found: dict[str, str | int] = {}
    for name, key in _BEGINNING.items():
        if value := _first(head, key):
            found[name] = value
    for key in _FINISHES:
        if value := _last(end, key):
            found["finish"] = value
            break
    for text in (head, end):
        if b"_tokens" in text:  # else the others are not there either
            for key, name in _COUNTS.items():
                at = text.find(key)
                if at >= 0 and (match := _COUNT.match(text, at + len(key))):
                    found[name] = int(match[1])
        if end == head:
            break
    return found


def _first(text: bytes, key: bytes) -> str | None:
    at = text.find(key)
    while at >= 0:
        match = _NAME.match(text, at + len(key))
        if match is not None:
            return match[1].decode()
        at = text.find(key, at + 1)
    return None


def _last(text: bytes, key: bytes) -> str | None:
    """The last that is not null."""
    at = text.rfind(key)
    while at >= 0:
        match = _NAME.match(text, at + len(key))
        if match is not None:
            return match[1].decode()
        at = text.rfind(key, 0, at)
    return None
