"""Keys of limits: the callers who share a limit. Each key is defined here and nowhere else.

A new key is a function of a `Caller` and a line in `KEYS`. The configuration takes its words, its
error messages and its schema from here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Protocol

from gateway.auth.claims import claim
from gateway.auth.principal import Principal


class Caller(Protocol):
    """Facts of a request that keys are made from.

    What is made from keys is cached by these facts, in `gateway/limiting/accounts.py`: a further
    fact has to be added there.
    """

    @property
    def principal(self) -> Principal | None:
        """Authenticated caller; None on a route without authentication."""

    @property
    def client_ip(self) -> str:
        """Address of the client, as trusted proxies report it."""

    @property
    def route(self) -> str | None:
        """Name of the route."""

    @property
    def model(self) -> str | None:
        """Name of the model that the caller asks for, once it is known."""


class Limited(Caller, Protocol):
    """Request, as limits see it."""

    @property
    def served(self) -> str | None:
        """Name of the fallback that serves the request instead of its model."""

    @property
    def upstream(self) -> str | None:
        """Name of the upstream that serves the request, once it is known."""

    @property
    def request_id(self) -> str:
        """Id of the request."""


KeyPart = Callable[[Caller], str]
"""Function that returns the text that callers who share a limit have in common."""


def subject_key(caller: Caller) -> str:
    """Return the caller's own key; without a principal, that of its address, as in `ip_key`."""
    principal = caller.principal
    return f"{principal.provider}/{principal.subject}" if principal else ip_key(caller)


def tenant_key(caller: Caller) -> str:
    """Return the tenant's key. A caller without a tenant has a key of its own."""
    principal = caller.principal
    if principal is not None and principal.tenant:
        return f"t:{principal.tenant}"
    return f"s:{subject_key(caller)}"


def ip_key(caller: Caller) -> str:
    """Return the key of the client's address, as trusted proxies report it. For IPv6 it is the /64
    network, because a caller can use any address in it.
    """
    address = caller.client_ip
    if ":" not in address:
        return address
    try:
        return str(ipaddress.IPv6Network((address.partition("%")[0], 64), strict=False))
    except ValueError:
        return address


def route_key(caller: Caller) -> str:
    """Return the key of the route."""
    return caller.route or ""


def model_key(caller: Caller) -> str:
    """Return the key of the model, by the name that callers use."""
    return caller.model or ""


def api_key_key(caller: Caller) -> str:
    """Return the id of the API key. Other credentials are counted by subject."""
    principal = caller.principal
    return principal.key_id if principal and principal.key_id else f"s:{subject_key(caller)}"


def claim_key(name: str) -> KeyPart:
    """Return a function that makes the key from a claim. A caller without it has its own key."""

    def key(caller: Caller) -> str:
        value = claim(caller.principal.claims, name) if caller.principal else None
        if isinstance(value, str | int) and not isinstance(value, bool):
            return f"c:{value}"
        return f"s:{subject_key(caller)}"

    return key


KEYS: Mapping[str, KeyPart] = {
    "subject": subject_key,
    "tenant": tenant_key,
    "ip": ip_key,
    "route": route_key,
    "model": model_key,
    "api_key": api_key_key,
}
"""Key function by its word in YAML."""
HASHED = ("subject", "tenant", "ip", "model")
"""Words of the keys that consistent hashing takes, too."""
CLAIM_PATTERN = r"claim\..+"
"""Pattern of the words that `claim_key` makes keys for."""
PATTERN = "|".join((*KEYS, CLAIM_PATTERN))
"""Pattern of all words."""
EXPECTED = ", ".join(KEYS) + " or claim.NAME"
"""The words, for messages and descriptions."""


def key_part(word: str) -> KeyPart:
    """Return the key function of a word that matches `PATTERN`."""
    kind, _, name = word.partition(".")
    return claim_key(name) if kind == "claim" else KEYS[word]
