"""YAML on one line is read as the value it was made from."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.yaml_text import flow, quoted

PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | PRINTABLE,
        lambda inner: st.lists(inner) | st.dictionaries(PRINTABLE, inner),
        max_leaves=8,
    )
)
def test_a_value_is_read_back(value: Any) -> None:
    assert yaml.safe_load(flow(value)) == value


@pytest.mark.parametrize("text", ["no", "null", "1e5", "10:30", "", "a: b", "#x", "{", "\u00e4"])
def test_a_text_stays_a_text(text: str) -> None:
    assert yaml.safe_load(quoted(text)) == text


def test_plain_words_need_no_quotes() -> None:
    assert flow({"key": "model", "list": ["gpt-4.1", 2]}) == "{key: model, list: [gpt-4.1, 2]}"
