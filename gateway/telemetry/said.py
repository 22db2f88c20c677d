"""What a model's answer says of itself, found in the beginning and the end of its bytes."""

from __future__ import annotations

import re

_FINISH = re.compile(rb'(?<!\\)"(?:finish_reason|stop_reason|done_reason)"\s*:\s*"([a-z_]{1,32})"')
_MODEL = re.compile(rb'(?<!\\)"model"\s*:\s*"([\w./:@+-]{1,128})"')
_ID = re.compile(rb'(?<!\\)"id"\s*:\s*"([\w.:-]{1,128})"')
_HEAD_BYTES = 1024
_TAIL_BYTES = 2048


def said(head: bytes, tail: bytes | bytearray) -> dict[str, str]:
    """Its `model`, `id` and `finish` reason, where they are there. Quotes inside an answer's text
    are escaped, so nothing a model writes passes for them.
    """
    head, tail = head[:_HEAD_BYTES], tail[-_TAIL_BYTES:]
    found = {}
    if match := _MODEL.search(head):
        found["model"] = match[1].decode()
    if match := _ID.search(head):
        found["id"] = match[1].decode()
    for match in _FINISH.finditer(tail):
        found["finish"] = match[1].decode()
    return found
