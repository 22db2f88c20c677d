"""Overload: when a process has taken on so much that it refuses more, to keep what it has."""

from __future__ import annotations

import os
import resource
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup/memory.max")
_SHARE = 0.9
"""Of the memory there is: the rest is for the kernel's buffers."""


class Overload:
    """What a process carries, and its caps. Reading `reason` costs two comparisons."""

    __slots__ = ("max_memory_bytes", "max_requests", "memory_bytes", "refused", "requests")

    def __init__(self, max_requests: int, max_memory_bytes: int) -> None:
        self.max_requests = max_requests
        self.max_memory_bytes = max_memory_bytes
        self.requests = 0
        """Under way, streams included."""
        self.memory_bytes = 0
        """In RAM, as last measured."""
        self.refused = 0
        """Requests refused so far."""

    @property
    def reason(self) -> str | None:
        """Why no more is taken on, or None."""
        if self.requests > self.max_requests:
            return "requests"
        return "memory" if self.memory_bytes > self.max_memory_bytes else None

    def measure(self) -> None:
        """Look how much memory is in use."""
        self.memory_bytes = rss_bytes()


class BodyBudget:
    """Memory for the request bodies that one process holds, to look at them or to send them again.

    A body is counted at its announced size before it is read, so that one that was begun is never
    given up for want of room. No caller holds more than half of it beside a first body. Bodies
    that come with the head of their request are not counted.
    """

    __slots__ = ("_callers", "cap_bytes", "held_bytes", "refused")

    def __init__(self, cap_bytes: int) -> None:
        self.cap_bytes = cap_bytes
        self.held_bytes = 0
        """At the moment."""
        self.refused = 0
        """Requests refused so far."""
        self._callers: dict[str, int] = {}
        """What each of them holds, who holds anything."""

    def take(self, size_bytes: int, caller: str) -> bool:
        """Whether there is room. A body always fits where nothing else is held."""
        own = self._callers.get(caller, 0)
        full = self.held_bytes and self.held_bytes + size_bytes > self.cap_bytes
        if full or (own and own + size_bytes > self.cap_bytes // 2):
            self.refused += 1
            return False
        self.held_bytes += size_bytes
        self._callers[caller] = own + size_bytes
        return True

    def give_back(self, size_bytes: int, caller: str) -> None:
        """So much is held no more."""
        self.held_bytes -= size_bytes
        own = self._callers[caller] - size_bytes
        if own:
            self._callers[caller] = own
        else:
            del self._callers[caller]


def rss_bytes() -> int:
    """Memory this process holds in RAM; on other systems than Linux, the most it ever held."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def memory_for(workers: int) -> int:
    """Bytes each of so many workers may use: of the container's memory, or of the machine's."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = int(_CGROUP.read_text())
    except (OSError, ValueError):  # no cgroup v2, or "max"
        limit = machine
    return int(min(limit, machine) * _SHARE / workers)
