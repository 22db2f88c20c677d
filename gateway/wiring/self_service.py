"""Construction of self-service, where callers read and change what is their own."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.config import Config, models
from gateway.middleware.self_service import SelfService, SelfServiceOptions
from gateway.request_body.reader import BodyReader
from gateway.routing.model_access import ServedModel
from gateway.wiring.parts import Parts
from gateway.wiring.route_limits import RouteLimits


def self_service_path(route: models.Route) -> str:
    """Return the path of a route's self-service."""
    return route.path.removesuffix("/") + "/me"


def self_service(
    config: Config,
    route: models.Route,
    parts: Parts,
    limits: RouteLimits,
    served: Iterable[str],
    reader: BodyReader,
) -> SelfService:
    """Return the handler of a route's self-service. `served` are the models of the route."""
    keys_in_store = frozenset(
        name
        for name, one in config.auth.items()
        if isinstance(one, models.ApiKeyProviderSettings) and one.file is None
    )
    return SelfService(
        SelfServiceOptions(
            self_service_path(route),
            [ServedModel(name, frozenset(config.models[name].scopes)) for name in served],
            limits.accounts(),
            parts.store,
            parts.records,
            keys_in_store,
            reader,
            parts.usage,
            route.name,
            next((name for name in route.auth if name in keys_in_store), None),
        )
    )
