"""Batch the demands of one turn of the event loop into one call to the store.

A round trip costs the same for one request as for fifty. Calls may overlap: demands that arrive
while a call is in flight go into a new call at the next turn.

A decision is given up when its request has waited long enough. The call goes on without it, so that
corrections are executed although the store is slow, and what it grants too late is given back.

A call that failed may nevertheless have been executed, or may still be. Its slots are therefore
released after the next call that succeeds, and its corrections are dropped: a second execution
would count them twice. If it surely changed nothing, they are kept. Demands that are posted while
calls fail are not sent. Their releases and corrections are kept for the next call that succeeds;
renewals are dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from gateway.limiting.demand import Demand, Kind, LimitVerdict
from gateway.store.records import StoreUnavailable, StoreUntouched

Batch = Sequence[Sequence[Demand]]
Send = Callable[[Batch], Awaitable[Sequence[LimitVerdict]]]
"""Decide on several requests in one call. The awaitable raises StoreUnavailable. A future costs no
task.
"""
SendNow = Callable[[Batch], Sequence[LimitVerdict] | None]
"""Decide on several requests without waiting. Return None if that is not possible at the moment;
then nothing was decided.
"""

_BATCH_CAP = 128
_OWED_CAP = 4096
_LAST_LOOK_S = 0.002
_UNDONE_BY = {
    Kind.TAKE: Kind.ADJUST,
    Kind.LEASE: Kind.RELEASE,
    Kind.SPEND: Kind.CORRECT,
}
Waiting = tuple[Sequence[Demand], asyncio.Future[LimitVerdict] | None]
"""Demands of one request, and the future of the decision on them; None if nobody waits for it."""


class Batcher:
    """Batching in front of a store; each store has its own instance."""

    def __init__(
        self, send: Send, send_now: SendNow | None = None, *, patience_s: float | None = None
    ) -> None:
        """Without `send_now`, the store always has to be waited for. `patience_s` is the time that
        a decision waits for its call; None if `send` limits it.
        """
        self._send = send
        self._send_now = send_now
        self._patience_s = patience_s
        self._waiting: list[Waiting] = []
        self._scheduled = False
        self._calls: set[asyncio.Future[Sequence[LimitVerdict]]] = set()
        self._failing = False
        self._owed: dict[tuple[Kind, str, str], Demand] = {}

    def decide_now(self, demands: Sequence[Demand]) -> LimitVerdict | None:
        """Return the decision on a request's demands if it can be made without waiting, otherwise
        None. Demands that are waiting to be sent are decided before, in the same call.
        """
        before = self._waiting
        # A call in flight may release what this request needs.
        if self._send_now is None or self._calls or len(before) >= _BATCH_CAP:
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
        """Send demands without waiting for the result."""
        if self._failing:
            self._owe(demands, correct=True)
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
            if self._send_now is not None and not self._calls:
                try:
                    verdicts = self._send_now([demands for demands, _ in batch])
                except Exception as exc:  # unforeseen; those who wait must not wait for ever
                    self._failed(batch, exc)
                    continue
                if verdicts is not None:
                    self._succeeded(batch, verdicts)
                    continue
            call = asyncio.ensure_future(  # noqa: RUF006 - it is kept in `_calls`
                self._send([demands for demands, _ in batch])
            )
            self._calls.add(call)
            late = None
            if self._patience_s is not None and any(future is not None for _, future in batch):
                late = asyncio.get_running_loop().call_later(
                    self._patience_s - _LAST_LOOK_S, self._look_once_more, batch
                )
            call.add_done_callback(partial(self._ended, batch, late))

    def _ended(
        self,
        batch: Sequence[Waiting],
        late: asyncio.TimerHandle | None,
        call: asyncio.Future[Sequence[LimitVerdict]],
    ) -> None:
        self._calls.discard(call)
        if late is not None:
            late.cancel()
        failure = call.exception()
        if failure is None:
            self._succeeded(batch, call.result())
        else:
            self._failed(batch, failure)

    def _failed(self, batch: Sequence[Waiting], failure: BaseException) -> None:
        """Keep what a failed call owes, and let its requests go on without its decisions."""
        self._failing = True
        for demands, _ in batch:
            self._owe(demands, correct=isinstance(failure, StoreUntouched))
        self._give_up(batch, failure)

    def _look_once_more(self, batch: Sequence[Waiting]) -> None:
        """Give up decisions after the sockets were checked once more: the reply may have arrived
        without being read, because this process was busy.
        """
        late = StoreUnavailable(f"TimeoutError: no decision in {self._patience_s} s")
        asyncio.get_running_loop().call_later(_LAST_LOOK_S, self._give_up, batch, late)

    def _give_up(self, batch: Sequence[Waiting], why: BaseException) -> None:
        """Let the requests of a call go on without its decisions."""
        for _, future in batch:
            if future is not None and not future.done():
                self._failing = True
                future.set_exception(why)

    def _succeeded(self, batch: Sequence[Waiting], verdicts: Sequence[LimitVerdict]) -> None:
        """Hand out the decisions of a call. Execute what is owed for earlier calls, and undo what
        nobody waits for any more.
        """
        if self._failing:
            self._failing = False
            owed, self._owed = self._owed, {}
            for demand in owed.values():
                self._add([demand], None)
        for (demands, future), verdict in zip(batch, verdicts, strict=True):
            if future is None:
                continue
            if not future.done():
                future.set_result(verdict)
            elif verdict.refused is None:
                self._undo(demands)

    def _undo(self, demands: Sequence[Demand]) -> None:
        """Give back what was granted to a request that did not wait for it."""
        undone = [d.again(_UNDONE_BY[d.kind], -d.amount) for d in demands if d.amount]
        if undone:
            self._add(undone, None)

    def _owe(self, demands: Sequence[Demand], *, correct: bool) -> None:
        """Keep the releases of slots, and with `correct` the corrections, which sum up by key."""
        for demand in demands:
            kind, holder = demand.kind, demand.holder
            if kind is Kind.LEASE or kind is Kind.RELEASE:
                demand = demand.again(Kind.RELEASE)
            elif correct and (kind is Kind.ADJUST or kind is Kind.CORRECT):
                holder = ""
            else:
                continue
            place = demand.kind, demand.key, holder
            before = self._owed.get(place)
            if before is None and len(self._owed) >= _OWED_CAP:
                continue
            if before is not None and not holder:
                demand = demand.again(kind, before.amount + demand.amount)
            self._owed[place] = demand
