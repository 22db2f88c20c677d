"""Overload protection: caps at which a process refuses new requests, to keep those it has."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup/memory.max")
_SHARE = 0.9
"""Share of the available memory that the workers may use; the rest is for the kernel's buffers."""


BACKLOG = 4096
"""Connections that may wait to be accepted. Clients beyond that try again a second later or more.
"""


class Overload:
    """Current load of a process, and its caps."""

    __slots__ = (
        "admitted",
        "max_memory_bytes",
        "max_requests",
        "memory_bytes",
        "on_idle",
        "refused",
        "requests",
    )

    def __init__(self, max_requests: int, max_memory_bytes: int) -> None:
        self.memory_bytes = 0
        """Resident memory at the last measurement."""
        self.max_requests: int
        self.max_memory_bytes: int
        self.admitted: int
        """Requests that may be in flight: none more while there is too little memory."""
        self.set_caps(max_requests, max_memory_bytes)
        self.requests = 0
        """Requests in flight, streams included."""
        self.on_idle: Callable[[], None] | None = None
        """Called when the last request in flight has ended, while somebody waits for that."""
        self.refused = 0
        """Requests refused so far."""

    def set_caps(self, max_requests: int, max_memory_bytes: int) -> None:
        """Apply other caps."""
        self.max_requests = max_requests
        self.max_memory_bytes = max_memory_bytes
        self._admit()

    @property
    def reason(self) -> str | None:
        """Cap that is exceeded, or None."""
        if self.requests > self.max_requests:
            return "requests"
        return "memory" if self.memory_bytes > self.max_memory_bytes else None

    def measure(self) -> None:
        """Measure the resident memory."""
        self.memory_bytes = rss_bytes()
        self._admit()

    def _admit(self) -> None:
        is_short = self.memory_bytes > self.max_memory_bytes
        self.admitted = 0 if is_short else self.max_requests


class BodyBudget:
    """Memory budget for the request bodies that one process holds, to inspect them or to send them
    again.

    A body is counted by its announced size before it is read, so that a body already begun is never
    dropped for lack of memory. A caller that already holds a body gets no further one beyond half
    of the budget in total. Bodies that arrive with the head of their request are not counted.
    """

    __slots__ = ("_callers", "cap_bytes", "held_bytes", "refused")

    def __init__(self, cap_bytes: int) -> None:
        self.cap_bytes = cap_bytes
        self.held_bytes = 0
        """Bytes held at the moment."""
        self.refused = 0
        """Requests refused so far."""
        self._callers: dict[str, int] = {}
        """Bytes held by each caller that holds any."""

    @property
    def callers(self) -> int:
        """Number of callers that hold any bytes."""
        return len(self._callers)

    def take(self, size_bytes: int, caller: str) -> bool:
        """Reserve memory for a body; return False without room. One body alone always fits."""
        own = self._callers.get(caller, 0)
        full = self.held_bytes and self.held_bytes + size_bytes > self.cap_bytes
        if full or (own and own + size_bytes > self.cap_bytes // 2):
            self.refused += 1
            return False
        self.held_bytes += size_bytes
        self._callers[caller] = own + size_bytes
        return True

    def give_back(self, size_bytes: int, caller: str) -> None:
        """Give back part of a reservation, or all of it."""
        self.held_bytes -= size_bytes
        own = self._callers[caller] - size_bytes
        if own:
            self._callers[caller] = own
        else:
            del self._callers[caller]


def rss_bytes() -> int:
    """Return this process's resident memory; on other systems than Linux its maximum so far."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def memory_for(workers: int) -> int:
    """Return the bytes that each worker may use, from the container's memory or the machine's."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = int(_CGROUP.read_text())
    except (OSError, ValueError):  # no cgroup v2, or "max"
        limit = machine
    return int(min(limit, machine) * _SHARE / workers)


class HeldBody:
    """Share of a `BodyBudget` that one body occupies."""

    __slots__ = ("_budget", "_caller", "_size_bytes")

    def __init__(self, budget: BodyBudget, size_bytes: int, caller: str) -> None:
        self._budget = budget
        self._caller = caller
        self._size_bytes = size_bytes

    def shrink(self, size_bytes: int) -> None:
        """Give back the rest of a reservation that was larger than the body."""
        less = self._size_bytes - size_bytes
        if less:
            self._budget.give_back(less, self._caller)
            self._size_bytes = size_bytes

    def end(self, _: object = None) -> None:
        """Give back the whole reservation."""
        self.shrink(0)
