"""Sessions of operators in browsers, in the store that all replicas share.

A cookie holds a random name. The store has its digest, so who reads the store cannot take a session
over. What a session is for (a token, or an issuer) is checked at each request against the
configuration: a token that is withdrawn ends its sessions, and another role takes effect at once.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import orjson

from gateway.store.records import Records, StoreUnavailable

KIND = "operator_session"
SEEN_KIND = "operator_seen"
"""Kind of the records that say that a session was used. They expire when it was idle too long.

They are separate, since rewriting a session that ends at the same time would revive it.
"""
_CAP = 1000
_FRESH_S = 1.0
"""Time for which a session is not looked up again."""
_STALE_S = 600.0
"""Time for which a session that was looked up is valid while the store does not answer."""
_SEEN_S = 60.0
_NAME_BYTES = 32


@dataclass(frozen=True, slots=True)
class OperatorSession:
    """Session of one browser."""

    name: str
    """Name that is shown: of the person at the issuer, or of the token."""
    source: str
    """Token or issuer of the configuration that the session is for."""
    began_at: float
    """Time of the sign-in, in seconds since the epoch."""
    ends_at: float
    subject: str | None = None
    """Claim `sub` of the person."""
    groups: tuple[str, ...] = ()
    """Groups of the person that had a role at the sign-in."""
    id_token: str | None = None
    """ID token, as a hint for signing out at the issuer."""
    address: str | None = None
    """Address from which the session began."""
    id: str = ""
    """Digest of the cookie, as hexadecimal text. It does not open the session."""


class OperatorSessions:
    """Sessions of all operators."""

    def __init__(
        self,
        records: Callable[[], Records],
        *,
        now: Callable[[], float] = time.time,
        most: int = _CAP,
    ) -> None:
        """`records` returns the store, or raises StoreUnavailable. The oldest session ends when
        there are more than `most`.
        """
        self._most = most
        self._records = records
        self._now = now
        self._known: dict[str, tuple[OperatorSession, float]] = {}
        """Sessions that were looked up, with the time."""
        self._seen: dict[str, float] = {}
        """Times at which the use of a session was last written."""

    async def begin(self, session: OperatorSession, idle_s: float) -> str:
        """Store a new session. Return the value of its cookie. Raise StoreUnavailable."""
        name = secrets.token_urlsafe(_NAME_BYTES)
        records, key, now = self._records(), digest_of(name), self._now()
        others = sorted(await self.all(), key=lambda one: one.began_at)
        for one in others[: max(0, len(others) - self._most + 1)]:
            await self.end(one.id)
        document = asdict(session)
        del document["id"]
        await records.put(SEEN_KIND, key, b"", idle_s)
        await records.put(KIND, key, orjson.dumps(document), max(1.0, session.ends_at - now))
        self._seen[key] = now
        return name

    async def find(self, name: str, idle_s: float, *, uses: bool = True) -> OperatorSession | None:
        """Return the session of a cookie's value, or None. `uses` counts as a use, after which it
        may be idle for `idle_s`. Raise StoreUnavailable if it is not known while the store does not
        answer.
        """
        key, now = digest_of(name), self._now()
        known = self._known.get(key)
        if known is None or now >= known[1] + _FRESH_S:
            try:
                found = await self._look(key)
            except StoreUnavailable:
                if known is None or now >= known[1] + _STALE_S:
                    raise
                found = known[0]  # looked up again with the next request
            else:
                self._forget(key)
                if found is None:
                    return None
                self._remember(key, found)
        else:
            found = known[0]
        if found.ends_at <= now:
            return None
        if uses and now >= self._seen.get(key, 0.0) + min(_SEEN_S, idle_s / 4):
            self._seen[key] = now
            try:
                await self._records().put(SEEN_KIND, key, b"", idle_s)
            except StoreUnavailable:
                del self._seen[key]
        return found

    async def end(self, key: str) -> bool:
        """End a session by its id. Return False if there is none. Raise StoreUnavailable."""
        self._forget(key)
        self._seen.pop(key, None)
        records = self._records()
        await records.take(SEEN_KIND, key)
        return await records.take(KIND, key) is not None

    async def all(self) -> list[OperatorSession]:
        """Return all sessions that have not ended, the newest first. Raise StoreUnavailable."""
        records = self._records()
        used = await records.all(SEEN_KIND)
        parsed = [
            _parse(key, value) for key, value in (await records.all(KIND)).items() if key in used
        ]
        found = [one for one in parsed if one is not None]
        return sorted(found, key=lambda one: -one.began_at)

    async def _look(self, key: str) -> OperatorSession | None:
        records = self._records()
        value = await records.get(KIND, key)
        if value is None or await records.get(SEEN_KIND, key) is None:
            return None
        return _parse(key, value)

    def _remember(self, key: str, session: OperatorSession) -> None:
        self._known[key] = (session, self._now())
        while len(self._known) > _CAP:
            self._forget(next(iter(self._known)))
        while len(self._seen) > 2 * _CAP:
            del self._seen[next(iter(self._seen))]  # written again with its next use

    def _forget(self, key: str) -> None:
        self._known.pop(key, None)


def digest_of(name: str) -> str:
    """Return the id of the session with this cookie."""
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()


def _parse(key: str, value: bytes) -> OperatorSession | None:
    """Return the session of a record; None if another version of the gateway wrote it."""
    try:
        document = orjson.loads(value)
        return OperatorSession(**{**document, "groups": tuple(document["groups"]), "id": key})
    except (orjson.JSONDecodeError, TypeError, KeyError):
        return None
