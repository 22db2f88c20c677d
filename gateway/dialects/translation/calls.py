"""Calls of tools, as backends tell them, made into the pieces `Called` and `Argued`.

Backends differ in when the name comes, in whether arguments are JSON text or an object, in ids and
in indexes. What is known of one call is put together here, so that every reader takes every shape.
"""

from __future__ import annotations

from typing import Any

import orjson

from gateway.dialects.translation.halves import Halves
from gateway.dialects.translation.history import arguments_in
from gateway.dialects.translation.pieces import (
    Argued,
    Call,
    Called,
    Piece,
    Skip,
    Skipped,
    Stop,
    Stopped,
)
from gateway.dialects.translation.values import json_text, object_in, text_in
from gateway.errors import UpstreamInvalidResponse

_NAMELESS = "unknown"
"""The name of a call that has arguments but never got a name. The caller tells the model that there
is no such tool, and the model calls again.
"""
_LONGEST = 16 * 1024
"""Characters of arguments that are looked at to tell whether they are complete."""
_NONE = frozenset({"null", "None"})
"""What some backends write for no id and no name."""


class _Call:
    """What is known of one call."""

    __slots__ = ("halves", "id", "length", "name", "number", "spare", "texts")

    def __init__(self, call_id: str) -> None:
        self.id = call_id
        self.name = ""
        """So far: it may come in parts, too."""
        self.spare = ""
        """What seemed to say that there is no name here. It is one if no other comes."""
        self.number = -1
        """Its place among the calls of the answer; -1 until it was told."""
        self.texts: list[str] = []
        """Its arguments so far."""
        self.length = 0
        """Characters of these."""
        self.halves = Halves()

    def complete(self) -> bool:
        """Whether its arguments are a whole JSON object. Long ones are not looked at: they come in
        many parts, each of which may ask.
        """
        if self.length > _LONGEST or not self.texts or not self.texts[-1].rstrip().endswith("}"):
            return False
        return isinstance(_loaded("".join(self.texts)), dict)


class Calls:
    """The calls of one answer."""

    __slots__ = ("_all", "_by_key", "_count")

    def __init__(self) -> None:
        self._all: list[_Call] = []
        self._by_key: dict[object, _Call] = {}
        """The last call at each index of the backend's."""
        self._count = 0

    def __bool__(self) -> bool:
        """Whether there is a call with a name."""
        return any(call.name or call.spare for call in self._all)

    def read(self, key: object, call: dict[str, Any], pieces: list[Piece]) -> None:
        """A call of OpenAI's or Ollama's, or a part of one. `key` tells it from the others."""
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
        """A call that is certainly another one than the last at this key; its name is whole."""
        self._by_key.pop(key, None)
        self.add(key, call_id, name, "", pieces)
        if name:
            self._tell(self._by_key[key], pieces)

    def add(
        self, key: object, call_id: str, name: str, arguments: str, pieces: list[Piece]
    ) -> None:
        """A call, or a part of one: what is not told in this part is empty."""
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
            elif call.name:  # which is whole: its arguments have begun
                self._tell(call, pieces)

    def knows(self, key: object) -> bool:
        """Whether there is a call at this key."""
        return key in self._by_key

    def finish(self, pieces: list[Piece]) -> None:
        """No more parts will come."""
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
                pieces.append(Argued(call.number, rest))

    def _tell(self, call: _Call, pieces: list[Piece]) -> None:
        """Tell a call, and those with a name that came before it."""
        for one in self._all:
            if one.number < 0 and one.name:
                one.number = self._count
                self._count += 1
                pieces.append(Called(one.number, one.id, one.name))
                for text in one.texts:
                    self._argue(one, text, pieces)
            if one is call:
                return

    def _argue(self, call: _Call, text: str, pieces: list[Piece]) -> None:
        text = call.halves.feed(text)
        if text:
            pieces.append(Argued(call.number, text))


def _joined(name: str, more: str) -> str:
    """A name and more of it. Some backends repeat it, or all that has come of it."""
    return more if more.startswith(name) else name + more


def arguments_text(value: Any) -> str:
    """The arguments of a call as JSON text; empty if there are none."""
    if isinstance(value, str):
        return value
    return "" if value is None else json_text(value)


def whole_arguments(call: Call, stopped: Stopped) -> dict[str, Any]:
    """The arguments of a whole call as an object. Raise UpstreamInvalidResponse for broken ones;
    those of a call that the maximum of tokens cut off are empty: nobody runs it.
    """
    text, well = arguments_in(call.arguments)
    if not well and stopped.stop is not Stop.LENGTH:
        raise UpstreamInvalidResponse("a tool's call with broken arguments")
    arguments: dict[str, Any] = orjson.loads(text)
    return arguments


def _is_another(known: _Call, call_id: str, arguments: str) -> bool:
    """Whether a part with a name begins another call at the same key.

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
