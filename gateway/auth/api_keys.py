"""Identity provider for API keys."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from gateway.auth import api_key
from gateway.auth.api_key import ApiKey
from gateway.auth.holders import Holder, Holders
from gateway.auth.membership import grants_of, missing, models_of, refusal
from gateway.auth.principal import Principal
from gateway.auth.provider import Rejected
from gateway.errors import AuthUnavailable
from gateway.load.tasks import BackgroundTasks
from gateway.store.record_cache import NotCached
from gateway.store.records import StoreUnavailable

_DECOY = ApiKey("decoy", b"\0" * 16, b"\0" * 32, "nobody", datetime.fromtimestamp(0, UTC))
_CACHED_PRINCIPALS = 20_000
_REFUSED = {
    "revoked": "The API key was revoked",
    "suspended": "The API key is suspended",
    "expired": "The API key expired",
}
_FETCHES = 3
"""Fetches for one credential, which may need a key, a user and a team."""


class KeyStore(Protocol):
    """Storage of API keys."""

    def find(self, key_id: str) -> ApiKey | None:
        """Return the key with this id, or None. Raise NotCached if it has to be fetched, and
        AuthUnavailable if that is not known now.
        """

    async def fetch(self, key_id: str) -> None:
        """Fetch a key for the next `find`. Raise StoreUnavailable."""

    @property
    def ready(self) -> bool:
        """True if the keys have been read."""

    def start(self) -> None:
        """Start to follow changes. Needs a running event loop."""

    def close(self) -> None:
        """Stop following changes."""


class ApiKeyProvider:
    """Provider that accepts the keys of its store, unless they are expired, suspended or revoked.

    A key of a team that is suspended, or does not exist, is not accepted either.
    """

    sent_headers: frozenset[bytes] = frozenset()

    def __init__(
        self,
        name: str,
        keys: KeyStore,
        holders: Holders | None = None,
        *,
        header: str | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`holders` are the teams and users; None: there are none."""
        self.name = name
        self.header = header
        self._keys = keys
        self._holders = holders
        self._now = now
        self._principals: dict[str, tuple[ApiKey, int, Principal]] = {}
        """Principal by key id, with the record and the version of the teams and users that it was
        made from.
        """
        self._fetches = BackgroundTasks()

    async def verify(self, credential: str) -> Principal:
        for _ in range(_FETCHES + 1):
            principal = self.verify_now(credential)
            if principal is not None:
                return principal
            parts = api_key.split(credential)
            assert parts is not None  # another text is rejected
            try:
                await self._fetch(parts[0])
            except StoreUnavailable as exc:
                raise AuthUnavailable(f"the key cannot be read: {exc}") from exc
        raise AuthUnavailable("keys change faster than they can be read")

    def verify_now(self, credential: str) -> Principal | None:
        """Return the principal of a key, or None if the key has to be fetched."""
        parts = api_key.split(credential)
        if parts is None:
            raise Rejected("not an API key")
        key_id, secret = parts
        try:
            key = self._keys.find(key_id)
        except NotCached:
            return None
        # An unknown id takes as much time as a known one.
        if not (key or _DECOY).matches(secret) or key is None:
            raise Rejected("unknown key, or a wrong secret", "The API key is not known here")
        if not key.usable(self._now()):
            state = key.state(self._now())
            raise Rejected(state, _REFUSED[state])
        holders = self._holders
        known = self._principals.get(key_id)
        version = 0 if holders is None else holders.version
        if known is not None and known[0] is key and known[1] == version:
            return known[2]
        return self._admitted(key, version, known)

    def _admitted(
        self, key: ApiKey, version: int, known: tuple[ApiKey, int, Principal] | None
    ) -> Principal | None:
        """Return the principal of a valid key, or None if its team or user has to be fetched. Raise
        Rejected.
        """
        try:
            team, user = self._above(key)
        except NotCached:
            return None
        if (reason := _refusal(key, team, user)) is not None:
            raise Rejected(reason, reason)
        principal = self._principal(key, team, user)
        if known is not None and known[2] == principal:
            principal = known[2]  # what is cached for it stays valid
        if len(self._principals) >= _CACHED_PRINCIPALS and key.id not in self._principals:
            del self._principals[next(iter(self._principals))]
        self._principals[key.id] = key, version, principal
        return principal

    def _above(self, key: ApiKey) -> tuple[Holder | None, Holder | None]:
        """Return the team and user of a key. Raise NotCached, or AuthUnavailable if the team was
        not read yet. A key in a file, without a team, is accepted while the store has never
        answered.
        """
        holders = self._holders
        if holders is None:
            return None, None
        if not holders.ready:
            if key.team is None:
                return None, None
            raise AuthUnavailable("the teams were not read yet")
        return None if key.team is None else holders.team(key.team), holders.user(key.owner)

    async def _fetch(self, key_id: str) -> None:
        await self._keys.fetch(key_id)
        key = self._keys.find(key_id)
        if key is not None and self._holders is not None:
            await self._holders.fetch(key.owner, key.team)

    def _principal(self, key: ApiKey, team: Holder | None, user: Holder | None) -> Principal:
        return Principal(
            key.owner,
            self.name,
            key.tenant,
            key.tier,
            scopes=frozenset(key.scopes),
            models=models_of(key.models, team, user),
            limits=key.limits,
            key_id=key.id,
            expires_at=None if key.expires is None else key.expires.timestamp(),
            team=key.team,
            tags=key.tags,
            routes=None if key.routes is None else frozenset(key.routes),
            grants=tuple(
                grants_of(key.owner, team, user, line=key.line or key.id, own=key.allowance)
            ),
        )

    def is_valid(self, principal: Principal) -> bool:
        if principal.key_id is None:
            return False
        try:
            key = self._keys.find(principal.key_id)
            if key is None or not key.usable(self._now()):
                return False
            return _refusal(key, *self._above(key)) is None
        except NotCached:
            # It was accepted before. The next call knows whether it still is.
            self._fetches.spawn(self._fetch_quietly(principal.key_id))
            return True

    async def _fetch_quietly(self, key_id: str) -> None:
        with contextlib.suppress(StoreUnavailable, NotCached, AuthUnavailable):
            await self._fetch(key_id)

    def not_ready(self) -> str | None:
        return None if self._keys.ready else "its keys were not read yet"

    def start(self) -> None:
        self._keys.start()
        if self._holders is not None:
            self._holders.start()

    def close(self) -> None:
        self._keys.close()


def _refusal(key: ApiKey, team: Holder | None, user: Holder | None) -> str | None:
    """Return why team and user refuse a key, or None."""
    if key.team is not None and team is None:
        return missing("API key")
    return refusal("API key", "owner", team, user)
