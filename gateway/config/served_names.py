"""Models that the names and patterns of a configuration stand for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gateway.config import models
from gateway.model_names import is_pattern, overlap, selected


def served_models(config: models.Config, route: models.Route) -> list[str]:
    """Return the models of the configuration that a route serves, in the order of its `models`."""
    return selected(config.models, route.models)


def models_of(config: models.Config, route: models.Route) -> list[str]:
    """Return the models that may serve a route's requests: its own, and their fallbacks."""
    own = served_models(config, route)
    others = [other for name in own for other in config.models[name].fallbacks]
    return list(dict.fromkeys([*own, *(other for other in others if other in config.models)]))


def discovering(config: models.Config, names: Iterable[str]) -> Iterator[str]:
    """Yield the upstreams that may list a model which one of these names or patterns means."""
    names = [name for name in names if is_pattern(name) or name not in config.models]
    for upstream, options in config.upstreams.items():
        found = options.model_discovery
        if found is not None and any(overlap(name, found.prefix) for name in names):
            yield upstream


def is_known(config: models.Config, name: str) -> bool:
    """Tell whether a name or pattern may mean a model: one of the configuration, or one that an
    upstream may list.
    """
    return bool(selected(config.models, [name])) or any(discovering(config, [name]))


def currencies(config: models.Config) -> set[str]:
    """Return the currencies in which some model has a price."""
    found: list[models.ModelPrice | None] = []
    for model in config.models.values():
        found += [model.price, *(one.price for one in model.deployments)]
    for upstream in config.upstreams.values():
        if upstream.model_discovery is not None:
            found += [one.price for one in upstream.model_discovery.settings.values()]
    return {price.currency for price in found if price is not None}


def upstreams_of(config: models.Config, route: models.Route) -> Iterator[str]:
    """Yield the upstreams that a route's requests may go to, apart from those of fallbacks. Some
    may be yielded twice.
    """
    if route.upstream is not None:
        yield route.upstream
    for name in served_models(config, route):
        yield from (one.upstream for one in config.models[name].served_by)
    yield from discovering(config, route.models)
