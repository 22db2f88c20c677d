"""Texts to embed."""

from __future__ import annotations

import pytest

from gateway.dialects.translation.embeddings import are_texts


@pytest.mark.parametrize("texts", ["", "one", ["one"], ["one", ""]])
def test_a_text_or_some_texts_can_be_embedded(texts: object) -> None:
    assert are_texts(texts)


@pytest.mark.parametrize("other", [None, [], [1], ["one", 1], {"a": "b"}, 1])
def test_anything_else_cannot(other: object) -> None:
    assert not are_texts(other)
