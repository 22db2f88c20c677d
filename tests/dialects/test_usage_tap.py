"""Finding the usage of an answer, however its bytes are cut."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects import usage_tap
from gateway.dialects.usage import ReportedUsage
from gateway.dialects.usage_scan import read_usage
from gateway.dialects.usage_tap import UsageTap
from gateway.exchange import Exchange
from gateway.json_body import read
from gateway.outcome import EndReason
from gateway.usage import Usage

CHAT, MESSAGES, OLLAMA = "/v1/chat/completions", "/v1/messages", "/api/chat"
SSE, NDJSON, JSON = b"text/event-stream", b"application/x-ndjson", b"application/json"
PROMPT = b'{"messages":"%b"}' % (b"x" * 385)
"""A request of about 100 tokens."""
FORGED = {"usage": {"prompt_tokens": 1, "completion_tokens": 1}, "eval_count": 1}


def listen(
    *pieces: bytes,
    kind: bytes = JSON,
    path: str = CHAT,
    status: int = 200,
    method: str = "POST",
    encoded: bool = False,
    complete: bool = True,
) -> Usage | None:
    tap = UsageTap()
    tap.begin(status, kind, encoded=encoded)
    for piece in pieces:
        tap.feed(piece)
    exchange = Exchange(method, "127.0.0.1", trusted_peer=False)
    exchange.path, exchange.body, exchange.json = path, PROMPT, read(PROMPT)
    exchange.end_reason = EndReason.COMPLETE if complete else EndReason.UPSTREAM_RESET
    return tap.usage(exchange)


def shown(used: Usage | None) -> tuple[int, int, bool]:
    """Input, output, and whether they are estimated."""
    assert used is not None
    return used.input, used.output, used.estimated


def compact(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def event(document: Any, name: str = "") -> bytes:
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + compact(document) + b"\n\n"


LOGPROBS = [{str(n): {"logprob": -1.5, "decoded_token": ' "}{' + "\\"}} for n in range(1000)]
BODIES = {
    "openai": (JSON, compact({"id": "x", "choices": [], **FORGED, "eval_count": 0} | {
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}})),
    "usage before long logprobs": (JSON, compact(
        {"choices": [{"message": {"content": "hi", "tool": FORGED}}],
         "usage": {"prompt_tokens": 7, "completion_tokens": 5}, "prompt_logprobs": LOGPROBS})),
    "usage after long logprobs": (JSON, compact(
        {"prompt_logprobs": [*LOGPROBS, FORGED],
         "usage": {"prompt_tokens": 7, "completion_tokens": 5}})),
    "an image": (JSON, compact(
        {"data": [{"b64_json": "iVBOR+/" * 10_000}],
         "usage": {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}})),
    "a nested call of a tool": (JSON, compact(
        {"message": {"tool_calls": [{"function": {"arguments": FORGED}}]},
         "prompt_eval_count": 7, "eval_count": 5, "response": "x" * 20_000})),
    "pretty": (JSON, json.dumps(
        {"a": [[FORGED]], "usage": {"prompt_tokens": 7, "completion_tokens": 5}},
        indent=8).encode()),
    "a stream": (SSE, event({"choices": [{"delta": {"content": "hi"}}], "usage": None}) * 3
        + event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}})
        + b"data: [DONE]\n\n"),
    "a stream that counts up": (SSE, b"".join(
        event({"choices": [{}], "usage": {"prompt_tokens": 7, "completion_tokens": n}})
        for n in range(6))),
    "a stream with CRLF": (SSE, (b": hello\n\n" + event(
        {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}}) + event({})
        ).replace(b"\n", b"\r\n")),
    "messages": (SSE, event({"type": "message_start", "message": {"usage":
        {"input_tokens": 4, "cache_read_input_tokens": 3, "output_tokens": 1}}}, "message_start")
        + event({"delta": {"partial_json": compact(FORGED).decode()}}) * 30
        + event({"content_block": {"input": FORGED}}) * 30
        + event({"type": "message_delta", "usage": {"output_tokens": 5}}, "message_delta")),
    "a response": (SSE, event({"response": {"usage": None}})
        + event({"response": {"output": ["x " * 20_000], "tools": [FORGED], "usage":
        {"input_tokens": 7, "output_tokens": 5}}}, "response.completed")),
    "an image in a stream": (SSE, event({"b64_json": "iVBOR+/" * 10_000, "usage":
        {"input_tokens": 7, "output_tokens": 5}}, "image_generation.completed")),
    "whole numbers as floats": (JSON, compact(
        {"usage": {"prompt_tokens": 7.0, "completion_tokens": 5.0, "total_tokens": 12.0}})),
    "numbers beside it that no JSON has": (JSON,
        b'{"x":1e400,"usage":{"queue":NaN,"t":1e999,"prompt_tokens":7,"completion_tokens":5}}'),
    "an event of several lines": (SSE, b'data: {\ndata:  "usage": {\n'
        b'data:   "prompt_tokens": 7,\ndata:   "completion_tokens": 5}\ndata: }\n\n'),
    "an estimated beginning": (SSE, event({"type": "message_start", "message": {"usage":
        {"input_tokens": 900, "output_tokens": 1}}}, "message_start")
        + event({"type": "message_delta", "usage": {"input_tokens": 4,
        "cache_read_input_tokens": 3, "output_tokens": 5}}, "message_delta")),
    "lines": (NDJSON, compact({"message": {"content": "hi"}, "done": False}) + b"\n"
        + compact({"message": {"tool_calls": [{"function": {"arguments": FORGED}}]}}) + b"\n"
        + compact({"done": True, "prompt_eval_count": 7, "eval_count": 5}) + b"\n"
        + compact({"message": {"tool_calls": [{"function": {"arguments": FORGED}}]}}) + b"\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
@settings(max_examples=30)
@given(data=st.data())
def test_usage_is_found_however_the_body_is_cut(name: str, data: st.DataObject) -> None:
    kind, body = BODIES[name]
    places = st.integers(0, len(body)) | st.integers(max(0, len(body) - 200), len(body))
    edges = [0, *sorted(data.draw(st.lists(places, max_size=8))), len(body)]
    pieces = [body[start:end] for start, end in itertools.pairwise(edges)]
    assert listen(*pieces, kind=kind) == Usage(7, 5)


@pytest.mark.parametrize("name", ["pretty", "messages", "lines"])
def test_usage_is_found_byte_by_byte(name: str) -> None:
    kind, body = BODIES[name]
    assert listen(*(body[n : n + 1] for n in range(len(body))), kind=kind) == Usage(7, 5)


USED = '"usage":{"prompt_tokens":7,"completion_tokens":5}'


@pytest.mark.parametrize(
    "body",
    [
        f'{{"a":[{{}}],{USED}}}',
        f'{{"a":[{{}}],{USED},"system_fingerprint":null,"x":{{"y":[1]}}}}\n',
        f'{{{USED},"text":"an open bracket {{ and \\"usage\\":{{"}}',
        f'{{"text":"}}}}}}",{USED}}}',
        f'{{{USED},"a":{{"usage":{{"prompt_tokens":1}}}}}}',
        f'{{{USED},"a":{{"type":"usage"}}}}',
        f'{{{USED},"x":NaN}}',
    ],
)
def test_usage_is_found_wherever_it_stands_among_the_members(body: str) -> None:
    assert listen(body.encode()) == Usage(7, 5)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("closed", [0, 1])
def test_usage_inside_a_document_that_is_cut_off_is_not_taken_for_its_own(
    depth: int, closed: int
) -> None:
    body = '{"a":' * depth + f"{{{USED}" + "}" * closed
    assert shown(listen(body.encode(), complete=False))[2]


def test_of_many_events_with_usage_only_two_are_parsed_in_one_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parsed: list[bytes] = []

    def record(
        data: bytes, reported: ReportedUsage, *, complete: bool, at: int | None = None
    ) -> None:
        parsed.append(data)
        read_usage(data, reported, complete=complete, at=at)

    monkeypatch.setattr(usage_tap, "read_usage", record)
    running = [event({"usage": {"prompt_tokens": 7, "completion_tokens": n}}) for n in range(1, 6)]
    assert listen(*running, kind=SSE) == Usage(7, 5)
    assert len(parsed) == 2


def test_later_numbers_count_beside_those_in_the_plain_form() -> None:
    first = {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8}
    last = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    assert listen(event({"usage": last}), kind=SSE) == Usage(7, 5)
    assert listen(event({"usage": first}), event({"usage": last}), kind=SSE) == Usage(7, 5)
    started = event({"type": "message_start", "message": {"usage": {"input_tokens": 9}}})
    assert listen(started, event({"usage": last}), kind=SSE) == Usage(7, 5)


@pytest.mark.parametrize("null", [b'"usage":null', b'"usage": null'])
def test_an_event_whose_usage_is_null_is_not_parsed(
    null: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_tap, "read_usage", pytest.fail)
    used = listen(*[b'data: {"choices":[{}],%b}\n\n' % null] * 3, kind=SSE)
    assert shown(used) == (101, 3, True)


TEXTS = st.text(max_size=5) | st.sampled_from(['"usage":{', "\\", '\\"', "usage", "message"])
VALUES = st.recursive(
    st.none() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@given(
    rest=st.lists(st.tuples(st.sampled_from(["a", "choices", "b\\"]), VALUES), max_size=4),
    place=st.integers(0, 4),
    cuts=st.lists(st.integers(0, 20_000), max_size=6),
    long=st.booleans(),
)
def test_only_the_top_level_counts_whatever_stands_around_it(
    rest: list[tuple[str, Any]], place: int, cuts: list[int], long: bool
) -> None:
    entries = [*rest, ("long", "x" * 17_000 if long else "")]
    entries.insert(place, ("usage", {"prompt_tokens": 7, "completion_tokens": 5}))
    body = ("{" + ",".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in entries) + "}").encode()
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[start:end] for start, end in itertools.pairwise(edges)]
    assert listen(*pieces) == Usage(7, 5)


@pytest.mark.parametrize("long", [b"", b'"long":"' + b"x" * 20_000 + b'",'])
@pytest.mark.parametrize("depth", [1, 900, 5000])
def test_deep_nesting_is_no_usage_and_no_error(long: bytes, depth: int) -> None:
    nested = b'{"usage":' * depth + b"1" + b"}" * depth
    assert shown(listen(b"{" + long + b'"usage":' + nested + b"}"))[2]
    reported = listen(b"{" + long + b'"a":' + nested + b',"usage":{"total_tokens":9}}')
    assert shown(reported) == (9, 0, False)


# -- what did not tell -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_a_failed_answer_costs_nothing(status: int) -> None:
    assert listen(compact({"error": {"message": "no " * 1000}}), status=status) is None


@pytest.mark.parametrize("status", [301, 307])
def test_a_redirect_costs_nothing(status: int) -> None:
    assert listen(b"<html>moved</html>", kind=b"text/html", status=status) is None


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "no credits", "code": 402}},
        {"id": None, "choices": None, "error": "no credits", "usage": None},
        {"object": "error", "message": "no credits"},
        {"type": "error", "error": {"type": "overloaded_error"}},
    ],
)
def test_an_error_with_status_200_costs_nothing(body: dict[str, Any]) -> None:
    assert listen(compact(body)) is None


def test_an_answer_about_errors_is_counted() -> None:
    body = compact({"choices": [{"message": {"content": '"error"'}}], "error": None})
    assert shown(listen(body))[1] > 0


def test_a_failed_answer_costs_what_it_says() -> None:
    body = compact({"error": {}, "usage": {"prompt_tokens": 7, "completion_tokens": 5}})
    assert listen(body, status=500) == Usage(7, 5)


@pytest.mark.parametrize("path", ["/v1/messages/count_tokens", "/tokenize", "/v1/models"])
def test_what_is_no_generation_costs_nothing(path: str) -> None:
    assert listen(compact({"input_tokens": 7, "tokens": [1] * 1000}), path=path) is None


def test_an_answer_that_is_fetched_again_costs_nothing() -> None:
    body = compact({"usage": {"input_tokens": 7, "output_tokens": 5}})
    assert listen(body, method="GET", path="/v1/responses/resp_1") is None
    stream = event({"response": {"usage": {"input_tokens": 7, "output_tokens": 5}}})
    assert listen(stream, method="GET", path="/v1/responses/resp_1", kind=SSE) is None
    assert listen(stream, method="GET", path="/generate", kind=SSE) == Usage(7, 5)


def test_an_answer_of_which_nothing_came_costs_nothing() -> None:
    assert listen() is None


def test_a_stream_that_broke_off_is_counted_by_its_events() -> None:
    used = listen(*[event({"choices": [{}]})] * 3, b": comment\n\n", kind=SSE)
    assert shown(used) == (101, 3, True)


def test_a_stream_that_broke_off_in_its_first_event_has_no_output() -> None:
    used = listen(b'data: {"choices":[{"delta":{"content":"hel', kind=SSE, complete=False)
    assert shown(used) == (101, 0, True)


def test_a_message_that_broke_off_is_counted_by_its_events() -> None:
    kind, body = BODIES["messages"]
    used = listen(body[:-40], kind=kind, path=MESSAGES)
    assert shown(used) == (7, 61, True)


def test_a_prompt_that_ollama_does_not_count_is_estimated() -> None:
    used = listen(compact({"done": True, "eval_count": 5}), path=OLLAMA)
    assert shown(used) == (101, 5, True)


@pytest.mark.parametrize("total", [{}, {"total_tokens": 5}])
def test_a_prompt_of_zero_tokens_is_estimated(total: dict[str, int]) -> None:
    body = compact({"usage": {"prompt_tokens": 0, "completion_tokens": 5, **total}})
    assert shown(listen(body)) == (len(PROMPT) // 4 + 1, 5, True)


def test_an_answer_of_text_is_counted_by_its_length() -> None:
    assert listen(compact({"text": "word " * 800})) == Usage(101, 1002)


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [
        ("/v1/images/generations", JSON, compact({"data": [{"b64_json": "QUJD" * 250_000}]})),
        ("/v1/embeddings", JSON, compact({"data": [{"embedding": [0.25] * 1000}]})),
        ("/v1/rerank", JSON, compact({"results": [{"index": 0}] * 1000})),
        ("/v1/audio/speech", b"audio/mpeg", b"\n\0\n\n" * 10_000),
        (CHAT, b"audio/wav", b"\n\0\n\n" * 10_000),
        (CHAT, b"application/octet-stream", b"\n\0\n\n" * 10_000),
    ],
)
def test_an_answer_that_is_no_text_is_not_counted_by_its_bytes(
    path: str, kind: bytes, body: bytes
) -> None:
    assert listen(body, path=path, kind=kind) == Usage(101, 0)


def test_an_image_in_a_chat_is_not_counted_by_its_bytes() -> None:
    body = compact({"choices": [{"message": {"images": ["QUJD" * 250_000]}}]})
    pieces = [body[n : n + 65536] for n in range(0, len(body), 65536)]
    assert shown(listen(*pieces))[1] < 20
