"""API keys: how one looks, how it is kept, and how it is checked. No I/O here.

A key is `sk-gw-ID-SECRET`. Of the secret, 256 random bits, only a salted hash is kept: it cannot
be guessed, so a slow hash would only slow down requests. The ID finds the record, so a look-up
takes the same time whatever the secret is.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, replace
from datetime import datetime

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
    """What is kept of a key. Times are aware datetimes."""

    id: str
    salt: bytes
    hash: bytes
    owner: str
    """The subject of whoever comes with it."""
    created: datetime
    tenant: str | None = None
    tier: str | None = None
    models: tuple[str, ...] | None = None
    """The only models it may use; None: whatever the route serves."""
    limits: tuple[str, ...] = ()
    """Names of limits of its own, beside the route's."""
    scopes: tuple[str, ...] = ()
    expires: datetime | None = None
    revoked: datetime | None = None

    def usable(self, now: datetime) -> bool:
        """Neither revoked nor expired."""
        return self.revoked is None and (self.expires is None or now < self.expires)

    def revoke(self, now: datetime) -> ApiKey:
        """The same key, of no use from now on."""
        return replace(self, revoked=now)

    def matches(self, secret: str) -> bool:
        """Whether this is its secret. Takes the same time for a right and a wrong one."""
        return hmac.compare_digest(_hash(self.salt, secret), self.hash)


def generate() -> tuple[str, str, bytes, bytes]:
    """A new key, with the id, salt and hash to keep of it."""
    key_id = "".join(secrets.choice(_ALPHABET) for _ in range(_ID_CHARACTERS))
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    salt = secrets.token_bytes(_SALT_BYTES)
    return f"{PREFIX}{key_id}-{secret}", key_id, salt, _hash(salt, secret)


def split(key: str) -> tuple[str, str] | None:
    """Id and secret of what looks like a key; None for anything else."""
    match = _KEY.fullmatch(key)
    return None if match is None else (match["id"], match["secret"])


def _hash(salt: bytes, secret: str) -> bytes:
    return hashlib.sha256(salt + secret.encode()).digest()
