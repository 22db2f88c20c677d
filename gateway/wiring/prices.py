"""What models cost, out of their `price`."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.config import Config, models
from gateway.limiting.rules import Price


def prices(config: Config) -> Mapping[str, tuple[Price, str]]:
    """The price of each model that has one, with its currency."""
    return {
        name: (_price(model.price), model.price.currency)
        for name, model in config.models.items()
        if model.price is not None
    }


def _price(told: models.Price) -> Price:
    """Tokens whose kind has no price of its own cost what the others cost."""
    return Price(
        told.input,
        told.output,
        told.input if told.cache_read is None else told.cache_read,
        told.input if told.cache_write is None else told.cache_write,
        told.output if told.reasoning is None else told.reasoning,
    )
