"""Model lists in OpenAI's dialect."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.openai import models

names = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=5)


@given(names)
def test_a_list_names_each_model_in_order(served: list[str]) -> None:
    assert [model["id"] for model in json.loads(models.listing(served))["data"]] == served


def test_a_model_is_described_as_in_the_list() -> None:
    entry = json.loads(models.entry("a/b:8b"))
    assert entry["id"] == "a/b:8b"
    assert entry in json.loads(models.listing(["a/b:8b"]))["data"]
