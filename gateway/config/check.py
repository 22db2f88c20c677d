"""Checks of a configuration that need more than one of its values, or the files it names."""

from __future__ import annotations

import difflib
import ipaddress
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from gateway.config import models
from gateway.config.problems import ConfigPath
from gateway.config.secrets import Secret
from gateway.config.types import parse_budget
from gateway.target import split_target
from gateway.urls import is_trustworthy

Finding = tuple[ConfigPath, str, str | None]
"""Where, what, and a hint."""

_MIN_RSA_BITS = 2048  # RFC 7518 section 3.3
_SECTIONS = {"provider": "auth", "limit": "limits", "model": "models", "upstream": "upstreams"}
_KINDS: dict[str, type | tuple[type, ...]] = {
    "RS": RSAPublicKey,
    "PS": RSAPublicKey,
    "ES": EllipticCurvePublicKey,
    "Ed": (Ed25519PublicKey, Ed448PublicKey),
}
_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\]")
_RESERVED_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-request-id",
    }
)


def check(config: models.Config) -> Iterator[Finding]:
    """Every problem of a configuration whose single values are fine."""
    yield from _check_addresses(config)
    for name, provider in config.auth.items():
        yield from _check_provider(("auth", name), provider)
        if isinstance(provider, models.ApiKeyProvider):
            yield from _check_key_store(("auth", name), provider, config.store)
    for name, limit in config.limits.items():
        yield from _check_limit(("limits", name), limit, config)
    for name, upstream in config.upstreams.items():
        yield from _check_upstream(("upstreams", name), upstream)
    for name, model in config.models.items():
        if name in model.fallbacks:
            where = ("models", name, "fallbacks", model.fallbacks.index(name))
            yield where, "is the model itself", None
    for index, route in enumerate(config.routes):
        yield from _check_route(("routes", index), route, config)
    yield from _check_overlaps(config)


def _check_addresses(config: models.Config) -> Iterator[Finding]:
    demo = config.demo
    if demo and demo.listen == config.server.listen and not demo.listen.endswith(":0"):
        yield ("demo", "listen"), "is the gateway's own address", "choose another port"


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
    if limit.budget is not None and config.store.url == "memory://":
        hint = "set store.url to sqlite:///PATH or a Redis"
        yield (*path, "budget"), "would be forgotten at every restart", hint


def _unpriced(limit: models.Limit) -> str | None:
    """The currency of a budget in money."""
    unit = parse_budget(limit.budget)[1] if limit.budget is not None else "tokens"
    return None if unit == "tokens" else unit


def _check_prices(
    path: ConfigPath, route: models.Route, limit: models.Limit, config: models.Config
) -> Iterator[Finding]:
    currency = _unpriced(limit)
    for name in _models_of(route, config):
        price = config.models[name].price
        if price is None or price.currency != currency:
            yield path, f"is a budget in {currency}, but model '{name}' has no price in it", None
    if not route.models:
        yield path, "is a budget in money, but the route serves no models with a price", None


def _check_provider(path: ConfigPath, provider: models.Provider) -> Iterator[Finding]:
    if isinstance(provider, models.JwtProvider):
        yield from _check_keys(path, provider)
        for header in provider.headers:
            if header.lower() in _RESERVED_HEADERS:
                yield (*path, "headers", header), "is the gateway's to set", None


def _check_key_store(
    path: ConfigPath, provider: models.ApiKeyProvider, store: models.Store
) -> Iterator[Finding]:
    if provider.header and provider.header.lower() in _RESERVED_HEADERS:
        yield (*path, "header"), "cannot carry a key", None
    if provider.file is None and store.url == "memory://":
        hint = "give it a `file`, or set store.url to SQLite or a Redis"
        yield path, "keeps its keys in the store, which is the memory of one process", hint


def _check_keys(path: ConfigPath, provider: models.JwtProvider) -> Iterator[Finding]:
    """One source of keys, with what belongs to it."""
    secret, public_key = provider.secret, provider.public_key
    if provider.jwks is not None:
        for name in ("secret", "public_key", "algorithm"):
            if getattr(provider, name) is not None:
                yield (*path, name), "is not used with `jwks`", "take one of them away"
        url = provider.issuer if provider.jwks == "auto" else provider.jwks
        if not is_trustworthy(url):
            hint = "use https" if provider.jwks != "auto" else "use https, or `jwks` with a URL"
            yield (*path, "jwks"), "keys cannot be fetched safely without TLS", hint
        if provider.ca is not None:
            yield from _check_authority((*path, "ca"), provider.ca)
        return
    for name in ("algorithms", "ca"):
        if getattr(provider, name):
            yield (*path, name), "is used with `jwks` only", None
    if provider.algorithm is None:
        yield path, "needs `jwks`, or `algorithm` with its key", None
        return
    if provider.algorithm.startswith("HS"):
        yield from _check_secret(path, provider.algorithm, secret, public_key)
    else:
        yield from _check_public_key(path, provider.algorithm, secret, public_key)


