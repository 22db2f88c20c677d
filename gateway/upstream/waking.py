"""Waiting for a backend that scales from zero: its requests are held until it has started.

    AWAKE ── a request finds it asleep ──▶ WAKING ── an answer that is no 503, or a check ──▶ AWAKE

While it is waking, one request at a time tries whether it has started, after the pause that the
backend asked for. The others wait in the order of arrival, and all continue when one is answered.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import Enum

from gateway.errors import UpstreamBusy, UpstreamWaking

_LONGEST_PAUSE_S = 10.0
"""Longest time between two tries, whatever pause the backend asks for."""
_WAKE_AGAIN_S = 30.0
"""Time between two wake requests while the backend is waking."""
Report = Callable[[str], None]


class WakingState(Enum):
    """State of a backend that scales from zero."""

    AWAKE = "awake"
    WAKING = "waking"


@dataclass(frozen=True, slots=True)
class WakeOptions:
    """Limits on the wait of requests. Times in seconds."""

    max_wait_s: float = 120.0
    pause_s: float = 1.0
    """Time in seconds between two tries, unless the backend asks for another pause."""
    most: int = 1024
    """Requests that wait at most."""


class Waking:
    """Wait of an upstream's requests for its start, in one worker."""

    def __init__(
        self,
        options: WakeOptions,
        *,
        report: Report = lambda text: None,
        wake: Callable[[], Coroutine[None, None, str | None]] | None = None,
    ) -> None:
        """`wake` sends a request that starts the backend, and returns why it failed, if it did."""
        self.options = options
        self.state = WakingState.AWAKE
        self.starts = 0
        """Number of times that the backend was found asleep."""
        self.timeouts = 0
        """Number of requests that waited in vain."""
        self.wake = wake
        self._report = report
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._trying: asyncio.Future[None] | None = None
        """The request that tries now."""
        self._next_at = 0.0
        """Time of the next try, in seconds of the event loop."""
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_waking(self) -> bool:
        """True if requests have to wait."""
        return self.state is WakingState.WAKING

    @property
    def waiting(self) -> int:
        """Number of requests that wait."""
        return len(self._waiting)

    @property
    def for_s(self) -> float:
        """Time for which the backend has been waking, in seconds."""
        return asyncio.get_running_loop().time() - self._since if self.is_waking else 0.0

    async def turn(self, longest_s: float) -> asyncio.Future[None]:
        """Wait until the request may try, or until the backend is awake. Return what `undecided`
        takes. Raise UpstreamBusy if too many wait, or UpstreamWaking after `longest_s`.
        """
        if len(self._waiting) >= self.options.most:
            raise UpstreamBusy("too many requests wait for its start")
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        self._schedule()
        try:
            async with asyncio.timeout(longest_s):
                await turn
        except TimeoutError:
            self._leave(turn)
            self.timeouts += 1
            raise UpstreamWaking(max(1, math.ceil(self._next_at - loop.time()))) from None
        except BaseException:
            self._leave(turn)
            raise
        return turn

    def undecided(self, turn: asyncio.Future[None] | None) -> None:
        """Note that a try ended without telling whether the backend has started. The next one is
        due.
        """
        if turn is not None and turn is self._trying:
            self._trying = None
            self._schedule()

    def asleep(self, pause_s: float | None) -> None:
        """Note that the backend has not started: it refused a request, and asked for a pause in
        seconds, if any.
        """
        loop = asyncio.get_running_loop()
        self._next_at = loop.time() + min(pause_s or self.options.pause_s, _LONGEST_PAUSE_S)
        self._trying = None
        if self.state is WakingState.AWAKE:
            self.state = WakingState.WAKING
            self.starts += 1
            self._since = loop.time()
            self._report("asleep: requests wait for its start")
            if self.wake is not None:
                self._task = loop.create_task(self._keep_waking(self.wake))
        self._schedule()

    def awake(self) -> None:
        """Note that the backend works: all requests continue."""
        if self.state is WakingState.AWAKE:
            return
        self._report(f"awake after {self.for_s:.1f} s")
        self.state = WakingState.AWAKE
        self._trying = None
        self.close()
        waiting, self._waiting = self._waiting, deque()
        for turn in waiting:
            if not turn.done():
                turn.set_result(None)

    def close(self) -> None:
        """Stop the timer and the wake requests."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _leave(self, turn: asyncio.Future[None]) -> None:
        if turn in self._waiting:
            self._waiting.remove(turn)
        self.undecided(turn)

    def _schedule(self) -> None:
        """Let the next request try once the pause is over."""
        if not self.is_waking or self._trying is not None or not self._waiting:
            return
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(max(self._next_at, loop.time()), self._let_one_try)

    def _let_one_try(self) -> None:
        self._timer = None
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                self._trying = turn
                turn.set_result(None)
                return

    async def _keep_waking(self, wake: Callable[[], Coroutine[None, None, str | None]]) -> None:
        while True:
            failure = await wake()
            if failure is not None:
                self._report(f"the wake request failed: {failure}")
            await asyncio.sleep(_WAKE_AGAIN_S)
