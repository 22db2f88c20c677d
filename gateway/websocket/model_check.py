"""Reject WebSocket messages that name a model the client may not use.

A message is passed on only after it is complete and checked: its end may name another model than
the pieces before it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson

from gateway.json_body import is_heavy
from gateway.websocket.codes import Code, Violation

_DEPTH = 8
_FREE = frozenset({"metadata", "arguments", "parameters"})
"""Objects whose keys are chosen by the caller, so that a key `model` in them names no model."""


class ModelCheck:
    """Model check for the messages of one client."""

    __slots__ = ("_allows", "_opcode", "_pieces")

    def __init__(self, allows: Callable[[str], bool]) -> None:
        """Create the check. `allows` tells whether the client may use a model."""
        self._allows = allows
        self._opcode = 0
        self._pieces: list[bytes] = []

    def feed(
        self, opcode: int, payload: bytes, first: bool, final: bool
    ) -> tuple[int, bytes] | None:
        """Add a piece of a message. Return opcode and message once it is complete, else None.

        Raise Violation if it names a model that the client may not use, or cannot be checked.
        """
        if first:
            self._opcode = opcode
            self._pieces.clear()
        self._pieces.append(payload)
        if not final:
            return None
        message = b"".join(self._pieces)
        self._pieces.clear()
        self._check(message)
        return self._opcode, message

    def _check(self, message: bytes) -> None:
        named = message.lower().count(b"model")
        escaped = b"\\u" in message
        if not (named or escaped):
            return
        if is_heavy(message):
            raise Violation(Code.POLICY, "too complex a message to tell its model")
        try:
            document = orjson.loads(message)
        except orjson.JSONDecodeError:
            if message.lstrip(b" \t\r\n\0\xef\xbb\xbf\xfe\xff").startswith(b"{"):
                raise Violation(Code.POLICY, "a message that is not valid JSON") from None
            return
        if named > 1 or escaped:
            _check_repeated(message)
        if not all(self._allows(name) for name in _names(document, _DEPTH)):
            raise Violation(Code.POLICY, "this model does not exist here, or you may not use it")


def _check_repeated(message: bytes) -> None:
    """Raise Violation if an object names its model twice: parsers disagree on which one counts."""
    try:
        json.loads(message, object_pairs_hook=_named_once)
    except RecursionError:
        raise Violation(Code.POLICY, "too complex a message to tell its model") from None


def _named_once(pairs: list[tuple[str, Any]]) -> None:
    if sum(key.lower() == "model" for key, _ in pairs) > 1:
        raise Violation(Code.POLICY, "a message that names its model more than once")


def _names(value: Any, depth: int) -> list[str]:
    """Return the models in an object, such as `session.model` or `session.tools[].model`."""
    names: list[str] = []
    if not depth:
        return names
    if isinstance(value, list):
        for inner in value:
            names += _names(inner, depth - 1)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key.lower() == "model" and isinstance(inner, str):
                names.append(inner)
            elif key not in _FREE:
                names += _names(inner, depth - 1)
    return names
