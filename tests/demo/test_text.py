"""Text of the demo backend: it depends on the prompt only."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.demo.text import count_tokens, embedding, tokens_of

prompts = st.text(st.characters(exclude_categories=()))


@given(prompts)
def test_a_prompt_has_one_answer_whose_tokens_make_a_sentence(prompt: str) -> None:
    tokens = tokens_of(prompt)
    assert tokens == tokens_of(prompt)
    assert "".join(tokens).split() == [token.strip() for token in tokens]


@pytest.mark.parametrize(("text", "count"), [("", 1), ("one", 1), ("one two\nthree", 3)])
def test_a_token_is_a_word(text: str, count: int) -> None:
    assert count_tokens(text) == count


@given(prompts, st.integers(1, 100))
def test_an_embedding_is_a_unit_vector_of_the_text(text: str, dimensions: int) -> None:
    vector = embedding(text, dimensions)
    assert len(vector) == dimensions
    assert math.hypot(*vector) == pytest.approx(1.0)
    assert vector == embedding(text, dimensions)
