"""Warnings about a valid configuration: settings that are allowed, but rarely intended."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from gateway.config import models
from gateway.config.check_operators import is_loopback, is_public
from gateway.config.findings import Finding
from gateway.config.problems import ConfigPath
from gateway.config.served_names import discovering, served_models, upstreams_of
from gateway.dialects import DIALECTS
from gateway.dialects.paths import ENDPOINTS

_WIDEST_IPV4, _WIDEST_IPV6 = 8, 16
_ROOT_PARTS = 2
"""Parts of the path of a file in the root folder."""
"""Prefix lengths below which a trusted network is too large to belong to one operator."""


def advise(config: models.Config) -> Iterator[Finding]:
    """Yield every warning. The gateway works with such settings, but perhaps not as intended."""
    yield from _trusted_proxies(config)
    yield from _admin_listener(config)
    for index, route in enumerate(config.routes):
        path: ConfigPath = ("routes", index)
        yield from _exact_path(path, route)
        yield from _tenants(path, route, config)
        yield from _anonymous(path, route, config)
        yield from _costs(path, route, config)
        if "cache" in route.served_headers and route.cache is None:
            why = "tells nothing of `cache`, because the route has no cache"
            yield (*path, "served_headers"), why, "give it `cache: {}`"
    yield from _prompt_audit(config)
    yield from _store_file(config)
    yield from _uncounted(config)
    yield from _versions(config)


def _store_file(config: models.Config) -> Iterator[Finding]:
    """Warn about a store in the root folder, whose path was meant to be relative, and about a store
    whose folder is missing.
    """
    path = config.store.known_location.path
    if path is None:
        return
    if len(path.parts) <= _ROOT_PARTS:
        why = f"is the file {path} in the root folder"
        yield ("store", "url"), why, "write the whole path: sqlite:///var/lib/gateway/store.db"
    elif not path.parent.is_dir():
        yield ("store", "url"), f"there is no folder {path.parent} here", "make it before `serve`"


def _trusted_proxies(config: models.Config) -> Iterator[Finding]:
    for index, text in enumerate(config.server.trusted_proxies):
        network = ipaddress.ip_network(text)
        widest = _WIDEST_IPV4 if network.version == 4 else _WIDEST_IPV6
        if network.prefixlen < widest:
            yield (
                ("server", "trusted_proxies", index),
                "trusts nearly everybody: any client may choose its own address and request id",
                "list the networks of your proxies",
            )


def _admin_listener(config: models.Config) -> Iterator[Finding]:
    """Warn about credentials of operators that others can read on the way. The admin listener has
    no TLS of its own.
    """
    admin = config.admin
    if admin is None or is_loopback(admin.listen):
        return
    signs_in = admin.sign_in is not None
    has_tls = any(url.startswith("https:") for url in admin.public_url)
    if (signs_in or is_public(admin.listen)) and not has_tls:
        why = "is reached without TLS: tokens and sessions of operators can be read on the way"
        hint = "put a proxy with TLS in front of it, and name its https URL in admin.public_url"
        yield ("admin", "listen"), why, hint
    if signs_in and not admin.public_url:
        why = "works on localhost only, because admin.public_url is not set"
        yield ("admin", "sign_in"), why, "name the URLs at which browsers reach the admin listener"


def _prompt_audit(config: models.Config) -> Iterator[Finding]:
    """Warn about records of prompts that others can read, and about a destination of none."""
    audit = config.prompt_audit
    if audit is None:
        return
    recorded = [
        (index, route.audit_prompts)
        for index, route in enumerate(config.routes)
        if route.audit_prompts is not None
    ]
    if not recorded:
        yield ("prompt_audit",), "records nothing", "give a route `audit_prompts: {}`"
    for index, options in recorded:
        if options.redact is False and audit.encryption is None:
            why = "records prompts as they are, in files that are not encrypted"
            hint = "set prompt_audit.encryption, or redact"
            yield ("routes", index, "audit_prompts", "redact"), why, hint
    endpoint = "" if audit.s3 is None else audit.s3.endpoint
    is_plain = endpoint.startswith("http:") and not is_loopback(urlsplit(endpoint).netloc)
    if is_plain and audit.encryption is None:
        why = "sends prompts without TLS: they can be read on the way"
        yield ("prompt_audit", "s3", "endpoint"), why, "use https, or set encryption"


def _uncounted(config: models.Config) -> Iterator[Finding]:
    if config.telemetry.metrics is not None:
        return
    for name, alert in config.alerts.items():
        if "error_rate" in alert.events:
            why = "is not told of `error_rate`, because requests are not counted"
            yield ("alerts", name), why, "set telemetry.metrics, or leave it out of `events`"


def _exact_path(path: ConfigPath, route: models.Route) -> Iterator[Finding]:
    if not route.models or route.path.endswith("/"):
        return
    if not route.path.endswith((*ENDPOINTS, "/realtime")):
        yield (
            (*path, "path"),
            f"serves exactly {route.path}, which no call of a model API asks for",
            f"write {route.path}/ for everything below it",
        )


def _costs(path: ConfigPath, route: models.Route, config: models.Config) -> Iterator[Finding]:
    """Warn about a route that tells costs if none of its models has a price."""
    if any(config.models[name].price is not None for name in served_models(config, route)):
        return
    found = (config.upstreams[name].model_discovery for name in discovering(config, route.models))
    if any(one is not None and any(_has_price(one)) for one in found):
        return
    why = "tells nothing, because no model of the route has a price"
    hint = "give a model its `price`"
    if route.cost_in_usage:
        yield (*path, "cost_in_usage"), why, hint
    if "cost" in route.served_headers:
        yield (*path, "served_headers"), why, hint


def _has_price(discovery: models.ModelDiscovery) -> Iterator[bool]:
    return (one.price is not None for one in discovery.settings.values())


def _tenants(path: ConfigPath, route: models.Route, config: models.Config) -> Iterator[Finding]:
    """Warn about a limit by tenant if no caller has a tenant: all callers share one bucket then."""
    if route.auth == "anonymous":
        nobody_has = True
    else:
        providers = [config.auth[name] for name in route.auth]
        nobody_has = all(
            isinstance(one, models.JwtProviderSettings) and one.claims.tenant is None
            for one in providers
        )
    if not nobody_has:
        return
    for index, name in enumerate(route.limits):
        keys = config.limits[name].key
        if "tenant" in ((keys,) if isinstance(keys, str) else keys):
            yield (
                (*path, "limits", index),
                f"{name} counts by tenant, but no provider of this route tells a caller's tenant",
                "map one: auth.NAME.claims.tenant, or count by subject",
            )


def _anonymous(path: ConfigPath, route: models.Route, config: models.Config) -> Iterator[Finding]:
    if route.auth != "anonymous":
        return
    names = set(upstreams_of(config, route))
    paid = sorted(name for name in names if config.upstreams[name].has_credentials)
    if paid:
        yield (
            (*path, "auth"),
            f"anybody may spend the credentials of {', '.join(paid)}",
            "name the providers whose callers may",
        )


def _versions(config: models.Config) -> Iterator[Finding]:
    """Warn about an endpoint that ends in /v1 (Ollama: /api) if its requests begin with it, too.

    Translation never inserts it twice.
    """
    versioned: set[str] = set()
    for route in config.routes:
        for name in set(upstreams_of(config, route)):
            dialect = config.upstreams[name].dialect
            is_translated = route.dialect not in (None, dialect)
            base = DIALECTS[dialect].paths.base
            if not route.strip and route.path.startswith(base) and not is_translated:
                versioned.add(name)
    for name in sorted(versioned):
        upstream = config.upstreams[name]
        base = DIALECTS[upstream.dialect].paths.base
        for index, endpoint in enumerate(upstream.endpoints):
            if urlsplit(endpoint.url).path.rstrip("/").endswith(base):
                yield (
                    ("upstreams", name, "endpoints", index, "url"),
                    f"ends in {base}, which stands in the path of each request too: the backend "
                    f"gets {base}{base}/...",
                    f"take {base} off the URL, unless the backend wants it twice",
                )
