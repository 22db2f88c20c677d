"""Answers from one dialect into another: nothing is lost, and nothing broken becomes whole."""

from __future__ import annotations

import itertools
from dataclasses import astuple
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.dialects.translation.pieces import (
    ArgumentsDelta,
    Call,
    CompleteAnswer,
    ContentEnd,
    MessageEnd,
    MessageFailed,
    MessageStart,
    Piece,
    ReasoningDelta,
    Stop,
    TextDelta,
    ToolCallStart,
    UsageUpdate,
    whole,
)
from gateway.errors import GatewayError, UpstreamInvalidResponse, UpstreamReset, UpstreamToldError
from gateway.usage import Usage
from tests.dialects.translation.events import FACTS, facts
from tests.dialects.translation.wire import (
    CONTEXT,
    NAMES,
    PAIRS,
    SIDES,
    answer_of,
    heard,
    pieces_of,
    stream_of,
    told,
)

SLOW = [HealthCheck.too_slow]  # a busy machine is no fault of a test's
USAGE = {
    "openai": Usage(120, 42, cached=100, reasoning=7),
    "anthropic": Usage(120, 42, cached=100, cache_write=5),
    "ollama": Usage(120, 42),
}


# -- reading -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_and_a_whole_answer_say_the_same(name: str) -> None:
    from_stream = heard(name, stream_of(name))
    from_answer = whole(SIDES[name].read_answer(answer_of(name)))
    assert facts(from_stream) == facts(from_answer) == FACTS
    for tokens in (from_stream.tokens, from_answer.tokens):
        assert tokens is not None
        assert astuple(tokens) == astuple(USAGE[name])
    assert from_stream.model == from_answer.model != ""
    assert [call.id for call in from_stream.calls] == [call.id for call in from_answer.calls]


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=SLOW)
def test_how_a_stream_is_cut_makes_no_difference(name: str, data: st.DataObject) -> None:
    stream = stream_of(name)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12).map(sorted))
    edges = [0, *cuts, len(stream)]
    parts = [stream[a:b] for a, b in itertools.pairwise(edges)]
    for other in NAMES:
        assert told(other, pieces_of(name, parts)) == told(other, pieces_of(name, [stream]))


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_in_single_bytes_is_the_same(name: str) -> None:
    stream = stream_of(name)
    single = [stream[at : at + 1] for at in range(len(stream))]
    assert pieces_of(name, single) == pieces_of(name, [stream])


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_that_ends_before_its_answer_has_failed(name: str) -> None:
    stream = stream_of(name)
    ends = {"openai": b'"finish_reason":"tool_calls"', "anthropic": b'"stop_reason":"tool_use"'}
    last = stream.rindex(ends.get(name, b'"done":true'))
    for at in range(0, last, 7):
        *_, end = pieces_of(name, [stream[:at]])
        assert isinstance(end, MessageFailed)
        assert isinstance(end.error, UpstreamReset)
        for other in NAMES:
            cut = told(other, pieces_of(name, [stream[:at]]))
            with pytest.raises(UpstreamReset):
                heard(other, cut)


@pytest.mark.parametrize(
    ("name", "event", "status", "message"),
    [
        (
            "openai",
            b'data: {"error":{"message":"out of memory","type":"server_error","code":"oom"}}\n\n',
            502,
            "out of memory",
        ),
        (
            "anthropic",
            b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error",'
            b'"message":"Overloaded"}}\n\n',
            503,
            "Overloaded",
        ),
        ("ollama", b'{"error":"llama runner process has terminated"}\n', 502, "llama runner"),
    ],
)
def test_an_error_inside_a_stream_stays_one(
    name: str, event: bytes, status: int, message: str
) -> None:
    end = b"\n" if name == "ollama" else b"\n\n"
    start = b"".join(part + end for part in stream_of(name).split(end)[:4])
    pieces = pieces_of(name, [start + event + stream_of(name)])
    assert [type(piece) for piece in pieces].count(MessageFailed) == 1
    last = pieces[-1]
    assert isinstance(last, MessageFailed)
    assert isinstance(last.error, UpstreamToldError)
    assert (last.error.status, message in last.error.message) == (status, True)


@pytest.mark.parametrize(
    ("name", "stop"),
    [
        ("openai", {"finish_reason": "abort"}),
        ("openai", {"finish_reason": "error"}),
        ("anthropic", {"stop_reason": "pause_turn"}),
        ("ollama", {"done_reason": "load"}),
    ],
)
def test_a_state_that_is_no_success_is_none_in_the_other_dialect(
    name: str, stop: dict[str, str]
) -> None:
    document = answer_of(name)
    (document["choices"][0] if name == "openai" else document).update(stop)
    with pytest.raises(UpstreamInvalidResponse):
        whole(SIDES[name].read_answer(document))


