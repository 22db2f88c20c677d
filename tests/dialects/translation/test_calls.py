"""Tool calls in answers, in every form in which backends send them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from gateway.dialects.translation.pieces import (
    Skip,
    Stop,
    whole,
)
from tests.dialects.translation.events import BEGIN, DONE, END, call_chunk, said, skips
from tests.dialects.translation.wire import (
    FIXTURES,
    NAMES,
    PARIS,
    SIDES,
    heard,
    pieces_of,
    told,
)
from tests.support.growth import LINEAR_AT_MOST, growth


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
    def work(count: int) -> Callable[[], object]:
        text = "x" * 1000 + "}"
        parts = [call_chunk(index=0, function={"name": "f", "arguments": text})] * count
        return lambda: pieces_of("openai", parts)

    assert growth(work, 1000) < LINEAR_AT_MOST


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
