"""Prices of models, from their `price` settings."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.config import Config, models
from gateway.limiting.prices import place
from gateway.limiting.rules import Price


def prices(config: Config) -> Mapping[str, tuple[Price, str]]:
    """Return price and currency of each model that has a price, and of its deployments that have
    their own, by `place`. A model without a price costs what its dearest deployment does.
    """
    found: dict[str, tuple[Price, str]] = {}
    for name, model in config.models.items():
        own = {one.upstream: one.price for one in model.deployments if one.price is not None}
        told = model.price or max(
            own.values(), key=lambda price: price.input + price.output, default=None
        )
        if told is not None:
            found[name] = _price(told), told.currency
        for upstream, price in own.items():
            found[place(name, upstream)] = _price(price), price.currency
    return found


def _price(told: models.ModelPrice) -> Price:
    """Fill in missing prices: cached input costs as much as input, and reasoning as output."""
    return Price(
        told.input,
        told.output,
        told.input if told.cache_read is None else told.cache_read,
        told.input if told.cache_write is None else told.cache_write,
        told.output if told.reasoning is None else told.reasoning,
    )
