"""Tell whether the kernel holds data or an end of stream for a connection, without a system call
that releases the interpreter lock.

`select.poll` releases it. The thread that writes the log then takes the lock, and the event loop
waits 7 µs for it, on every request: 7 % of its CPU time. Through `ctypes.PyDLL` the lock is kept;
poll(2) with a timeout of 0 returns at once.
"""

from __future__ import annotations

import ctypes
import select
from collections.abc import Callable
from functools import partial

_poll = ctypes.PyDLL(None).poll  # without argtypes: the arguments are converted once, below
_ONE = ctypes.c_ulong(1)
_AT_ONCE = ctypes.c_int(0)


class _PollFd(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


def unread_check(fd: int) -> Callable[[], int]:
    """Return a check of the socket with this file descriptor. It returns a number other than 0 if
    there is data, an end of stream, or an error, and takes 0.6 µs.
    """
    asked = ctypes.byref(_PollFd(fd, select.POLLIN, 0))  # keeps the structure alive
    return partial(_poll, asked, _ONE, _AT_ONCE)
