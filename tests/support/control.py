"""Control client during an attack: it sends requests regularly, and measures how it is served.

In every reliability case, such clients must get no 5xx, and an answer in time.
"""

from __future__ import annotations

import asyncio
import time

from tests.support.block import AsyncBlock
from tests.support.client import ask, request
from tests.support.figures import Report, percentile
from tests.support.upstream import Script, UpstreamConnection, reply

CONTROL_TARGET = "/v1/control"
_PERIOD_S = 0.02


def beside_control(script: Script) -> Script:
    """Return a script that answers control requests, and passes all others to `script`.

    `script` finds its first request, which is already read, in `connection.requests`.
    """

    async def play(connection: UpstreamConnection) -> None:
        while (await connection.read_request()).target == CONTROL_TARGET:
            await connection.send(reply(b"{}"))
        await script(connection)

    return play


async def control_request(port: int) -> float:
    """Send one request on a new connection; it must be served. Return the seconds it took."""
    started = time.perf_counter()  # the loop's clock has a resolution of 1 ms
    response = await ask(port, request(target=CONTROL_TARGET))
    assert response.status == 200, f"an innocent client was answered {response.head.raw!r}"
    return time.perf_counter() - started


class Control(AsyncBlock):
    """Control requests every 20 ms while the block runs. The first failure is raised."""

    def __init__(self, port: int) -> None:
        self.latencies_s: list[float] = []
        self._port = port
        self._enough = asyncio.Event()
        self._served = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def served(self, count: int) -> None:
        """Wait until so many requests have been served."""
        while len(self.latencies_s) < count and self._task and not self._task.done():
            self._served.clear()
            await self._served.wait()

    @property
    def p99_ms(self) -> float:
        """99th percentile of the control requests' latency."""
        return percentile(self.latencies_s, 99) * 1e3

    def report(self, report: Report, case: str) -> None:
        """Report the figures of this client."""
        report(case, "control request p99, ms", self.p99_ms)

    async def _enter(self) -> None:
        self._task = asyncio.create_task(self._ask())

    async def _leave(self, error: BaseException | None) -> None:
        assert self._task is not None
        self._enough.set()
        if error is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        else:
            await self._task

    async def _ask(self) -> None:
        while not self._enough.is_set():
            try:
                self.latencies_s.append(await control_request(self._port))
            finally:
                self._served.set()
            await asyncio.sleep(_PERIOD_S)
