"""Which field of a request an OpenAI-shaped backend did not take, by its error response.

Servers differ in the fields they know: some refuse `stream_options`, some know only one of
`max_tokens` and `max_completion_tokens`. Their errors name the field in many ways, or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from gateway.dialects import refusals
from gateway.dialects.translation.openai_requests import EFFORT, MAX_TOKENS, STREAM_OPTIONS, USER

STATUSES = frozenset({400, 422})
LONGEST_BYTES = refusals.LONGEST_BYTES
_NAMED = (
    (STREAM_OPTIONS, re.compile(rb"stream_options|include_usage")),
    *((field, re.compile(rb"\b%b\b" % field.encode())) for field in (*MAX_TOKENS, EFFORT)),
    (USER, re.compile(rb"""["'`]user["'`]""")),  # not the role that errors speak of
)


def refused_field(
    status: int, body: bytes, sent: Collection[str], taken: Collection[str]
) -> str | None:
    """The field to leave out, or to write otherwise, in another try; None if there is none.

    `sent` are the fields of the request that can be; `taken` those that the backend was seen to
    take. An error that names no field may be about `stream_options`, unless that was ever taken.
    """
    if status not in STATUSES or refusals.too_long(status, body):
        return None
    for field, named in _NAMED:
        if field in sent and named.search(body):
            return field
    return STREAM_OPTIONS if STREAM_OPTIONS in sent and STREAM_OPTIONS not in taken else None
