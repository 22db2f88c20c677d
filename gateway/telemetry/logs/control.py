"""Log level and access log sampling, adjustable at run time."""

from __future__ import annotations

import random

import structlog
from structlog.typing import EventDict, WrappedLogger

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class LogControl:
    """Log settings of one process: the minimum level and the sampled share of access lines."""

    def __init__(self, level: str = "info", sample: float = 1.0) -> None:
        self.set(level, sample)

    def set(self, level: str, sample: float) -> None:
        """Change the settings. `sample` applies only to requests that succeed."""
        self.level = level
        self.sample = sample
        self.least = LEVELS[level]
        """Rank of the minimum level, as in `LEVELS`."""
        self.all_access = self.least <= LEVELS["info"] and sample >= 1.0
        """True if every access line is written."""

    def wants_access(self, status: int | None, *, complete: bool) -> bool:
        """True if the access line of a request is written."""
        if self.least > LEVELS["info"]:
            return False
        sample = self.sample
        if sample >= 1.0 or not complete or status is None or status >= 400:
            return True
        return random.random() < sample  # noqa: S311 -- no secret

    def drop_below(self, _: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """structlog processor that drops events below the level. It comes first, to save time."""
        if LEVELS.get(method, 50) < self.least:
            raise structlog.DropEvent
        return event
