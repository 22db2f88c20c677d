"""Limit store in Redis, shared by replicas: one Lua script, one call per turn of the event loop."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from gateway.limiting.batch import Batch, Batcher
from gateway.limiting.demand import Demand, Level, LimitVerdict
from gateway.store.records import StoreUnavailable, StoreUntouched
from gateway.stores.redis.client import PREFIX, answering_within, connect, disconnect
from gateway.stores.redis.pipe import Pipe, packed

TIMEOUT_S = 0.04
_LATE_S = 2.0
"""Time for which a call continues after its decisions were given up."""
_SCRIPT = Path(__file__).with_name("take.lua").read_bytes()
_DIGEST = hashlib.sha1(_SCRIPT, usedforsecurity=False).hexdigest().encode()


@dataclass(frozen=True, slots=True)
class _Asked:
    """Call of the script."""

    batch: Batch
    keys: list[bytes]
    asked: bytes
    answer: asyncio.Future[Sequence[LimitVerdict]]

    def answered(self, said: list[int]) -> None:
        """Give the reply to whoever waits for it. Fail if it is no reply of the script."""
        try:
            verdicts = _verdicts(said, self.batch)
        except (IndexError, TypeError):
            self.failed(StoreUnavailable("Redis has sent another reply than the script's"))
            return
        if not self.answer.done():
            self.answer.set_result(verdicts)

    def failed(self, why: StoreUnavailable) -> None:
        """Fail, unless nobody waits any more."""
        if not self.answer.done():
            self.answer.set_exception(why)


class RedisLimits:
    """Exact limits for all gateways that share a Redis."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """`timeout_s` is the time that a decision waits. Raise ValueError or ConfigurationError if
        the URL is not usable.
        """
        self._timeout_s = timeout_s + _LATE_S
        self._client: Any = connect(url, self._timeout_s)
        self._pipe: Pipe | None = None
        self._opening = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._batcher = Batcher(self.send, patience_s=timeout_s)

    def decide_now(self, demands: Sequence[Demand]) -> None:
        """Return None: Redis has to be waited for."""

    async def decide(self, demands: Sequence[Demand]) -> LimitVerdict:
        return await self._batcher.decide(demands)

    def post(self, demands: Sequence[Demand]) -> None:
        self._batcher.post(demands)

    async def close(self) -> None:
        await self._batcher.close()
        if self._pipe is not None:
            self._pipe.close()
        await disconnect(self._client)

    def send(self, batch: Batch) -> asyncio.Future[Sequence[LimitVerdict]]:
        """Decide a batch in one call, without waiting for others. The result raises
        StoreUnavailable.
        """
        keys = [(PREFIX + demand.key).encode() for demands in batch for demand in demands]
        # One JSON argument costs a fifth of a thousand arguments.
        asked = orjson.dumps(
            [
                [
                    (d.kind, d.amount, d.size, d.per_s, int(d.ttl_s * 1000), d.holder)
                    for d in demands
                ]
                for demands in batch
            ]
        )
        call = _Asked(batch, keys, asked, asyncio.get_running_loop().create_future())
        if self._pipe is not None and self._pipe.is_open:
            self._send(self._pipe, call)
        else:
            self._start(self._send_anew(call))
        return call.answer

    def _send(self, pipe: Pipe, call: _Asked) -> None:
        count = str(len(call.keys)).encode()
        command = packed(b"EVALSHA", _DIGEST, count, *call.keys, call.asked)
        pipe.call(command, partial(self._replied, call))

    def _replied(self, call: _Asked, reply: object) -> None:
        if isinstance(reply, list):
            call.answered(reply)
        elif isinstance(reply, StoreUnavailable):
            call.failed(reply)
        else:  # an error: the script is not known any more, or the keys are on another server now
            self._start(self._send_by_client(call))

    async def _send_anew(self, call: _Asked) -> None:
        """Connect, and send a call."""
        try:
            async with answering_within(self._timeout_s), self._opening:
                if self._pipe is None or not self._pipe.is_open:
                    self._pipe = await Pipe.open(self._client, self._timeout_s)
                    self._pipe.call(packed(b"SCRIPT", b"LOAD", _SCRIPT), lambda reply: None)
            self._send(self._pipe, call)
        except StoreUnavailable as exc:
            call.failed(StoreUntouched(str(exc)))

    async def _send_by_client(self, call: _Asked) -> None:
        """Make a call through redis-py, which follows a Cluster and a Sentinel to another server.
        The next call connects anew.
        """
        if self._pipe is not None:
            self._pipe.retire()
        try:
            async with answering_within(self._timeout_s):
                digest = await self._client.script_load(_SCRIPT)
                arguments = (*call.keys, call.asked)
                call.answered(await self._client.evalsha(digest, len(call.keys), *arguments))
        except StoreUnavailable as exc:
            call.failed(exc)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _verdicts(said: list[int], batch: Batch) -> list[LimitVerdict]:
    verdicts = []
    place = 0
    for demands in batch:
        refused, place = said[place], place + 1
        end = place + 2 * len(demands)
        levels = tuple(Level(said[i], said[i + 1] / 1e6) for i in range(place, end, 2))
        verdicts.append(LimitVerdict(levels, None if refused < 0 else refused))
        place = end
    return verdicts
