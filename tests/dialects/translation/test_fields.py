"""Fields of a request: each is read once, of its type, or told by its place."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.dialects.translation.fields import Fields
from gateway.errors import NotTranslatable, RequestError


@pytest.mark.parametrize(
    ("method", "value", "read"),
    [
        ("text", "x", "x"),
        ("flag", False, False),
        ("whole", 3, 3),
        ("whole", 3.0, 3),
        ("number", 0.5, 0.5),
        ("items", [1], [1]),
        ("texts", "x", ["x"]),
        ("texts", ["x", "y"], ["x", "y"]),
        ("document", {"b": 1}, {"b": 1}),
        ("text", None, None),
        ("items", None, []),
        ("texts", None, []),
    ],
)
def test_a_field_is_read_and_gone(method: str, value: Any, read: Any) -> None:
    fields = Fields({"a": value})
    assert getattr(fields, method)("a") == read
    assert not fields
    fields.end()


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("text", 1),
        ("needed", None),
        ("flag", 1),
        ("whole", 1.5),
        ("whole", True),
        ("number", "1"),
        ("number", True),
        ("items", "x"),
        ("texts", [1]),
        ("document", []),
    ],
)
def test_a_field_of_another_type_is_told_by_its_place(method: str, value: Any) -> None:
    outer = Fields({"outer": {"a": value}}).object("outer")
    assert outer is not None
    with pytest.raises(RequestError, match=r"'outer\.a' has to be"):
        getattr(outer, method)("a")


def test_an_item_that_is_no_object_is_told_by_its_number() -> None:
    with pytest.raises(RequestError, match=r"'a\[1\]' has to be an object"):
        list(Fields({"a": [{}, 1]}).objects("a"))


def test_an_unread_field_is_an_error_unless_it_asks_for_nothing() -> None:
    Fields({"a": False, "b": "", "c": [], "d": {}, "e": None}).end()
    for value in (0, True, "x", [0]):
        with pytest.raises(NotTranslatable):
            Fields({"a": value}).end()


def test_a_name_that_is_not_plain_is_not_repeated() -> None:
    with pytest.raises(NotTranslatable) as caught:
        Fields({"canary\n": 1}).end()
    assert "canary" not in caught.value.message


def test_dropped_fields_are_told_once_and_without_their_numbers() -> None:
    fields = Fields({"a": [{"b": 1}, {"b": 2}], "c": False})
    for one in fields.objects("a"):
        one.drop("b")
    fields.drop("c", "not-there")
    assert fields.dropped == ["a.b"]
