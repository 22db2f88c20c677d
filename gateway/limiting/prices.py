"""Prices of models, and of their deployments where they have their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def place(model: str, upstream: str) -> str:
    """Return the key of the price that a model has at one upstream. It is no model's name."""
    return f"{model}\n{upstream}"


def price_at(prices: Mapping[str, T], model: str, upstream: str | None) -> T | None:
    """Return the price of a model at the upstream that serves it, else that of the model; None if
    it has none.
    """
    if upstream is not None:
        own = prices.get(place(model, upstream))
        if own is not None:
            return own
    return prices.get(model)
