"""Continuation of an OpenAI chat completion stream by another backend."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.dialects.continuation import Answered, document_of
from gateway.sse import Event

_SAME = ("id", "created", "model", "system_fingerprint")
"""Members that have the same value in all chunks of one response."""


class ChatAnswer:
    """Chat completion that another backend may continue."""

    def __init__(self) -> None:
        self.open = True
        self.answered = Answered()
        self._first: dict[str, Any] | None = None

    def read(self, event: Event) -> None:
        """Record an event."""
        if self.open and event.data:  # an empty event is a heartbeat
            self._read(document_of(event))

    def join(self, event: Event) -> bytes:
        """Return an event of a later part as a chunk of the response that has begun.

        The chunk carries the first part's id, model and other constant members, and the corrected
        usage. Return no bytes for a chunk that only names the role again.
        """
        document = document_of(event)
        if document is None or self._first is None:
            return event.raw
        self._read(document)
        self.answered.usage.whole(document)
        choice = _only_choice(document)
        delta = choice.get("delta")
        if isinstance(delta, dict) and "role" in delta:
            if not delta.get("content") and not choice.get("finish_reason"):
                return b""  # the caller already has the role
            del delta["role"]
        document |= {name: self._first[name] for name in _SAME if name in self._first}
        return b"data: %b\n\n" % orjson.dumps(document)

    def _read(self, document: dict[str, Any] | None) -> None:
        if document is None:
            self.open = False  # [DONE], or an unknown format
            return
        self.answered.usage.read(document)
        if self._first is None and "choices" in document:
            self._first = document
        if not document.get("choices") and not document.get("error"):
            return  # usage only, or a heartbeat
        choice = _only_choice(document)
        delta = choice.get("delta")
        if not isinstance(delta, dict) or choice.get("finish_reason"):
            self.open = False
            return
        content = delta.get("content")
        if isinstance(content, str):
            self.answered.pieces.append(content)
        elif content:
            self.open = False  # a list of parts
        if any(delta.get(key) for key in delta.keys() - {"role", "content"}):
            self.open = False  # tool_calls, refusal, reasoning: cannot be continued


def _only_choice(document: dict[str, Any]) -> dict[str, Any]:
    """Return the only choice of a chunk; empty if there are several or none."""
    choices = document.get("choices")
    if isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], dict):
        return choices[0]
    return {}
