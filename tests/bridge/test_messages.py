"""What clients say on a bridge's socket, whatever they say."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bridge.messages import (
    BadMessage,
    BridgePaths,
    CancelMessage,
    CreateMessage,
    PingMessage,
    ResumeMessage,
    build_message,
    error_message,
    parse,
)
from gateway.errors import RequestError
from gateway.http.headers import CREDENTIALS, FORWARDING, HOP_BY_HOP

STREAM = "00" + "ab" * 16
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
ENDPOINTS = BridgePaths("/v1/chat", frozenset({"/v1/chat", "/v1/responses"}))
TAGS = st.text(min_size=1, max_size=64) | st.integers(-(2**53), 2**53)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "op": st.sampled_from(["create", "cancel", "resume", "ping", "sing", 1, None]),
        "id": TAGS | JSON,
        "body": st.dictionaries(st.text(), JSON) | JSON,
        "path": st.text() | st.just("/v1/responses"),
        "headers": st.dictionaries(st.text(), st.text()),
        "stream": st.just(STREAM) | JSON,
        "after": st.just(f"{STREAM}.7") | JSON,
        "other": JSON,
    },
)


def read(
    message: bytes,
) -> CreateMessage | CancelMessage | ResumeMessage | PingMessage | BadMessage:
    """What is said, or why it cannot be taken."""
    try:
        return parse(message, ENDPOINTS)
    except BadMessage as bad:
        return bad


@given(st.binary() | st.text().map(str.encode))
def test_no_bytes_do_more_than_be_refused(message: bytes) -> None:
    bad = read(message)
    assert not isinstance(bad, BadMessage) or isinstance(bad.error, RequestError)


@given(FIELDS)
def test_no_object_does_more_than_be_taken_or_refused(said: dict[str, Any]) -> None:
    parsed = read(json.dumps(said).encode())
    if isinstance(parsed, BadMessage):
        assert parsed.error.status == 400
        assert parsed.tag is None or orjson.loads(parsed.tag) == said["id"]
    elif not isinstance(parsed, PingMessage):
        assert orjson.loads(parsed.tag) == said["id"]
    if isinstance(parsed, CreateMessage):
        body = orjson.loads(parsed.body)
        assert body in (said["body"], {**said["body"], "stream": True})
        head = "".join((parsed.path, *map(": ".join, parsed.headers)))
        assert not set(head) & set("\r\n\0")


@given(TAGS, st.dictionaries(st.text(), JSON))
def test_a_create_is_read(tag: str | int, body: dict[str, Any]) -> None:
    message = json.dumps({"op": "create", "id": tag, "body": body}).encode()
    data = orjson.dumps({"stream": True} | body)
    read = parse(message, ENDPOINTS)
    assert isinstance(read, CreateMessage)
    assert orjson.loads(read.body) == orjson.loads(data)
    assert (read.tag, read.path, read.headers) == (orjson.dumps(tag), "/v1/chat", ())


def test_the_others_are_read() -> None:
    assert parse(b'{"op": "ping"}', ENDPOINTS) == PingMessage()
    assert parse(b'{"op": "cancel", "id": 1}', ENDPOINTS) == CancelMessage(b"1")


@pytest.mark.parametrize(
    ("fields", "after"),
    [
        ({"after": f"{STREAM}.7"}, 7),
        ({"stream": STREAM}, 0),
        ({"stream": STREAM, "after": 7}, 7),
        ({"stream": STREAM, "after": "7"}, 7),
        ({"stream": STREAM, "after": f"{STREAM}.7"}, 7),
    ],
)
def test_a_resume_says_where_in_any_of_these_ways(fields: dict[str, Any], after: int) -> None:
    message = orjson.dumps({"op": "resume", "id": "a", **fields})
    assert parse(message, ENDPOINTS) == ResumeMessage(b'"a"', STREAM, after)


@pytest.mark.parametrize(
    "fields",
    [{"after": 7}, {"after": "7"}, {"stream": STREAM, "after": f"{'0' * 34}.7"}, {"stream": 1}],
)
def test_a_resume_that_says_no_place_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadMessage):
        parse(orjson.dumps({"op": "resume", "id": "a", **fields}), ENDPOINTS)


@pytest.mark.parametrize("name", sorted(CREDENTIALS | FORWARDING | HOP_BY_HOP))
def test_headers_that_say_who_asks_are_refused(name: bytes) -> None:
    headers = {name.decode().title(): "x"}
    with pytest.raises(BadMessage):
        parse(orjson.dumps({"op": "create", "id": "a", "body": {}, "headers": headers}), ENDPOINTS)


@given(TAGS, st.text())
def test_what_is_told_is_json(tag: str | int, text: str) -> None:
    said = json.loads(build_message(orjson.dumps(tag), b"created", stream=text, request_id=None))
    assert said == {"id": tag, "type": "created", "stream": text}


@given(st.binary())
def test_an_error_is_told_whatever_its_body_is(body: bytes) -> None:
    said = json.loads(error_message(b'"a"', 502, body))
    assert (said["id"], said["type"], said["status"]) == ("a", "error", 502)
    assert said["error"] is not None
