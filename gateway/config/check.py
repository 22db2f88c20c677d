"""Checks of a configuration that involve more than one of its values."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gateway.config import models
from gateway.config.check_alerts import check_alert
from gateway.config.check_channels import check_channels
from gateway.config.check_hooks import check_hook, check_hooked_route
from gateway.config.check_models import check_discovery, check_model, check_prices
from gateway.config.check_operators import check_operators, is_loopback
from gateway.config.check_playground import check_playground
from gateway.config.check_prompt_audit import check_prompt_audit, check_recorded_route
from gateway.config.check_providers import check_key_store, check_provider, check_teams
from gateway.config.check_upstreams import check_authority, check_certificate, check_upstream
from gateway.config.findings import Finding
from gateway.config.problems import ConfigPath
from gateway.config.served_names import models_of, upstreams_of
from gateway.dialects.translation.translation import translates
from gateway.http.request_target import split_target
from gateway.http.urls import is_host_name

_BRACKETED = re.compile(r"\[[0-9a-f:]+\]")
_OF_REQUESTS = ("check_requests", "served_headers", "cost_in_usage", "cache", "mirror")
"""Settings of a route that only requests to models have."""


def check(config: models.Config) -> Iterator[Finding]:
    """Yield every problem of a configuration whose single values are valid."""
    yield from _check_addresses(config)
    if config.server.tls is not None:
        yield from check_listener(("server", "tls"), config.server.tls)
    if config.server.playground is not None:
        yield from check_playground(config.server.playground, config)
    for name, alert in config.alerts.items():
        yield from check_alert(("alerts", name), alert)
    for name, provider in config.auth.items():
        yield from check_provider(("auth", name), provider)
        if isinstance(provider, models.JwtProviderSettings):
            yield from check_teams(("auth", name), provider, config.store)
        if isinstance(provider, models.CertificateProviderSettings):
            tls = config.server.tls
            if tls is None or tls.client_ca is None:
                hint = "set server.tls.client_ca, whose certificates are accepted"
                yield ("auth", name), "no client shows a certificate to this listener", hint
        if isinstance(provider, models.ApiKeyProviderSettings):
            yield from check_key_store(("auth", name), provider, config.store)
    for name, limit in config.limits.items():
        yield from _check_limit(("limits", name), limit, config)
    for name, upstream in config.upstreams.items():
        yield from check_upstream(("upstreams", name), upstream)
        yield from check_discovery(("upstreams", name, "discover_models"), upstream, config)
    for name, model in config.models.items():
        yield from check_model(name, model)
    for name, hook in config.hooks.items():
        yield from check_hook(("hooks", name), hook)
    if config.prompt_audit is not None:
        yield from check_prompt_audit(("prompt_audit",), config.prompt_audit)
    for index, route in enumerate(config.routes):
        if route.audit_prompts is not None:
            yield from check_recorded_route(("routes", index), route, route.audit_prompts, config)
        yield from _check_route(("routes", index), route, config)
    yield from _check_overlaps(config)


def check_listener(path: ConfigPath, tls: models.ListenerTls) -> Iterator[Finding]:
    """Yield what keeps the listener's files from being used."""
    yield from check_certificate(path, tls.cert, tls.key)
    if tls.client_ca is not None:
        yield from check_authority((*path, "client_ca"), tls.client_ca)
    elif "client_certificate" in tls.model_fields_set:
        yield (*path, "client_certificate"), "is used with `client_ca` only", None


def _check_addresses(config: models.Config) -> Iterator[Finding]:
    demo = config.demo
    if demo and demo.listen == config.server.listen and not demo.listen.endswith(":0"):
        yield ("demo", "listen"), "is the gateway's own address", "choose another port"
    admin = config.admin
    if admin is None:
        return
    taken = (config.server.listen, demo.listen if demo else "")
    if admin.listen in taken and not admin.listen.endswith(":0"):
        yield ("admin", "listen"), "is an address that is used already", "choose another port"
    is_open = admin.token is None and not admin.tokens and admin.sign_in is None
    if is_open and not is_loopback(admin.listen):
        hint = "set admin.token or admin.sign_in, or listen on 127.0.0.1"
        yield ("admin", "listen"), "lets everybody who reaches it operate the gateway", hint
    yield from check_operators(admin)


def _check_limit(path: ConfigPath, limit: models.Limit, config: models.Config) -> Iterator[Finding]:
    counted = ("requests", "tokens", "concurrency", "budget")
    if all(getattr(limit, unit) is None for unit in counted):
        yield path, "limits nothing", f"give it {', '.join(counted[:-1])} or {counted[-1]}"
    places = [(path, limit), *(((*path, "tiers", tier), own) for tier, own in limit.tiers.items())]
    for where, one in places:
        for rate, burst in (("requests", "burst"), ("tokens", "token_burst")):
            text = getattr(one, rate)
            if text is not None and int(text.split("/")[0]) == 0:
                yield (*where, rate), "has to let at least one through", None
            if text is None and getattr(one, burst) is not None:
                yield (*where, burst), f"belongs to `{rate}`, which is not given", None
        for unit in counted:
            if getattr(one, unit) is not None and getattr(limit, unit) is None:
                yield (*where, unit), f"the limit itself has no `{unit}`", None
    if limit.budget is not None and not config.store.known_location.is_shared:
        hint = "set store.url to sqlite:///PATH or a Redis"
        yield (*path, "budget"), "would be forgotten at every restart", hint


