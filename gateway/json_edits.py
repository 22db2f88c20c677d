"""Edits of the bytes of one JSON object: members are replaced, removed or added, and every other
byte stays.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import orjson

from gateway import sound_json

_TOKEN = re.compile(
    rb'"(?P<string>[^"\\]*+(?:\\.[^"\\]*+)*+)"(?P<colon>[ \t\r\n]*:)?'
    rb"|(?P<open>[{\[])|(?P<close>[}\]])",
    re.DOTALL,
)
_BLANK = b" \t\r\n"
_BEHIND_VALUE = _BLANK + b","


class Removal(Enum):
    """Edit that removes a member."""

    REMOVED = "removed"


REMOVED: Final = Removal.REMOVED
Edits = Mapping[str, Any]
"""New values by key; `REMOVED` for none. A value that is a `Nested` edits the object that is there.
"""


@dataclass(frozen=True, slots=True)
class Nested:
    """Edits of an object that is the value of a member. A missing object is added."""

    edits: Edits


@dataclass(frozen=True, slots=True)
class _Member:
    key: str
    start: int
    """Start of the key, at its quote."""
    value: tuple[int, int]
    """Start and end of the value."""


def edited(body: bytes, edits: Edits) -> bytes:
    """Return a valid JSON object with these edits. Keys that occur more than once are edited
    everywhere. Raise orjson.JSONEncodeError if a value cannot be written.
    """
    start = body.index(b"{")
    members = _members(body, start)
    pieces: list[bytes] = []
    at = start + 1
    missing = {key: value for key, value in edits.items() if value is not REMOVED}
    kept = 0
    for number, member in enumerate(members):
        value_start, value_end = member.value
        missing.pop(member.key, None)
        value = edits.get(member.key, member)
        if value is REMOVED:
            # The comma after it goes too, or that before it if it is the last.
            end = members[number + 1].start if number + 1 < len(members) else None
            pieces.append(body[at : member.start])
            if end is None:
                end = value_end
                if kept:
                    pieces = [_without_comma(b"".join(pieces))]
            at = end
            continue
        kept += 1
        if value is not member:
            pieces += [body[at:value_start], _written(body[value_start:value_end], value)]
            at = value_end
    pieces.append(body[at:])
    added = b"".join(_added(key, value) + b"," for key, value in missing.items())
    if added and not kept:
        added = added[:-1]
    return body[: start + 1] + added + b"".join(pieces)


def applied(document: Mapping[str, Any], edits: Edits) -> dict[str, Any]:
    """Return a parsed object with the same edits."""
    made = dict(document)
    for key, value in edits.items():
        if value is REMOVED:
            made.pop(key, None)
        elif isinstance(value, Nested):
            inner = made.get(key)
            made[key] = applied(inner if isinstance(inner, dict) else {}, value.edits)
        else:
            made[key] = value
    return made


def spans(body: bytes, name: bytes) -> list[tuple[int, int]]:
    """Return start and end of the values of all top-level keys of this name, in a valid JSON
    object.
    """
    text = name.decode()
    found: list[tuple[int, int]] = []
    depth = 0
    start = -1
    for token in _TOKEN.finditer(body):
        kind = token.lastgroup
        if kind == "open":
            depth += 1
            continue
        if kind == "close":
            depth -= 1
            if depth:
                continue
        elif depth != 1 or kind != "colon":
            continue
        # At the next top-level key, or at the end: the value is what precedes it.
        if start >= 0:
            found.append(_trimmed(body, start, token.start()))
            start = -1
        if kind == "colon":
            key = token["string"]
            if key == name or (b"\\" in key and sound_json.loads(b'"%b"' % key) == text):
                start = token.end()
    return found


def _members(body: bytes, start: int) -> Sequence[_Member]:
    """Return the members of the object that begins at `start`, in their order."""
    found: list[_Member] = []
    depth = 0
    key: tuple[str, int, int] | None = None
    for token in _TOKEN.finditer(body, start):
        kind = token.lastgroup
        if kind == "open":
            depth += 1
            continue
        if kind == "close":
            depth -= 1
            if depth:
                continue
        elif depth != 1 or kind != "colon":
            continue
        if key is not None:
            found.append(_Member(key[0], key[1], _trimmed(body, key[2], token.start())))
        if not depth:
            break
        written = token["string"]
        name = sound_json.loads(b'"%b"' % written) if b"\\" in written else written.decode()
        key = name, token.start(), token.end()
    return found


def _trimmed(body: bytes, start: int, end: int) -> tuple[int, int]:
    """Return a span without the surrounding white space and the comma after it."""
    while body[end - 1] in _BEHIND_VALUE:
        end -= 1
    while body[start] in _BEHIND_VALUE:
        start += 1
    return start, end


def _without_comma(data: bytes) -> bytes:
    """Return bytes without the comma that they end with; white space around it stays."""
    end = len(data.rstrip(_BLANK))
    return data[: end - 1] + data[end:]


def _written(before: bytes, value: Any) -> bytes:
    """Return the bytes of a new value that replaces `before`."""
    if not isinstance(value, Nested):
        return orjson.dumps(value)
    if before.startswith(b"{"):
        return edited(before, value.edits)
    return orjson.dumps(applied({}, value.edits))


def _added(key: str, value: Any) -> bytes:
    value = applied({}, value.edits) if isinstance(value, Nested) else value
    return b"%b:%b" % (orjson.dumps(key), orjson.dumps(value))
