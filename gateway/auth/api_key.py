"""API keys: format, hashing and verification, without I/O.

A key is `sk-gw-ID-SECRET`. The secret has 256 random bits, and only its salted hash is stored. Such
a secret cannot be guessed, so a slow hash would only slow down requests. Records are found by the
ID, so the time of a look-up does not depend on the secret.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, replace
from datetime import datetime

from gateway.auth.allowance import NOTHING_LIMITED, Allowance

PREFIX = "sk-gw-"
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_ID_CHARACTERS = 12
_SECRET_BYTES = 32
_SALT_BYTES = 16
_KEY = re.compile(
    rf"{PREFIX}(?P<id>[{_ALPHABET}]{{{_ID_CHARACTERS}}})-(?P<secret>[A-Za-z0-9_-]{{43}})"
)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Stored part of an API key. Times are aware datetimes."""

    id: str
    salt: bytes
    hash: bytes
    owner: str
    """Subject of the principal that uses the key."""
    created: datetime
    tenant: str | None = None
    tier: str | None = None
    models: tuple[str, ...] | None = None
    """Models that the key may use; None means every model that the route serves."""
    limits: tuple[str, ...] = ()
    """Names of the key's own limits, in addition to the route's."""
    scopes: tuple[str, ...] = ()
    expires: datetime | None = None
    revoked: datetime | None = None
    suspended: datetime | None = None
    team: str | None = None
    """Team whose limits and models bound the key."""
    tags: tuple[str, ...] = ()
    """Words that usage is summed by."""
    routes: tuple[str, ...] | None = None
    """Routes that the key may use; None means every route that lists its provider."""
    allowance: Allowance = NOTHING_LIMITED
    """The key's own limits, set while the gateway runs."""
    line: str | None = None
    """Id of the first key that this key replaces by rotation: they share limits and budgets."""

    def usable(self, now: datetime) -> bool:
        """Tell whether the key is neither revoked, suspended nor expired."""
        return (
            self.revoked is None
            and self.suspended is None
            and (self.expires is None or now < self.expires)
        )

    def state(self, now: datetime) -> str:
        """Return `usable`, `suspended`, `expired` or `revoked`."""
        if self.revoked is not None:
            return "revoked"
        if self.expires is not None and now >= self.expires:
            return "expired"
        return "usable" if self.suspended is None else "suspended"

    def revoke(self, now: datetime) -> ApiKey:
        """Return the same key, revoked at `now`."""
        return replace(self, revoked=now)

    def matches(self, secret: str) -> bool:
        """Tell in constant time whether a secret belongs to this key."""
        return hmac.compare_digest(_hash(self.salt, secret), self.hash)


def generate() -> tuple[str, str, bytes, bytes]:
    """Return a new key, and the id, salt and hash to store."""
    key_id = "".join(secrets.choice(_ALPHABET) for _ in range(_ID_CHARACTERS))
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    salt = secrets.token_bytes(_SALT_BYTES)
    return f"{PREFIX}{key_id}-{secret}", key_id, salt, _hash(salt, secret)


def split(key: str) -> tuple[str, str] | None:
    """Return id and secret of a well-formed key, or None for any other text."""
    match = _KEY.fullmatch(key)
    return None if match is None else (match["id"], match["secret"])


def _hash(salt: bytes, secret: str) -> bytes:
    return hashlib.sha256(salt + secret.encode()).digest()