def _check_secret(
    path: ConfigPath, algorithm: str, secret: Secret | None, public_key: Secret | None
) -> Iterator[Finding]:
    least_bytes = int(algorithm[2:]) // 8  # RFC 7518 section 3.2: as long as the hash
    if public_key is not None:
        yield (*path, "public_key"), f"is not used with {algorithm}", "use `secret`"
    if secret is None:
        yield path, f"{algorithm} needs `secret`", None
    elif b"-----BEGIN" in secret.reveal():
        # With a public key as HMAC secret everybody could sign (RFC 8725 section 2.1).
        yield (*path, "secret"), "holds a PEM key, which is no secret", "use RS256 or its like"
    elif len(secret.reveal()) < least_bytes:
        yield (*path, "secret"), f"is shorter than {least_bytes} bytes", None


def _check_public_key(
    path: ConfigPath, algorithm: str, secret: Secret | None, public_key: Secret | None
) -> Iterator[Finding]:
    where = (*path, "public_key")
    if secret is not None:
        yield (*path, "secret"), f"is not used with {algorithm}", "use `public_key`"
    if public_key is None:
        yield path, f"{algorithm} needs `public_key`", None
        return
    try:
        key = load_pem_public_key(public_key.reveal())
    except (ValueError, UnsupportedAlgorithm):
        yield where, "is not a public key in PEM form", None
        return
    kind, curve = _KINDS[algorithm[:2]], _CURVES.get(algorithm)
    if not isinstance(key, kind):
        yield where, f"is not of the kind {algorithm} needs", None
    elif isinstance(key, RSAPublicKey) and key.key_size < _MIN_RSA_BITS:
        yield where, f"is shorter than {_MIN_RSA_BITS} bits", None
    elif isinstance(key, EllipticCurvePublicKey) and key.curve.name != curve:
        yield where, f"is on another curve than {algorithm} needs", None


def _check_authority(path: ConfigPath, file: str) -> Iterator[Finding]:
    try:
        ssl.create_default_context(cafile=file)
    except ssl.SSLError:
        yield path, "cannot be used: not PEM certificates", None
    except OSError as exc:
        yield path, f"cannot be used: {exc.strerror}", None
    except ValueError as exc:
        yield path, f"cannot be used: {exc}", None


def _check_upstream(path: ConfigPath, upstream: models.Upstream) -> Iterator[Finding]:
    for index, endpoint in enumerate(upstream.endpoints):
        yield from _check_url((*path, "endpoints", index, "url"), endpoint.url)
    for name in upstream.headers:
        if name.lower() in _RESERVED_HEADERS:
            yield (*path, "headers", name), "is the gateway's to set", None
    credentials = upstream.credentials
    if credentials is not None:
        if credentials.header and credentials.header.lower() in _RESERVED_HEADERS:
            yield (*path, "credentials", "header"), "is the gateway's to set", None
        for key, secret in (("bearer", credentials.bearer), ("value", credentials.value)):
            if secret is not None and not re.fullmatch(rb"[\x21-\x7e]+", secret.reveal()):
                yield (*path, "credentials", key), "holds characters a header cannot", None
    if upstream.tls.ca is not None:
        yield from _check_authority((*path, "tls", "ca"), upstream.tls.ca)


def _check_url(path: ConfigPath, url: str) -> Iterator[Finding]:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as exc:
        yield path, str(exc), None
        return
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if not _HOST.fullmatch(host):
            yield path, "has no usable host name", None


