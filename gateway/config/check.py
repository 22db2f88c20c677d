"""Checks of a configuration that need more than one of its values, or the files it names."""

from __future__ import annotations

import difflib
import ipaddress
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from gateway.config import models
from gateway.config.problems import ConfigPath
from gateway.target import split_target

Finding = tuple[ConfigPath, str, str | None]
"""Where, what, and a hint."""

_MIN_HMAC_BYTES = 32  # RFC 7518 section 3.2: at least as long as the hash
_MIN_RSA_BITS = 2048  # RFC 7518 section 3.3
_SECTIONS = {"provider": "auth", "limit": "limits", "model": "models", "upstream": "upstreams"}
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
    for name, limit in config.limits.items():
        if limit.requests.startswith("0/") or int(limit.requests.split("/")[0]) == 0:
            yield ("limits", name, "requests"), "has to let at least one request through", None
    for name, upstream in config.upstreams.items():
        yield from _check_upstream(("upstreams", name), upstream)
    for index, route in enumerate(config.routes):
        yield from _check_route(("routes", index), route, config)
    yield from _check_overlaps(config)


def _check_addresses(config: models.Config) -> Iterator[Finding]:
    demo = config.demo
    if demo and demo.listen == config.server.listen and not demo.listen.endswith(":0"):
        yield ("demo", "listen"), "is the gateway's own address", "choose another port"


def _check_provider(path: ConfigPath, provider: models.JwtProvider) -> Iterator[Finding]:
    secret, public_key = provider.secret, provider.public_key
    if provider.algorithm == "HS256":
        if public_key is not None:
            yield (*path, "public_key"), "is not used with HS256", "use `secret`, or RS256"
        if secret is None:
            yield path, "HS256 needs `secret`", None
        elif b"-----BEGIN" in secret.reveal():
            # With a public key as HMAC secret everybody could sign (RFC 8725 section 2.1).
            yield (*path, "secret"), "holds a PEM key, which is no secret", "use RS256"
        elif len(secret.reveal()) < _MIN_HMAC_BYTES:
            yield (*path, "secret"), f"is shorter than {_MIN_HMAC_BYTES} bytes", None
        return
    if secret is not None:
        yield (*path, "secret"), "is not used with RS256", "use `public_key`, or HS256"
    if public_key is None:
        yield path, "RS256 needs `public_key`", None
        return
    try:
        key = load_pem_public_key(public_key.reveal())
    except (ValueError, UnsupportedAlgorithm):
        yield (*path, "public_key"), "is not a public key in PEM form", None
        return
    if not isinstance(key, RSAPublicKey):
        yield (*path, "public_key"), "is not an RSA key, which RS256 needs", None
    elif key.key_size < _MIN_RSA_BITS:
        yield (*path, "public_key"), f"is shorter than {_MIN_RSA_BITS} bits", None


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
        try:
            ssl.create_default_context(cafile=upstream.tls.ca)
        except ssl.SSLError:
            yield (*path, "tls", "ca"), "cannot be used: not PEM certificates", None
        except OSError as exc:
            yield (*path, "tls", "ca"), f"cannot be used: {exc.strerror}", None


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
    for index, name in enumerate(route.limits):
        limit = config.limits.get(name)
        if limit and route.auth == "anonymous" and limit.key in ("subject", "tenant"):
            where = (*path, "limits", index)
            yield where, f"counts by {limit.key}, but the route is anonymous", "count by ip"
    if route.upstream is None and not route.models:
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


def _upstreams_of(route: models.Route, config: models.Config) -> Iterator[str]:
    if route.upstream is not None:
        yield route.upstream
    for name in route.models:
        if name in config.models:
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
    for name, model in _mapping(file.get("models")).items():
        where = ("models", str(name), "upstream")
        yield from _reference(file, where, "upstream", _mapping(model).get("upstream"))
    for index, item in enumerate(_sequence(file.get("routes"))):
        route, path = _mapping(item), ("routes", index)
        yield from _reference(file, (*path, "upstream"), "upstream", route.get("upstream"))
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
