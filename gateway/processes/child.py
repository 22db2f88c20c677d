"""Common code of the master's children: reporting their start, and stopping."""

from __future__ import annotations

import asyncio
import os
import signal

_SAID_CAP_BYTES = 32 * 1024
"""Cap of a report. A pipe holds 64 KiB, so that a write never blocks."""


def report_ready(pipe: int, where: str = "") -> None:
    """Report to the master that this child is ready, with its URL if it has one."""
    os.write(pipe, b"ready\0" + where.encode())
    os.close(pipe)


def report_failure(pipe: int, text: str, code: int) -> None:
    """Report to the master why this child cannot start, and the exit code for the master."""
    os.write(pipe, text.encode()[:_SAID_CAP_BYTES] + b"\0%d" % code)


def stop_signals(master: int) -> asyncio.Queue[str]:
    """Return a queue that receives each signal to stop. The end of the master, which closes the
    pipe, counts as a signal: nothing else would end this process then.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[str] = asyncio.Queue()
    loop.add_signal_handler(signal.SIGTERM, queue.put_nowait, "SIGTERM")

    def ended() -> None:
        loop.remove_reader(master)
        queue.put_nowait("the master has ended")

    loop.add_reader(master, ended)
    return queue
