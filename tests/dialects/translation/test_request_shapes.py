"""Requests in the shapes that clients really send: each becomes what the other side accepts."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.dialects.anthropic import requests as anthropic_requests
from gateway.dialects.ollama import embeddings as ollama_embeddings
from gateway.dialects.ollama import requests as ollama_requests
from gateway.dialects.openai import embeddings as openai_embeddings
from gateway.dialects.openai import requests as openai_requests
from gateway.dialects.translation.conversation import Conversation, estimated_tokens
from gateway.dialects.translation.options import EFFORTS, ThinkingWord, TranslationOptions
from gateway.dialects.translation.translation import Translation
from gateway.errors import RequestError
from tests.dialects.translation.wire import NAMES, SIDES

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 9).decode()
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0" + b"\0" * 9).decode()
HI = {"role": "user", "content": "Hi"}
OPTIONS = TranslationOptions()
EPHEMERAL = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


def read(name: str, body: dict[str, Any]) -> Conversation:
    return SIDES[name].read(orjson.loads(orjson.dumps(body)))


def translated(one: str, other: str, body: dict[str, Any], **options: Any) -> dict[str, Any]:
    return SIDES[other].write(read(one, body), TranslationOptions(**options))


def dropped(one: str, other: str, body: dict[str, Any], **options: Any) -> list[str]:
    asked = read(one, body)
    SIDES[other].write(asked, TranslationOptions(**options))
    return asked.dropped


def chat(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [*messages] or [HI], **fields}


def says(*messages: Any, **fields: Any) -> dict[str, Any]:
    """The same to Anthropic."""
    return {**chat(*messages, **fields), "max_tokens": 100}


# -- histories -----------------------------------------------------------------------------------


def history(arguments: Any, call_id: str | None = "c") -> dict[str, Any]:
    call: dict[str, Any] = {"function": {"name": "f", "arguments": arguments}}
    result: dict[str, Any] = {"role": "tool", "content": "7"}
    if call_id is not None:
        call["id"] = result["tool_call_id"] = call_id
    return chat(HI, {"role": "assistant", "content": None, "tool_calls": [call]}, result)


BROKEN = ['{"half', "x", "[1]", "7", "true", '"x"', '"\\"x\\""', [1], 7]


@pytest.mark.parametrize("arguments", BROKEN)
@pytest.mark.parametrize("other", ["anthropic", "ollama", "openai"])
def test_broken_arguments_of_an_earlier_turn_are_empty_and_told(other: str, arguments: Any) -> None:
    body = translated("openai", other, history(arguments))
    call = body["messages"][1]
    given = {
        "openai": lambda: orjson.loads(call["tool_calls"][0]["function"]["arguments"]),
        "ollama": lambda: call["tool_calls"][0]["function"]["arguments"],
        "anthropic": lambda: call["content"][0]["input"],
    }[other]()
    assert given == {}
    assert dropped("openai", other, history(arguments)) == [
        "messages.tool_calls.function.arguments"
    ]


@pytest.mark.parametrize("arguments", [{"a": 1}, '{"a":1}', '"{\\"a\\":1}"'])
@pytest.mark.parametrize("one", NAMES)
def test_arguments_of_an_earlier_turn_are_an_object_or_json_text(one: str, arguments: Any) -> None:
    body = history(arguments)
    if one == "anthropic":
        block = {"type": "tool_use", "id": "c", "name": "f", "input": arguments}
        result = {"type": "tool_result", "tool_use_id": "c", "content": "7"}
        turns = [{"role": "assistant", "content": [block]}, {"role": "user", "content": [result]}]
        body = says(HI, *turns)
    asked = read(one, body)
    assert asked.dropped == []
    assert SIDES["anthropic"].write(asked, OPTIONS)["messages"][1]["content"][0]["input"] == {
        "a": 1
    }


@pytest.mark.parametrize("arguments", [None, "", "null", "{}", {}])
def test_no_arguments_of_an_earlier_turn_are_none(arguments: Any) -> None:
    asked = read("openai", history(arguments))
    assert asked.dropped == []
    written = SIDES["anthropic"].write(asked, OPTIONS)
    assert written["messages"][1]["content"][0]["input"] == {}


@pytest.mark.parametrize("other", ["anthropic", "ollama"])
def test_calls_of_earlier_turns_without_ids_are_joined_with_their_results(other: str) -> None:
    messages = translated("openai", other, history("{}", None))["messages"]
    if other == "anthropic":
        ids = messages[1]["content"][0]["id"], messages[2]["content"][0]["tool_use_id"]
    else:
        ids = messages[1]["tool_calls"][0]["id"], messages[2]["tool_call_id"]
    assert ids == ("call_0", "call_0")


def test_a_result_that_answers_no_call_is_refused_by_its_place() -> None:
    with pytest.raises(RequestError) as caught:
        read("openai", chat(HI, {"role": "tool", "content": "7"}))
    assert caught.value.param == "messages[1].tool_call_id"


def test_a_result_whose_call_was_cut_off_becomes_text_for_anthropic() -> None:
    result = {"role": "tool", "tool_call_id": "gone", "content": "7"}
    content = translated("openai", "anthropic", chat(result, HI))["messages"][0]["content"]
    assert content == [{"type": "text", "text": "7"}, {"type": "text", "text": "Hi"}]
    twice = history("{}")
    twice["messages"].append({"role": "tool", "tool_call_id": "c", "content": "8"})
    content = translated("openai", "anthropic", twice)["messages"][-1]["content"]
    assert [block["type"] for block in content] == ["tool_result", "text"]
    empty = chat({**result, "content": ""})
    assert translated("openai", "anthropic", empty)["messages"][0]["content"]


@pytest.mark.parametrize(("told", "sent"), [(-1, 4096), (0, 4096), (10.0, 10)])
def test_a_maximum_is_what_anthropic_takes(told: float, sent: int) -> None:
    assert translated("openai", "anthropic", chat(max_tokens=told))["max_tokens"] == sent


def test_half_a_character_in_a_large_body_is_translated() -> None:
    body = rb'{"model":"m","messages":[{"role":"user","content":"cut\ud83d"}]}'
    translation = Translation("openai", "anthropic", TranslationOptions())
    asked = translation.ask_body("/v1/chat/completions", body)
    assert orjson.loads(asked.body)["messages"][0]["content"] == "cut\ufffd"


def test_legacy_function_calls_of_earlier_turns_are_calls() -> None:
    body = chat(
        HI,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "7"},
    )
    messages = translated("openai", "anthropic", body)["messages"]
    assert messages[1]["content"] == [
        {"type": "tool_use", "id": "call_0", "name": "f", "input": {}}
    ]
    assert messages[2]["content"][0]["tool_use_id"] == "call_0"


def test_a_call_that_was_interrupted_gets_a_result_that_says_so() -> None:
    call = {"function": {"name": "f", "arguments": "{}"}}
    body = chat(
        HI,
        {"role": "assistant", "tool_calls": [{"id": "a", **call}, {"id": "b", **call}]},
        {"role": "user", "content": "Stop."},
        {"role": "tool", "tool_call_id": "b", "content": "7"},
    )
    (_, _, turn) = translated("openai", "anthropic", body)["messages"]
    assert [(block["type"], block.get("tool_use_id")) for block in turn["content"]] == [
        ("tool_result", "b"),
        ("tool_result", "a"),
        ("text", None),
    ]
    assert turn["content"][1]["is_error"] is True


@pytest.mark.parametrize("kind", ["function", "FUNCTION", "", None])
def test_the_type_of_a_call_in_any_case_is_a_function(kind: str | None) -> None:
    body = history("{}")
    body["messages"][1]["tool_calls"][0]["type"] = kind
    assert translated("openai", "anthropic", body) == translated(
        "openai", "anthropic", history("{}")
    )


def test_a_name_that_a_model_made_up_is_fitted_to_what_anthropic_takes() -> None:
    body = history("{}")
    body["messages"][1]["tool_calls"][0]["function"]["name"] = "functions.get weather:1"
    block = translated("openai", "anthropic", body)["messages"][1]["content"][0]
    assert block["name"] == "functions_get_weather_1"


def test_what_clients_give_back_of_answers_is_no_reason_to_refuse() -> None:
    message = {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
            {"type": "text", "text": "Yes."},
        ],
        "refusal": None,
        "audio": None,
        "function_call": None,
        "tool_calls": None,
        "annotations": [{"type": "url_citation"}],
        "reasoning_details": [{"type": "reasoning.text", "text": "Hm."}],
        "provider_specific_fields": {"x": 1},
    }
    body = translated("openai", "ollama", chat(HI, message, HI))
    assert body["messages"][1] == {"role": "assistant", "content": "Yes.", "thinking": "Hm."}


# -- parts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("blank", ["", " ", "\n\t", None])
def test_blank_text_is_not_shown_to_anthropic(blank: str | None) -> None:
    part = {"type": "text", "text": blank}
    body = chat(
        {"role": "system", "content": [part]},
        {"role": "user", "content": [part, {"type": "text", "text": "Hi"}, part]},
        {"role": "assistant", "content": blank},
        {"role": "user", "content": "So?"},
    )
    written = translated("openai", "anthropic", body)
    assert "system" not in written
    text = [{"type": "text", "text": "Hi"}, {"type": "text", "text": "So?"}]
    assert written["messages"] == [{"role": "user", "content": text}]


@pytest.mark.parametrize("blank", ["", " ", [{"type": "text", "text": ""}]])
def test_a_blank_result_of_a_tool_is_one_without_content(blank: Any) -> None:
    body = history("{}")
    body["messages"][2]["content"] = blank
    block = translated("openai", "anthropic", body)["messages"][2]["content"][0]
    assert block == {"type": "tool_result", "tool_use_id": "c"}


def test_a_blank_stop_sequence_is_dropped_and_told() -> None:
    body = chat(stop=["END", "\n\n"])
    assert translated("openai", "anthropic", body)["stop_sequences"] == ["END"]
    assert dropped("openai", "anthropic", body) == ["stop"]
    assert "stop_sequences" not in translated("openai", "anthropic", chat(stop="\n"))
    assert translated("openai", "ollama", body)["options"]["stop"] == ["END", "\n\n"]


@pytest.mark.parametrize(
    ("url", "kind", "data"),
    [
        (f"data:image/png;base64,{PNG}", "image/png", PNG),
        (f"data:image/jpg;base64,{JPEG}", "image/jpeg", JPEG),
        (f"data:IMAGE/JPG;BASE64,{JPEG}", "image/jpeg", JPEG),
        (f"data:image/png;charset=utf-8;base64,{PNG}", "image/png", PNG),
        (f"data:image/png;name=a.png;x=y;base64,{PNG}", "image/png", PNG),
        (f"data:;base64,{PNG}", "image/png", PNG),
        (f"data:application/octet-stream;base64,{JPEG}", "image/jpeg", JPEG),
        (f"DATA:image/png;base64,{PNG.replace('=', '%3D')}", "image/png", PNG),
    ],
)
def test_pictures_in_data_urls_of_every_form_are_taken(url: str, kind: str, data: str) -> None:
    for given in (url, {"url": url}, {"url": url, "detail": "auto"}):
        part = {"type": "image_url", "image_url": given}
        body = translated("openai", "anthropic", chat({"role": "user", "content": [part]}))
        source = {"type": "base64", "media_type": kind, "data": data}
        assert body["messages"][0]["content"] == [{"type": "image", "source": source}]


@pytest.mark.parametrize(
    "url",
    [
        "data:",
        "data:image/png",
        "data:image/svg+xml,<svg/>",
        "data:;base64,AAAA",
        "data:;base64,%%",
    ],
)
def test_a_data_url_without_a_picture_in_base64_is_refused_by_its_place(url: str) -> None:
    part = {"type": "image_url", "image_url": {"url": url}}
    with pytest.raises(RequestError) as caught:
        read("openai", chat({"role": "user", "content": [part]}))
    assert caught.value.param == "messages[0].content[0].image_url"


def test_a_media_type_that_is_none_is_put_right_from_anthropic_too() -> None:
    source = {"type": "base64", "media_type": "image/jpg", "data": JPEG}
    body = says({"role": "user", "content": [{"type": "image", "source": source}]})
    part = translated("anthropic", "openai", body)["messages"][0]["content"][0]
    assert part["image_url"]["url"] == f"data:image/jpeg;base64,{JPEG}"


# -- tools ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (None, {"type": "object", "properties": {}}),
        ({}, {"type": "object", "properties": {}}),
        ({"type": "object"}, {"type": "object", "properties": {}}),
        ({"type": "object", "properties": None}, {"type": "object", "properties": {}}),
        ({"properties": {"a": {}}}, {"type": "object", "properties": {"a": {}}}),
        ({"type": "object", "properties": {"a": {}}}, {"type": "object", "properties": {"a": {}}}),
        ({"$ref": "#/x"}, {"type": "object", "properties": {}, "$ref": "#/x"}),
    ],
)
def test_a_schema_without_type_or_properties_gets_them(
    schema: Any, expected: dict[str, Any]
) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    body = chat(tools=[tool])
    assert translated("openai", "anthropic", body)["tools"][0]["input_schema"] == expected
    assert translated("openai", "ollama", body)["tools"][0]["function"]["parameters"] == expected
    asked = says(tools=[{"name": "f", "input_schema": schema}])
    function = translated("anthropic", "openai", asked)["tools"][0]["function"]
    assert function["parameters"] == expected


# -- single fields -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "known", "told"),
    [
        ("minimal", (), "low"),
        ("xhigh", (), "high"),
        ("max", (), "high"),
        ("medium", (), "medium"),
        ("max", EFFORTS, "max"),
        ("medium", ("low", "high"), "low"),
        ("none", (), "none"),
        ("none", ("low", "high"), None),
        ("turbo", (), "turbo"),
    ],
)
def test_an_effort_that_the_backend_does_not_know_becomes_the_nearest(
    asked: str, known: tuple[str, ...], told: str | None
) -> None:
    body = chat(reasoning_effort=asked)
    written = translated("openai", "openai", body, efforts=known)
    assert written.get("reasoning_effort") == told
    assert dropped("openai", "openai", body, efforts=known) == ([] if told else ["thinking"])


def test_an_effort_for_anthropic_may_be_limited_too() -> None:
    body = chat(reasoning_effort="xhigh")
    assert translated("openai", "anthropic", body)["output_config"] == {"effort": "xhigh"}
    known = ("low", "medium", "high", "max")
    written = translated("openai", "anthropic", body, efforts=known)
    assert written["output_config"] == {"effort": "high"}


@pytest.mark.parametrize(
    ("one", "other", "longest"), [("anthropic", "openai", 64), ("openai", "anthropic", 256)]
)
def test_a_user_that_is_too_long_is_hashed(one: str, other: str, longest: int) -> None:
    for length in (1, longest, longest + 1, 1000):
        user = "u" * length
        body = says(metadata={"user_id": user}) if one == "anthropic" else chat(user=user)
        written = translated(one, other, body)
        told = written["user"] if other == "openai" else written["metadata"]["user_id"]
        hashed = hashlib.sha256(user.encode()).hexdigest()
        assert told == (user if length <= longest else hashed)
        assert len(told) <= longest


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_the_maximum_stands_where_the_backend_looks_for_it(field: str) -> None:
    other = {"max_tokens": "max_completion_tokens"}.get(field, "max_tokens")
    written = translated("anthropic", "openai", says(), max_tokens_field=field)
    assert (written[field], other in written) == (100, False)
    refused = frozenset({field})
    written = translated("anthropic", "openai", says(), max_tokens_field=field, refused=refused)
    assert (written[other], field in written) == (100, False)


def test_usage_of_a_stream_is_asked_for_where_the_backend_takes_that() -> None:
    body = says(stream=True)
    assert translated("anthropic", "openai", body)["stream_options"] == {"include_usage": True}
    refused = frozenset({"stream_options"})
    assert "stream_options" not in translated("anthropic", "openai", body, refused=refused)


# -- for Claude, from callers of OpenAI's dialect ------------------------------------------------


def test_cache_control_is_carried_from_everywhere() -> None:
    body = chat(
        {"role": "system", "content": "Be brief.", "cache_control": HOUR},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "a", "cache_control": EPHEMERAL},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            ],
        },
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c", "cache_control": EPHEMERAL},
        tools=[{"type": "function", "function": {"name": "f"}, "cache_control": EPHEMERAL}],
    )
    asked = read("openai", body)
    written = SIDES["anthropic"].write(asked, OPTIONS)
    assert asked.dropped == []
    assert written["system"] == [{"type": "text", "text": "Be brief.", "cache_control": HOUR}]
    first, second, third = written["messages"]
    assert first["content"][0] == {"type": "text", "text": "a", "cache_control": EPHEMERAL}
    assert "cache_control" not in first["content"][1]
    assert second["content"] == "b"
    assert third["content"] == [{"type": "text", "text": "c", "cache_control": EPHEMERAL}]
    assert written["tools"][0]["cache_control"] == EPHEMERAL
    assert "cache_control" not in orjson.dumps(SIDES["ollama"].write(asked, OPTIONS)).decode()
    assert asked.dropped == ["cache_control"]


def test_cache_control_of_a_message_is_that_of_its_last_part() -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": "{}"}}
    body = chat(
        {"role": "assistant", "content": "a", "tool_calls": [call], "cache_control": EPHEMERAL},
        {"role": "tool", "tool_call_id": "c", "content": "7", "cache_control": HOUR},
    )
    said, result = translated("openai", "anthropic", body)["messages"]
    assert ["cache_control" in block for block in said["content"]] == [False, True]
    assert result["content"][0]["cache_control"] == HOUR


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ({"role": "user", "content": "", "cache_control": EPHEMERAL}, "messages.cache_control"),
        ({"role": "user", "content": " ", "cache_control": EPHEMERAL}, "cache_control"),
        (
            {"role": "user", "content": [{"type": "text", "text": "", "cache_control": HOUR}]},
            "messages.content.cache_control",
        ),
    ],
)
def test_cache_control_of_nothing_is_dropped_and_told(message: dict[str, Any], told: str) -> None:
    assert dropped("openai", "anthropic", chat(HI, message)) == [told]


def test_cache_control_of_the_request_is_carried() -> None:
    body = chat(cache_control=EPHEMERAL)
    assert translated("openai", "anthropic", body)["cache_control"] == EPHEMERAL
    assert dropped("openai", "ollama", body) == ["cache_control"]


def test_of_too_many_cache_controls_the_last_four_are_carried() -> None:
    messages = [{"role": "user", "content": str(n), "cache_control": EPHEMERAL} for n in range(6)]
    system = {"role": "system", "content": "s", "cache_control": EPHEMERAL}
    written = translated("openai", "anthropic", chat(system, *messages))
    (turn,) = written["messages"]
    kept = [block["text"] for block in turn["content"] if "cache_control" in block]
    assert kept == ["2", "3", "4", "5"]
    assert "cache_control" not in written["system"][0]
    assert dropped("openai", "anthropic", chat(system, *messages)) == ["cache_control"]
    written = translated("openai", "anthropic", chat(*messages, cache_control=EPHEMERAL))
    assert sum("cache_control" in block for block in written["messages"][0]["content"]) == 3


THINKING = {"type": "enabled", "budget_tokens": 5000}


@pytest.mark.parametrize("word", list(ThinkingWord))
def test_thinking_in_anthropics_words_is_carried_as_it_is(word: ThinkingWord) -> None:
    body = chat(thinking=THINKING, max_tokens=8000)
    assert translated("openai", "anthropic", body, thinking=word)["thinking"] == THINKING


def test_a_turn_that_answers_a_call_goes_on_without_thinking_that_is_not_signed() -> None:
    body = {**history("{}"), "max_tokens": 8000}
    assert "thinking" not in translated("openai", "anthropic", {**body, "thinking": THINKING})
    assert dropped("openai", "anthropic", {**body, "thinking": THINKING}) == ["thinking"]
    adaptive = {"type": "adaptive"}
    written = translated("openai", "anthropic", {**body, "thinking": adaptive})
    assert written["thinking"] == adaptive


@pytest.mark.parametrize(("most", "told"), [(None, 9096), (5001, 5001)])
def test_the_maximum_is_more_than_the_thinking_in_it(most: int | None, told: int) -> None:
    body = chat(thinking=THINKING, max_tokens=most)
    assert translated("openai", "anthropic", body)["max_tokens"] == told


@pytest.mark.parametrize(
    ("fields", "thinking", "effort", "ollama"),
    [
        ({"reasoning": {"effort": "high"}}, "adaptive", "high", True),
        ({"reasoning": {"effort": "none"}}, "disabled", None, False),
        ({"reasoning": {"max_tokens": 8192}}, "adaptive", "medium", True),
        ({"reasoning": {"enabled": True}}, "adaptive", None, True),
        ({"reasoning": {"enabled": False}}, "disabled", None, False),
        ({"reasoning": {"exclude": True}}, None, None, None),
        ({"include_reasoning": True}, None, None, None),
        ({"enable_thinking": False}, "disabled", None, False),
        ({"chat_template_kwargs": {"enable_thinking": True}}, "adaptive", None, True),
        ({"chat_template_kwargs": {"thinking": False}}, "disabled", None, False),
        ({"thinking": {"type": "disabled"}}, "disabled", None, False),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "enabled", None, True),
    ],
)
def test_thinking_is_asked_for_in_any_words(
    fields: dict[str, Any], thinking: str | None, effort: str | None, ollama: bool | None
) -> None:
    written = translated("openai", "anthropic", chat(**fields))
    assert written.get("thinking", {}).get("type") == thinking
    assert written.get("output_config", {}).get("effort") == effort
    assert translated("openai", "ollama", chat(**fields)).get("think") is ollama


def test_a_budget_in_tokens_is_carried_where_there_is_one() -> None:
    body = chat(reasoning={"max_tokens": 3000}, max_tokens=9000)
    written = translated("openai", "anthropic", body, thinking=ThinkingWord.BUDGET)
    assert written["thinking"] == {"type": "enabled", "budget_tokens": 3000}


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({}, True),
        ({"include_reasoning": True}, True),
        ({"include_reasoning": False}, False),
        ({"reasoning": {"exclude": True}}, False),
        ({"reasoning": {"exclude": False}}, True),
    ],
)
def test_who_does_not_want_to_see_the_thinking_is_not_shown_it(
    fields: dict[str, Any], shown: bool
) -> None:
    assert read("openai", chat(**fields)).include_thinking is shown


# -- what is dropped is told ---------------------------------------------------------------------

DOCS = (Path(__file__).parents[3] / "docs/dialects.md").read_text()
TABLES = {
    "OpenAI": (
        openai_requests,
        (
            "DROPPED",
            "DROPPED_OF_MESSAGES",
            "DROPPED_OF_CALLS",
            "DROPPED_OF_PARTS",
            "DROPPED_OF_IMAGES",
            "DROPPED_OF_REASONING",
        ),
    ),
    "Anthropic": (
        anthropic_requests,
        ("DROPPED", "DROPPED_OF_BLOCKS", "DROPPED_OF_TOOLS", "DROPPED_OF_THINKING"),
    ),
    "Ollama": (ollama_requests, ("DROPPED", "DROPPED_OF_OPTIONS")),
}


@pytest.mark.parametrize("dialect", TABLES)
def test_the_page_lists_every_field_that_is_dropped_and_no_other(dialect: str) -> None:
    module, names = TABLES[dialect]
    fields = {field for name in names for field in getattr(module, name)}
    if dialect == "Ollama":
        fields |= set(ollama_embeddings.DROPPED)
    if dialect == "OpenAI":
        fields |= set(openai_embeddings.DROPPED)
    section = DOCS.partition("## Dropped fields")[2].partition("\n## ")[0]
    (item,) = re.findall(rf"^- {dialect}: (.*?)(?=^- |^$)", section, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`([a-z0-9_]+)`", item)) == fields


def test_no_table_of_dropped_fields_is_forgotten() -> None:
    for module, names in TABLES.values():
        assert {name for name in vars(module) if name.startswith("DROPPED")} == set(names)


def test_fields_that_are_dropped_are_told_by_name_and_once() -> None:
    message = {"role": "user", "content": "Hi", "name": "ann"}
    body = chat(message, message, metadata={"a": "b"}, store=False, verbosity="low")
    assert dropped("openai", "anthropic", body) == ["messages.name", "metadata", "verbosity"]
    block = {"type": "text", "text": "Hi", "cache_control": EPHEMERAL}
    asked = says({"role": "user", "content": [block, block]}, service_tier="auto")
    assert dropped("anthropic", "openai", asked) == [
        "messages.content.cache_control",
        "service_tier",
    ]
    assert dropped("ollama", "openai", chat(options={"num_ctx": 9})) == ["options.num_ctx"]


# -- a guess at tokens ---------------------------------------------------------------------------


def test_the_tokens_of_a_request_are_guessed_by_its_text_and_its_pictures() -> None:
    small = estimated_tokens(read("openai", chat({"role": "user", "content": "x" * 400})))
    assert small == 100
    url = f"data:image/png;base64,{PNG + 'A' * 100_000}"
    picture = {"type": "image_url", "image_url": {"url": url}}
    seen = estimated_tokens(read("openai", chat({"role": "user", "content": [picture]})))
    assert 100 < seen < 5000
    tool = {"type": "function", "function": {"name": "f", "description": "d" * 400}}
    assert estimated_tokens(read("openai", chat(tools=[tool]))) >= 100
    assert estimated_tokens(read("openai", history('{"a":"%s"}' % ("x" * 400)))) > 100
