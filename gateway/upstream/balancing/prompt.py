"""Locate the prompt in a JSON body, and the end of its first user message.

The bytes are searched, not parsed, and the body may have any shape and size. A wrong guess costs a
cache miss at the endpoint, never a wrong answer. The result is the same for every later turn of a
conversation, because it does not depend on the bytes after it.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import NamedTuple

_REACH_BYTES = 256 * 1024
"""Distance to search for the prompt, and from there for the first user message."""
_MESSAGE_BYTES = 16 * 1024
_MESSAGE_TOKENS = 256
"""Limits of the search for the first user message's end. A longer one counts by its start."""

# A tool's parameter may have one of these names too, but then its value is an object.
_PROMPT = re.compile(rb'"(?:messages|prompt|input|system)"[ \t\r\n]*+:[ \t\r\n]*+(?=["\[])')
# Inside a string the quotes would be escaped, so this cannot match there.
_USER = re.compile(rb'"role"[ \t\r\n]*+:[ \t\r\n]*+"user"')
# An unterminated string matches to the end of the input, so that the rest is scanned once and not
# once for each quote in it.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|(?P<close>[\]}])', re.DOTALL)


class Prompt(NamedTuple):
    """Byte offsets into a body."""

    start: int
    opening: int
    """End of the first user message. The bytes before it distinguish one conversation from another.
    """


def find_prompt(body: bytes) -> Prompt | None:
    """Return where the prompt is, or None if the body has none.

    The time grows with the length of the body up to the second message, and is bounded.
    """
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
    """Return the index after the object that contains `inside`, or where the search gives up."""
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