def _check_route(path: ConfigPath, route: models.Route, config: models.Config) -> Iterator[Finding]:
    if split_target(route.path) != (route.path, ""):
        yield (*path, "path"), "has a second spelling, so no request matches it", None
    if route.cors is not None and route.cors.credentials and "*" in route.cors.origins:
        yield (*path, "cors", "credentials"), "cannot be allowed to every origin", "list origins"
    if route.auth == "anonymous":
        needy = [name for name in models_of(config, route) if config.models[name].scopes]
        if route.scopes or needy:
            what = "scopes are" if route.scopes else f"model '{needy[0]}' is"
            yield path, f"{what} for known callers, but the route is anonymous", None
    for index, name in enumerate(route.limits):
        limit = config.limits.get(name)
        keys = limit.key if limit and isinstance(limit.key, tuple) else (limit and limit.key,)
        personal = [key for key in keys if key and key not in ("ip", "route", "model")]
        if personal and route.auth == "anonymous":
            where = (*path, "limits", index)
            yield where, f"counts by {personal[0]}, but the route is anonymous", "count by ip"
        if limit is not None:
            yield from check_prices((*path, "limits", index), route, limit, config)
    if route.cache is not None and not route.models and not (route.bridge or route.issues):
        hint = "give it `models`, whose requests are read"
        yield (*path, "cache"), "stores answers of models, and the route serves none", hint
    if route.hooks:
        yield from check_hooked_route(path, route, config)
    if route.mirror is not None and not route.models and not (route.bridge or route.issues):
        hint = "give it `models`"
        yield (*path, "mirror"), "copies requests to models, and the route serves none", hint
    if route.channels is not None:
        yield from check_channels((*path, "channels"), route, route.channels, config)
    if route.resume is not None and route.resume.continues:
        yield from _check_takeover((*path, "resume", "continues"), route, config)
    if route.websocket or route.bridge is not None:
        yield from _check_websocket((*path, "websocket"), route, config)
    if route.bridge is not None:
        yield from _check_bridge(path, route, route.bridge, config)
    if route.self_service and route.auth == "anonymous":
        yield (*path, "self_service"), "is for callers who are authenticated", "set `auth`"
    if route.self_service and (route.bridge is not None or route.issues is not None):
        yield (*path, "self_service"), "is for routes that forward requests", "take it away"
    if route.issues is not None:
        yield from _check_issuing(path, route, config)
    elif route.bridge is not None:
        pass
    elif route.upstream is None and not route.models and route.channels is None:
        yield path, "goes nowhere", "give it `models` or `upstream`"
    for index, host in enumerate(route.hosts):
        if not is_host_name(host) and not _BRACKETED.fullmatch(host):
            hint = "write it in lower case, without port"
            yield (*path, "hosts", index), "is not a host name", hint
    spoken = {
        config.upstreams[name].dialect
        for name in upstreams_of(config, route)
        if name in config.upstreams
    }
    if route.dialect is None and len(spoken) > 1:
        hint = f"say which callers speak: dialect: {sorted(spoken)[0]}"
        yield path, f"its upstreams speak different dialects: {', '.join(sorted(spoken))}", hint
    if route.dialect is not None and not route.path.endswith("/"):
        for other in sorted(spoken - {route.dialect}):
            if not translates(route.dialect, other, route.path):
                why = f"nothing that callers ask for here can be translated for {other}"
                yield (*path, "dialect"), why, None


def _check_takeover(
    path: ConfigPath, route: models.Route, config: models.Config
) -> Iterator[Finding]:
    """Check a route whose streams another process continues."""
    kind = config.store.known_location.kind
    if kind is not None and kind.name != "redis":
        yield path, "needs a store that outlives the process", "set store.url to a Redis"
    upstreams = [config.upstreams.get(name) for name in upstreams_of(config, route)]
    if not any(upstream is None or upstream.continues is not None for upstream in upstreams):
        yield path, "needs an upstream that can continue an answer", "set its `continues`"


