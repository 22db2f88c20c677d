"""Monitor of an event loop: its lag, and the memory of its process."""

from __future__ import annotations

import asyncio
from collections import deque

from structlog.typing import FilteringBoundLogger

from gateway.load.overload import Overload
from gateway.load.tasks import BackgroundLoop

_EVERY_S = 0.25
_REMEMBERED = 40
"""Number of lags that are kept: those of the last 10 s."""
_WORTH_A_LINE_S = 1.0


class LoopMonitor(BackgroundLoop):
    """Monitor that measures lag and memory four times a second, and logs a long lag."""

    def __init__(self, overload: Overload, logger: FilteringBoundLogger) -> None:
        self._overload = overload
        self._logger = logger
        self._lags_s: deque[float] = deque(maxlen=_REMEMBERED)

    @property
    def worst_lag_s(self) -> float:
        """Longest lag in the last ten seconds."""
        return max(self._lags_s, default=0.0)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._overload.measure()
            due = loop.time() + _EVERY_S
            await asyncio.sleep(_EVERY_S)
            lag_s = max(0.0, loop.time() - due)
            self._lags_s.append(lag_s)
            if lag_s > _WORTH_A_LINE_S:
                # Most likely a plug-in blocks the loop; otherwise the machine swaps.
                self._logger.warning("loop_blocked", seconds=round(lag_s, 3))
