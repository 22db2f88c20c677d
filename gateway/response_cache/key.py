"""Keys of answers. Requests with equal keys get the same answer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

MODEL = "model"


def canonical(body: bytes) -> bytes | None:
    """Return a JSON object in canonical form, without its top-level `model`. Objects that differ
    only in the order of their keys, in white space, or in how a character or a number is written
    have the same form; all others differ.

    Return None for a body on which JSON parsers disagree: with a key that occurs twice, a number
    that is not finite, or too many levels.
    """
    try:
        document = json.loads(body, object_pairs_hook=_object, parse_constant=_refused)
        if not isinstance(document, dict):
            return None
        document.pop(MODEL, None)
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError):
        return None
    return text.encode()


def answer_key(parts: Iterable[bytes]) -> str:
    """Return the key of an answer. The boundaries of the parts are unambiguous."""
    hashed = sha256()
    for part in parts:
        hashed.update(b"%d:" % len(part))
        hashed.update(part)
    return hashed.hexdigest()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key occurs twice")
    return made


def _refused(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")
