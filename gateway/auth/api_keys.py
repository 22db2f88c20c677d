"""The provider for API keys."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from gateway.auth import api_key
from gateway.auth.api_key import ApiKey
from gateway.auth.principal import Principal
from gateway.auth.provider import Rejected

_DECOY = ApiKey("decoy", b"\0" * 16, b"\0" * 32, "nobody", datetime.fromtimestamp(0, UTC))


class KeyStore(Protocol):
    """Where keys are kept."""

    def find(self, key_id: str) -> ApiKey | None:
        """The key of that id, or None."""


class ApiKeyProvider:
    """Accepts keys that are in its store, unless they expired or were revoked."""

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

    async def verify(self, credential: str) -> Principal:
        parts = api_key.split(credential)
        if parts is None:
            raise Rejected("not an API key")
        key_id, secret = parts
        key = self._keys.find(key_id)
        # An unknown id costs what a known one does.
        if not (key or _DECOY).matches(secret) or key is None:
            raise Rejected("unknown key, or a wrong secret")
        if not key.usable(self._now()):
            raise Rejected("revoked" if key.revoked else "expired")
        return Principal(
            key.owner,
            self.name,
            key.tenant,
            key.tier,
            scopes=frozenset(key.scopes),
            models=None if key.models is None else frozenset(key.models),
            limits=key.limits,
            key_id=key.id,
        )

    def start(self) -> None:
        pass

    def close(self) -> None:
        pass
