"""Metadata of a model's response, found in the first and last bytes of its body."""

from __future__ import annotations

import re

_HEAD_BYTES = 1024
_TAIL_BYTES = 2048
_VALUE = re.compile(rb'\s*:\s*"([\w./:@+-]{1,128})"')
_FIRST = {"model": b'"model"', "id": b'"id"'}
_FINISHES = (b'"finish_reason"', b'"stop_reason"', b'"done_reason"')


def response_metadata(head: bytes, tail: bytes | bytearray) -> dict[str, str]:
    """Return the response's `model`, `id` and `finish` reason, as far as they are found.

    Quotes in the response's text are escaped, so text from the model cannot match. The keys are
    found by plain search, because regular expressions would take ten times as long.
    """
    found: dict[str, str] = {}
    for name, key in _FIRST.items():
        if value := _first(head, key):
            found[name] = value
    for key in _FINISHES:
        if value := _last(tail, key):
            found["finish"] = value
            break
    return found


def _first(head: bytes, key: bytes) -> str | None:
    at = head.find(key, 0, _HEAD_BYTES)
    while at >= 0:
        match = _VALUE.match(head, at + len(key), _HEAD_BYTES)
        if match is not None:
            return match[1].decode()
        at = head.find(key, at + 1, _HEAD_BYTES)
    return None


def _last(tail: bytes | bytearray, key: bytes) -> str | None:
    """Return the last value that is not null."""
    begin = max(0, len(tail) - _TAIL_BYTES)
    at = tail.rfind(key, begin)
    while at >= 0:
        match = _VALUE.match(tail, at + len(key))
        if match is not None:
            return match[1].decode()
        at = tail.rfind(key, begin, at)
    return None
