"""Repair tool calls of earlier turns: their arguments, and the match of results to calls.

A backend that refuses a history refuses it again in every later turn. Therefore mistakes that a
model made once are corrected here.
"""

from __future__ import annotations

from typing import Any

import orjson

from gateway.dialects.translation.conversation import ToolCall
from gateway.dialects.translation.values import json_text


def arguments_in(value: Any) -> tuple[str, bool]:
    """Return arguments as the text of a JSON object, and True if they were valid.

    Valid arguments are an object, JSON text, or JSON text inside JSON text; absent ones count as
    `{}`. Invalid arguments become `{}`: the tool result that follows shows what came of the call.
    """
    if value is None or value == "":
        return "{}", True
    if isinstance(value, dict):
        return json_text(value), True
    for _ in range(2):
        if not isinstance(value, str):
            break
        text = value
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            break
        if isinstance(value, dict):
            return text, True
        if value is None:
            return "{}", True
    return "{}", False


class OpenCalls:
    """Tool calls without a result so far, in the order of the messages."""

    def __init__(self) -> None:
        self._open: list[ToolCall] = []
        self._count = 0

    def new_id(self, given: str | None) -> str:
        """Return the id of the next call: `given`, or a generated one."""
        number = self._count
        self._count += 1
        return given or f"call_{number}"

    def add(self, call: ToolCall) -> None:
        """Add a call that has no result yet."""
        self._open.append(call)

    def answered(self, given: str | None, name: str | None) -> str | None:
        """Match a result to its call, and return the call's id.

        Match by the `given` id, or else take the first open call with this name (any call if `name`
        is None). If no call matches, return `given`, which may be None.
        """
        for index, call in enumerate(self._open):
            if call.id == given if given else name in (None, call.name):
                return self._open.pop(index).id
        return given
