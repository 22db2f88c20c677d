"""Batch the demands of one turn of the event loop into one call to the store.

A round trip costs the same for one request as for fifty. Calls may overlap: demands that arrive
while a call is in flight go into a new call at the next turn.

A call that failed may nevertheless have been executed, or may still be. Its slots are therefore
released after the next call that succeeds. Until then, of the demands that are posted only the
slots to release are kept; corrections and renewals are dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from gateway.limiting.demand import Demand, Kind, LimitVerdict
from gateway.store.records import StoreUnavailable

Batch = Sequence[Sequence[Demand]]
Send = Callable[[Batch], Awaitable[Sequence[LimitVerdict]]]
"""Decide on several requests in one call. Raise StoreUnavailable."""
SendNow = Callable[[Batch], Sequence[LimitVerdict] | None]
"""Decide on several requests without waiting. Return None if that is not possible at the moment;
then nothing was decided.
"""

_BATCH_CAP = 128
_OWED_CAP = 4096


class Batcher:
    """Batching in front of a store; each store has its own instance."""

    def __init__(self, send: Send, send_now: SendNow | None = None) -> None:
        """Without `send_now`, the store always has to be waited for."""
        self._send = send
        self._send_now = send_now
        self._waiting: list[tuple[Sequence[Demand], asyncio.Future[LimitVerdict] | None]] = []
        self._scheduled = False
        self._calls: set[asyncio.Task[None]] = set()
        self._failing = False
        self._owed: list[Demand] = []

    def decide_now(self, demands: Sequence[Demand]) -> LimitVerdict | None:
        """Return the decision on a request's demands if it can be made without waiting, otherwise
        None. Demands that are waiting to be sent are decided before, in the same call.
        """
        before = self._waiting
        if self._send_now is None or len(before) >= _BATCH_CAP:
            return None
        verdicts = self._send_now([*(waiting for waiting, _ in before), demands])
        if verdicts is None:
            return None
        self._waiting = []
        self._succeeded(before, verdicts[:-1])
        return verdicts[-1]

    async def decide(self, demands: Sequence[Demand]) -> LimitVerdict:
        """Return the decision on a request's demands. Raise StoreUnavailable."""
        future: asyncio.Future[LimitVerdict] = asyncio.get_running_loop().create_future()
        self._add(demands, future)
        return await future

    def post(self, demands: Sequence[Demand]) -> None:
        """Send demands without waiting for the result. A failure's effect expires with its TTL."""
        if self._failing:
            self._owe(demands)
        else:
            self._add(demands, None)

    async def close(self) -> None:
        """Send what is waiting, and wait for the calls in flight."""
        self._flush()
        while self._calls:
            await asyncio.wait(set(self._calls))

    def _add(self, demands: Sequence[Demand], future: asyncio.Future[LimitVerdict] | None) -> None:
        self._waiting.append((demands, future))
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        while self._waiting:
            batch, self._waiting = self._waiting[:_BATCH_CAP], self._waiting[_BATCH_CAP:]
            if self._send_now is not None:
                verdicts = self._send_now([demands for demands, _ in batch])
                if verdicts is not None:
                    self._succeeded(batch, verdicts)
                    continue
            task = asyncio.create_task(self._call(batch))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    async def _call(
        self, batch: list[tuple[Sequence[Demand], asyncio.Future[LimitVerdict] | None]]
    ) -> None:
        try:
            verdicts = await self._send([demands for demands, _ in batch])
        except StoreUnavailable as exc:
            self._failing = True
            for demands, future in batch:
                self._owe(demands)
                if future is not None and not future.done():
                    future.set_exception(exc)
        else:
            self._succeeded(batch, verdicts)

    def _succeeded(
        self,
        batch: list[tuple[Sequence[Demand], asyncio.Future[LimitVerdict] | None]],
        verdicts: Sequence[LimitVerdict],
    ) -> None:
        """Hand out the decisions of a call. Release what earlier calls may have taken."""
        if self._failing:
            self._failing = False
            owed, self._owed = self._owed, []
            for demand in owed:
                self._add([demand], None)
        for (_, future), verdict in zip(batch, verdicts, strict=True):
            if future is not None and not future.done():
                future.set_result(verdict)

    def _owe(self, demands: Sequence[Demand]) -> None:
        slots = [d for d in demands if d.kind is Kind.LEASE or d.kind is Kind.RELEASE]
        if slots and len(self._owed) < _OWED_CAP:
            self._owed += [demand.again(Kind.RELEASE) for demand in slots]
