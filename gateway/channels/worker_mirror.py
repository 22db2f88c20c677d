"""Mirror: the follower of a channel on behalf of another worker, which has followers of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from gateway.channels.channel import PIECE_BYTES, Channel
from gateway.errors import GatewayError
from gateway.load.tasks import BackgroundTasks
from gateway.worker_sockets import Document, write_message

_WAITING_CAP_BYTES = 1024 * 1024
"""Bytes that may wait for a busy worker. It gets the rest when it reads again."""


class WorkerMirror:
    """Follower for another worker."""

    validity_holds = True

    def __init__(
        self,
        channel: Channel,
        after: int,
        writer: asyncio.StreamWriter,
        tasks: BackgroundTasks,
        counted: Callable[[Channel], None],
    ) -> None:
        """`counted` is called when the number of followers has changed."""
        self._channel = channel
        self._after = after
        self._writer = writer
        self._tasks = tasks
        self._counted = counted
        self._draining = False
        channel.mirrors[self] = 0

    def begin(self) -> tuple[Document, Sequence[bytes]]:
        """Return the whole history after the position, as the reply to the other worker."""
        return self._news(self._channel.space.retention.size_bytes)

    def count(self, followers: int) -> None:
        """Note how many followers the other worker has."""
        channel = self._channel
        channel.mirrors[self] = followers
        channel.elsewhere = sum(channel.mirrors.values())
        self._counted(channel)

    def close(self) -> None:
        """Stop: the other worker follows no longer, or is gone."""
        channel = self._channel
        channel.mirrors.pop(self, None)
        channel.elsewhere = sum(channel.mirrors.values())
        channel.idle_since = asyncio.get_running_loop().time()
        self._counted(channel)

    def wake(self) -> None:
        """Send the events after the position, unless too much is waiting."""
        transport = self._writer.transport
        while self._after < self._channel.history.last and not transport.is_closing():
            if transport.get_write_buffer_size() > _WAITING_CAP_BYTES:
                if not self._draining:
                    self._draining = True
                    self._tasks.spawn(self._drain())
                return
            document, events = self._news(PIECE_BYTES)
            write_message(self._writer, document, events)

    def note(self) -> None:
        """Do nothing: the link tells presence."""

    def tell_presence(self) -> None:
        """Tell the number of followers in all workers."""
        if not self._writer.transport.is_closing():
            told = {"key": self._channel.key, "total": self._channel.present}
            write_message(self._writer, told)

    def fail(self, error: GatewayError) -> None:
        """Do nothing: the other worker notices when the connection closes."""

    async def _drain(self) -> None:
        try:
            await self._writer.drain()
        except OSError:
            return
        finally:
            self._draining = False
        self.wake()

    def _news(self, most_bytes: int) -> tuple[Document, Sequence[bytes]]:
        channel, history = self._channel, self._channel.history
        ids, blocks = history.blocks_after(max(self._after, history.floor), most_bytes)
        self._after = ids[-1] if ids else max(self._after, history.floor)
        return {
            "key": channel.key,
            "ids": ids,
            "floor": history.floor,
            "total": channel.present,
        }, blocks
