"""Answers in the shapes that backends really send: fixtures of streams, and single values."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.dialects.translation.halves import Halves, mended
from gateway.dialects.translation.in_turn import InTurn
from gateway.dialects.translation.pieces import (
    Argued,
    Began,
    Called,
    Ended,
    Failed,
    Piece,
    Said,
    Skip,
    Skipped,
    Stop,
    Stopped,
    Tokens,
    Used,
    Whole,
    whole,
)
from gateway.errors import UpstreamInvalidResponse
from tests.dialects.translation.wire import (
    FIXTURES,
    NAMES,
    PARIS,
    SHAPES,
    SIDES,
    TELLING,
    heard,
    pieces_of,
    stream_of,
    told,
)

SLOW = [HealthCheck.too_slow]  # a busy machine is no fault of a test's


def said(answer: Whole) -> tuple[str, str, list[tuple[str, Any]], Stop]:
    calls = [(call.name, json.loads(call.arguments)) for call in answer.calls]
    return answer.thinking, answer.text, calls, answer.stopped.stop


def skips(pieces: list[Piece]) -> list[Skip]:
    return [piece.what for piece in pieces if isinstance(piece, Skipped)]


def chunk(delta: Any, finish: str | None = None, **choice: Any) -> bytes:
    document = {"model": "m", "choices": [{"delta": delta, "finish_reason": finish, **choice}]}
    return b"data: %b\n\n" % json.dumps(document).encode()


def call_chunk(finish: str | None = None, **call: Any) -> bytes:
    return chunk({"tool_calls": [call]}, finish)


DONE = chunk({}, "tool_calls") + b"data: [DONE]\n\n"
BEGIN = b'data: {"type":"message_start","message":{"model":"m"}}\n\n'
END = (
    b'data: {"type":"message_delta","delta":{"stop_reason":"tool_use"}}\n\n'
    b'data: {"type":"message_stop"}\n\n'
)


def test_every_fixture_of_a_shape_is_tried() -> None:
    found = {f"{path.parent.name}/{path.name}" for path in FIXTURES.glob("*/*")}
    assert found == set(SHAPES)


@pytest.mark.parametrize("file", SHAPES)
def test_a_shape_that_backends_send_is_read(file: str) -> None:
    name = file.partition("/")[0]
    assert said(heard(name, (FIXTURES / file).read_bytes())) == SHAPES[file]


@pytest.mark.parametrize("file", SHAPES)
def test_where_a_shape_is_cut_makes_no_difference(file: str) -> None:
    name = file.partition("/")[0]
    stream = (FIXTURES / file).read_bytes()
    expected = pieces_of(name, [stream])
    for at in range(len(stream)):
        assert pieces_of(name, [stream[:at], stream[at:]]) == expected
    assert pieces_of(name, [stream[at : at + 1] for at in range(len(stream))]) == expected


@pytest.mark.parametrize("file", SHAPES)
@pytest.mark.parametrize("caller", NAMES)
def test_a_shape_says_the_same_in_every_dialect(file: str, caller: str) -> None:
    name = file.partition("/")[0]
    pieces = pieces_of(name, [(FIXTURES / file).read_bytes()])
    assert said(heard(caller, told(caller, pieces))) == SHAPES[file]
    answer = orjson.loads(SIDES[caller].write_answer(whole(pieces), TELLING))
    assert said(whole(SIDES[caller].read_answer(answer))) == SHAPES[file]


# -- calls of tools ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [{"city": "Paris"}, '{"city":"Paris"}', '{ "city" : "Paris" }'],
    ids=["object", "text", "spaced"],
)
@pytest.mark.parametrize("name", NAMES)
def test_arguments_are_an_object_or_json_text_in_a_whole_answer(name: str, arguments: Any) -> None:
    function = {"name": "get_weather", "arguments": arguments}
    block = {"type": "tool_use", "id": "t", "name": "get_weather", "input": arguments}
    documents: dict[str, dict[str, Any]] = {
        "openai": {
            "choices": [
                {
                    "message": {"content": None, "tool_calls": [{"function": function}]},
                    "finish_reason": "tool_calls",
                }
            ]
        },
        "anthropic": {"content": [block], "stop_reason": "tool_use"},
        "ollama": {
            "message": {"content": "", "tool_calls": [{"function": function}]},
            "done": True,
        },
    }
    assert said(whole(SIDES[name].read_answer(documents[name]))) == ("", "", [PARIS], Stop.TOOLS)


def test_a_legacy_function_call_is_a_call_in_a_whole_answer() -> None:
    call = {"name": "get_weather", "arguments": '{"city":"Paris"}'}
    message = {"role": "assistant", "content": None, "function_call": call}
    choice = {"message": message, "finish_reason": "function_call"}
    answer = whole(SIDES["openai"].read_answer({"choices": [choice]}))
    assert said(answer) == ("", "", [PARIS], Stop.TOOLS)


def test_arguments_may_be_an_object_in_a_delta() -> None:
    stream = call_chunk(index=0, id="c", function={"name": "f", "arguments": {"a": 1}}) + DONE
    assert heard("openai", stream).calls[0].arguments == '{"a":1}'


@pytest.mark.parametrize("partial", [{"a": 1}, '{"a":1}'], ids=["object", "text"])
@pytest.mark.parametrize("given", [{}, None, {"a": 1}, '{"a":1}'])
def test_arguments_in_a_start_and_in_deltas_count_once(partial: Any, given: Any) -> None:
    block = {"type": "tool_use", "id": "t", "name": "f", "input": given}
    start = {"type": "content_block_start", "index": 0, "content_block": block}
    delta = {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "input_json_delta", "partial_json": partial},
    }
    events = [b"data: %b\n\n" % orjson.dumps(one) for one in (start, delta)]
    answer = heard("anthropic", BEGIN + b"".join(events) + END)
    assert [call.arguments for call in answer.calls] == ['{"a":1}']


def test_a_name_that_every_delta_repeats_is_one_call() -> None:
    stream = b"".join(
        call_chunk(index=0, id="c", function={"name": "f", "arguments": text})
        for text in ('{"a"', ":1", "}")
    )
    answer = heard("openai", stream + DONE)
    assert [(call.name, call.arguments) for call in answer.calls] == [("f", '{"a":1}')]


@pytest.mark.parametrize(
    "names",
    [
        ["get_", "weather"],
        ["get_weather", "get_weather"],
        ["get_", "get_weather"],
        ["", "get_weather"],
    ],
)
def test_a_name_may_come_in_parts(names: list[str]) -> None:
    stream = b"".join(call_chunk(index=0, id="c", function={"name": name}) for name in names)
    stream += call_chunk(index=0, function={"arguments": '{"city":"Paris"}'})
    assert said(heard("openai", stream + DONE)) == ("", "", [PARIS], Stop.TOOLS)


def test_the_work_for_a_name_in_every_delta_is_linear() -> None:
    def took_s(count: int) -> float:
        text = "x" * 1000 + "}"
        parts = [call_chunk(index=0, function={"name": "f", "arguments": text})] * count
        started = time.process_time()
        pieces_of("openai", parts)
        return time.process_time() - started

    took_s(100)
    assert min(took_s(4000) for _ in range(2)) < 3 * min(took_s(2000) for _ in range(2))


def test_usage_in_every_event_does_not_end_a_call() -> None:
    events = [
        {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "get_weather"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"Paris"}'}}]},
    ]
    stream = b"".join(
        b"data: %b\n\n"
        % orjson.dumps({"choices": [{"delta": one}], "usage": {"completion_tokens": n + 1}})
        for n, one in enumerate(events)
    )
    for caller in NAMES:
        translated = told(caller, pieces_of("openai", [stream + DONE]))
        assert said(heard(caller, translated)) == ("", "", [PARIS], Stop.TOOLS)


def test_calls_are_told_in_the_order_of_their_names() -> None:
    stream = b"".join(
        call_chunk(index=n, id=f"c{n}", function={"name": name, "arguments": ""})
        for n, name in enumerate(["f", "g", "h"])
    )
    stream += call_chunk(index=1, function={"arguments": '{"a":1}'}) + DONE
    calls = heard("openai", stream).calls
    assert [(call.id, call.name, call.arguments) for call in calls] == [
        ("c0", "f", ""),
        ("c1", "g", '{"a":1}'),
        ("c2", "h", ""),
    ]


def test_an_id_that_is_another_in_every_delta_is_one_call() -> None:
    stream = call_chunk(index=0, id="r1", function={"name": "f", "arguments": ""})
    stream += call_chunk(index=0, id="r2", function={"arguments": '{"a":1}'}) + DONE
    answer = heard("openai", stream)
    assert [(call.id, call.arguments) for call in answer.calls] == [("r1", '{"a":1}')]


def test_a_call_without_a_name_gets_one_that_no_tool_has() -> None:
    stream = call_chunk(index=0, id="c", function={"arguments": '{"a":1}'}) + DONE
    pieces = pieces_of("openai", [stream])
    assert [(call.name, call.arguments) for call in whole(pieces).calls] == [("unknown", '{"a":1}')]
    assert skips(pieces) == [Skip.CALL]


def test_a_call_of_nothing_at_all_is_left_out() -> None:
    stream = call_chunk(index=0, id="c", function={"name": "f", "arguments": "{}"})
    stream += call_chunk(index=1, function={}) + DONE
    pieces = pieces_of("openai", [stream])
    assert [call.name for call in whole(pieces).calls] == ["f"]
    assert skips(pieces) == [Skip.CALL]


@pytest.mark.parametrize("finish", ["stop", "tool_calls", "function_call"])
@pytest.mark.parametrize("sequence", [None, "</tool_call>", 151658])
def test_an_answer_with_calls_stopped_for_them(finish: str, sequence: Any) -> None:
    stream = call_chunk(index=0, id="c", function={"name": "f", "arguments": "{}"})
    stream += chunk({}, finish, stop_reason=sequence) + b"data: [DONE]\n\n"
    pieces = pieces_of("openai", [stream])
    assert whole(pieces).stopped == Stopped(Stop.TOOLS)
    assert b'"stop_reason":"tool_use","stop_sequence":null' in told("anthropic", pieces)


def test_calls_are_no_reason_to_stop_where_there_are_none() -> None:
    stream = chunk({"content": "Hi"}) + DONE
    assert whole(pieces_of("openai", [stream])).stopped == Stopped(Stop.END)


def test_a_sequence_that_was_met_is_told() -> None:
    stream = chunk({"content": "Hi"}) + chunk({}, "stop", stop_reason="END") + b"data: [DONE]\n\n"
    assert whole(pieces_of("openai", [stream])).stopped == Stopped(Stop.SEQUENCE, "END")


def test_calls_without_ids_get_ids_of_their_own() -> None:
    for caller in ("openai", "anthropic"):
        stream = (FIXTURES / "openai/gemini-calls-without-ids.sse").read_bytes()
        ids = [call.id for call in heard(caller, told(caller, pieces_of("openai", [stream]))).calls]
        assert len({one for one in ids if one}) == 2


def test_a_call_without_arguments_has_an_empty_object_of_them() -> None:
    stream = call_chunk(index=0, id="c", function={"name": "f"})
    stream += call_chunk(index=1, id="d", function={"name": "g", "arguments": '{"a":1}'}) + DONE
    for caller in NAMES:
        calls = heard(caller, told(caller, pieces_of("openai", [stream]))).calls
        assert [json.loads(call.arguments or "{}") for call in calls] == [{}, {"a": 1}]


@st.composite
def interleaved(draw: st.DrawFn) -> list[Piece]:
    """Calls whose arguments come in turns, with text between them."""
    texts = [
        f'{{"a":"{"x" * draw(st.integers(0, 6))}{n}"}}' for n in range(draw(st.integers(1, 4)))
    ]
    left = {number: list(text) for number, text in enumerate(texts)}
    pieces: list[Piece] = [Began("m")]
    begun: set[int] = set()
    while left or len(begun) < len(texts):
        number = draw(st.sampled_from(sorted(left)))
        if number not in begun:
            if number != len(begun):
                continue
            begun.add(number)
            pieces.append(Called(number, f"id{number}", f"f{number}"))
        if draw(st.integers(0, 9)) == 0:
            pieces.append(Said("t"))
        taken = draw(st.integers(1, len(left[number])))
        part, left[number] = left[number][:taken], left[number][taken:]
        pieces.append(Argued(number, "".join(part)))
        if not left[number]:
            del left[number]
    return [*pieces, Used(Tokens(1, 1)), Stopped(Stop.TOOLS), Ended()]


@given(pieces=interleaved())
@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
def test_calls_in_turns_say_the_same_in_every_dialect(pieces: list[Piece]) -> None:
    meant = said(whole(pieces))
    for caller in NAMES:
        assert said(heard(caller, told(caller, pieces))) == meant


def test_the_first_of_two_calls_passes_as_it_comes() -> None:
    order = InTurn()
    first, second = Called(0, "a", "f"), Called(1, "b", "g")
    assert list(order.feed(first)) == [first]
    assert list(order.feed(Argued(0, '{"a":'))) == [Argued(0, '{"a":')]
    assert list(order.feed(second)) == []
    assert list(order.feed(Argued(0, "1}"))) == [Argued(0, "1}")]
    assert list(order.feed(Argued(1, "{}"))) == []
    assert list(order.feed(Stopped(Stop.TOOLS))) == [second, Argued(1, "{}"), Stopped(Stop.TOOLS)]


def test_arguments_behind_a_call_that_was_whole_cannot_be_told_in_blocks() -> None:
    late: list[Piece] = [
        Began("m"),
        Called(0, "a", "f"),
        Argued(0, "{}"),
        Said("x"),
        Argued(0, "1"),
    ]
    with pytest.raises(UpstreamInvalidResponse):
        told("anthropic", [*late, Stopped(Stop.TOOLS), Ended()])


# -- content as parts ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        [
            {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
            {"type": "text", "text": "Yes."},
        ],
        [{"type": "thinking", "thinking": "Hm."}, {"type": "output_text", "text": "Yes."}],
        [{"type": "reasoning", "text": "Hm."}, "Yes."],
    ],
)
def test_content_may_be_a_list_of_parts(content: Any) -> None:
    message = {"role": "assistant", "content": content}
    document = {"choices": [{"message": message, "finish_reason": "stop"}]}
    assert said(whole(SIDES["openai"].read_answer(document))) == ("Hm.", "Yes.", [], Stop.END)
    line = {"message": message, "done": True}
    assert said(whole(SIDES["ollama"].read_answer(line))) == ("Hm.", "Yes.", [], Stop.END)
    stream = chunk({"content": content}) + chunk({}, "stop") + b"data: [DONE]\n\n"
    assert said(heard("openai", stream)) == ("Hm.", "Yes.", [], Stop.END)


def test_an_unknown_part_is_left_out_and_counted() -> None:
    parts = [{"type": "reference", "reference_ids": [1]}, {"type": "text", "text": "Yes."}, 5]
    pieces = pieces_of("openai", [chunk({"content": parts}, "stop") + b"data: [DONE]\n\n"])
    assert (whole(pieces).text, skips(pieces)) == ("Yes.", [Skip.PART, Skip.PART])
    assert whole(pieces).skipped == [Skip.PART, Skip.PART]


def test_an_unknown_block_is_left_out_and_counted() -> None:
    blocks = [{"type": "server_tool_use", "id": "s"}, {"type": "text", "text": "Yes."}]
    answer = whole(SIDES["anthropic"].read_answer({"content": blocks, "stop_reason": "end_turn"}))
    assert (answer.text, answer.skipped) == ("Yes.", [Skip.PART])


def test_an_unknown_field_that_holds_something_is_counted() -> None:
    stream = chunk({"content": "Yes.", "images": [{"url": "x"}], "audio": None, "x": []}, "stop")
    pieces = pieces_of("openai", [stream + b"data: [DONE]\n\n"])
    assert (whole(pieces).text, skips(pieces)) == ("Yes.", [Skip.FIELD])


# -- keep-alives and odd endings -------------------------------------------------------------------

ODD: dict[str, list[tuple[bytes, list[Skip]]]] = {
    "openai": [
        (b"data:\n\n", []),
        (b"data: \n\n", []),
        (b": comment\n\n", []),
        (b"event: ping\ndata: {}\n\n", []),
        (b"event: ping\ndata: null\n\n", [Skip.EVENT]),
        (b"id: 7\n\n", []),
        (b"data: ping\n\n", [Skip.EVENT]),
        (b"data: <html>\n\n", [Skip.EVENT]),
        (b"data: [1]\n\n", [Skip.EVENT]),
        (b'data: {"object":"trace","x":1}\n\n', [Skip.EVENT]),
        (b'data: {"choices":[],"prompt_filter_results":[]}\n\n', []),
        (b'data: {"choices":null}\n\n', []),
    ],
    "anthropic": [
        (b"data:\n\n", []),
        (b'event: ping\ndata: {"type":"ping"}\n\n', []),
        (b"event: ping\ndata: {}\n\n", []),
        (b"event: x\ndata: oops\n\n", [Skip.EVENT]),
        (b'event: x\ndata: {"type":"x"}\n\n', [Skip.EVENT]),
        (b'data: {"type":["ping"]}\n\n', [Skip.EVENT]),
    ],
    "ollama": [(b"\n", []), (b" \r\n", []), (b"oops\n", [Skip.EVENT]), (b"[1]\n", [Skip.EVENT])],
}


@pytest.mark.parametrize(
    ("name", "odd", "skipped"), [(name, *one) for name, many in ODD.items() for one in many]
)
def test_an_odd_event_does_not_end_a_stream(name: str, odd: bytes, skipped: list[Skip]) -> None:
    end = b"\n" if name == "ollama" else b"\n\n"
    events = [event + end for event in stream_of(name).split(end) if event]
    expected = whole(pieces_of(name, events))
    for at in range(len(events)):
        pieces = pieces_of(name, [*events[:at], odd, *events[at:]])
        answer = whole(pieces)
        assert skips(pieces) == skipped
        answer.skipped = []
        assert answer == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rest", [b"data: {", b"{\n", b"data: [DONE]\n\n", b"\xff\n\n", b"<html>"])
def test_what_follows_the_end_is_not_looked_at(name: str, rest: bytes) -> None:
    stream = stream_of(name)
    assert pieces_of(name, [stream + rest]) == pieces_of(name, [stream])
    assert pieces_of(name, [stream, rest]) == pieces_of(name, [stream])


@pytest.mark.parametrize(
    ("name", "nothing"),
    [
        ("openai", b"data: <html>\n\n"),
        ("openai", b'data: {"type":"response.created"}\n\n'),
        ("anthropic", b"data: oops\n\n"),
        ("anthropic", b"data: [1]\n\n"),
        ("ollama", b"<html>\n"),
    ],
)
def test_a_stream_of_nothing_that_is_known_has_failed(name: str, nothing: bytes) -> None:
    *_, last = pieces_of(name, [nothing * 3])
    assert isinstance(last, Failed)
    assert isinstance(last.error, UpstreamInvalidResponse)


@pytest.mark.parametrize("word", ["eos", "end_turn", "STOP", "<|im_end|>", "max_output_tokens"])
@pytest.mark.parametrize("name", NAMES)
def test_a_foreign_reason_to_stop_ends_a_complete_answer(name: str, word: str) -> None:
    documents: dict[str, dict[str, Any]] = {
        "openai": {"choices": [{"message": {"content": "Hi"}, "finish_reason": word}]},
        "anthropic": {"content": [{"type": "text", "text": "Hi"}], "stop_reason": word},
        "ollama": {"message": {"content": "Hi"}, "done": True, "done_reason": word},
    }
    answer = whole(SIDES[name].read_answer(documents[name]))
    assert (answer.text, answer.stopped) == ("Hi", Stopped(Stop.END))
    assert answer.skipped == ([] if word == "end_turn" and name == "anthropic" else [Skip.STOP])


@pytest.mark.parametrize(
    ("words", "stop"),
    [
        (["stop", "stop", "stop"], Stop.END),
        (["stop", "stop", "length"], Stop.LENGTH),
        (["length", None, "stop"], Stop.LENGTH),
        (["eos", "length", "stop"], Stop.LENGTH),
        (["stop", "eos", None], Stop.END),
        (["stop", None, "error"], Stop.END),
        (["stop", "content_filter", "stop"], Stop.REFUSED),
    ],
)
@pytest.mark.parametrize("end", [b"data: [DONE]\n\n", b""])
def test_an_answer_goes_on_behind_a_reason_to_stop(
    words: list[str | None], stop: Stop, end: bytes
) -> None:
    stream = b"".join(chunk({"content": str(n)}, word) for n, word in enumerate(words))
    assert said(heard("openai", stream + end)) == ("", "012", [], stop)


def test_a_whole_answer_in_one_event_is_read() -> None:
    choice = {"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    stream = b"data: %b\n\n" % orjson.dumps({"model": "m", "choices": [choice]})
    assert said(heard("openai", stream)) == ("", "Hi", [], Stop.END)
    assert said(heard("openai", chunk({"content": "Hi"}) + stream)) == ("", "Hi", [], Stop.END)


def test_a_broken_event_behind_a_complete_answer_is_left_out() -> None:
    stream = chunk({"content": "Hi"}, "stop") + b'data: {"usage":{"pro\n\n'
    pieces = pieces_of("openai", [stream])
    assert said(whole(pieces)) == ("", "Hi", [], Stop.END)
    assert skips(pieces) == [Skip.EVENT]


def test_an_answer_of_nothing_with_a_foreign_reason_has_failed() -> None:
    choice = {"message": {"content": ""}, "finish_reason": "RECITATION"}
    with pytest.raises(UpstreamInvalidResponse):
        whole(SIDES["openai"].read_answer({"choices": [choice]}))


def test_a_stream_that_is_done_is_complete_though_it_gave_no_reason() -> None:
    stream = chunk({"content": "Hi"}) + b"data: [DONE]\n\n"
    assert said(heard("openai", stream)) == ("", "Hi", [], Stop.END)
    text = b'data: {"type":"content_block_start","content_block":{"type":"text","text":"Hi"}}\n\n'
    stop = b'data: {"type":"message_stop"}\n\n'
    assert said(heard("anthropic", BEGIN + text + stop)) == ("", "Hi", [], Stop.END)


@pytest.mark.parametrize("word", [None, ""])
def test_so_is_a_whole_answer(word: str | None) -> None:
    choice = {"message": {"content": "Hi"}, "finish_reason": word}
    answer = whole(SIDES["openai"].read_answer({"choices": [choice]}))
    assert said(answer) == ("", "Hi", [], Stop.END)
    message = {"type": "message", "content": [{"type": "text", "text": "Hi"}], "stop_reason": word}
    assert said(whole(SIDES["anthropic"].read_answer(message))) == ("", "Hi", [], Stop.END)
    with pytest.raises(UpstreamInvalidResponse):
        whole(SIDES["openai"].read_answer({"choices": [{"message": {"content": ""}}]}))


@pytest.mark.parametrize("kind", [b"event: error\n", b"event:error\n"])
def test_an_error_may_be_told_by_the_type_of_its_event(kind: bytes) -> None:
    stream = chunk({"content": "Hi"}) + kind + b'data: {"message":"out of memory"}\n\n'
    *_, last = pieces_of("openai", [stream])
    assert isinstance(last, Failed)
    assert "out of memory" in last.error.message


def test_numbers_that_json_does_not_know_are_read() -> None:
    stream = b'data: {"choices":[{"delta":{"content":"Hi"},"logprobs":[NaN,-Infinity]}]}\n\n'
    assert heard("openai", stream + chunk({}, "stop")).text == "Hi"


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 0}, Tokens(5, 0)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Tokens(0, 0)),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 2,
                "total_tokens": 10,
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
            Tokens(5, 5, reasoning=3),
        ),
    ],
)
def test_the_caller_is_told_the_usage_that_is_billed(
    usage: dict[str, Any], expected: Tokens
) -> None:
    last = b"data: %b\n\n" % orjson.dumps({"choices": [], "usage": usage})
    stream = chunk({"content": "Hi"}) + chunk({}, "stop") + last + b"data: [DONE]\n\n"
    assert heard("openai", stream).tokens == expected


# -- half a character --------------------------------------------------------------------------

texts = st.text(st.sampled_from("aé☀\U0001f600\U0001f480\U0001f468‍"), max_size=12)


@given(text=texts, cuts=st.lists(st.integers(0, 60), max_size=6).map(sorted))
def test_text_cut_inside_its_characters_is_joined(text: str, cuts: list[int]) -> None:
    for encoding, errors in (("utf-8", "surrogateescape"), ("utf-16-le", "surrogatepass")):
        data = text.encode(encoding)
        step = 2 if encoding == "utf-16-le" else 1
        halves = Halves()
        joined, at = "", 0
        for cut in [*(cut * step for cut in cuts), len(data)]:
            joined += halves.feed(data[at:cut].decode(encoding, errors))
            at = max(at, cut)
        assert joined + halves.flush() == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\ud83d", "\ufffd"),
        ("a\ud83db", "a\ufffdb"),
        ("\ud83d\ude00", "\U0001f600"),
        ("\udcf0\udc9f", "\ufffd"),
        ("é", "é"),
    ],
)
def test_a_half_without_the_other_is_replaced(text: str, expected: str) -> None:
    assert mended(text) == expected


@pytest.mark.parametrize("escaped", [True, False], ids=["surrogates", "bytes"])
def test_half_a_character_is_joined_in_text_thoughts_and_arguments(escaped: bool) -> None:
    halves = ("\\ud83d", "\\ude00") if escaped else ("\udcf0\udc9f", "\udc98\udc80")
    face = "\U0001f600"

    def events(*templates: str) -> bytes:
        return b"".join(
            b"data: %b\n\n" % (template % half).encode("utf-8", "surrogateescape")
            for template in templates
            for half in halves
        )

    openai = events(
        '{"choices":[{"delta":{"reasoning_content":"%s"}}]}',
        '{"choices":[{"delta":{"content":"%s"}}]}',
    )
    answer = heard("openai", openai + chunk({}, "stop"))
    assert (answer.thinking, answer.text) == (face, face)
    start = b'data: {"type":"content_block_start","index":%d,"content_block":{"type":"%b"%b}}\n\n'
    anthropic = (
        BEGIN
        + start % (0, b"text", b"")
        + events('{"type":"content_block_delta","delta":{"type":"text_delta","text":"%s"}}')
        + start % (1, b"tool_use", b',"id":"t","name":"f"')
        + events(
            '{"type":"content_block_delta","index":1,"delta":'
            '{"type":"input_json_delta","partial_json":"%s"}}'
        )
    )
    answer = heard("anthropic", anthropic + END)
    assert (answer.text, answer.calls[0].arguments) == (face, face)
    lines = b"".join(
        b'{"message":{"content":"%b"},"done":false}\n' % half.encode("utf-8", "surrogateescape")
        for half in halves
    )
    assert heard("ollama", lines + b'{"done":true}\n').text == face


@pytest.mark.parametrize("caller", NAMES)
def test_a_half_that_stays_alone_can_be_written(caller: str) -> None:
    half = "\ud83d"
    call = {"index": 0, "id": half, "function": {"name": half, "arguments": {half: half}}}
    event = {"model": half, "choices": [{"delta": {"content": half, "tool_calls": [call]}}]}
    pieces = pieces_of("openai", [b"data: %b\n\n" % json.dumps(event).encode() + DONE])
    assert heard(caller, told(caller, pieces)).text == "\ufffd"
    assert orjson.loads(SIDES[caller].write_answer(whole(pieces), TELLING))


# -- anything at all ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
def test_a_reader_takes_any_bytes(name: str, data: st.DataObject) -> None:
    stream = bytearray(stream_of(name))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(stream)))
        junk = data.draw(
            st.binary(max_size=6) | st.sampled_from([b"\n\n", b"\n", b"}", b'"', b"{"])
        )
        stream[at : at + data.draw(st.integers(0, 9))] = junk
    cut = data.draw(st.integers(0, len(stream)))
    pieces = pieces_of(name, [bytes(stream[:cut]), bytes(stream[cut:])])
    assert repr(pieces) == repr(pieces_of(name, [bytes(stream)]))
    ends = [piece for piece in pieces if isinstance(piece, (Ended, Failed))]
    assert ends == pieces[-1:]


def test_fixtures_are_files_of_their_dialect() -> None:
    assert all(Path(file).suffix in (".sse", ".ndjson") for file in SHAPES)
