"""What every child of the master does: say how it is, and stop when told to."""

from __future__ import annotations

import asyncio
import os
import signal

_SAID_CAP_BYTES = 32 * 1024
"""A pipe holds 64 KiB: whatever is said, saying it does not block."""


def say_ready(pipe: int, where: str = "") -> None:
    """Tell the master that everything is there, and where."""
    os.write(pipe, b"ready\0" + where.encode())
    os.close(pipe)


def say_why(pipe: int, text: str, code: int) -> None:
    """Tell the master why it cannot start, and the exit code to end with."""
    os.write(pipe, text.encode()[:_SAID_CAP_BYTES] + b"\0%d" % code)


def orders(master: int) -> asyncio.Queue[str]:
    """The signals to stop, as they come. The end of the master, behind that pipe, is one: nobody
    would end this process otherwise.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[str] = asyncio.Queue()
    loop.add_signal_handler(signal.SIGTERM, queue.put_nowait, "SIGTERM")

    def ended() -> None:
        loop.remove_reader(master)
        queue.put_nowait("the master has ended")

    loop.add_reader(master, ended)
    return queue
