"""Truncation: which bodies of unknown length are known to be cut off."""

from __future__ import annotations

import pytest

from gateway.errors import UpstreamTruncated
from gateway.upstream.head import RawHeader, ResponseHead
from gateway.upstream.truncation import cut_off

DELTA = b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":null}]}\n\n'
LINE = b'{"message":{"content":"a"},"done":false}\n'
CHUNKED = (b"Transfer-Encoding", b"chunked")
GZIP = (b"Content-Encoding", b"gzip")


def head(kind: bytes, *fields: RawHeader, status: int = 200) -> ResponseHead:
    return ResponseHead(status, b"OK", [(b"Content-Type", kind), *fields], "1.1")


@pytest.mark.parametrize(
    ("of", "tail"),
    [
        (head(b"text/event-stream"), DELTA),
        (head(b"text/event-stream", CHUNKED), DELTA),
        (head(b"application/x-ndjson", CHUNKED), LINE),
        (head(b"application/json; charset=utf-8"), b'{"choices":['),
    ],
)
def test_a_part_of_an_answer_is_cut_off(of: ResponseHead, tail: bytes) -> None:
    assert isinstance(cut_off(of, tail), UpstreamTruncated)


@pytest.mark.parametrize(
    ("of", "tail"),
    [
        (head(b"text/event-stream"), b"data: [DONE]\n\n"),
        (head(b"text/event-stream", GZIP), DELTA),
        (head(b"text/event-stream", status=500), DELTA),
        (head(b"text/plain"), DELTA),
        (head(b"application/json"), b'{"choices":[]}\r\n'),
        (head(b"application/json", CHUNKED), b'{"choices":['),
    ],
)
def test_what_is_whole_or_cannot_be_judged_is_not_cut_off(of: ResponseHead, tail: bytes) -> None:
    assert cut_off(of, tail) is None
