"""What a model's answer says of itself, found in the beginning and the end of its bytes."""

from __future__ import annotations

import re

_FINISH = re.compile(rb'(?<!\\)"(?:finish_reason|stop_reason|done_reason)"\s*:\s*"([a-z_]{1,32})"')
_MODEL = re.compile(rb'(?<!\\)"model"\s*:\s*"([\w./:@+-]{1,128})"')
_ID = re.compile(rb'(?<!\\)"id"\s*:\s*"([\w.:-]{1,128})"')
_COUNTS = {
    "cache_read": re.compile(rb'"(?:cached_tokens|cache_read_input_tokens)"\s*:\s*(\d{1,12})'),
    "cache_written": re.compile(rb'"cache_creation_input_tokens"\s*:\s*(\d{1,12})'),
    "reasoning": re.compile(rb'"reasoning_tokens"\s*:\s*(\d{1,12})'),
}
_HEAD_BYTES = 1024
_TAIL_BYTES = 2048


def said(head: bytes, tail: bytes | bytearray) -> dict[str, str | int]:
    """Its `model`, `id`, `finish` reason and tokens by kind, where they are there. Quotes inside
    an answer's text are escaped, so nothing a model writes passes for them.
    """
    head = head[:_HEAD_BYTES]
    tail = tail[-_TAIL_BYTES:]
    found: dict[str, str | int] = {}
    if match := _MODEL.search(head):
        found["model"] = match[1].decode()
    if match := _ID.search(head):
        found["id"] = match[1].decode()
    for match in _FINISH.finditer(tail):
        found["finish"] = match[1].decode()
    for text in (head, tail):
        if b"_tokens" in text:  # else the others are not there either
            for name, pattern in _COUNTS.items():
                if match := pattern.search(text):
                    found[name] = int(match[1])
    return found
