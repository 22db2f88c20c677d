"""Reports of ended requests: access line, metrics and trace, made for a few requests at a time.

Nobody waits for a report, but a client may wait for the next request to begin. So the `on_report`
phases run a little later, and phase by phase for all requests of a route that have ended meanwhile:
code that runs again and again is in the processor's caches, which saves a fifth of its time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from operator import length_hint
from typing import Any, Protocol, TypeVar


class Reported(Protocol):
    """Request that has ended; an exchange implements it."""

    @property
    def held(self) -> object:
        """Share of a large body in the memory for bodies; None if there is none."""

    def report_fault(self, exc: Exception) -> None:
        """Report an exception of a report."""


Ended = TypeVar("Ended", bound=Reported)
Report = Callable[[Iterator[Ended]], None]
"""Function that reports requests. It takes one after the other: one that it fails on is passed
over, and it is called again with the rest.
"""

AT_ONCE = 16
"""Requests that are reported together; they take some 0.3 ms."""
LATER_S = 0.01
"""Longest time until a request is reported, in seconds."""


class Reports:
    """Ended requests of one process that are not reported yet."""

    def __init__(self) -> None:
        self._groups: list[tuple[Sequence[Report[Any]], list[Any]]] = []
        """Requests that wait, with the reports that are to be made of them."""
        self._waiting = 0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return self._waiting

    def later(self, reports: Sequence[Report[Ended]]) -> Callable[[Ended], None]:
        """Return a function that makes these reports of an ended request, soon. Needs a running
        event loop.
        """

        group: list[Ended] = []

        def end(ended: Ended) -> None:
            if not group:
                self._groups.append((reports, group))
            group.append(ended)
            self._waiting = waiting = self._waiting + 1
            # A large body is not kept for a report.
            if waiting >= AT_ONCE or ended.held is not None:
                self.make()
            elif self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(LATER_S, self._in_time)

        return end

    def make(self) -> None:
        """Make all reports that are due: before somebody reads them, and before the process ends.
        One that fails does not stop the others.
        """
        groups, self._groups = self._groups, []
        self._waiting = 0
        for reports, group in groups:
            waiting = group.copy()
            group.clear()
            for report in reports:
                _made(report, waiting)

    def _in_time(self) -> None:
        self._timer = None
        self.make()


def _made(report: Report[Ended], waiting: Sequence[Ended]) -> None:
    left = iter(waiting)
    for _ in waiting:  # each may fail
        try:
            report(left)
        except Exception as exc:
            waiting[max(0, len(waiting) - length_hint(left) - 1)].report_fault(exc)
        else:
            return
