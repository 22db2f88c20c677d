"""Client of a Redis that processes share: its failures are noticed, and reported once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from gateway.load.tasks import BackgroundTasks
from gateway.store.records import StoreUnavailable
from gateway.stores.redis.client import answering, answering_within, connect, disconnect

TIMEOUT_S = 2.0
"""Time limit on a call, unless another is given."""
TICK_S = 1.0
"""Interval at which a process reports to the others, and tries again to reach Redis."""


class WatchedRedis:
    """Client of a Redis, with the background tasks that use it."""

    def __init__(
        self,
        url: str,
        timeout_s: float,
        report: Callable[[str, str], None],
        on_back: Callable[[], None] = lambda: None,
    ) -> None:
        """`report` is called with `lost` and the reason, or with `back`, when Redis goes or
        returns; `on_back` before that, when it returns.

        Raise ValueError.
        """
        self.available = True
        """True if Redis answered the last call."""
        self.client: Any = connect(url, timeout_s)
        self.timeout_s = timeout_s
        self.tasks = BackgroundTasks()
        """Tasks to end before `disconnect`."""
        self._report = report
        self._on_back = on_back

    async def disconnect(self) -> None:
        """Close all connections."""
        await disconnect(self.client)

    @contextlib.asynccontextmanager
    async def reachable(self) -> AsyncIterator[None]:
        """Limit the time of a call. Raise StoreUnavailable for every kind of failure."""
        try:
            async with answering_within(self.timeout_s):
                yield
        except StoreUnavailable as exc:
            self.changed(False, str(exc))
            raise

    def changed(self, available: bool, why: str = "") -> None:
        """Note whether Redis answers, and report a change."""
        if available != self.available:
            self.available = available
            if available:
                self._on_back()
            self._report("back" if available else "lost", why)

    async def listen(
        self, topic: str, hear: Callable[[str], None], subscribed: Callable[[], None] | None = None
    ) -> None:
        """Call `hear` with each message that is published on a topic, for ever. `subscribed` is
        called whenever it begins: messages before may be lost.
        """
        while True:
            pubsub = self.client.pubsub(ignore_subscribe_messages=True)
            try:
                with answering():
                    await self.client.ping()  # initialises the client of a Cluster
                    await pubsub.subscribe(topic)
                if subscribed is not None:
                    subscribed()
                while True:
                    with answering():
                        message = await pubsub.get_message(timeout=TICK_S)
                    if message is not None:
                        hear(message["data"].decode())
            except StoreUnavailable:
                await asyncio.sleep(TICK_S)
            finally:
                await pubsub.aclose()
