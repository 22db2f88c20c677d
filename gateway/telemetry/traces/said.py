"""Metadata of a model's answer, found in the first and last bytes of its body."""

from __future__ import annotations

import re

_HEAD_BYTES = 1024
_TAIL_BYTES = 2048
_NAME = re.compile(rb'\s*:\s*"([\w./:@+-]{1,128})"')
_BEGINNING = {"model": b'"model"', "id": b'"id"'}
_FINISHES = (b'"finish_reason"', b'"stop_reason"', b'"done_reason"')


def said(head: bytes, tail: bytes | bytearray) -> dict[str, str]:
    """Return the answer's `model`, `id` and `finish` reason, as far as they are found.

    Quotes in the answer's text are escaped, so text from the model cannot match. The keys are found
    by plain search, because regular expressions would take ten times as long.
    """
    head, end = head[:_HEAD_BYTES], bytes(tail[-_TAIL_BYTES:])
    found: dict[str, str] = {}
    for name, key in _BEGINNING.items():
        if value := _first(head, key):
            found[name] = value
    for key in _FINISHES:
        if value := _last(end, key):
            found["finish"] = value
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
    """Return the last value that is not null."""
    at = text.rfind(key)
    while at >= 0:
        match = _NAME.match(text, at + len(key))
        if match is not None:
            return match[1].decode()
        at = text.rfind(key, 0, at)
    return None
