"""Checks of the section `admin`: tokens of programs, public URLs, and the sign-in."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator

from gateway.config import models
from gateway.config.check_upstreams import check_authority
from gateway.config.findings import Finding
from gateway.http.urls import endpoint_fault, is_trustworthy

_EMPTY = hashlib.sha256(b"").hexdigest()
MAIN = "admin"
"""Name of `admin.token` in the audit log."""


def check_operators(admin: models.Admin) -> Iterator[Finding]:
    """Yield what keeps operators from being recognized safely."""
    yield from _check_tokens(admin)
    for index, url in enumerate(admin.public_url):
        path = ("admin", "public_url", index)
        if (fault := endpoint_fault(url)) is not None:
            yield path, fault, "write https://HOST, with a path if need be"
        elif not is_trustworthy(url):
            why = "is not https: the cookies and tokens of operators would be readable on the way"
            yield path, why, "http is accepted for localhost only"
    if admin.sign_in is not None:
        yield from _check_sign_in(admin.sign_in)


def _check_tokens(admin: models.Admin) -> Iterator[Finding]:
    if MAIN in admin.tokens:
        yield ("admin", "tokens", MAIN), "is the name of admin.token", "choose another name"
    seen: dict[str, str] = {}
    token_value = None if admin.token is None else admin.token.known
    if token_value is not None:
        seen[hashlib.sha256(token_value).hexdigest()] = "admin.token"
    for name, token in admin.tokens.items():
        for digest in token.sha256:
            path = ("admin", "tokens", name, "sha256")
            if digest == _EMPTY:
                yield path, "is the digest of an empty text", "use `gateway operators token`"
            if digest in seen:
                yield path, f"is that of {seen[digest]}, too", "give each program its own token"
            seen[digest] = f"admin.tokens.{name}"


def _check_sign_in(options: models.SignInSettings) -> Iterator[Finding]:
    path = ("admin", "sign_in")
    if not is_trustworthy(options.issuer):
        why = "is not an https URL: anybody on the way could let anybody in"
        yield (*path, "issuer"), why, "http is accepted for localhost only"
    roles = options.roles
    if not (roles.viewer or roles.operator or roles.admin):
        yield (*path, "roles"), "gives nobody a role", "list groups for a role"
    for role in ("viewer", "operator", "admin"):
        if "" in getattr(roles, role):
            yield (*path, "roles", role), "has an empty name of a group", None
    if options.idle > options.session:
        yield (*path, "idle"), "is longer than `session`", None
    if options.ca is not None:
        yield from check_authority((*path, "ca"), options.ca)


def is_loopback(listen: str) -> bool:
    """Tell whether only this machine can reach a listener."""
    address = _address(listen)
    return listen.rpartition(":")[0] == "localhost" or (address is not None and address.is_loopback)


def is_public(listen: str) -> bool:
    """Tell whether a listener has an address of the public internet."""
    address = _address(listen)
    return address is not None and address.is_global


def _address(listen: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address of a listener, or None for a name. An IPv4-mapped one is the IPv4 address:
    the properties of `ipaddress` look at that from Python 3.13 only.
    """
    try:
        address = ipaddress.ip_address(listen.rpartition(":")[0].strip("[]"))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
