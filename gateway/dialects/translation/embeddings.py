"""Dialect-neutral embeddings request and response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """Texts to embed. It can be pickled."""

    model: str
    texts: str | list[str]
    dimensions: int | None = None
    """Length of the vectors; None for the model's own."""
    coded: bool = False
    """True if the caller wants the vectors in base64."""
    dropped: Sequence[str] = ()
    """Names of request fields that are not passed on."""


@dataclass(frozen=True, slots=True)
class Vectors:
    """Embeddings of the texts, in their order."""

    model: str
    vectors: list[Any]
    tokens: int
    """Input tokens."""


def are_texts(value: object) -> bool:
    """True for a text, or a list of at least one text."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(one, str) for one in value)
    return isinstance(value, str)
