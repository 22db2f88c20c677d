"""Prices of models, from their `price` settings."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.config import Config, models
from gateway.limiting.rules import Price


def prices(config: Config) -> Mapping[str, tuple[Price, str]]:
    """Return price and currency of each model that has a price."""
    return {
        name: (_price(model.price), model.price.currency)
        for name, model in config.models.items()
        if model.price is not None
    }


def _price(told: models.ModelPrice) -> Price:
    """Fill in missing prices: cached input costs as much as input, and reasoning as output."""
    return Price(
        told.input,
        told.output,
        told.input if told.cache_read is None else told.cache_read,
        told.input if told.cache_write is None else told.cache_write,
        told.output if told.reasoning is None else told.reasoning,
    )
