"""Model lists in Ollama's dialect, and the models that its requests name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.model_entry import ModelEntry
from gateway.dialects.ollama import models

names = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=5)


@given(names)
def test_both_lists_name_each_model_in_order(served: list[str]) -> None:
    for listing in (models.tags, models.ps):
        assert [
            model["model"] for model in json.loads(listing(map(ModelEntry, served)))["models"]
        ] == served


def test_the_version_is_new_enough_for_clients_that_ask() -> None:
    version = json.loads(models.version([]))["version"]
    assert tuple(map(int, version.split("."))) >= (0, 6, 4)


@pytest.mark.parametrize(
    ("path", "document", "named"),
    [
        ("/api/show", {"name": "m"}, ["m"]),
        ("/any/api/copy", {"source": "m", "destination": "n"}, ["m", "n"]),
        ("/api/create", {"from": "m", "name": 5}, ["m"]),
        ("/api/chat", {"name": "m"}, []),
    ],
)
def test_models_are_named_by_other_fields_where_they_are_managed(
    path: str, document: dict[str, Any], named: list[str]
) -> None:
    assert models.named_models(path, document) == named


def test_context_length_and_vision_are_told_where_they_are_known() -> None:
    shown = json.loads(models.show(ModelEntry("m", 8192, input_modalities=("text", "image"))))
    info = shown["model_info"]
    assert info[f"{info['general.architecture']}.context_length"] == 8192
    assert "vision" in shown["capabilities"]
    assert "vision" not in json.loads(models.show(ModelEntry("m")))["capabilities"]