def _check_route(path: ConfigPath, route: models.Route, config: models.Config) -> Iterator[Finding]:
    if split_target(route.path) != (route.path, ""):
        yield (*path, "path"), "has a second spelling, so no request matches it", None
    if route.cors is not None and route.cors.credentials and "*" in route.cors.origins:
        yield (*path, "cors", "credentials"), "cannot be allowed to every origin", "list origins"
    if route.auth == "anonymous":
        needy = [name for name in _models_of(route, config) if config.models[name].scopes]
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
        if limit is not None and _unpriced(limit):
            yield from _check_prices((*path, "limits", index), route, limit, config)
    if route.issues is not None:
        yield from _check_issuing(path, route, config)
    elif route.upstream is None and not route.models:
        yield path, "goes nowhere", "give it `models` or `upstream`"
    for index, host in enumerate(route.hosts):
        if not _HOST.fullmatch(host):
            hint = "write it in lower case, without port"
            yield (*path, "hosts", index), "is not a host name", hint
    spoken = {
        config.upstreams[name].dialect
        for name in _upstreams_of(route, config)
        if name in config.upstreams
    }
    if route.dialect is None and len(spoken) > 1:
        hint = f"say which callers speak: dialect: {sorted(spoken)[0]}"
        yield path, f"its upstreams speak different dialects: {', '.join(sorted(spoken))}", hint


def _check_issuing(
    path: ConfigPath, route: models.Route, config: models.Config
) -> Iterator[Finding]:
    """A route that gives out tickets: to callers who are known by something else."""
    if route.upstream is not None or route.models:
        yield (*path, "issues"), "is the end of the route", "take `models` and `upstream` away"
    if route.methods != ("POST",):
        yield (*path, "methods"), "tickets are made by POST only", "write methods: [POST]"
    kinds = {name: type(provider) for name, provider in config.auth.items()}
    if kinds.get(route.issues or "") not in (None, models.TicketProvider):
        yield (*path, "issues"), "is not a provider of type ticket", None
    if route.auth == "anonymous":
        yield (*path, "auth"), "a ticket speaks for somebody, so it cannot be anonymous", None
    for index, name in enumerate(route.limits):
        limit = config.limits.get(name)
        if limit is not None and (limit.tokens or limit.budget or "model" in limit.key):
            yield (*path, "limits", index), "counts models or tokens; here are none", None
    for index, name in enumerate(route.auth if route.auth != "anonymous" else ()):
        if kinds.get(name) is models.TicketProvider:
            yield (*path, "auth", index), "a ticket cannot be had for a ticket", None


def _models_of(route: models.Route, config: models.Config) -> list[str]:
    """The models that may serve a route's requests: those it names, and their fallbacks."""
    named = [name for name in route.models if name in config.models]
    others = [other for name in named for other in config.models[name].fallbacks]
    return list(dict.fromkeys(named + [other for other in others if other in config.models]))


def _upstreams_of(route: models.Route, config: models.Config) -> Iterator[str]:
    if route.upstream is not None:
        yield route.upstream
    for name in _models_of(route, config):
        yield config.models[name].upstream


def _check_overlaps(config: models.Config) -> Iterator[Finding]:
    names: set[str] = set()
    served: dict[tuple[str, str, str], str] = {}
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


def check_references(document: object) -> Iterator[Finding]:
    """Names of things that are not there.

    Looks at the plain document, so that it finds them beside values that are wrong in themselves.
    """
    file = _mapping(document)
    for name, item in _mapping(file.get("models")).items():
        model, place = _mapping(item), ("models", str(name))
        yield from _reference(file, (*place, "upstream"), "upstream", model.get("upstream"))
        for number, other in enumerate(_sequence(model.get("fallbacks"))):
            yield from _reference(file, (*place, "fallbacks", number), "model", other)
    for index, item in enumerate(_sequence(file.get("routes"))):
        route, path = _mapping(item), ("routes", index)
        yield from _reference(file, (*path, "upstream"), "upstream", route.get("upstream"))
        yield from _reference(file, (*path, "issues"), "provider", route.get("issues"))
        for key, kind in (("auth", "provider"), ("limits", "limit"), ("models", "model")):
            for number, name in enumerate(_sequence(route.get(key))):
                yield from _reference(file, (*path, key, number), kind, name)


def _reference(
    file: Mapping[object, object], path: ConfigPath, kind: str, name: object
) -> Iterator[Finding]:
    known = [str(key) for key in _mapping(file.get(_SECTIONS[kind]))]
    if isinstance(name, str) and name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else None
        yield path, f"there is no {kind} '{name}'", hint


def _sequence(value: object) -> Sequence[object]:
    return value if isinstance(value, (list, tuple)) else ()


def _mapping(value: object) -> Mapping[object, object]:
    return value if isinstance(value, Mapping) else {}
