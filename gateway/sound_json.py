"""Parsing request bodies whose strings may hold half a character.

JavaScript writes a text that was cut inside an emoji with a lone surrogate as an escape, such as
`"\\ud83d"`. That is JSON (RFC 8259 section 8.2), but orjson refuses all of it.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

_SOUND = re.compile(
    rb"(?:[^\\]++|\\[^u]|\\u(?![dD][89a-fA-F])"
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})*+",
    re.DOTALL,
)
"""Pattern of a text up to the next escape that is half a character."""
_ESCAPE_BYTES = len(rb"\ud800")
_MOST_HALVES = 1000
"""Maximum number of halves in one body. Each takes one step of a Python loop."""


def loads(body: bytes) -> Any:
    """Parse JSON with U+FFFD for each half of a character. Raise JSONDecodeError."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        sound = _without_halves(body)
        if sound is None:
            raise
    return orjson.loads(sound)


def _without_halves(body: bytes) -> bytes | None:
    """Replace the halves; None if there are none, or too many."""
    pieces: list[bytes] = []
    at = 0
    for _ in range(_MOST_HALVES):
        match = _SOUND.match(body, at)
        assert match is not None  # it matches no bytes, too
        if match.end() == len(body):
            return b"".join((*pieces, match[0])) if pieces else None
        pieces += (match[0], rb"\ufffd")
        at = min(match.end() + _ESCAPE_BYTES, len(body))
    return None
