"""Errors, error events and lists of models, in each dialect's shape."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects import DIALECTS
from gateway.errors import (
    GatewayError,
    ModelNotFound,
    QueueTimeout,
    RateLimited,
    RequestError,
    Unauthenticated,
    UpstreamConnectFailed,
    UpstreamReset,
)
from gateway.sse import TAIL_BYTES

names = st.lists(st.text(min_size=1), max_size=5)


def last_event(stream: bytes) -> dict[str, str]:
    """The last event of an SSE stream, read as WHATWG HTML section 9.2.6 says."""
    event: dict[str, str] = {}
    last: dict[str, str] = {}
    for line in stream.decode().split("\n"):
        if not line:
            last, event = event or last, {}
            continue
        field, _, value = line.partition(":")
        event[field] = value.removeprefix(" ")
    return last


@pytest.mark.parametrize("name", ["openai", "anthropic"])
@pytest.mark.parametrize("before", [b"", b"data: 1\n\n", b"data: 1\n", b"data: 1", b"da", b": c\n"])
def test_an_error_event_is_an_event_of_its_own_whatever_came_before(
    name: str, before: bytes
) -> None:
    dialect = DIALECTS[name]
    stream = before + dialect.error_event(UpstreamReset("r"), "id-1", before[-TAIL_BYTES:])
    event = last_event(stream)
    assert json.loads(event["data"]) == json.loads(dialect.error_body(UpstreamReset("r"), "id-1"))
    assert event.get("event") == ("error" if name == "anthropic" else None)


@pytest.mark.parametrize("name", ["openai", "anthropic"])
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n", b"\r\n", b"\n\r", b""])
def test_an_error_event_follows_one_blank_line_and_not_two(name: str, end: bytes) -> None:
    """Some decoders take each blank line for the end of an event."""
    before = b"data: 1" + end
    stream = before + DIALECTS[name].error_event(UpstreamReset("r"), "id-1", before[-TAIL_BYTES:])
    blocks = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n\n")
    assert [b"data: " in block for block in blocks] == [True, True, False]
    assert (blocks[0], blocks[2]) == (b"data: 1", b"")


ERRORS = [
    GatewayError(reason="canary"),
    RequestError(param="x", reason="canary"),
    ModelNotFound(),
    Unauthenticated("Bearer canary", reason="canary"),
    RateLimited("per-user", 3),
    UpstreamConnectFailed("http://canary:1: refused"),
    UpstreamReset("canary"),
]


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_no_dialect_tells_the_reason_or_a_header(name: str, error: GatewayError) -> None:
    dialect = DIALECTS[name]
    for said in (dialect.error_body(error, "id-1"), dialect.error_event(error, "id-1", b"")):
        assert b"canary" not in said
        assert error.message.encode() in said
        assert b"id-1" in said


@pytest.mark.parametrize("name", DIALECTS)
@given(message=st.text(), request_id=st.text(max_size=20))
def test_any_message_makes_one_line_of_json(name: str, message: str, request_id: str) -> None:
    body = DIALECTS[name].error_body(RequestError(message), request_id)
    assert not re.search(rb"[\x00-\x1f]", body)
    said = json.loads(body)["error"]
    assert (said if isinstance(said, str) else said["message"]) == (
        message or "The request is malformed."
    )


def events(stream: bytes) -> list[tuple[str, str]]:
    """Type and data of every event a client dispatches (WHATWG HTML section 9.2.6)."""
    found: list[tuple[str, str]] = []
    kind, data = "", []
    lines = re.split("\r\n|\n|\r", stream.decode("utf-8", "replace").removeprefix("\ufeff"))
    for line in lines[:-1]:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            kind = value
        elif field == "data":
            data.append(value)
        elif not line:
            found += [(kind, "\n".join(data))] if data else []
            kind, data = "", []
    return found


written_lines = st.lists(
    st.sampled_from(["data: 1", "data: \u20ac", "data", ": ping", "event: e", "id: 7", "", "x"]),
    max_size=12,
)


@pytest.mark.parametrize("name", ["openai", "anthropic"])
@given(written=written_lines, ending=st.sampled_from(["\n", "\r\n", "\r"]), cut=st.data())
def test_an_error_event_ends_a_stream_that_breaks_off_anywhere(
    name: str, written: list[str], ending: str, cut: st.DataObject
) -> None:
    whole = "".join(line + ending for line in written).encode()
    sent = whole[: cut.draw(st.integers(0, len(whole)))]
    dialect = DIALECTS[name]
    error = UpstreamReset("r")
    kind, data = events(sent + dialect.error_event(error, "id-1", sent[-TAIL_BYTES:]))[-1]
    assert data.encode() == dialect.error_body(error, "id-1")
    assert kind == ("error" if name == "anthropic" else "")
    # What was dispatched before stays, and nothing is said twice.
    before = events(sent)
    after = events(sent + dialect.error_event(error, "id-1", sent[-TAIL_BYTES:]))[:-1]
    assert after[: len(before)] == before
    assert len(after) <= len(before) + 1


def test_an_upstreams_error_body_becomes_an_event_that_says_the_same() -> None:
    body = b'{\n "error": {"message": "m", "code": 1}, "more": "\\u2028"\n}'
    for name, dialect in DIALECTS.items():
        event = dialect.passed_error(body)
        assert event is not None
        data = event if name == "ollama" else events(event)[0][1].encode()
        assert json.loads(data) == json.loads(body)
        assert name != "anthropic" or events(event)[0][0] == "error"


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'"error"', b'{"detail": 1}', b'{"error": ""}']
)
def test_what_is_no_error_body_becomes_none(body: bytes) -> None:
    assert {dialect.passed_error(body) for dialect in DIALECTS.values()} == {None}


def test_an_error_that_says_when_to_come_back_says_it_in_its_event() -> None:
    for name in ("openai", "anthropic"):
        event = DIALECTS[name].error_event(QueueTimeout("g", 7), "id-1", b"")
        assert b"retry: 7000\n" in event
        assert len(events(event)) == 1
        assert b"retry:" not in DIALECTS[name].error_event(UpstreamReset("r"), "id-1", b"")
    assert b"retry:" not in DIALECTS["ollama"].error_event(QueueTimeout("g", 7), "id-1", b"")
