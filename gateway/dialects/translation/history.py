"""Calls of tools in earlier turns: their arguments, and which result belongs to which call.

A request with a history that its backend refuses is refused again in every later turn. So what a
model once got wrong is put right here.
"""

from __future__ import annotations

from typing import Any

import orjson

from gateway.dialects.translation.conversation import ToolCall
from gateway.dialects.translation.values import json_text


def arguments_in(value: Any) -> tuple[str, bool]:
    """Arguments as the text of a JSON object, and whether they were one.

    They may be an object, JSON text, or JSON text of JSON text. What is none of these is `{}`:
    the result that follows says what came of the call.
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
    """The calls that have no result yet, in the order of the messages."""

    def __init__(self) -> None:
        self._open: list[ToolCall] = []
        self._count = 0

    def new_id(self, given: str | None) -> str:
        """The id of a call: the given one, or one made up."""
        number = self._count
        self._count += 1
        return given or f"call_{number}"

    def add(self, call: ToolCall) -> None:
        """A call waits for its result."""
        self._open.append(call)

    def answered(self, given: str | None, name: str | None) -> str | None:
        """The id of the call that a result belongs to: the given one, else the first of its name.
        None if there is none.
        """
        for index, call in enumerate(self._open):
            if call.id == given if given else name in (None, call.name):
                return self._open.pop(index).id
        return given
