"""HTTP responses, said as messages."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bridge import answer as module
from gateway.bridge.answer import BridgeAnswer
from gateway.dialects import DIALECTS
from gateway.errors import Draining
from tests.support.upstream import LAST_CHUNK, STREAM_HEAD, chunk, reply

ENDS = ("done", "error", "cancelled", "response")
EVENTS = [b'data: {"n":%d,"t":"x\\n"}\n\n' % n for n in range(4)]
NDJSON_HEAD = STREAM_HEAD.replace(b"text/event-stream", b"application/x-ndjson")


def new() -> BridgeAnswer:
    return BridgeAnswer(b'"a"', DIALECTS["openai"])


def said(answer: BridgeAnswer, *pieces: bytes) -> list[dict[str, Any]]:
    """The messages these bytes make."""
    return [json.loads(message) for piece in pieces for message in answer.feed(piece)]


def types(messages: list[dict[str, Any]]) -> list[str]:
    return [message["type"] for message in messages]


@given(st.sets(st.integers(1, 400)))
def test_it_makes_no_difference_how_the_bytes_come(cuts: set[int]) -> None:
    body = b"".join([chunk(b"".join(EVENTS[:2])), *map(chunk, EVENTS[2:])])
    data = STREAM_HEAD + body + LAST_CHUNK
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    pieces = [data[a:b] for a, b in pairwise(places)]
    messages = said(new(), *pieces)
    assert types(messages) == ["created", *["event"] * 4, "done"]
    assert [message["data"]["n"] for message in messages[1:-1]] == [0, 1, 2, 3]


@given(st.lists(st.binary(max_size=40)))
def test_whatever_events_hold_each_message_is_json_and_the_last_one_ends_it(
    data: list[bytes],
) -> None:
    chunks = [chunk(b"data: %b\n\n" % each) for each in data]
    messages = said(new(), STREAM_HEAD, *chunks, LAST_CHUNK)
    assert types(messages)[0] == "created"
    assert [kind in ENDS for kind in types(messages)] == [False] * (len(messages) - 1) + [True]


@given(st.lists(st.binary(max_size=40)))
def test_whatever_lines_hold_each_message_is_json(data: list[bytes]) -> None:
    chunks = [chunk(each + b"\n") for each in data]
    messages = said(new(), NDJSON_HEAD, *chunks, LAST_CHUNK)
    assert types(messages)[-1] in ENDS


@given(st.binary())
def test_what_is_no_http_is_an_error(data: bytes) -> None:
    answer = new()
    messages = said(answer, b"!" + data)
    messages += [json.loads(message) for message in answer.closed()] if not answer.over else []
    assert types(messages) == ["error"]


def test_an_interim_response_is_no_answer() -> None:
    messages = said(new(), b"HTTP/1.1 100 Continue\r\n\r\n" + STREAM_HEAD, LAST_CHUNK)
    assert types(messages) == ["created", "done"]


def test_who_waits_is_told_where_and_other_comments_are_not_said() -> None:
    comments = [b": queued position=3 deadline=20s\n", b": x\n"]
    comments.append(b"retry: 7\n: queued position=2 deadline=9s\n")
    answer = new()
    waiting = said(answer, STREAM_HEAD, *map(chunk, comments))
    assert types(waiting) == ["created", "queued", "queued"]
    assert waiting[1] == {"id": "a", "type": "queued", "position": 3, "deadline_s": 20}
    assert (waiting[2]["position"], waiting[2]["deadline_s"]) == (2, 9)
    later = said(answer, *map(chunk, (EVENTS[0], *comments, EVENTS[1])), LAST_CHUNK)
    assert types(later) == ["event", "event", "done"]


def test_204_is_the_end() -> None:
    assert types(said(new(), b"HTTP/1.1 204 No Content\r\n\r\n")) == ["done"]


def test_an_error_says_when_to_come_back() -> None:
    body = b'{"error": {"code": "rate_limit_exceeded"}}'
    raw = reply(body, status="429 Too Many Requests", headers=["Retry-After: 7"])
    (message,) = said(new(), raw)
    assert (message["status"], message["retry_after"]) == (429, 7)
    assert message["error"] == {"code": "rate_limit_exceeded"}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"detail": "no"}', {"detail": "no"}),
        (b"<h1>no</h1>", {"message": "<h1>no</h1>"}),
        (b"", {"message": ""}),
    ],
)
def test_an_error_in_another_shape_is_told_as_it_is(body: bytes, error: dict[str, str]) -> None:
    (message,) = said(new(), reply(body, status="500 Internal Server Error"))
    assert message["error"] == error


def test_an_answer_that_ends_half_way_ends_with_an_error() -> None:
    answer = new()
    said(answer, STREAM_HEAD, chunk(EVENTS[0]))
    (message,) = (json.loads(each) for each in answer.closed(Draining()))
    assert (message["type"], message["error"]["code"]) == ("error", "gateway_draining")
    assert said(answer, chunk(EVENTS[1])) == []


def test_after_cancel_nothing_is_said() -> None:
    answer = new()
    said(answer, STREAM_HEAD)
    assert [*answer.cancelled()] == [b'{"id":"a","type":"cancelled"}']
    assert said(answer, chunk(EVENTS[1]), LAST_CHUNK) == []


@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", b"x" * 99],
        [NDJSON_HEAD, chunk(b"x" * 99)],
    ],
)
def test_what_does_not_end_is_not_held_for_ever(
    pieces: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WHOLE_CAP_BYTES", 64)
    messages = said(new(), *pieces)
    assert messages[-1]["error"]["code"] == "upstream_invalid_response"
