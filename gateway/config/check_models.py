"""Checks of models, configured and discovered, and of their prices."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.auth.allowance import parse_budget
from gateway.config import models
from gateway.config.findings import Finding
from gateway.config.problems import ConfigPath
from gateway.config.served_names import discovering, is_known, models_of
from gateway.model_names import is_pattern


def check_model(name: str, model: models.Model) -> Iterator[Finding]:
    """Yield the problems of one model."""
    if is_pattern(name):
        hint = "a model has one name; `models` of a route and `discover_models` take patterns"
        yield ("models", name), "holds a *, which patterns have", hint
    yield from _check_fallbacks(name, model)
    yield from _check_deployments(name, model)


def check_discovery(
    path: ConfigPath, upstream: models.UpstreamSettings, config: models.Config
) -> Iterator[Finding]:
    """Yield the problems of what an upstream's models are set to."""
    discovery = upstream.model_discovery
    if discovery is None:
        return
    for pattern, settings in discovery.settings.items():
        place: ConfigPath = (*path, "settings", pattern)
        for index, other in enumerate(settings.fallbacks):
            if is_pattern(other) or not is_known(config, other):
                yield (*place, "fallbacks", index), f"there is no model '{other}'", None
        if settings.mirror is not None and not is_known(config, settings.mirror.to):
            yield (*place, "mirror", "to"), f"there is no model '{settings.mirror.to}'", None


def check_prices(
    path: ConfigPath, route: models.Route, limit: models.Limit, config: models.Config
) -> Iterator[Finding]:
    """Yield the models of a route whose requests a budget in money could not count."""
    unit = parse_budget(limit.budget)[1] if limit.budget is not None else "tokens"
    if unit == "tokens":
        return
    prices = {name: _currency(config.models[name]) for name in models_of(config, route)}
    free = [name for name, currency in prices.items() if currency != unit]
    if free:
        named = ", ".join(free[:5]) + (" and more" if len(free) > 5 else "")
        hint = "give each a `price`, of 0 if it costs nothing"
        yield path, f"is a budget in {unit}, but these models have no price in it: {named}", hint
    meant = [*route.models, *(other for name in prices for other in config.models[name].fallbacks)]
    for name in discovering(config, meant):
        if not _prices_all(config.upstreams[name].model_discovery, unit):
            hint = 'give `discover_models.settings` a `price` for "*" and each other pattern'
            what = f"is a budget in {unit}, but models that {name} lists may have no price in it"
            yield path, what, hint
    if not route.models:
        yield path, "is a budget in money, but the route serves no models with a price", None


def _currency(model: models.Model) -> str | None:
    """Return the currency of a model's price; None unless each of its deployments has one."""
    if model.price is not None:
        return model.price.currency
    found = {None if one.price is None else one.price.currency for one in model.served_by}
    return found.pop() if len(found) == 1 else None


def _prices_all(discovery: models.ModelDiscovery | None, currency: str) -> bool:
    """Tell whether every model that is discovered has a price in this currency."""
    if discovery is None:
        return True
    priced = {
        pattern: one.price is not None and one.price.currency == currency
        for pattern, one in discovery.settings.items()
    }
    return "*" in priced and all(priced.values())


def _check_deployments(name: str, model: models.Model) -> Iterator[Finding]:
    seen: set[tuple[str, str]] = set()
    for index, one in enumerate(model.deployments):
        place = one.upstream, one.model or name
        if place in seen:
            where = ("models", name, "deployments", index)
            yield where, "is given twice", "use `weight` for a larger share"
        seen.add(place)
    yield from _check_deployment_prices(name, model)


def _check_deployment_prices(name: str, model: models.Model) -> Iterator[Finding]:
    currency = None if model.price is None else model.price.currency
    priced: dict[str, int] = {}
    for index, one in enumerate(model.deployments):
        if one.price is None:
            continue
        where = ("models", name, "deployments", index, "price")
        currency = currency or one.price.currency
        if one.price.currency != currency:
            yield where, f"is in {one.price.currency}, others are in {currency}", "use one currency"
        other = priced.setdefault(one.upstream, index)
        if other != index and model.deployments[other].price != one.price:
            hint = "make an upstream for each price"
            yield where, f"differs from another one at {one.upstream}", hint


def _check_fallbacks(name: str, model: models.Model) -> Iterator[Finding]:
    if model.mirror is not None and model.mirror.to == name:
        yield ("models", name, "mirror", "to"), "is the model itself", None
    for index, other in enumerate(model.fallbacks):
        if other == name:
            yield ("models", name, "fallbacks", index), "is the model itself", None
