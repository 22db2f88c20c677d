"""Recognize the end of an answer in a stream, whatever its dialect."""

from __future__ import annotations

import re
from typing import Any

import orjson

_END = re.compile(
    rb'(?:^|\n)data:[ ]?\[DONE\]|"finish_reason"[ \t]*:[ \t]*"|"done"[ \t]*:[ \t]*true'
    rb'|"type"[ \t]*:[ \t]*"(?:message_stop|response\.completed|response\.incomplete)"'
)
_EXAMINED_BYTES = 64 * 1024
_MEMBER = re.compile(rb'"(?:choices|delta|done|type)"[ \t]*:')
"""Member of most events of all dialects."""
_HEARTBEATS = ("ping", "keepalive")
_MESSAGE_PARTS = frozenset(
    {"message_start", "content_block_start", "content_block_delta", "content_block_stop"}
)
_MEDIA_PARTS = frozenset(
    {"speech.audio.delta", "transcript.text.delta"}
    | {"image_generation.partial_image", "image_edit.partial_image"}
)
_RESPONSE_ENDS = frozenset(
    f"response.{name}" for name in ("completed", "incomplete", "failed", "cancelled", "done")
)
_OF_RESPONSES = ("sequence_number", "response", "item_id", "output_index")
"""Members of the events of OpenAI's Responses API."""


def has_end(body: bytes) -> bool:
    """Tell whether a stream contains the end of its answer. A stream without it was cut off, even
    if its transfer was complete.
    """
    return _END.search(body) is not None


def is_cut_off(tail: bytes) -> bool:
    """Tell whether a stream whose transfer was complete was cut off: its last event is a part of an
    answer that another event has to follow.

    `tail` is the end of the stream. A stream without an event of a known form is never cut off.
    """
    lines = tail[-_EXAMINED_BYTES:].splitlines(keepends=True)
    for line in reversed(lines):
        document = (line[5:] if line.startswith(b"data:") else line).strip()
        if not document.startswith(b"{"):
            if line.startswith(b"data:") and document:
                return False  # [DONE], or text
            continue
        try:
            event = orjson.loads(document)
        except orjson.JSONDecodeError:
            # The stream ends inside of this line, or the line is not JSON at all.
            return line[-1:] not in b"\r\n" and _MEMBER.search(document) is not None
        if event.get("type") not in _HEARTBEATS:
            return _needs_more(event)
    return False


def _needs_more(document: dict[str, Any]) -> bool:
    """Tell whether an event has to be followed by another one. False for an event of no known
    form.
    """
    if document.get("error"):
        return False
    choices = document.get("choices")
    if isinstance(choices, list):
        if not choices:
            return not isinstance(document.get("usage"), dict)  # usage follows the last choice
        return not any(isinstance(one, dict) and one.get("finish_reason") for one in choices)
    done = document.get("done")
    if done is True or (done is False and ("message" in document or "response" in document)):
        return not done
    kind = document.get("type")
    if not isinstance(kind, str):
        return False
    if kind in _MESSAGE_PARTS or kind in _MEDIA_PARTS:
        return True
    if kind == "message_delta":
        delta = document.get("delta")
        return not (isinstance(delta, dict) and delta.get("stop_reason"))
    if kind.startswith("response.") and any(name in document for name in _OF_RESPONSES):
        return kind not in _RESPONSE_ENDS
    return False
