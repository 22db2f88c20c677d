"""Continue streams of processes that died: each is taken over by exactly one process.

A process lists the streams that others may continue, and itself, in Redis. If it gives no sign of
life, the others try to take its streams over, a few at a time each. A script in Redis decides who
gets a stream. What the dead process might still write then has no effect; see `keys.events`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from gateway.resume.log import StreamLog, Trimmed
from gateway.resume.saved_request import SavedRequest, parse_saved_request
from gateway.resume.sharing import LocalStreams, StreamTerms
from gateway.stores.redis.streams import keys
from gateway.stores.redis.streams.journal import Journal
from gateway.stores.redis.streams.written import parse_entry

_TAKE_OVER = Path(__file__).with_name("take_over.lua").read_text()
_MISSED = 3
"""Number of looks in which a process has to be missing: after an outage of Redis, it may not have
reported yet.
"""
_AT_ONCE = 16
"""Streams that a process takes over before it lets others take some."""
_MOST_TAKEOVERS = 3
"""Number of processes that may die running one stream. A request that kills its process must not
kill all of them.
"""
_COUNT = 256
_LISTED_S = 24 * 3600


class Orphans:
    """The streams of other processes that this one may have to continue."""

    def __init__(
        self,
        client: Any,
        process: str,
        reachable: Callable[[], AbstractAsyncContextManager[None]],
        journal: Journal,
    ) -> None:
        """`reachable` limits a call's time and raises StoreUnavailable."""
        self._client = client
        self._process = process
        self._reachable = reachable
        self._journal = journal
        self._missing: Counter[str] = Counter()

    async def look_around(self, streams: LocalStreams) -> None:
        """Take over streams of processes that are gone. Raise StoreUnavailable."""
        client = self._client
        async with self._reachable():
            await client.sadd(keys.PROCESSES, self._process)
            await client.expire(keys.runs(self._process), _LISTED_S)
            found = {name.decode() for name in await client.smembers(keys.PROCESSES)}
        others = sorted(found - {self._process})
        if not others:
            return
        pipeline = client.pipeline(transaction=False)
        for process in others:
            pipeline.execute_command("EXISTS", keys.alive(process))
        async with self._reachable():
            there = await pipeline.execute()
        gone = {process for process, is_there in zip(others, there, strict=True) if not is_there}
        self._missing = Counter({process: self._missing[process] + 1 for process in gone})
        if not streams.takes_over:
            return
        for process, missed in self._missing.items():
            if missed >= _MISSED:
                await self._inherit(process, streams)

    async def leave(self) -> None:
        """Note that this process ends, and leaves no streams. Raise StoreUnavailable."""
        async with self._reachable():
            await self._client.srem(keys.PROCESSES, self._process)

    # -- private -----------------------------------------------------------------------------

    async def _inherit(self, process: str, streams: LocalStreams) -> None:
        """Take over some streams of a process that is gone."""
        client, runs = self._client, keys.runs(process)
        async with self._reachable():
            names = await client.srandmember(runs, _AT_ONCE)
            if not names:
                await client.srem(keys.PROCESSES, process)
                return
        for name in names:
            stream = name.decode()
            await self._take(process, stream, streams)
            async with self._reachable():
                await client.srem(runs, stream)

    async def _take(self, process: str, stream: str, streams: LocalStreams) -> None:
        """Take a stream over, unless another process does."""
        client, meta = self._client, keys.meta(stream)
        async with self._reachable():
            fields = ("p", "o", "c", "k", "t", "r", "b")
            runs, owner, cap, before, ttl, request, body = await client.hmget(meta, *fields)
        if runs is None or runs.decode() != process or request is None:
            return  # it has ended, or another process has taken it
        epoch = int(before or 0) + 1
        if epoch > _MOST_TAKEOVERS:
            async with self._reachable():
                await client.hdel(meta, "r", "b", "t")  # readers need not wait for it
            return
        names = (meta, keys.events(stream, epoch - 1), keys.events(stream, epoch))
        async with self._reachable():
            await client.sadd(keys.runs(self._process), stream)
            taken = await client.eval(_TAKE_OVER, 3, *names, process, self._process, epoch)
            if not taken:
                await client.srem(keys.runs(self._process), stream)
                return
        log = StreamLog(stream, owner, int(cap), streams)
        log.holds = True
        if await self._read(log, epoch):
            return  # it had ended
        saved = _parsed(request, body)
        terms = StreamTerms(owner, int(cap), float(ttl), saved=saved)
        self._journal.take_over(log, terms, epoch)
        log.show(log.last)
        streams.take_over(log, terms)

    async def _read(self, log: StreamLog, epoch: int) -> bool:
        """Read the events of a stream into a log. Return True if the stream has ended."""
        while True:
            async with self._reachable():
                entries = await self._client.xrange(
                    keys.events(log.id, epoch), f"({log.last}-0", "+", _COUNT
                )
            for _, fields in entries:
                first, events, state = parse_entry(fields)
                if state is not None:
                    return True
                try:
                    log.extend(first, events)
                except Trimmed:
                    log.clear()
                    log.extend(first, events)
            if len(entries) < _COUNT:
                return False


def _parsed(request: bytes, body: bytes) -> SavedRequest | None:
    try:
        return parse_saved_request(request, body)
    except (ValueError, KeyError, TypeError):  # stored by another version
        return None
