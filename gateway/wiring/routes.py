"""The route table, and the chain of each route: composed here, once, and only called later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from gateway.auth.provider import Provider
from gateway.config import Config, models
from gateway.config.problems import Fault
from gateway.config.types import Dialect
from gateway.dialects import DIALECTS
from gateway.limiting.guard import GuardedStore
from gateway.limiting.leases import Leases
from gateway.middleware.access_log import AccessLog
from gateway.middleware.admission import Admission
from gateway.middleware.auth import Authenticate
from gateway.middleware.chain import Middleware, compose
from gateway.middleware.cors import Cors
from gateway.middleware.errors import ErrorMapping
from gateway.middleware.limits import Limits
from gateway.middleware.plugin import PluginError, load_plugin
from gateway.middleware.request_id import request_id
from gateway.proxy.forward import Forward, ForwardOptions
from gateway.proxy.resolve import Resolve, ResolveOptions, Target
from gateway.routing import METHODS, RouteEntry
from gateway.upstream.upstream import Upstream
from gateway.wiring.limits import rules

Plugins = Mapping[str, Sequence[Middleware]]
"""The plug-ins of each route, by its name."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What routes share."""

    providers: Mapping[str, Provider]
    upstreams: Mapping[str, Upstream]
    store: GuardedStore
    leases: Leases
    admission: Admission | None
    plugins: Plugins
    logger: FilteringBoundLogger


def outer(config: Config, logger: FilteringBoundLogger) -> list[Middleware]:
    """What stands before everything else: what refused requests pass as well."""
    chain: list[Middleware] = [request_id]
    if config.telemetry.log.access:
        chain.append(AccessLog(logger))
    return chain


def routes(config: Config, parts: Parts) -> list[RouteEntry]:
    """The table's entries, each with its whole chain."""
    named = rules(config)
    entries = []
    for route in config.routes:
        dialect = route_dialect(config, route)
        chain: list[Middleware] = [
            *outer(config, parts.logger),
            ErrorMapping(DIALECTS[dialect], parts.logger),
        ]
        if route.cors is not None:
            chain.append(_cors(route, route.cors))
        if route.auth != "anonymous":
            chain.append(Authenticate([parts.providers[name] for name in route.auth], route.scopes))
        resolve = _resolve(config, route, parts, dialect)
        own = [rule for name in route.limits for rule in named[name]]
        # A limit that depends on the model needs the body first; the others save reading it.
        early = any(rule.needs_model for rule in own)
        if early:
            chain.append(resolve)
        if own or (named and route.auth != "anonymous"):
            chain.append(
                Limits(
                    own,
                    named,
                    parts.store,
                    parts.leases,
                    show=route.limit_headers,
                    asks_usage=dialect == "openai",
                )
            )
        chain += parts.plugins[route.name]
        if not early:
            chain.append(resolve)
        if parts.admission is not None:
            chain.append(parts.admission)
        entries.append(
            RouteEntry(
                name=route.name,
                path=route.path,
                methods=_methods(route),
                hosts=frozenset(route.hosts),
                handler=compose(chain, _forward(config, route, dialect)),
                dialect=dialect,
            )
        )
    return entries


def _methods(route: models.Route) -> frozenset[str]:
    """What is routed: preflights too, where they are answered."""
    methods = frozenset[str](route.methods)
    return methods | {"OPTIONS"} if methods and route.cors is not None else methods


def _cors(route: models.Route, options: models.Cors) -> Cors:
    return Cors(
        options.origins,
        methods=route.methods or METHODS,
        headers=options.headers,
        expose=options.expose,
        credentials=options.credentials,
        max_age_s=options.max_age,
        serves_options=not route.methods or "OPTIONS" in route.methods,
    )


def plugins(config: Config, faults: list[Fault]) -> Plugins:
    """Load the plug-ins. Those that cannot be used are added to `faults`."""
    loaded: dict[str, list[Middleware]] = {}
    for number, route in enumerate(config.routes):
        loaded[route.name] = []
        for index, plugin in enumerate(route.middleware):
            try:
                loaded[route.name].append(load_plugin(plugin.use, plugin.options))
            except PluginError as exc:
                faults.append((("routes", number, "middleware", index, *exc.path), exc.message))
    return loaded


def route_dialect(config: Config, route: models.Route) -> Dialect:
    """What callers speak on a route: what it says, else what its upstream speaks."""
    if route.dialect is not None:
        return route.dialect
    name = route.upstream or config.models[route.models[0]].upstream
    return config.upstreams[name].dialect


def _resolve(config: Config, route: models.Route, parts: Parts, dialect: str) -> Resolve:
    anonymous = route.auth == "anonymous"
    # Of every provider: what says who somebody is on one route says nothing on another.
    identity = frozenset[bytes]().union(
        *(provider.sent_headers for provider in parts.providers.values()),
        {p.header.lower().encode() for p in parts.providers.values() if p.header},
    )

    def target(upstream: str, model: models.Model | None) -> Target:
        return Target(
            parts.upstreams[upstream],
            model.model if model else None,
            anonymous=anonymous,
            identity=identity,
            scopes=model.scopes if model else (),
        )

    targets = {
        name: target(model.upstream, model)
        for name, model in ((name, config.models[name]) for name in route.models)
    }
    fallback = target(route.upstream, None) if route.upstream else None
    spoken = DIALECTS[dialect]
    return Resolve(
        ResolveOptions(
            models=targets,
            fallback=fallback,
            models_path=route.path.removesuffix("/") + "/" + spoken.models_path,
            body_cap_bytes=route.body,
            body_silence_s=config.server.body_timeout,
            dialect=spoken,
        )
    )


def _forward(config: Config, route: models.Route, dialect: str) -> Forward:
    return Forward(
        ForwardOptions(
            strip=len(route.path.rstrip("/")) if route.strip else 0,
            body_cap_bytes=route.body,
            body_silence_s=config.server.body_timeout,
            dialect=DIALECTS[dialect],
            hide_server=config.server.hide_server,
        )
    )
