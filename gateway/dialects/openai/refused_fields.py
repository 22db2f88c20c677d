"""Find out from an error response which request field an OpenAI-shaped backend refused.

Servers differ in the fields they accept: some refuse `stream_options`, some accept only one of
`max_tokens` and `max_completion_tokens`. Their errors name the field in many ways, or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from gateway.dialects import refusals
from gateway.dialects.openai.requests import EFFORT, MAX_TOKENS, STREAM_OPTIONS, USER

_NAMED = (
    (STREAM_OPTIONS, re.compile(rb"stream_options|include_usage")),
    *((field, re.compile(rb"\b%b\b" % field.encode())) for field in (*MAX_TOKENS, EFFORT)),
    (USER, re.compile(rb"""["'`]user["'`]""")),  # in quotes: errors also mention the role user
)


def refused_field(
    status: int, body: bytes, sent: Collection[str], taken: Collection[str]
) -> str | None:
    """Return the field to omit, or to write differently, in a retry; None if there is none.

    `sent` are the optional fields of the request. `taken` are those that the backend has accepted
    before. An error that names no field is attributed to `stream_options`, unless the backend has
    accepted that before.
    """
    if status not in refusals.FIELD_STATUSES or refusals.too_long(status, body):
        return None
    for field, named in _NAMED:
        if field in sent and named.search(body):
            return field
    return STREAM_OPTIONS if STREAM_OPTIONS in sent and STREAM_OPTIONS not in taken else None
