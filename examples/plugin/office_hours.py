"""A plug-in: requests pass between two hours of the day, in UTC."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field


class OfficeHours:
    """Refuses requests outside `opens` to `closes` with 503; stamps the answers to the others."""

    class Options(BaseModel):
        """Checked when the configuration is loaded: `gateway check` finds a mistake."""

        model_config = ConfigDict(extra="forbid")
        opens: int = Field(8, ge=0, le=23, description="First hour, UTC.")
        closes: int = Field(18, ge=1, le=24, description="First hour after, UTC.")
        header: str = "X-Office"

    def __init__(self, options: Options) -> None:
        self._options = options

    async def __call__(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Raise HTTPServiceUnavailable outside office hours; the gateway words the error."""
        options = self._options
        if not options.opens <= datetime.now(UTC).hour < options.closes:
            raise web.HTTPServiceUnavailable
        response = await handler(request)
        response.headers[options.header] = "open"
        return response
