"""Continuation of an Ollama chat stream by another backend."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.dialects.continuation import Answered, document_of
from gateway.sse import Event


class LinesAnswer:
    """Chat that another backend may continue."""

    def __init__(self) -> None:
        self.open = True
        self.answered = Answered()
        self._model: Any = None

    def read(self, event: Event) -> None:
        """Record a line."""
        if self.open and event.data is not None:
            self._read(document_of(event) or {})

    def join(self, event: Event) -> bytes:
        """Return a line of a later part with the first part's model name and corrected usage."""
        document = document_of(event)
        if document is None:
            return event.raw
        self._read(document)
        self.answered.usage.whole(document)
        if "model" in document:
            document["model"] = self._model
        return orjson.dumps(document) + b"\n"

    def _read(self, document: dict[str, Any]) -> None:
        self.answered.usage.read(document)
        self._model = self._model or document.get("model")
        message = document.get("message")
        if not isinstance(message, dict) or document.get("done"):
            self.open = False  # the end, or no chat response
            return
        content = message.get("content")
        if isinstance(content, str):
            self.answered.pieces.append(content)
        elif content:
            self.open = False  # a list of parts
        if any(message.get(key) for key in message.keys() - {"role", "content"}):
            self.open = False  # tool_calls, thinking: cannot be continued
