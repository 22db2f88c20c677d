"""Audit lines: who changed what at run time, with the values before and after, never a secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web
from structlog.typing import FilteringBoundLogger


class Audit:
    """Writer of audit lines to the log. They are warnings, so that no log level hides them."""

    def __init__(self, logger: FilteringBoundLogger) -> None:
        self._logger = logger

    def note(
        self,
        request: web.Request,
        event: str,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
        **what: Any,
    ) -> None:
        """Write a line. `what` names the thing that was changed."""
        values = {"before": before, "after": after}
        changed = {name: dict(value) for name, value in values.items() if value is not None}
        self._logger.warning(event, by=author(request), **what, **changed)


def author(request: web.Request) -> str:
    """Return who sent a request: how it was authenticated, and from where."""
    how = "token" if "Authorization" in request.headers else "session"
    return f"{how} from {request.remote}"
