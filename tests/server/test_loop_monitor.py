"""The monitor of an event loop: its lag, and one line about a long one."""

from __future__ import annotations

import asyncio
import time

from gateway.load.overload import Overload
from gateway.server.loop_monitor import LoopMonitor
from gateway.telemetry.logs.logger import make_logger
from tests.support.gateway import LogLines


async def test_a_blocked_loop_is_a_lag_and_a_line() -> None:
    log = LogLines()
    loop_monitor = LoopMonitor(Overload(10, 10**12), make_logger(log, level="info", console=False))
    assert loop_monitor.worst_lag_s == 0.0
    loop_monitor.start()
    try:
        await asyncio.sleep(0)
        time.sleep(1.3)  # noqa: ASYNC251 -- a loop is blocked by nothing else
        line = await log.wait_for(lambda line: line["event"] == "loop_blocked")
    finally:
        loop_monitor.close()
    assert line["seconds"] > 1.0
    assert loop_monitor.worst_lag_s > 1.0
