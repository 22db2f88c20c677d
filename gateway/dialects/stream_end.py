"""Recognize the end of an answer in a stream, whatever its dialect."""

from __future__ import annotations

import re

_END = re.compile(
    rb'(?:^|\n)data:[ ]?\[DONE\]|"finish_reason"[ \t]*:[ \t]*"|"done"[ \t]*:[ \t]*true'
    rb'|"type"[ \t]*:[ \t]*"(?:message_stop|response\.completed|response\.incomplete)"'
)


def has_end(body: bytes) -> bool:
    """Tell whether a stream contains the end of its answer. A stream without it was cut off, even
    if its transfer was complete.
    """
    return _END.search(body) is not None
