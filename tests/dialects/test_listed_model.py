"""Lists of models, as backends of each dialect write them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects import DIALECTS
from gateway.dialects.listed_model import LONGEST_NAME, BadModelList, ListedModel, is_usable
from tests.support.listing_backend import anthropic_list, ollama_tags, openai_list, vllm_list

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["id", "name", "model", "parent", "meta", "max_model_len", "data"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


def read(dialect: str, document: object) -> list[ListedModel]:
    reader = DIALECTS[dialect].models.read
    assert reader is not None
    return list(reader(document))


def test_adapters_of_vllm_have_the_window_of_their_parent() -> None:
    listed = vllm_list("base", window=4096, adapters={"lora": "base", "orphan": "gone"})

    assert read("openai", listed) == [
        ListedModel("base", 4096),
        ListedModel("lora", 4096, parent="base"),
        ListedModel("orphan", parent="gone"),
    ]


def test_an_adapter_that_is_its_own_parent_has_no_window() -> None:
    assert read("openai", vllm_list(adapters={"a": "a"})) == [ListedModel("a", parent="a")]


def test_windows_of_llama_cpp_and_openrouter_are_read() -> None:
    document = {
        "data": [
            {"id": "llama", "meta": {"n_ctx_train": 131072}},
            {
                "id": "org/m",
                "context_length": 8000,
                "top_provider": {"max_completion_tokens": 500},
            },
            {"id": "odd", "context_length": -1, "max_model_len": True, "meta": []},
        ]
    }

    assert read("openai", document) == [
        ListedModel("llama", 131072),
        ListedModel("org/m", 8000, 500),
        ListedModel("odd"),
    ]


def test_lists_of_openai_anthropic_and_ollama_are_read() -> None:
    assert read("openai", openai_list("a", "b", "a")) == [ListedModel("a"), ListedModel("b")]
    assert read("anthropic", anthropic_list("c")) == [ListedModel("c", 200_000, 64_000)]
    assert read("ollama", ollama_tags("q:latest", "q:8b")) == [
        ListedModel("q"),
        ListedModel("q:8b"),
    ]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("document", [None, 1, "x", [], {}, {"data": {}, "models": {}}])
def test_what_is_no_list_is_refused(dialect: str, document: object) -> None:
    with pytest.raises(BadModelList):
        read(dialect, document)


@given(st.text(max_size=LONGEST_NAME + 1))
def test_a_usable_name_is_printable_short_and_has_no_special_character(name: str) -> None:
    special = set(name) & set("*<>\"'\\&$`{}|^?#%")
    good = name.isprintable() and name == name.strip() and not special
    assert is_usable(name) == (good and 1 <= len(name) <= LONGEST_NAME)


@pytest.mark.parametrize("dialect", DIALECTS)
@given(entries=st.lists(JSON, max_size=5))
def test_whatever_a_list_holds_each_name_comes_out_once(
    dialect: str, entries: list[object]
) -> None:
    with contextlib.suppress(BadModelList):
        names = [model.name for model in read(dialect, {"data": entries, "models": entries})]
        assert all(isinstance(name, str) for name in names)
        assert len(names) == len(set(names))
