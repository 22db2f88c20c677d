"""Construction of the entries of a route's models, for lists of models."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from gateway.config import Config, models
from gateway.dialects.model_entry import ModelEntry

_PRICED_TOKENS = 1_000_000
"""Tokens that prices in the configuration are for."""


def model_entries(config: Config, route: models.Route) -> Mapping[str, ModelEntry]:
    """Return the models of a route, by name."""
    return {name: _entry(name, config.models[name], route) for name in route.models}


def _entry(name: str, model: models.Model, route: models.Route) -> ModelEntry:
    return ModelEntry(
        name,
        model.context_window,
        model.max_output_tokens,
        model.input_modalities or (),
        model.output_modalities or (),
        _pricing(model.price) if route.list_prices and model.price is not None else {},
    )


def _pricing(price: models.ModelPrice) -> Mapping[str, str]:
    """Return the prices of one token, by OpenRouter's names."""
    told = {
        "prompt": price.input,
        "completion": price.output,
        "input_cache_read": price.cache_read,
        "input_cache_write": price.cache_write,
        "internal_reasoning": price.reasoning,
    }
    pricing = {name: _of_a_token(one) for name, one in told.items() if one is not None}
    return {**pricing, "currency": price.currency}


def _of_a_token(price: float) -> str:
    """Return the price of a token as a decimal number, since a float would be rounded."""
    return f"{(Decimal(str(price)) / _PRICED_TOKENS).normalize():f}"
