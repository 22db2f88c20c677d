"""W3C Trace Context: parsing and cleaning of `traceparent`, `tracestate` and `baggage`.

https://www.w3.org/TR/trace-context/ sections 3.2 and 3.3, https://www.w3.org/TR/baggage/
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[!-~]*)?")
_STATE_CAP = 512
"""Maximum length of a tracestate that is passed on, in characters; more members are cut off."""
_STATE_MEMBERS = 32
_MEMBER = re.compile(
    r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_BAGGAGE_CAP = 8192
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16


class Parent(NamedTuple):
    """Span from which a request was sent."""

    trace_id: str
    span_id: str
    sampled: bool


def parse_parent(values: Sequence[str]) -> Parent | None:
    """Return the parent in a valid traceparent. None if it is missing, repeated or malformed."""
    if len(values) != 1:
        return None
    match = _PARENT.fullmatch(values[0].strip())
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    if trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return Parent(trace_id, span_id, bool(int(flags, 16) & 1))


def clean_state(values: Sequence[str]) -> str:
    """Return the tracestate to pass on: whole members up to the length limit. Empty if a member is
    malformed or a key occurs twice.
    """
    text = ",".join(values)
    if len(text) > 16 * _STATE_CAP:
        return ""  # far too long to parse
    kept: list[str] = []
    keys: set[str] = set()
    size = 0
    for part in text.split(","):
        member = part.strip(" \t")
        if not member:
            continue
        key = member.partition("=")[0]
        if not _MEMBER.fullmatch(member) or key in keys or len(keys) == _STATE_MEMBERS:
            return ""
        keys.add(key)
        size += len(member) + 1
        if size <= _STATE_CAP + 1:
            kept.append(member)
    return ",".join(kept)


def clean_baggage(values: Sequence[str]) -> str:
    """Return the baggage to pass on. Empty if it is too long or not valid as a header value."""
    text = ",".join(values).strip()
    return text if len(text) <= _BAGGAGE_CAP and text.isascii() and text.isprintable() else ""
