"""Assemble backends' tool calls into the pieces `ToolCallStart` and `ArgumentsDelta`.

Backends differ in when the name arrives, in whether arguments are JSON text or an object, in ids
and in indexes. The data of each call is collected here, so that every reader accepts every form.
"""

from __future__ import annotations

from typing import Any

import orjson

from gateway.dialects.translation.halves import Halves
from gateway.dialects.translation.history import arguments_in
from gateway.dialects.translation.pieces import (
    ArgumentsDelta,
    Call,
    ContentEnd,
    Piece,
    Skip,
    Skipped,
    Stop,
    ToolCallStart,
)
from gateway.dialects.translation.values import json_text, object_in, text_in
from gateway.errors import UpstreamInvalidResponse

_NAMELESS = "unknown"
"""Name for a call that has arguments but never received a name. The caller reports to the model
that no such tool exists, and the model calls again.
"""
_LONGEST = 16 * 1024
"""Maximum characters of arguments that are checked for completeness."""
_NONE = frozenset({"null", "None"})
"""Placeholders that some backends send for a missing id or name."""


class _Call:
    """Data received about one call."""

    __slots__ = ("halves", "id", "length", "name", "number", "spare", "texts")

    def __init__(self, call_id: str) -> None:
        self.id = call_id
        self.name = ""
        """Name received so far; it may arrive in parts."""
        self.spare = ""
        """A placeholder received as the name. It becomes the name if no other arrives."""
        self.number = -1
        """Index of the call in the response; -1 until its `ToolCallStart` piece is produced."""
        self.texts: list[str] = []
        """Arguments received so far."""
        self.length = 0
        """Number of characters in `texts`."""
        self.halves = Halves()

    def complete(self) -> bool:
        """True if the arguments are a complete JSON object.

        Long arguments are not checked: they arrive in many parts, and each part may cause a check.
        """
        if self.length > _LONGEST or not self.texts or not self.texts[-1].rstrip().endswith("}"):
            return False
        return isinstance(_loaded("".join(self.texts)), dict)


class Calls:
    """Tool calls of one response."""

    __slots__ = ("_all", "_by_key", "_count")

    def __init__(self) -> None:
        self._all: list[_Call] = []
        self._by_key: dict[object, _Call] = {}
        """Last call at each of the backend's indexes."""
        self._count = 0

    def __bool__(self) -> bool:
        """True if there is a call with a name."""
        return any(call.name or call.spare for call in self._all)

    def read(self, key: object, call: dict[str, Any], pieces: list[Piece]) -> None:
        """Add an OpenAI or Ollama call, or a part of one. `key` identifies the call."""
        function = object_in(call, "function") or call
        call_id, name = text_in(call, "id"), text_in(function, "name")
        arguments = arguments_text(function.get("arguments"))
        if call_id in _NONE:
            call_id = ""
        if name not in _NONE:
            self.add(key, call_id, name, arguments, pieces)
            return
        self.add(key, call_id, "", arguments, pieces)
        self._by_key[key].spare = name

    def begin(self, key: object, call_id: str, name: str, pieces: list[Piece]) -> None:
        """Begin a new call at this key, with a complete name, and end the one before it."""
        self._by_key.pop(key, None)
        self.add(key, call_id, name, "", pieces)
        if name:
            self._tell(self._by_key[key], pieces)

    def add(
        self, key: object, call_id: str, name: str, arguments: str, pieces: list[Piece]
    ) -> None:
        """Add a call or a part of one. Values missing in this part are empty."""
        call = self._by_key.get(key)
        if call is None or (name and _is_another(call, call_id, arguments)):
            call = self._by_key[key] = _Call(call_id)
            self._all.append(call)
        elif call_id and not call.id:
            call.id = call_id
        if call.number < 0 and name:
            call.name = _joined(call.name, name)
        if arguments:
            call.texts.append(arguments)
            call.length += len(arguments)
            if call.number >= 0:
                self._argue(call, arguments, pieces)
            elif call.name:  # the name is complete, because the arguments have begun
                self._tell(call, pieces)

    def knows(self, key: object) -> bool:
        """True if there is a call at this key."""
        return key in self._by_key

    def finish(self, pieces: list[Piece]) -> None:
        """Add the remaining pieces of all calls. No more parts follow."""
        for call in self._all:
            call.name = call.name or call.spare
            if not call.name:
                pieces.append(Skipped(Skip.CALL))
                if not call.id and not call.texts:
                    continue
                call.name = _NAMELESS
            if call.number < 0:
                self._tell(call, pieces)
            rest = call.halves.flush()
            if rest:
                pieces.append(ArgumentsDelta(call.number, rest))

    def _tell(self, call: _Call, pieces: list[Piece]) -> None:
        """Add the pieces of a call, and of earlier calls that have a name."""
        for one in self._all:
            if one.number < 0 and one.name:
                one.number = self._count
                self._count += 1
                pieces.append(ToolCallStart(one.number, one.id, one.name))
                for text in one.texts:
                    self._argue(one, text, pieces)
            if one is call:
                return

    def _argue(self, call: _Call, text: str, pieces: list[Piece]) -> None:
        text = call.halves.feed(text)
        if text:
            pieces.append(ArgumentsDelta(call.number, text))


def _joined(name: str, more: str) -> str:
    """Append a part to a name. Some backends repeat the name, or all of it received so far."""
    return more if more.startswith(name) else name + more


def arguments_text(value: Any) -> str:
    """Return a call's arguments as JSON text; empty if there are none."""
    if isinstance(value, str):
        return value
    return "" if value is None else json_text(value)


def whole_arguments(call: Call, stopped: ContentEnd) -> dict[str, Any]:
    """Parse the arguments of a complete call. Raise UpstreamInvalidResponse if they are invalid.

    If the token limit cut the response off, invalid arguments become empty: the call is not run.
    """
    text, well = arguments_in(call.arguments)
    if not well and stopped.stop is not Stop.LENGTH:
        raise UpstreamInvalidResponse("a tool's call with broken arguments")
    arguments: dict[str, Any] = orjson.loads(text)
    return arguments


def _is_another(known: _Call, call_id: str, arguments: str) -> bool:
    """True if a part with a name begins another call at the same key.

    Some backends give every call the index 0; some repeat the name in every part.
    """
    if call_id and known.id:
        return call_id != known.id
    return bool(arguments.strip()) and known.complete()


def _loaded(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
