"""Tools of the demo backend: which one a prompt calls."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.demo.generation import DemoError
from gateway.demo.tools import DemoToolCall, DemoToolChoice, OfferedTool, called, objects, tool_of

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER, CLOCK = OfferedTool("weather", CITY), OfferedTool("clock", {})


def call(
    last: str, choice: DemoToolChoice | None = None, *, answered: bool = False
) -> DemoToolCall | None:
    return called([WEATHER, None, CLOCK], choice or DemoToolChoice(), last, last, answered=answered)


def name(found: DemoToolCall | None) -> str | None:
    return None if found is None else found.name


@pytest.mark.parametrize(
    ("last", "choice", "called"),
    [
        ("what does the clock say", DemoToolChoice(), "clock"),
        ("hello", DemoToolChoice(), None),
        ("hello", DemoToolChoice(must=True), "weather"),
        ("hello", DemoToolChoice(name="clock"), "clock"),
        ("the weather", DemoToolChoice(name="clock"), "clock"),
        ("the weather", DemoToolChoice(may=False), None),
    ],
)
def test_a_tool_is_called_where_it_is_named_or_required(
    last: str, choice: DemoToolChoice, called: str | None
) -> None:
    assert name(call(last, choice)) == called


def test_behind_a_result_there_is_text_unless_a_call_is_required() -> None:
    assert call("the weather is fine", answered=True) is None
    assert name(call("the weather is fine", DemoToolChoice(must=True), answered=True)) == "weather"


def test_arguments_follow_the_schema() -> None:
    found = call("the weather")
    assert found is not None
    assert isinstance(found.arguments["city"], str)
    assert found.tokens


def test_a_required_tool_that_is_not_offered_is_refused() -> None:
    with pytest.raises(DemoError):
        call("hello", DemoToolChoice(name="calendar"))


@pytest.mark.parametrize("key", ["parameters", "input_schema"])
def test_a_tool_is_read_in_each_form(key: str) -> None:
    assert tool_of({"name": "weather", key: CITY}) == WEATHER


@pytest.mark.parametrize("description", [None, "weather", {}, {"name": 1}])
def test_what_has_no_name_is_no_tool(description: Any) -> None:
    assert tool_of(description) is None


@pytest.mark.parametrize("asked", ["x", {"name": "x"}, [1]])
def test_a_list_of_tools_is_a_list_of_objects(asked: Any) -> None:
    assert objects(None) == []
    with pytest.raises(DemoError):
        objects(asked)
