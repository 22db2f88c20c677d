"""Lists of models, in each dialect's shape."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.model_lists import ANTHROPIC, OLLAMA, OPENAI, ModelShape

names = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=5)


@given(names)
def test_lists_of_models_name_each_in_order(models: list[str]) -> None:
    openai = json.loads(OPENAI.list(models))
    anthropic = json.loads(ANTHROPIC.list(models))
    assert [model["id"] for model in openai["data"]] == models
    assert [model["id"] for model in anthropic["data"]] == models
    assert anthropic["has_more"] is False
    for path in ("tags", "ps"):
        ollama = json.loads(OLLAMA[path](models))
        assert [model["model"] for model in ollama["models"]] == models


def test_a_list_without_models_is_an_empty_list() -> None:
    assert json.loads(OPENAI.list([]))["data"] == []
    assert json.loads(OLLAMA["tags"]([]))["models"] == []
    anthropic = json.loads(ANTHROPIC.list([]))
    assert (anthropic["data"], anthropic["first_id"], anthropic["last_id"]) == ([], None, None)


@pytest.mark.parametrize("shape", [OPENAI, ANTHROPIC], ids=["openai", "anthropic"])
def test_a_model_is_described_as_in_the_list(shape: ModelShape) -> None:
    entry = json.loads(shape.entry("a/b:8b"))
    assert entry["id"] == "a/b:8b"
    assert entry in json.loads(shape.list(["a/b:8b"]))["data"]


def test_ollamas_version_is_new_enough_for_clients_that_ask() -> None:
    version = json.loads(OLLAMA["version"]([]))["version"]
    assert tuple(map(int, version.split("."))) >= (0, 6, 4)
