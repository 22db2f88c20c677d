"""Model lists in OpenAI's dialect."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.model_entry import ModelEntry
from gateway.dialects.openai import models

names = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=5)


@given(names)
def test_a_list_names_each_model_in_order(served: list[str]) -> None:
    assert [
        model["id"] for model in json.loads(models.listing(map(ModelEntry, served)))["data"]
    ] == served


def test_a_model_is_described_as_in_the_list() -> None:
    entry = json.loads(models.entry(ModelEntry("a/b:8b")))
    assert entry["id"] == "a/b:8b"
    assert entry in json.loads(models.listing([ModelEntry("a/b:8b")]))["data"]


def test_what_is_known_of_a_model_is_told_and_nothing_else() -> None:
    assert set(json.loads(models.entry(ModelEntry("m")))) == {"id", "object", "created", "owned_by"}
    known = ModelEntry("m", 8192, 2048, ("text", "image"), ("text",), {"prompt": "0.001"}, "up")
    entry = json.loads(models.entry(known))
    assert entry["context_length"] == 8192
    assert entry["max_completion_tokens"] == 2048
    assert entry["architecture"] == {
        "input_modalities": ["text", "image"],
        "output_modalities": ["text"],
    }
    assert entry["pricing"] == {"prompt": "0.001"}
    assert entry["health"] == "up"
