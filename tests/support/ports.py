"""Ports for programs that cannot choose one themselves, or that come back to theirs."""

from __future__ import annotations

import contextlib
import random
import socket

_FIRST, _LAST = 12_000, 22_767
"""Below the ports that the kernel gives to other tests meanwhile (32 768 and more), and so are the
ports of a cluster's nodes among themselves, which are higher by 10 000.
"""
_DICE = random.SystemRandom()
"""Tests in other processes may have seeded `random` alike."""


def free_port() -> int:
    """Return a port that no program listens on."""
    while True:
        port = _DICE.randint(_FIRST, _LAST)
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port
