"""Tokens that were taken back before they expired, by their `jti`.

Every process keeps the list and asks the store for it twice a second, so that a request costs a
look into a set. While the store is away the list stays as it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

_EVERY_S = 0.5

Fetch = Callable[[], Awaitable[frozenset[str] | None]]
"""All revoked ids, or None if they cannot be had now."""


class Revocations:
    """The list. `ids` may be looked at whenever."""

    def __init__(self, fetch: Fetch) -> None:
        self.ids: frozenset[str] = frozenset()
        self._fetch = fetch
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to keep it up to date."""
        self._task = asyncio.create_task(self._keep())

    def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()

    async def _keep(self) -> None:
        while True:
            found = await self._fetch()
            if found is not None:
                self.ids = found
            await asyncio.sleep(_EVERY_S)