@pytest.mark.parametrize(
    ("name", "garbage"),
    [
        ("openai", b'data: {"choices":[{"delta":{"content":"\n\n'),
        ("anthropic", b'data: {"type":"content_block_delta",\n\n'),
        ("ollama", b'{"message":{"content":"x"\n'),
        ("ollama", b"x" * (11 * 1024 * 1024)),
        ("openai", b"data: " + b"x" * (11 * 1024 * 1024)),
        ("anthropic", b"data: " + b"x" * (11 * 1024 * 1024)),
    ],
)
def test_a_stream_with_a_broken_event_has_failed(name: str, garbage: bytes) -> None:
    pieces = pieces_of(name, [garbage, stream_of(name)])
    (failed,) = pieces
    assert isinstance(failed, MessageFailed)
    assert isinstance(failed.error, UpstreamInvalidResponse)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("document", [{}, {"choices": []}, {"content": "x"}, {"done": False}])
def test_a_whole_answer_that_is_none_has_failed(name: str, document: dict[str, Any]) -> None:
    with pytest.raises(GatewayError):
        whole(SIDES[name].read_answer(document))


# -- writing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("backend", "caller"), PAIRS)
def test_a_stream_says_the_same_in_the_other_dialect(backend: str, caller: str) -> None:
    translated = told(caller, pieces_of(backend, [stream_of(backend)]))
    assert facts(heard(caller, translated)) == FACTS


@pytest.mark.parametrize(("backend", "caller"), PAIRS)
def test_a_whole_answer_says_the_same_in_the_other_dialect(backend: str, caller: str) -> None:
    answer = whole(SIDES[backend].read_answer(answer_of(backend)))
    translated = orjson.loads(SIDES[caller].write_answer(answer, CONTEXT))
    assert facts(whole(SIDES[caller].read_answer(translated))) == FACTS


def test_cached_tokens_are_counted_apart_or_not_as_each_dialect_does() -> None:
    answer = whole(SIDES["anthropic"].read_answer(answer_of("anthropic")))
    usage = orjson.loads(SIDES["openai"].write_answer(answer, CONTEXT))["usage"]
    assert (usage["prompt_tokens"], usage["prompt_tokens_details"]) == (120, {"cached_tokens": 100})
    answer = whole(SIDES["openai"].read_answer(answer_of("openai")))
    usage = orjson.loads(SIDES["anthropic"].write_answer(answer, CONTEXT))["usage"]
    assert usage == {
        "input_tokens": 20,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 100,
        "output_tokens": 42,
    }


@pytest.mark.parametrize("name", ["anthropic", "ollama"])
def test_arguments_that_are_no_json_are_an_error(name: str) -> None:
    broken = CompleteAnswer("m", calls=[Call("c", "f", '{"half')])
    with pytest.raises(UpstreamInvalidResponse):
        SIDES[name].write_answer(broken, CONTEXT)


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
# A name that is a placeholder of some backends waits for a better one, so its call may come later.
names = words.filter(lambda word: word not in ("None", "null"))
arguments = st.dictionaries(words, words | st.integers(-9, 9) | st.booleans(), max_size=3)


@st.composite
def answers(draw: st.DrawFn) -> list[Piece]:
    pieces: list[Piece] = [MessageStart(draw(words))]
    pieces += [ReasoningDelta(text) for text in draw(st.lists(words, max_size=3))]
    pieces += [TextDelta(text) for text in draw(st.lists(words, max_size=4))]
    calls = draw(st.lists(st.tuples(names, arguments), max_size=3))
    for index, (name, given_) in enumerate(calls):
        pieces.append(ToolCallStart(index, f"id{index}", name))
        text = orjson.dumps(given_).decode() if given_ else ""
        at = draw(st.integers(0, len(text)))
        pieces += [ArgumentsDelta(index, part) for part in (text[:at], text[at:]) if part]
    stops = [Stop.TOOLS] if calls else [Stop.END, Stop.LENGTH, Stop.REFUSED]
    counted = draw(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)))
    return [
        *pieces,
        UsageUpdate(Usage(*counted)),
        ContentEnd(draw(st.sampled_from(stops))),
        MessageEnd(),
    ]


@pytest.mark.parametrize("name", NAMES)
@given(pieces=answers())
@settings(max_examples=50, deadline=None, suppress_health_check=SLOW)
def test_what_is_written_reads_as_what_was_meant(name: str, pieces: list[Piece]) -> None:
    meant = whole(pieces)
    assert facts(heard(name, told(name, pieces))) == facts(meant)
    answer = orjson.loads(SIDES[name].write_answer(meant, CONTEXT))
    assert facts(whole(SIDES[name].read_answer(answer))) == facts(meant)
