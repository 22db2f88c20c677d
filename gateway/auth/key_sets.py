"""Sources of verification keys: the configuration, or the issuer's JWKS endpoint.

PyJWKClient is not used, because it blocks and serves no stale keys. Keys are fresh for 10 minutes.
Then they are fetched again in the background, while requests use the old keys; if fetching fails,
for up to one hour. An unknown `kid` causes at most one fetch every 30 s.
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
from gateway.http.connectors import connector_to
from gateway.http.egress import Proxy
from gateway.http.urls import is_trustworthy

FRESH_S = 600.0
STALE_S = 3600.0
UNKNOWN_KID_S = 30.0
RETRY_S = 1.0
_TIMEOUT_S = 5.0
_TRIED_KEYS = 8
"""Number of keys to try for one token. Each costs a signature check, and anyone can send tokens."""
_SIZE_CAP_BYTES = 256 * 1024

Fetch = Callable[[str], Awaitable[bytes]]
"""Fetch a document by URL. Raises OSError, TimeoutError, aiohttp.ClientError or ValueError."""


class KeySet(Protocol):
    """Set of verification keys."""

    changed: Callable[[], None]
    """Called when keys were withdrawn: tokens verified with them are no longer valid."""

    @property
    def ready(self) -> bool:
        """True if there are keys that may be used."""

    def current(self) -> bool:
        """Tell whether tokens verified with these keys are still valid. Starts to fetch the keys
        again if that is due. Costs one reading of the clock.
        """

    def find_now(self, kid: str | None, algorithm: str) -> Sequence[VerificationKey] | None:
        """Return the same keys as `find`, or None if `find` may have to fetch them."""

    async def find(self, kid: str | None, algorithm: str) -> Sequence[VerificationKey]:
        """Return the keys to try, in order, for a token with this header. `kid` is a hint and need
        not be unique (RFC 7517 section 4.5). Raise AuthUnavailable.
        """

    def start(self) -> None:
        """Start to fetch keys, so that the first request need not wait for them."""

    def close(self) -> None:
        """Cancel a fetch in progress."""


class StaticKey:
    """Key set with one key, from the configuration."""

    def __init__(self, key: VerificationKey) -> None:
        self._key = key
        self.changed: Callable[[], None] = _nothing

    @property
    def ready(self) -> bool:
        return True

    def current(self) -> bool:
        return True

    def find_now(self, kid: str | None, algorithm: str) -> Sequence[VerificationKey]:
        return (self._key,)

    async def find(self, kid: str | None, algorithm: str) -> Sequence[VerificationKey]:
        return (self._key,)

    def start(self) -> None:
        pass

    def close(self) -> None:
        pass


class RemoteKeySet:
    """Keys of a JWKS URL, either given or named by the issuer's OpenID configuration."""

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
        """Create the key set without fetching. Without `url`, discover it (OpenID Connect Discovery
        1.0 section 4). `report` is called with each problem, for the log.
        """
        self.changed: Callable[[], None] = _nothing
        self.fetches = 0
        """Number of successful fetches."""
        self.failures = 0
        """Number of failed fetches."""
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
        """True if there are keys that may be used."""
        return bool(self._keys) and self._now() < self._fetched_at + STALE_S

    def current(self) -> bool:
        age_s = self._now() - self._fetched_at
        if age_s >= FRESH_S:
            self._begin_refresh(RETRY_S)
        return age_s < STALE_S

    def find_now(self, kid: str | None, algorithm: str) -> Sequence[VerificationKey] | None:
        if not self.current() or (kid is not None and not self._knows(kid)):
            return None
        return self._fitting(kid, algorithm)

    async def find(self, kid: str | None, algorithm: str) -> Sequence[VerificationKey]:
        if not self.current():
            await self._refresh(RETRY_S)
            if not self.ready:
                raise AuthUnavailable("no verification keys")
        if kid is not None and not self._knows(kid):
            await self._refresh(UNKNOWN_KID_S)
            if self._failing and not self._knows(kid):
                # It may be a new key that cannot be fetched now.
                raise AuthUnavailable("unknown kid, and the keys cannot be refreshed")
        return self._fitting(kid, algorithm)

    def _fitting(self, kid: str | None, algorithm: str) -> Sequence[VerificationKey]:
        fitting = [key for key in self._keys if key.algorithm == algorithm]
        if kid is None:
            return fitting if len(fitting) == 1 else ()
        named = [key for key in self._keys if key.kid == kid]
        # A key for another algorithm is returned too: its error says that the algorithm is wrong.
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
            # A cancelled request must not cancel the fetch: other requests wait for it too.
            await asyncio.shield(self._task)

    def _begin_refresh(self, pause_s: float) -> None:
        """Start a fetch, unless one is in progress or was tried less than `pause_s` ago."""
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
            # A new key with the kid of an old one counts as a replacement of the old one.
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
            # The issuer must be identical to the requested one (section 4.3).
            raise ValueError("the OpenID configuration is another issuer's")
        url = document.get("jwks_uri")
        if not isinstance(url, str) or not is_trustworthy(url):
            raise ValueError("jwks_uri is not an https URL")
        return url


def http_fetch(context: ssl.SSLContext | None, proxy: Proxy | None = None) -> Fetch:
    """Return a Fetch over HTTP, through a proxy if there is one: at most 5 s and 256 KiB, no
    redirects.
    """

    async def fetch(url: str) -> bytes:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        # One session for each fetch suffices, since there is one fetch in ten minutes.
        async with (
            aiohttp.ClientSession(
                timeout=timeout, connector=connector_to(url, proxy, context=context)
            ) as session,
            session.get(
                url, allow_redirects=False, headers={"Accept": "application/json"}
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
