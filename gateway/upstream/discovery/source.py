"""What every source of endpoints has in common: what it finds, and how it tells of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Found:
    """An endpoint as a source names it."""

    url: str
    """http(s)://host:port/base as it is to be connected to: an IP address where DNS gave one."""
    authority: str
    """What goes into Host; its host, without the port, into SNI."""
    weight: int = 1
    """Share of requests relative to others of the same priority; at least 1."""
    priority: int = 0
    """Those of the lowest number come first."""


Changed = Callable[[Sequence[Found]], None]
"""Takes the endpoints when they are others than before: sorted, each URL once, never none."""
Report = Callable[[str], None]
"""Takes what is wrong with a source, once while that lasts, and that it is over."""


class Source(Protocol):
    """Somewhere endpoints are found."""

    def start(self) -> None:
        """Begin to follow; there is an event loop now."""

    def close(self) -> None:
        """Stop. Nothing is told any more."""


class Latest:
    """The endpoints a source named last, and what is wrong with it: passes on what is new."""

    def __init__(self, subject: str, changed: Changed, report: Report) -> None:
        """`subject` is the source's name, for reports."""
        self._subject = subject
        self._changed = changed
        self._report = report
        self._found: Sequence[Found] = ()
        self._trouble: Hashable = None

    def show(self, found: Iterable[Found]) -> None:
        """These are the endpoints now. None at all changes nothing."""
        settled = _settled(found)
        if settled and settled != self._found:
            self._found = settled
            self._changed(settled)

    def failing(self, text: str, trouble: Hashable) -> None:
        """The endpoints cannot be had. It is said anew only when `trouble` is another."""
        state = "the endpoints stay as they were" if self._found else "there are no endpoints yet"
        self.warn(f"{state}: {text}", trouble)

    def warn(self, text: str, trouble: Hashable) -> None:
        """Something is wrong. It is said anew only when `trouble` is another."""
        if trouble != self._trouble:
            self._trouble = trouble
            self._report(f"{self._subject}: {text}")

    def recovered(self) -> None:
        """Nothing is wrong (any more)."""
        if self._trouble is not None:
            self._trouble = None
            self._report(f"{self._subject}: all is well again")


def _settled(found: Iterable[Found]) -> Sequence[Found]:
    """In order of priority and URL, each URL once: where it is best placed."""
    best: dict[str, Found] = {}
    for one in sorted(found, key=lambda found: (found.priority, -found.weight, found.authority)):
        best.setdefault(one.url, one)
    return tuple(sorted(best.values(), key=lambda found: (found.priority, found.url)))
