"""Progress of a long benchmark, with the time at which it is expected to end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

Measured = TypeVar("Measured")


def tell(text: str) -> None:
    """Write a line to stderr."""
    print(text, file=sys.stderr, flush=True)


class Progress:
    """Steps of known lengths. What they take longer than planned is expected of the rest, too."""

    def __init__(self, seconds: Iterable[float]) -> None:
        self._planned = list(seconds)
        self._done_s = 0.0
        self._began = time.monotonic()
        self._number = 0

    def begin(self, what: str) -> None:
        """Tell which step begins, and when the last one will end."""
        took_s = time.monotonic() - self._began
        rest_s = sum(self._planned) - self._done_s
        expected_s = rest_s * (took_s / self._done_s if self._done_s else 1.0)
        ends = time.strftime("%H:%M:%S", time.localtime(time.time() + expected_s))
        tell(f"{what} ({self._number + 1} of {len(self._planned)}, all end about {ends})")
        self._done_s += self._planned[self._number]
        self._number += 1


def tried(what: str, measured: Callable[[], Measured]) -> Measured | None:
    """Return what was measured, or None if that failed: the rest of a long run is not lost."""
    tell(what)
    try:
        return measured()
    except Exception as exc:
        tell(f"{what} failed: {exc!r:.300}")
        return None