def _check_issuing(
    path: ConfigPath, route: models.Route, config: models.Config
) -> Iterator[Finding]:
    """Check a route that issues tickets. Its callers must be authenticated by another provider."""
    if route.upstream is not None or route.models:
        yield (*path, "issues"), "is the end of the route", "take `models` and `upstream` away"
    for key in route.model_fields_set.intersection(_OF_REQUESTS):
        yield (*path, key), "has nothing to do with tickets", "take it away"
    if route.resume is not None:
        yield (*path, "resume"), "keeps streams, and here are none", None
    if route.methods != ("POST",):
        yield (*path, "methods"), "tickets are made by POST only", "write methods: [POST]"
    kinds = {name: type(provider) for name, provider in config.auth.items()}
    if kinds.get(route.issues or "") not in (None, models.TicketProviderSettings):
        yield (*path, "issues"), "is not a provider of type ticket", None
    if route.auth == "anonymous":
        yield (*path, "auth"), "a ticket speaks for somebody, so it cannot be anonymous", None
    yield from _check_counted(path, route, config, "none", None)
    for index, name in enumerate(route.auth if route.auth != "anonymous" else ()):
        if kinds.get(name) is models.TicketProviderSettings:
            yield (*path, "auth", index), "a ticket cannot be had for a ticket", None


def _check_counted(
    path: ConfigPath, route: models.Route, config: models.Config, what: str, hint: str | None
) -> Iterator[Finding]:
    """Check that the limits of a route count nothing but requests. `what` are its requests."""
    for index, name in enumerate(route.limits):
        limit = config.limits.get(name)
        if limit is not None and (limit.tokens or limit.budget or "model" in limit.key):
            yield (*path, "limits", index), f"counts models or tokens; here are {what}", hint


def _check_bridge(
    path: ConfigPath, route: models.Route, bridge: models.BridgeSettings, config: models.Config
) -> Iterator[Finding]:
    """Check a bridge route, whose WebSockets carry the requests of another route."""
    here = (*path, "bridge")
    if route.upstream is not None or route.models or route.issues is not None:
        hint = "take `models`, `upstream` and `issues` away"
        yield here, "is the end of the route", hint
    if route.resume is not None:
        yield (*path, "resume"), "is what the route says that the bridge leads to", None
    if route.dialect is not None:
        yield (*path, "dialect"), "is what the route says that the bridge leads to", None
    for key in route.model_fields_set.intersection(_OF_REQUESTS):
        yield (*path, key), "is what the route says that the bridge leads to", None
    if route.path.endswith("/"):
        yield (*path, "path"), "is the address of one socket", "take the slash at its end away"
    hint = f"put it on route '{bridge.to}'"
    yield from _check_counted(path, route, config, "handshakes", hint)
    target = next((other for other in config.routes if other.name == bridge.to), None)
    if target is None:
        return
    if target.bridge is not None or target.issues is not None:
        yield (*here, "to"), "serves no generations", "name a route with `models` or `upstream`"
    if target.methods and "POST" not in target.methods:
        yield (*here, "to"), "does not serve POST, which generations begin with", None
    if target.hosts and not set(route.hosts or ("",)) <= set(target.hosts):
        yield (*here, "to"), "is not served at all hosts that the bridge is", "give both the same"
    if target.auth == "anonymous":
        return
    tickets = {
        name
        for name, provider in config.auth.items()
        if isinstance(provider, models.TicketProviderSettings)
    }
    own = () if route.auth == "anonymous" else route.auth
    strange = [name for name in own if name not in tickets and name not in target.auth]
    if route.auth == "anonymous" or strange:
        who = "anybody" if route.auth == "anonymous" else f"callers of '{strange[0]}'"
        yield (*path, "auth"), f"lets {who} in, and route '{target.name}' does not", None


def _check_websocket(
    path: ConfigPath, route: models.Route, config: models.Config
) -> Iterator[Finding]:
    for name in upstreams_of(config, route):
        spoken = config.upstreams[name].dialect if name in config.upstreams else route.dialect
        if route.dialect is not None and spoken != route.dialect:
            yield path, f"upstream '{name}' speaks {spoken}: messages are not translated", None
    if route.issues is not None and route.bridge is None:
        yield path, "a route that gives out tickets has no backend to speak to", None
    if route.methods and "GET" not in route.methods:
        yield path, "begins with a GET, which the route does not serve", "add GET to `methods`"
    options = route.websocket
    rate = options.messages if isinstance(options, models.WebSocket) else None
    if rate is not None and int(rate.split("/")[0]) == 0:
        yield (*path, "messages"), "has to let at least one through", None


def _check_overlaps(config: models.Config) -> Iterator[Finding]:
    names: set[str] = set()
    served: dict[tuple[str, str, str], str] = {}
    if config.server.client_js:
        names.add("client.js")
        served["/client.js", "", ""] = served["/client.js", "", "GET"] = "server.client_js"
    if config.server.playground is not None:
        names.add("playground")
        served.update({("/playground/", "", method): "server.playground" for method in ("", "GET")})
    for index, route in enumerate(config.routes):
        path: ConfigPath = ("routes", index)
        if route.name in names:
            yield (*path, "name"), "is another route's name too", None
        names.add(route.name)
        for host in route.hosts or ("",):
            for method in route.methods or ("",):
                other = served.setdefault((route.path, host, method), route.name)
                if other != route.name:
                    yield (*path, "path"), f"serves the same requests as route '{other}'", None
                    break
            else:
                continue
            break
