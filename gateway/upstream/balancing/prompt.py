"""Where the prompt of a JSON body begins, and where its first user message ends.

Told from the bytes without parsing them, in a body of any shape and size: a wrong guess costs an
endpoint's cached prefix, never an answer. Whatever is told is the same for every later turn of a
conversation, because it depends on nothing behind it.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import NamedTuple

_REACH_BYTES = 256 * 1024
"""How far to look for the prompt, and from there for the first user message."""
_MESSAGE_BYTES = 16 * 1024
_MESSAGE_TOKENS = 256
"""How much of a first user message to look at: a longer one is told by its beginning."""

# A tool's parameter may have such a name as well, but then its value is an object.
_PROMPT = re.compile(rb'"(?:messages|prompt|input|system)"[ \t\r\n]*+:[ \t\r\n]*+(?=["\[])')
# Within a string the quotes would be escaped.
_USER = re.compile(rb'"role"[ \t\r\n]*+:[ \t\r\n]*+"user"')
# A string that does not end takes all the rest: looked at once, not once for each quote in it.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|(?P<close>[\]}])', re.DOTALL)


class Prompt(NamedTuple):
    """Offsets in a body."""

    start: int
    opening: int
    """Where the first user message ends: what is before it tells one conversation from another."""


def find_prompt(body: bytes) -> Prompt | None:
    """None if there is none. Takes time with what is before the second message, up to a limit."""
    found = _PROMPT.search(body, 0, _REACH_BYTES)
    if found is None:
        return None
    start = found.end()
    limit = start + _REACH_BYTES
    user = _USER.search(body, start, limit)
    if user is None:
        return Prompt(start, min(limit, len(body)))
    return Prompt(start, _end_of_object(body, user.end()))


def _end_of_object(body: bytes, inside: int) -> int:
    """Behind the bracket that closes the object which `inside` is in, or where looking stops."""
    depth = 0
    end = inside
    for token in islice(_TOKEN.finditer(body, inside, inside + _MESSAGE_BYTES), _MESSAGE_TOKENS):
        end = token.end()
        if token["close"] is not None:
            if not depth:
                break
            depth -= 1
        elif body[token.start()] != 0x22:  # a quote
            depth += 1
    return end
