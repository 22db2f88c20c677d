"""Where a token's verification key comes from: the configuration, or the issuer's JWKS endpoint.

The remote one is ours because PyJWKClient blocks and serves no stale keys. Keys are fresh for 10
minutes; then they are fetched anew beside the requests, which go on with the old ones for up to an
hour of failures. A `kid` nobody knows makes one fetch each 30 s at most.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import aiohttp
import orjson

from gateway.auth.jwk import ASYMMETRIC, UnusableKeySet, VerificationKey, parse_key_set
from gateway.errors import AuthUnavailable
from gateway.urls import is_trustworthy

FRESH_S = 600.0
STALE_S = 3600.0
UNKNOWN_KID_S = 30.0
RETRY_S = 1.0
_TIMEOUT_S = 5.0
_TRIED_KEYS = 8
"""Keys tried for one token: each costs a signature check, and anybody can send a token."""
_SIZE_CAP_BYTES = 256 * 1024

Fetch = Callable[[str], Awaitable[bytes]]
"""Gets a document by its URL. Raises OSError, TimeoutError, aiohttp.ClientError or ValueError."""


class KeySet(Protocol):
    """Finds verification keys."""

    changed: Callable[[], None]
    """Called when keys were withdrawn: what was verified with them counts no more."""

    @property
    def ready(self) -> bool:
        """Whether there are keys that may be used."""

    def current(self) -> bool:
        """Whether what was verified with these keys still counts. Sees to it that they are fetched
        anew when that is due; costs a look at the clock.
        """

    async def find(self, kid: str | None, algorithm: str) -> Sequence[VerificationKey]:
        """The keys that may have signed a token with this header, to be tried in turn: `kid` is a
        hint and need not be unique (RFC 7517 section 4.5). Raise AuthUnavailable.
        """

    def start(self) -> None:
        """Begin to fetch, so that the first request need not wait."""

    def close(self) -> None:
        """Stop fetching."""


class StaticKey:
    """One key, from the configuration."""

    def __init__(self, key: VerificationKey) -> None:
        self._key = key
        self.changed: Callable[[], None] = _nothing

    @property
    def ready(self) -> bool:
        return True

    def current(self) -> bool:
        return True

    async def find(self, kid: str | None, algorithm: str) -> Sequence[VerificationKey]:
        return (self._key,)

    def start(self) -> None:
        pass

    def close(self) -> None:
        pass


class RemoteKeySet:
    """The keys at a JWKS URL, or at the one that an issuer's OpenID configuration names."""

    def __init__(
        self,
        *,
        issuer: str,
        url: str | None,
        fetch: Fetch,
        algorithms: Sequence[str] = ASYMMETRIC,
        now: Callable[[], float] = time.monotonic,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`url` None: discover it (OpenID Connect Discovery 1.0 section 4). `report` is told what
        goes wrong, for the log.
        """
        self.changed: Callable[[], None] = _nothing
        self.fetches = 0
        """How often the keys were fetched."""
        self.failures = 0
        """How often that failed."""
        self._issuer = issuer
        self._url = url
        self._fetch = fetch
        self._algorithms = algorithms
        self._now = now
        self._report = report
        self._keys: list[VerificationKey] = []
        self._fetched_at = -float("inf")
        self._tried_at = -float("inf")
        self._failing = False
        self._task: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether there are keys that may be used."""
        return bool(self._keys) and self._now() < self._fetched_at + STALE_S

    def current(self) -> bool:
        age_s = self._now() - self._fetched_at
        if age_s >= FRESH_S:
            self._begin_refresh(RETRY_S)
        return age_s < STALE_S

    async def find(self, kid: str | None, algorithm: str) -> Sequence[VerificationKey]:
        if not self.current():
            await self._refresh(RETRY_S)
            if not self.ready:
                raise AuthUnavailable("no verification keys")
        if kid is not None and not self._knows(kid):
            await self._refresh(UNKNOWN_KID_S)
            if self._failing and not self._knows(kid):
                # It may be a new one that we cannot see now.
                raise AuthUnavailable("unknown kid, and the keys cannot be refreshed")
        fitting = [key for key in self._keys if key.algorithm == algorithm]
        if kid is None:
            return fitting if len(fitting) == 1 else ()
        named = [key for key in self._keys if key.kid == kid]
        # One that is for another algorithm says so, when it is tried.
        return [key for key in fitting if key.kid == kid][:_TRIED_KEYS] or named[:1]

    def start(self) -> None:
        self._begin_refresh(RETRY_S)

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _knows(self, kid: str) -> bool:
        return any(key.kid == kid for key in self._keys)

    async def _refresh(self, pause_s: float) -> None:
        self._begin_refresh(pause_s)
        if self._task is not None:
            # A request that gives up must not take the fetch with it: others wait for it too.
            await asyncio.shield(self._task)

    def _begin_refresh(self, pause_s: float) -> None:
        """Fetch, unless that is under way or was tried less than `pause_s` ago."""
        now = self._now()
        if self._task is None and now >= self._tried_at + pause_s:
            self._tried_at = now
            self._task = asyncio.create_task(self._fetch_keys())

    async def _fetch_keys(self) -> None:
        try:
            keys, skipped = await self._fetched()
        except (OSError, TimeoutError, aiohttp.ClientError, ValueError, UnusableKeySet) as exc:
            self._failing = True
            self.failures += 1
            self._report(f"cannot fetch keys: {type(exc).__name__}: {exc}")
        else:
            self._failing = False
            self.fetches += 1
            self._fetched_at = self._now()
            # A key that comes anew under an old name is another one.
            withdrawn = any(key not in keys for key in self._keys)
            self._keys = keys
            if withdrawn:
                self.changed()
            for reason in skipped:
                self._report(f"skipped a key: {reason}")
        finally:
            self._task = None

    async def _fetched(self) -> tuple[list[VerificationKey], list[str]]:
        url = self._url or await self._discover()
        return parse_key_set(orjson.loads(await self._fetch(url)), self._algorithms)

    async def _discover(self) -> str:
        document = orjson.loads(
            await self._fetch(self._issuer.rstrip("/") + "/.well-known/openid-configuration")
        )
        if not isinstance(document, dict) or document.get("issuer") != self._issuer:
            # Section 4.3: it has to be the very issuer that was asked for.
            raise ValueError("the OpenID configuration is another issuer's")
        url = document.get("jwks_uri")
        if not isinstance(url, str) or not is_trustworthy(url):
            raise ValueError("jwks_uri is not an https URL")
        return url


def http_fetch(context: ssl.SSLContext | None) -> Fetch:
    """A Fetch over HTTP: 5 s and 256 KiB at most, no redirect, no proxy."""

    async def fetch(url: str) -> bytes:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        # One session for each fetch: there is one in ten minutes.
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(
                url,
                allow_redirects=False,
                ssl=True if context is None else context,
                headers={"Accept": "application/json"},
            ) as response,
        ):
            if response.status != 200:
                raise ValueError(f"status {response.status}")
            data = bytearray()
            async for piece in response.content.iter_any():
                data += piece
                if len(data) > _SIZE_CAP_BYTES:
                    raise ValueError(f"more than {_SIZE_CAP_BYTES} bytes")
            return bytes(data)

    return fetch


def _nothing() -> None:
    pass
