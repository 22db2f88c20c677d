"""Responses, said as messages."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.bridge import answer as module
from gateway.bridge.answer import BridgeAnswer
from gateway.dialects import DIALECTS
from gateway.errors import Draining

ENDS = ("done", "error", "cancelled", "response")
EVENTS = [b'data: {"n":%d,"t":"x\\n"}\n\n' % n for n in range(4)]
Head = tuple[int, dict[str, str]]
STREAM: Head = (200, {"Content-Type": "text/event-stream"})
LINES: Head = (200, {"Content-Type": "application/x-ndjson"})
END = None


def new() -> BridgeAnswer:
    return BridgeAnswer(b'"a"', DIALECTS["openai"])


def said(answer: BridgeAnswer, *steps: Head | bytes | None) -> list[dict[str, Any]]:
    """The messages that a head, pieces of a body, and its end make."""
    messages: list[dict[str, Any]] = []
    for step in steps:
        if step is None:
            found = answer.complete()
        else:
            found = answer.feed(step) if isinstance(step, bytes) else answer.begin(*step)
        messages += map(json.loads, found)
    return messages


def types(messages: list[dict[str, Any]]) -> list[str]:
    return [message["type"] for message in messages]


@given(st.sets(st.integers(1, 400)))
def test_it_makes_no_difference_how_the_bytes_come(cuts: set[int]) -> None:
    data = b"".join(EVENTS)
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    pieces = [data[a:b] for a, b in pairwise(places)]
    messages = said(new(), STREAM, *pieces, END)
    assert types(messages) == ["created", *["event"] * 4, "done"]
    assert [message["data"]["n"] for message in messages[1:-1]] == [0, 1, 2, 3]


@given(st.lists(st.binary(max_size=40)))
def test_whatever_events_hold_each_message_is_json_and_the_last_one_ends_it(
    data: list[bytes],
) -> None:
    messages = said(new(), STREAM, *[b"data: %b\n\n" % each for each in data], END)
    assert types(messages)[0] == "created"
    assert [kind in ENDS for kind in types(messages)] == [False] * (len(messages) - 1) + [True]


@given(st.lists(st.binary(max_size=40)))
def test_whatever_lines_hold_each_message_is_json(data: list[bytes]) -> None:
    messages = said(new(), LINES, *[each + b"\n" for each in data], END)
    assert types(messages)[-1] in ENDS


def test_of_a_header_that_comes_twice_the_gateway_s_own_counts() -> None:
    fields = CIMultiDict(STREAM[1])
    fields.extend([("RateLimit", "theirs"), ("ratelimit", "ours"), ("X-Request-ID", "r")])
    (created,) = map(json.loads, new().begin(200, fields))
    assert (created["rate_limit"], created["request_id"]) == ("ours", "r")


def test_who_waits_is_told_where_and_other_comments_are_not_said() -> None:
    comments = [b": queued position=3 deadline=20s\n", b": x\n"]
    comments.append(b"retry: 7\n: queued position=2 deadline=9s\n")
    answer = new()
    waiting = said(answer, STREAM, *comments)
    assert types(waiting) == ["created", "queued", "queued"]
    assert waiting[1] == {"id": "a", "type": "queued", "position": 3, "deadline_s": 20}
    assert (waiting[2]["position"], waiting[2]["deadline_s"]) == (2, 9)
    later = said(answer, EVENTS[0], *comments, EVENTS[1], END)
    assert types(later) == ["event", "event", "done"]


def test_204_is_the_end() -> None:
    assert types(said(new(), (204, {}), END)) == ["done"]


def test_an_error_says_when_to_come_back() -> None:
    body = b'{"error": {"code": "rate_limit_exceeded"}}'
    (message,) = said(new(), (429, {"Retry-After": "7"}), body, END)
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
    (message,) = said(new(), (500, {}), body, END)
    assert message["error"] == error


def test_an_answer_that_ends_half_way_ends_with_an_error() -> None:
    answer = new()
    said(answer, STREAM, EVENTS[0])
    (message,) = (json.loads(each) for each in answer.closed(Draining()))
    assert (message["type"], message["error"]["code"]) == ("error", "gateway_draining")
    assert said(answer, EVENTS[1], END) == []


def test_after_cancel_nothing_is_said() -> None:
    answer = new()
    said(answer, STREAM)
    assert [*answer.cancelled()] == [b'{"id":"a","type":"cancelled"}']
    assert said(answer, EVENTS[1], END) == []


@pytest.mark.parametrize("head", [(200, {}), LINES], ids=["whole", "lines"])
def test_what_does_not_end_is_not_held_for_ever(
    head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WHOLE_CAP_BYTES", 64)
    messages = said(new(), head, b"x" * 99)
    assert messages[-1]["error"]["code"] == "upstream_invalid_response"
