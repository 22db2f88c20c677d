"""Construction of the route table."""

from __future__ import annotations

from dataclasses import replace

from gateway.browser import account, playground, script
from gateway.config import Config, models
from gateway.pipeline import Handler, OnEnd
from gateway.routing.table import RouteEntry, RouteTable
from gateway.wiring import websocket
from gateway.wiring.channel_policies import ChannelPolicies
from gateway.wiring.channels import channels_path
from gateway.wiring.limits import rules
from gateway.wiring.parts import Parts
from gateway.wiring.pipelines import (
    followers_pipeline_of,
    pipeline_of,
    pipeline_without_route,
    publishers_pipeline_of,
    refusals_pipeline_of,
    self_service_pipeline_of,
    streams_pipeline_of,
)
from gateway.wiring.policies import RoutePolicies
from gateway.wiring.resume import streams_path
from gateway.wiring.self_service import self_service_path

_PAGES = {script.NAME: "the client for pages", playground.NAME: "a page for callers"}


def routes(config: Config, parts: Parts, ended: OnEnd) -> list[RouteEntry]:
    """Return the entries of the route table, each with its pipeline. `ended` counts a request
    out.
    """
    named = rules(config)
    entries = _pages(config, parts, ended)
    for route in config.routes:
        policies = RoutePolicies(config, route, named, parts)
        if route.resume is not None:
            entries.append(
                RouteEntry(
                    name=route.name,
                    path=streams_path(route),
                    methods=frozenset(),
                    hosts=frozenset(route.hosts),
                    pipeline=streams_pipeline_of(policies, ended),
                    dialect=policies.dialect,
                )
            )
        if route.self_service:
            entries += _self_service_entries(route, policies, ended)
            page = f"{self_service_path(route)}/{account.PLACE}"
            handler = account.AccountPage(page)
            entry = _page(route.name, page, handler, config, parts, ended)
            entries.append(replace(entry, hosts=frozenset(route.hosts)))
        if policies.channels is not None:
            entries += _channel_entries(route, policies, policies.channels, ended)
            if route.upstream is None and not route.models:
                continue
        entries.append(
            RouteEntry(
                name=route.name,
                path=route.path,
                methods=_methods(route),
                hosts=frozenset(route.hosts),
                pipeline=pipeline_of(policies, ended),
                dialect=policies.dialect,
                upgrades=websocket.settings(route) is not None,
            )
        )
    return entries


def _self_service_entries(
    route: models.Route, policies: RoutePolicies, ended: OnEnd
) -> list[RouteEntry]:
    """Return the entries of a route's self-service: its path, and what is below."""
    path = self_service_path(route)
    entry = RouteEntry(
        name=route.name,
        path=path,
        methods=frozenset(),
        hosts=frozenset(route.hosts),
        pipeline=self_service_pipeline_of(policies, ended),
        dialect=policies.dialect,
    )
    return [entry, replace(entry, path=f"{path}/")]


def _channel_entries(
    route: models.Route, policies: RoutePolicies, channels: ChannelPolicies, ended: OnEnd
) -> list[RouteEntry]:
    """Return the entries of a route's channels: one for followers, one for publishers."""
    follow = RouteEntry(
        name=route.name,
        path=channels_path(route),
        methods=frozenset({"GET"} if route.cors is None else {"GET", "OPTIONS"}),
        hosts=frozenset(route.hosts),
        pipeline=followers_pipeline_of(policies, channels, ended),
        dialect=policies.dialect,
        upgrades=True,
    )
    allowed = "GET, POST" if channels.publishes else "GET"
    pipeline = refusals_pipeline_of(policies, allowed, ended)
    others = replace(follow, methods=frozenset(), pipeline=pipeline, upgrades=False)
    if not channels.publishes:
        return [follow, others]
    pipeline = publishers_pipeline_of(policies, channels, ended)
    return [follow, replace(others, methods=frozenset({"POST"}), pipeline=pipeline), others]


def _pages(config: Config, parts: Parts, ended: OnEnd) -> list[RouteEntry]:
    """Return the entries of what the listener serves to browsers itself."""
    entries = []
    if config.server.client_js:
        entries.append(_page(script.NAME, script.PATH, script.Script(), config, parts, ended))
    settings = config.server.playground
    if settings is not None:
        [api] = (route.path for route in config.routes if route.name == settings.route)
        page = playground.PlaygroundPage(api, settings.password.reveal())
        entries.append(_page(playground.NAME, playground.PATH, page, config, parts, ended))
    return entries


def _page(
    name: str, path: str, handler: Handler, config: Config, parts: Parts, ended: OnEnd
) -> RouteEntry:
    dialect = "openai"
    return RouteEntry(
        name=name,
        path=path,
        methods=frozenset({"GET", "HEAD"}),
        hosts=frozenset(),
        pipeline=pipeline_without_route(config, parts.sinks, dialect, handler, ended),
        dialect=dialect,
    )


def _methods(route: models.Route) -> frozenset[str]:
    """Return the methods to route. They include OPTIONS if the route answers preflights."""
    methods = frozenset[str](route.methods)
    return methods | {"OPTIONS"} if methods and route.cors is not None else methods


def shown(config: Config, table: RouteTable) -> list[dict[str, str]]:
    """Return the routes in readable form, in the order in which they are matched."""
    by_name = {route.name: route for route in config.routes}
    rows = []
    for entry in table.routes:
        route = by_name.get(entry.name)
        if route is not None and entry.path == channels_path(route) and not entry.methods:
            continue  # it only refuses the methods that channels do not serve
        if route is None:
            ends = [_PAGES[entry.name]]
        elif route.issues is not None:
            ends = [f"tickets of {route.issues}"]
        elif route.bridge is not None:
            ends = [f"generations of {route.bridge.to}"]
        elif route.self_service and entry.path.startswith(self_service_path(route)):
            ends = ["self-service"]
        elif entry.path != route.path:
            ends = ["channels" if entry.path == channels_path(route) else "kept streams"]
        else:
            ends = [*route.models, *([route.upstream] if route.upstream else [])]
        rows.append(
            {
                "route": entry.name,
                "path": entry.path + ("*" if entry.path.endswith("/") else ""),
                "methods": ",".join(sorted(entry.methods)) or "any",
                "hosts": ",".join(sorted(entry.hosts)) or "any",
                "auth": "password" if entry.name == playground.NAME else _shown_auth(route),
                "limits": (route and ",".join(route.limits)) or "none",
                "dialect": entry.dialect,
                "to": ",".join(ends),
            }
        )
    return rows


def _shown_auth(route: models.Route | None) -> str:
    if route is None or isinstance(route.auth, str):
        return "anonymous"
    return ",".join(route.auth)
