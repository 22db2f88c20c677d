"""Watch over the secrets of the configuration that is served, for values that change.

Files are compared by their versions. Commands and plug-ins run in threads, each in its own
interval.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from gateway.config.secret_sources import (
    FetchedSecret,
    FileVersion,
    KnownSecrets,
    SecretSources,
    file_version,
)

_AGAIN_S = 30.0
"""Time until a value that could not be applied is tried again, unless it changes before."""


class SecretWatch:
    """Watch over the secrets of one configuration at a time."""

    def __init__(
        self,
        secrets: SecretSources,
        logger: FilteringBoundLogger,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._now = now
        self._due: dict[str, float] = {}
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._new: dict[str, tuple[bytes, float]] = {}
        """Latest values of commands and plug-ins by key, with the times before their readings."""
        self._failing: set[str] = set()
        self._tried: tuple[dict[Path, FileVersion], dict[str, bytes]] | None = None
        self._try_at = 0.0
        self.serve(secrets)

    def serve(self, secrets: SecretSources) -> None:
        """Watch the secrets of the configuration that is served from now on."""
        self._secrets = secrets
        self._tried = None
        now = self._now()
        self._due = {
            key: self._due.get(key, now + one.every_s)
            for key, one in secrets.fetched.items()
            if one.every_s is not None
        }

    def changed(self) -> KnownSecrets | None:
        """Return the values to load the configuration with if any has changed, else None. Return
        each change once, and again after `_AGAIN_S` seconds if it was not served meanwhile.
        """
        self._start_reading()
        served = self._secrets.fetched
        new = {
            key: value
            for key, (value, at) in self._new.items()
            # A reload may have read it later.
            if key in served and at >= served[key].at and value != served[key].value
        }
        versions = {path: file_version(path) for path in self._secrets.files}
        if not new and versions == self._secrets.files:
            return None
        now = self._now()
        if self._tried == (versions, new) and now < self._try_at:
            return None
        self._tried, self._try_at = (versions, new), now + _AGAIN_S
        return self._secrets.known(new)

    @property
    def is_reading(self) -> bool:
        """True while a command or a plug-in is asked."""
        return bool(self._reading)

    def close(self) -> None:
        """Stop reading. A thread that waits for a plug-in is not awaited."""
        for task in self._reading.values():
            task.cancel()

    def _start_reading(self) -> None:
        now = self._now()
        for key, one in self._secrets.fetched.items():
            if one.every_s is not None and now >= self._due[key] and key not in self._reading:
                self._due[key] = now + one.every_s
                self._reading[key] = asyncio.create_task(self._read(key, one))

    async def _read(self, key: str, secret: FetchedSecret) -> None:
        started = time.monotonic()
        try:
            value = await asyncio.to_thread(secret.fetch)
        except ValueError as exc:
            self._failing.add(key)
            self._logger.warning("secret", state="failing", reason=str(exc))
            return
        finally:
            del self._reading[key]
        if key in self._failing:
            self._failing.discard(key)
            self._logger.info("secret", state="works", source=key)
        self._new[key] = value, started
