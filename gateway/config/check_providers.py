"""Checks of identity providers: their keys must exist, and must fit their algorithm."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.config import models
from gateway.config.check_upstreams import check_authority, check_proxy
from gateway.config.findings import RESERVED_HEADERS, Finding
from gateway.config.problems import ConfigPath
from gateway.config.secrets import Secret
from gateway.http.urls import is_trustworthy


def check_provider(path: ConfigPath, provider: models.Provider) -> Iterator[Finding]:
    """Yield the problems of one identity provider."""
    if isinstance(provider, models.JwtProviderSettings):
        yield from _check_keys(path, provider)
        for header in provider.headers:
            if header.lower() in RESERVED_HEADERS:
                yield (*path, "headers", header), "is the gateway's to set", None


def check_key_store(
    path: ConfigPath, provider: models.ApiKeyProviderSettings, store: models.StoreSettings
) -> Iterator[Finding]:
    """Check that an API key provider has a place for its keys, and a usable header."""
    if provider.header and provider.header.lower() in RESERVED_HEADERS:
        yield (*path, "header"), "cannot carry a key", None
    if provider.file is None and not store.known_location.is_shared:
        hint = "give it a `file`, or set store.url to SQLite or a Redis"
        yield path, "keeps its keys in the store, which is the memory of one process", hint


def check_teams(
    path: ConfigPath, provider: models.JwtProviderSettings, store: models.StoreSettings
) -> Iterator[Finding]:
    """Check that the teams of a JWT provider have a claim that names them, and a store."""
    if provider.claims.team is None:
        for name in ("teams", "default_team"):
            if getattr(provider, name):
                yield (*path, name), "is used with `claims.team` only", None
    elif not store.known_location.is_shared:
        hint = "set store.url to SQLite or a Redis"
        where = (*path, "claims", "team")
        yield where, "names teams, which are kept in the store of all processes", hint


def _check_keys(path: ConfigPath, provider: models.JwtProviderSettings) -> Iterator[Finding]:
    """Check that a JWT provider has one source of keys, and only that source's settings."""
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
            yield from check_authority((*path, "ca"), provider.ca)
        yield from check_proxy((*path, "proxy"), provider.proxy)
        return
    for name in ("algorithms", "ca", "proxy"):
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
        return
    value = secret.known
    if value is None:
        return  # it is not read
    if b"-----BEGIN" in value:
        # If a public key were the HMAC secret, everyone could sign (RFC 8725 section 2.1).
        yield (*path, "secret"), "holds a PEM key, which is no secret", "use RS256 or its like"
    elif len(value) < least_bytes:
        yield (*path, "secret"), f"is shorter than {least_bytes} bytes", None


def _check_public_key(
    path: ConfigPath, algorithm: str, secret: Secret | None, public_key: Secret | None
) -> Iterator[Finding]:
    if secret is not None:
        yield (*path, "secret"), f"is not used with {algorithm}", "use `public_key`"
    if public_key is None:
        yield path, f"{algorithm} needs `public_key`", None
        return
    value = public_key.known
    if value is None:
        return  # it is not read
    # Most configurations have no key in a file, and start sooner without the library.
    from gateway.config.public_keys import key_fault

    fault = key_fault(algorithm, value)
    if fault is not None:
        yield (*path, "public_key"), fault, None
