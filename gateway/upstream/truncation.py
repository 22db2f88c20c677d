"""Detection of a body that was cut off although its transfer is complete.

The framing does not show that a backend died if the body ends with the connection, or if a proxy in
between put such a body into chunks. nginx does so by default: it speaks HTTP/1.0 to its backends.
The answer itself shows it, because every dialect marks the end of an answer.
"""

from __future__ import annotations

from gateway.dialects.stream_end import is_cut_off
from gateway.errors import UpstreamTruncated
from gateway.upstream.head import ResponseHead

_LINES = (b"application/x-ndjson", b"application/ndjson", b"application/jsonl")
_JSON = b"application/json"
_JSON_ENDS = (b"}", b"]")


def cut_off(head: ResponseHead, tail: bytes) -> UpstreamTruncated | None:
    """Return the error of a body of unknown length that was cut off; None if it is complete, or if
    nothing shows that it is not. `tail` is the end of the body.
    """
    if head.status != 200 or head.encoded:
        return None
    if head.is_event_stream or head.content_type.lower().startswith(_LINES):
        return UpstreamTruncated("no end of the answer") if is_cut_off(tail) else None
    if (
        not head.chunked
        and head.content_type.lower().startswith(_JSON)
        and not tail.rstrip().endswith(_JSON_ENDS)
    ):
        return UpstreamTruncated("the JSON document is not complete")
    return None
