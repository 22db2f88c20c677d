"""Model lists in Anthropic's dialect."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.dialects.anthropic import models
from gateway.dialects.model_entry import ModelEntry

names = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=5)


@given(names)
def test_a_list_names_each_model_in_order_on_one_page(served: list[str]) -> None:
    page = json.loads(models.listing(map(ModelEntry, served)))
    assert [model["id"] for model in page["data"]] == served
    assert page["has_more"] is False


def test_a_list_without_models_has_no_first_and_no_last() -> None:
    page = json.loads(models.listing([]))
    assert (page["data"], page["first_id"], page["last_id"]) == ([], None, None)


def test_a_model_is_described_as_in_the_list() -> None:
    entry = json.loads(models.entry(ModelEntry("a/b:8b")))
    assert entry["id"] == "a/b:8b"
    assert entry in json.loads(models.listing([ModelEntry("a/b:8b")]))["data"]


@pytest.mark.parametrize(
    ("headers", "expects"),
    [
        ({}, False),
        ({"Anthropic-Version": "2023-06-01"}, True),
        ({"X-Api-Key": "k"}, True),
        ({"X-Api-Key": "k", "Authorization": "Bearer k"}, False),
        ({"Anthropic-Version": "1", "Authorization": "Bearer k"}, True),
    ],
)
def test_headers_show_who_expects_this_format(headers: dict[str, str], expects: bool) -> None:
    assert models.expects(CIMultiDict(headers)) is expects


def test_lengths_of_a_model_are_told_where_they_are_known() -> None:
    entry = json.loads(models.entry(ModelEntry("m", 200_000, 64_000)))
    assert (entry["max_input_tokens"], entry["max_tokens"]) == (200_000, 64_000)
    assert "max_tokens" not in json.loads(models.entry(ModelEntry("m")))
