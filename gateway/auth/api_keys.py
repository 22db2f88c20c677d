"""Identity provider for API keys."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from gateway.auth import api_key
from gateway.auth.api_key import ApiKey
from gateway.auth.principal import Principal
from gateway.auth.provider import Rejected

_DECOY = ApiKey("decoy", b"\0" * 16, b"\0" * 32, "nobody", datetime.fromtimestamp(0, UTC))
_CACHED_PRINCIPALS = 10_000


class KeyStore(Protocol):
    """Storage of API keys."""

    def find(self, key_id: str) -> ApiKey | None:
        """Return the key with this id, or None. Raise AuthUnavailable if that is not known now."""

    @property
    def ready(self) -> bool:
        """True if the keys have been read."""

    def start(self) -> None:
        """Start to follow changes. Needs a running event loop."""

    def close(self) -> None:
        """Stop following changes."""


class ApiKeyProvider:
    """Provider that accepts the keys of its store, unless they are expired or revoked."""

    sent_headers: frozenset[bytes] = frozenset()

    def __init__(
        self,
        name: str,
        keys: KeyStore,
        *,
        header: str | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.name = name
        self.header = header
        self._keys = keys
        self._now = now
        self._principals: dict[str, tuple[ApiKey, Principal]] = {}
        """Principal by key id, with the record it was made from: a changed key has another."""

    async def verify(self, credential: str) -> Principal:
        return self.verify_now(credential)

    def verify_now(self, credential: str) -> Principal:
        """Return the principal of a key. Does not return None, because keys are at hand."""
        parts = api_key.split(credential)
        if parts is None:
            raise Rejected("not an API key")
        key_id, secret = parts
        key = self._keys.find(key_id)
        # An unknown id takes as much time as a known one.
        if not (key or _DECOY).matches(secret) or key is None:
            raise Rejected("unknown key, or a wrong secret", "The API key is not known here")
        if key.revoked:
            raise Rejected("revoked", "The API key was revoked")
        if not key.usable(self._now()):
            raise Rejected("expired", "The API key expired")
        known = self._principals.get(key_id)
        if known is not None and known[0] is key:
            return known[1]
        principal = self._principal(key)
        if len(self._principals) >= _CACHED_PRINCIPALS:
            self._principals.clear()
        self._principals[key_id] = key, principal
        return principal

    def _principal(self, key: ApiKey) -> Principal:
        return Principal(
            key.owner,
            self.name,
            key.tenant,
            key.tier,
            scopes=frozenset(key.scopes),
            models=None if key.models is None else frozenset(key.models),
            limits=key.limits,
            key_id=key.id,
            expires_at=None if key.expires is None else key.expires.timestamp(),
        )

    def stands(self, principal: Principal) -> bool:
        key = self._keys.find(principal.key_id) if principal.key_id is not None else None
        return key is not None and key.usable(self._now())

    def not_ready(self) -> str | None:
        return None if self._keys.ready else "its keys were not read yet"

    def start(self) -> None:
        self._keys.start()

    def close(self) -> None:
        self._keys.close()
