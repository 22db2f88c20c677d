"""Reports of a child to its master, and the ends that stop a child."""

from __future__ import annotations

import asyncio
import os
import signal

from gateway.processes.child import report_failure, report_ready, stop_signals
from tests.support.waiting import PATIENCE_S


def report(send: object, *arguments: object) -> bytes:
    """What the master reads after a report."""
    reading, writing = os.pipe()
    assert callable(send)
    send(writing, *arguments)
    if send is report_failure:
        os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        return pipe.read()


def test_a_child_that_is_ready_says_where_it_listens() -> None:
    assert report(report_ready, "http://127.0.0.1:1") == b"ready\0http://127.0.0.1:1"
    assert report(report_ready) == b"ready\0"


def test_a_child_that_cannot_start_says_why_and_the_exit_code() -> None:
    assert report(report_failure, "no address", 3) == b"no address\x003"


def test_a_long_reason_never_blocks_the_pipe() -> None:
    assert len(report(report_failure, "x" * 10**6, 3)) < 64 * 1024


async def test_sigterm_and_the_end_of_the_master_stop_a_child() -> None:
    loop = asyncio.get_running_loop()
    reading, writing = os.pipe()
    try:
        stop = stop_signals(reading)
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            assert await stop.get() == "SIGTERM"
            os.close(writing)
            assert await stop.get() == "the master has ended"
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        os.close(reading)
