"""Streams of answers that another backend continues."""

from __future__ import annotations

import json
from typing import Any

from gateway.dialects import DIALECTS
from gateway.dialects.continuation import Answer


def answer_in(name: str, stream: bytes = b"") -> Answer:
    """Return the record of an answer in a dialect that has sent `stream`."""
    dialect = DIALECTS[name]
    assert dialect.continuation is not None
    answer = dialect.continuation()
    for event in dialect.splitter().feed(stream):
        answer.read(event)
    return answer


def joined(name: str, answer: Answer, stream: bytes) -> bytes:
    """Return what a later part of the answer adds to the client's stream."""
    return b"".join(answer.join(event) for event in DIALECTS[name].splitter().feed(stream))


def continued(name: str, first: bytes, *rest: bytes) -> list[dict[str, Any]]:
    """Return the later documents of an answer that each part but the last broke off."""
    answer, sent = answer_in(name, first), b""
    for part in rest:
        answer.answered.broke_off()
        sent += joined(name, answer, part)
    return [json.loads(line[line.index(b"{") :]) for line in sent.split(b"\n") if b"{" in line]


def sse_data(document: Any) -> bytes:
    """Return a server-sent event without a type."""
    return b"data: %b\n\n" % json.dumps(document).encode()
