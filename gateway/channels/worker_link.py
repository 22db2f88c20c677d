"""Share channels among the workers of one gateway without Redis.

Each channel belongs to one worker, by its key: it gives the ids and keeps the history. The other
workers publish through it, and follow it on behalf of their own followers. The blocks of a message
(`gateway/worker_sockets.py`) are events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from gateway.channels.channel import Channel
from gateway.channels.link import Home
from gateway.channels.space import ChannelAddress, ChannelRetention, ChannelSpace, Once
from gateway.channels.worker_mirror import WorkerMirror
from gateway.errors import IdempotencyConflict, TooManyChannels
from gateway.load.tasks import BackgroundTasks
from gateway.store.records import StoreUnavailable
from gateway.worker_sockets import (
    GONE,
    LATE_S,
    Document,
    Message,
    WorkerSockets,
    read_message,
    write_message,
)

_AGAIN_S = 0.25
_TICK_S = 1.0


class WorkerLink:
    """Link of one worker to the others of its gateway."""

    available = True

    def __init__(self, folder: Path, slot: int, workers: int) -> None:
        self.tasks = BackgroundTasks()
        """Tasks that `close` cancels."""
        self.sockets = WorkerSockets(folder, "channels", slot, self.tasks)
        self._slot = slot
        self._workers = workers
        self._home: Home
        self._neighbours: dict[int, _Neighbour] = {}
        self._counted: dict[str, Channel] = {}

    def start(self, home: Home) -> None:
        self._home = home
        self.sockets.listen(self._answer)
        self.tasks.spawn(self._tick())

    async def close(self) -> None:
        await self.tasks.close()

    def owns(self, key: str) -> bool:
        return self._slot_of(key) == self._slot

    async def publish(
        self, address: ChannelAddress, blocks: Sequence[bytes], once: Once | None = None
    ) -> list[int]:
        if self.owns(address.key):
            return self._home.append(address, blocks, once)
        asked: Document = {"do": "publish", "channel": _document(address)}
        if once is not None:
            asked["once"] = asdict(once)
        reply, _ = await self._neighbour(address.key).call(asked, blocks)
        if "conflict" in reply:
            raise IdempotencyConflict
        if "ids" not in reply:
            raise TooManyChannels
        return list(reply["ids"])

    async def follow(self, channel: Channel) -> None:
        await self._neighbour(channel.key).follow(channel)

    def leave(self, channel: Channel) -> None:
        self._counted.pop(channel.key, None)
        self._neighbour(channel.key).leave(channel)

    def counted(self, channel: Channel) -> None:
        self._counted[channel.key] = channel

    async def presence(self, address: ChannelAddress) -> int:
        here = self._home.find(address.key)
        if self.owns(address.key):
            return 0 if here is None else here.present
        reply, _ = await self._neighbour(address.key).call(
            {"do": "presence", "key": address.key}, ()
        )
        return int(reply["followers"])

    # -- private -----------------------------------------------------------------------------------

    async def _tick(self) -> None:
        """Tell numbers of followers that have changed."""
        while True:
            await asyncio.sleep(_TICK_S)
            counted, self._counted = self._counted, {}
            for channel in counted.values():
                if channel.gone:
                    continue
                if not self.owns(channel.key):
                    self._neighbour(channel.key).count(channel)
                    continue
                for mirror in channel.mirrors:
                    if isinstance(mirror, WorkerMirror):
                        mirror.tell_presence()

    def _slot_of(self, key: str) -> int:
        return int(key[:4], 16) % self._workers

    def _neighbour(self, key: str) -> _Neighbour:
        slot = self._slot_of(key)
        found = self._neighbours.get(slot)
        if found is None:
            found = self._neighbours[slot] = _Neighbour(self, slot, self._home)
        return found

    # -- for other workers -------------------------------------------------------------------------

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mirrors: dict[str, WorkerMirror] = {}
        try:
            while True:
                asked, blocks = await read_message(reader)
                reply, events = self._reply_to(asked, blocks, writer, mirrors)
                if "number" in asked:
                    write_message(writer, {**reply, "number": asked["number"]}, events)
                    await writer.drain()
        finally:
            for mirror in mirrors.values():
                mirror.close()

    def _reply_to(
        self,
        asked: Document,
        blocks: list[bytes],
        writer: asyncio.StreamWriter,
        mirrors: dict[str, WorkerMirror],
    ) -> tuple[Document, Sequence[bytes]]:
        try:
            match asked["do"]:
                case "publish":
                    once = Once(**asked["once"]) if "once" in asked else None
                    return {"ids": self._home.append(_address(asked["channel"]), blocks, once)}, ()
                case "follow":
                    channel = self._home.own(_address(asked["channel"]))
                    if channel.key in mirrors:
                        mirrors[channel.key].close()
                    mirror = WorkerMirror(channel, asked["after"], writer, self.tasks, self.counted)
                    mirrors[channel.key] = mirror
                    mirror.count(asked["followers"])
                    return mirror.begin()
                case "count" if (found := mirrors.get(asked["key"])) is not None:
                    found.count(asked["followers"])
                case "leave" if (found := mirrors.pop(asked["key"], None)) is not None:
                    found.close()
                case "presence":
                    here = self._home.find(asked["key"])
                    return {"followers": 0 if here is None else here.present}, ()
        except TooManyChannels:
            return {"full": True}, ()
        except IdempotencyConflict:
            return {"conflict": True}, ()
        return {}, ()


class _Neighbour:
    """Connection to another worker, opened when it is needed."""

    def __init__(self, link: WorkerLink, slot: int, home: Home) -> None:
        self._link = link
        self._slot = slot
        self._home = home
        self._writer: asyncio.StreamWriter | None = None
        self._connecting = asyncio.Lock()
        self._number = 0
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._followed: dict[str, Channel] = {}
        self._joined: set[str] = set()
        """Followed channels whose history has come. News before it belong to an earlier follow."""

    async def call(self, asked: Document, blocks: Sequence[bytes]) -> Message:
        """Send a message, and return the reply. Raise StoreUnavailable."""
        try:
            async with asyncio.timeout(LATE_S):
                writer = await self._connected()
                self._number = number = self._number + 1
                reply = self._waiting[number] = asyncio.get_running_loop().create_future()
                try:
                    write_message(writer, {**asked, "number": number}, blocks)
                    message: Message = await reply
                    return message
                finally:
                    del self._waiting[number]
        except GONE as exc:  # or late: TimeoutError is an OSError
            raise StoreUnavailable(f"worker {self._slot} does not answer") from exc

    async def follow(self, channel: Channel) -> None:
        """Fill a channel, and keep it up to date. Raise StoreUnavailable or TooManyChannels."""
        self._followed[channel.key] = channel
        try:
            await self._join(channel)
        except BaseException:
            self._followed.pop(channel.key, None)
            raise

    async def _join(self, channel: Channel) -> None:
        """Ask for the history of a followed channel; `_listen` takes it, in its order with news."""
        asked = {
            "do": "follow",
            "channel": _document(channel.address),
            "after": channel.history.last,
            "followers": len(channel.followers),
        }
        reply, _ = await self.call(asked, ())
        if "ids" not in reply:
            raise TooManyChannels

    def leave(self, channel: Channel) -> None:
        """Stop to follow a channel."""
        self._joined.discard(channel.key)
        if self._followed.pop(channel.key, None) is not None:
            self._say({"do": "leave", "key": channel.key})

    def count(self, channel: Channel) -> None:
        """Tell how many followers a channel has here."""
        followers = len(channel.followers)
        self._say({"do": "count", "key": channel.key, "followers": followers})

    def _say(self, document: Document) -> None:
        if self._writer is not None:
            write_message(self._writer, document)

    async def _connected(self) -> asyncio.StreamWriter:
        async with self._connecting:
            if self._writer is None:
                reader, self._writer = await self._link.sockets.connect(self._slot)
                self._link.tasks.spawn(self._listen(reader, self._writer))
            return self._writer

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                document, events = await read_message(reader)
                key = document.get("key", "")
                channel = self._followed.get(key)
                if channel is not None and "number" in document:
                    self._joined.add(key)
                if channel is not None and key in self._joined:
                    self._arrived(channel, document, events)
                reply = self._waiting.get(document.get("number", 0))
                if reply is not None and not reply.done():
                    reply.set_result((document, events))
        except GONE:
            pass
        finally:
            self._writer = None
            self._joined.clear()
            writer.close()
            for reply in self._waiting.values():
                if not reply.done():
                    reply.set_exception(EOFError())
        if self._followed:
            self._link.tasks.spawn(self._return())

    async def _return(self) -> None:
        """Follow all channels again once the worker, or its successor, is back."""
        while left := [channel for channel in self._followed.values() if not channel.gone]:
            try:
                for channel in left:
                    await self._rejoin(channel)
            except StoreUnavailable:
                await asyncio.sleep(_AGAIN_S)
            else:
                return

    async def _rejoin(self, channel: Channel) -> None:
        """Follow a channel again. Its followers are disconnected if others have taken its place.
        Raise StoreUnavailable.
        """
        try:
            await self._join(channel)
        except TooManyChannels as exc:
            self._followed.pop(channel.key, None)
            for follower in [*channel.followers]:
                follower.fail(exc)

    def _arrived(self, channel: Channel, document: Document, events: list[bytes]) -> None:
        if "total" in document:
            channel.elsewhere = max(0, document["total"] - len(channel.followers))
        if "ids" in document:
            self._home.arrived(
                channel, zip(document["ids"], events, strict=True), document["floor"]
            )


def _document(address: ChannelAddress) -> Document:
    return asdict(address)


def _address(document: Document) -> ChannelAddress:
    space = document["space"]
    retention = ChannelRetention(**space["retention"])
    return ChannelAddress(
        document["key"], document["group"], ChannelSpace(**{**space, "retention": retention})
    )
