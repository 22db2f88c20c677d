"""What a backend says of an error, whatever shape it says it in."""

from __future__ import annotations

import gzip
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.backend_words import LONGEST_CHARS, stream_error, words_in, words_of

LOC = {"type": "missing", "loc": ["body", "messages", 0, "role"], "msg": "Field required"}
SHAPES: dict[str, tuple[object, str]] = {
    "OpenAI": ({"error": {"message": "No.", "type": "t", "code": None}}, "No."),
    "Anthropic": ({"type": "error", "error": {"type": "overloaded_error"}}, "overloaded_error"),
    "Ollama": ({"error": "model 'x' not found"}, "model 'x' not found"),
    "vLLM before 0.10": ({"object": "error", "message": "too long", "code": 400}, "too long"),
    "FastAPI": ({"detail": "Not Found"}, "Not Found"),
    "FastAPI's validation": (
        {"detail": [LOC, {"msg": "Input should be a list"}]},
        "body.messages.0.role: Field required; Input should be a list",
    ),
    "TGI": ({"error": "Input validation error", "error_type": "v"}, "Input validation error"),
    "Gemini": ([{"error": {"code": 400, "message": "Bad key"}}], "Bad key"),
    "nested messages": ({"message": {"detail": {"msg": "deep"}}}, "deep"),
    "wrapped by a proxy": ({"error": {"message": '{"error":{"message":"inner"}}'}}, "inner"),
    "OAuth": ({"error": "invalid_grant", "error_description": "It expired"}, "It expired"),
    "problem+json": ({"type": "about:blank", "title": "Gone", "status": 410}, "Gone"),
    "errors": ({"errors": ["one", {"message": "two"}]}, "one; two"),
    "no message": ({"error": {"message": "", "type": "server_error"}}, "server_error"),
}
TEXTS: dict[str, tuple[bytes, str | None]] = {
    "plain text": (b"Internal Server Error\n", "Internal Server Error"),
    "JSON text": (b'"no capacity"', "no capacity"),
    "a page's title": (
        b"<html>\r\n<head><title>502 Bad Gateway</title></head><body>nginx</body></html>",
        "502 Bad Gateway",
    ),
    "a page's heading": (b"<!DOCTYPE html><body><h1>Oops &amp; sorry</h1>", "Oops & sorry"),
    "a page's text": (b"<html><style>p{}</style><p>No <b>room</b>.</html>", "No room ."),
    "events": (b'event: error\ndata: {"error":{"message":"busy"}}\n\n', "busy"),
    "lines": (b'{"error":"one"}\n{"error":"two"}\n', "one"),
    "gzip": (gzip.compress(b'{"error":{"message":"small"}}'), "small"),
    "cut gzip": (gzip.compress(b"x")[:5], None),
    "an image": (b"\x89PNG\r\n\x1a\n\x00\x00", None),
    "compressed otherwise": (bytes(range(128, 256)) * 4, None),
    "nothing": (b"", None),
    "an empty object": (b"{}", None),
    "line breaks and controls": (b"one\r\n\x1b[31mtwo\t\xe2\x80\xa8three", "one [31mtwo three"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_message_is_found_in_any_document(name: str) -> None:
    document, words = SHAPES[name]
    assert words_in(document) == words_of(json.dumps(document).encode()) == words


@pytest.mark.parametrize("name", TEXTS)
def test_a_message_is_found_in_any_text(name: str) -> None:
    body, words = TEXTS[name]
    assert words_of(body) == words


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Bad key sk-abcdefghijkl0123", "Bad key ***"),
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer ***"),
        ("cannot reach http://10.1.2.3:8000/v1/x now", "cannot reach (address) now"),
        ("cannot reach http://vllm-0:8000/v1", "cannot reach (address)"),
        ("at gpu7.cluster.internal:8000", "at (address)"),
        ("at backend.example.com:8443, TLS", "at (address), TLS"),
        ("at https://backend.example.com/v1/chat", "at (address)"),
        ("127.0.0.1:11434 refused [::1]:80", "(address) refused (address)"),
        ("HTTPConnectionPool(host='llm', port=80): x", "HTTPConnectionPool((address)): x"),
        ("See https://platform.openai.com/docs.", "See https://platform.openai.com/docs."),
        ("max_tokens: 4096 > 2048 [type=x]", "max_tokens: 4096 > 2048 [type=x]"),
    ],
)
def test_no_secret_and_no_address_of_a_backend_is_shown(said: str, shown: str) -> None:
    endpoint = "https://backend.example.com:8443/v1"
    assert words_of(json.dumps({"error": {"message": said}}).encode(), endpoint) == shown
    assert words_of(said.encode(), endpoint) == shown


@given(st.binary(max_size=400) | st.text(max_size=300).map(str.encode))
def test_words_are_one_bounded_printable_line_of_whatever_bytes(body: bytes) -> None:
    words = words_of(body * 40)
    if words is not None:
        assert 0 < len(words) <= LONGEST_CHARS
        assert not any(one in words for one in "\r\n\t\x00\x1b\x7f\x85\u2028\u2029\u202e")


PIECES = [
    *(b"a.", b"http://", b"<h1>", b"<script>", b"<", b"[::", b"host='", b"bearer ", b"a@b:"),
    *(b'{"a":', b"://a:", b"sk-", b" ", b"=", b"&key=", b"cookie: ", b"<title ", b"1.1.1.1."),
]


@pytest.mark.parametrize("piece", PIECES)
def test_the_work_is_bounded_whatever_a_backend_says(piece: bytes) -> None:
    body = piece * (200_000 // len(piece))
    began = time.process_time()
    for text in (body, b"<html>" + body, json.dumps({"error": body[:60_000].decode()}).encode()):
        words_of(text, "http://backend.example.com")
    assert time.process_time() - began < 1.0  # it takes a hundredth


def test_what_is_nested_deeply_says_nothing() -> None:
    assert words_of(b'{"error":' * 60 + b"1" + b"}" * 60) is None
    assert words_of(b"[" * 5000) is not None  # no JSON that can be read: told as it is


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        (b'data: {"error":{"message":"out of memory"}}\n\ndata: [DONE]\n\n', "out of memory"),
        (b'event: error\ndata: {"type":"error","error":{"message":"Busy"}}\n\n', "Busy"),
        (b'{"message":{"content":"a"}}\n{"error":"gone"}\n', "gone"),
        (b'data: {"type":"response.failed","response":{"error":{"message":"x"}}}\n\n', "x"),
        (b'data: {"object":"error","message":"y"}\n\n', "y"),
        (b'data: {"error":{}, "x":1}\n\n', None),
        (b'data: {"choices":[{"delta":{"content":"a"}}],"error":null}\n\n', None),
        (b'data: {"choices":[{"delta":{"content":"\\"error\\": x"}}]}\n\n', None),
        (b"data: [DONE]\n\n", None),
    ],
)
def test_an_error_that_ends_a_stream_is_found_in_its_tail(tail: bytes, words: str | None) -> None:
    assert stream_error(b'rest of an event"}\n\n' + tail) == words
