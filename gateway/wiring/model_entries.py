"""Construction of the entries of a route's models, for lists of models."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from gateway.config import Config, models
from gateway.config.served_names import served_models
from gateway.dialects.listed_model import ListedModel
from gateway.dialects.model_entry import ModelEntry

_PRICED_TOKENS = 1_000_000
"""Tokens that prices in the configuration are for."""


def model_entries(
    config: Config, route: models.Route, discovered: Mapping[str, ListedModel]
) -> Mapping[str, ModelEntry]:
    """Return the models of a route, by name. `discovered` is what backends tell of theirs."""
    names = served_models(config, route)
    known = frozenset(names)
    return {
        name: _entry(name, config.models[name], route, discovered.get(name), known)
        for name in names
    }


def _entry(
    name: str,
    model: models.Model,
    route: models.Route,
    listed: ListedModel | None,
    known: frozenset[str],
) -> ModelEntry:
    told = ListedModel(name) if listed is None else listed
    parent = f"{name.removesuffix(told.name)}{told.parent}"
    return ModelEntry(
        name,
        model.context_window or told.context_window,
        model.max_output_tokens or told.max_output_tokens,
        model.input_modalities or (),
        model.output_modalities or (),
        _pricing(model.price) if route.list_prices and model.price is not None else {},
        parent=parent if told.parent is not None and parent in known else None,
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
