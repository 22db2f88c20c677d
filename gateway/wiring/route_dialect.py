"""Dialect of a route's callers."""

from __future__ import annotations

from gateway.config import Config, models
from gateway.config.served_names import upstreams_of
from gateway.config.types import Dialect


def route_dialect(config: Config, route: models.Route) -> Dialect:
    """Return the dialect of a route's callers: the configured one, or that of its upstream."""
    if route.dialect is not None:
        return route.dialect
    if route.issues is not None:
        return "openai"
    if route.bridge is not None:
        return route_dialect(config, route_named(config, route.bridge.to))
    return config.upstreams[next(upstreams_of(config, route))].dialect


def route_named(config: Config, name: str) -> models.Route:
    """Return the route with this name."""
    return next(route for route in config.routes if route.name == name)
