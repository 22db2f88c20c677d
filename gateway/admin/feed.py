"""Live updates for the pages, as server-sent events.

The workers are asked once for all viewers, and only for topics that somebody views. An event holds
the whole state of its topic, so a slow viewer gets only the newest state: nothing is queued.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import orjson
from aiohttp import web

from gateway.sse import EVENT_STREAM

Source = Callable[[], Awaitable[Any]]
"""Function that returns a topic's document."""

_EVERY_S = 1.0
_HEARTBEAT_S = 10.0
_VIEWERS_CAP = 64
_RETRY_MS = 1000


class Feed:
    """Feed of all topics to all viewers."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        *,
        every_s: float = _EVERY_S,
        heartbeat_s: float = _HEARTBEAT_S,
    ) -> None:
        self._sources = sources
        self._every_s = every_s
        self._heartbeat_s = heartbeat_s
        self._run = secrets.token_hex(4)
        self._number = 0
        self._events: dict[str, tuple[int, bytes]] = {}
        self._wanted: Counter[str] = Counter()
        self._viewers = 0
        self._changed = asyncio.Condition()
        self._ask_soon = asyncio.Event()
        self._closing = False
        self._asking_task: asyncio.Task[None] | None = None

    async def serve(
        self, request: web.Request, admitted: Callable[[web.Request], Awaitable[bool]]
    ) -> web.StreamResponse:
        """Send events to one viewer until it leaves, or is no longer admitted. Raise HTTPBadRequest
        or HTTPServiceUnavailable.
        """
        topics = [one for one in request.query.get("topics", "").split(",") if one in self._sources]
        if not topics:
            raise web.HTTPBadRequest(reason=f"topics are {', '.join(self._sources)}")
        if self._viewers >= _VIEWERS_CAP:
            raise web.HTTPServiceUnavailable(reason="too many look already")
        response = web.StreamResponse(
            headers={
                "Content-Type": EVENT_STREAM,
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
                "X-Content-Type-Options": "nosniff",
            }
        )
        await response.prepare(request)
        self._join(topics)
        try:
            await response.write(b"retry: %d\n\n" % _RETRY_MS)
            seen = self._last_seen(request.headers.get("Last-Event-ID", ""))
            while await admitted(request) and not self._closing and not self._failed():
                frames = self._newer(topics, seen)
                if frames:
                    seen = self._number
                else:
                    frames = b": nothing new\n\n" if await self._silent(topics, seen) else b""
                if frames:
                    await response.write(frames)
        except ConnectionResetError:
            pass  # the viewer has left
        finally:
            self._leave(topics)
        return response

    async def close(self, _: object = None) -> None:
        """End the streams of all viewers."""
        self._closing = True
        async with self._changed:
            self._changed.notify_all()

    def _join(self, topics: Sequence[str]) -> None:
        self._viewers += 1
        for topic in topics:
            if not self._wanted[topic]:
                self._events.pop(topic, None)  # outdated: nobody viewed the topic meanwhile
                self._ask_soon.set()
            self._wanted[topic] += 1
        if self._asking_task is None or self._asking_task.done():
            self._asking_task = asyncio.create_task(self._keep_asking())

    def _leave(self, topics: Sequence[str]) -> None:
        self._viewers -= 1
        self._wanted.subtract(topics)
        if not self._viewers and self._asking_task is not None:
            self._asking_task.cancel()
            self._asking_task = None

    def _failed(self) -> bool:
        """Tell whether the task that asks the workers has ended. A new viewer starts it again."""
        return self._asking_task is None or self._asking_task.done()

    def _last_seen(self, last: str) -> int:
        """Return the number of the last event that a viewer has from this process, or 0."""
        run, _, number = last.partition("-")
        return int(number) if run == self._run and number.isdecimal() else 0

    def _newer(self, topics: Sequence[str], seen: int) -> bytes:
        newer = sorted(
            event
            for topic in topics
            if (event := self._events.get(topic)) is not None and event[0] > seen
        )
        return b"".join(frame for _, frame in newer)

    async def _silent(self, topics: Sequence[str], seen: int) -> bool:
        """Wait for news. Return True if there were none for so long that a heartbeat is due."""
        try:
            async with asyncio.timeout(self._heartbeat_s), self._changed:
                await self._changed.wait_for(lambda: self._closing or self._newer(topics, seen))
        except TimeoutError:
            return True
        return False

    async def _keep_asking(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            topics = [topic for topic, count in self._wanted.items() if count > 0]
            try:
                documents = await asyncio.gather(*(self._sources[topic]() for topic in topics))
                for topic, document in zip(topics, documents, strict=True):
                    self._publish(topic, orjson.dumps(document))
            finally:
                async with self._changed:
                    self._changed.notify_all()
            self._ask_soon.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(begun + self._every_s):
                    await self._ask_soon.wait()

    def _publish(self, topic: str, data: bytes) -> None:
        event = self._events.get(topic)
        if event is not None and event[1].endswith(b"\ndata: " + data + b"\n\n"):
            return
        self._number += 1
        head = f"event: {topic}\nid: {self._run}-{self._number}\n".encode()
        self._events[topic] = (self._number, head + b"data: " + data + b"\n\n")
