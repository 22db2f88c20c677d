"""Admin API of the response cache."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from aiohttp import web

from gateway.admin import documents
from gateway.admin.answer import answer
from gateway.admin.audit import note
from gateway.admin.fleet import Fleet
from gateway.admin.operation import Operation, Parameter
from gateway.response_cache.store import PURGE_FILTERS

_PURGE_S = 15.0
"""Timeout of a search through the answers in Redis."""


@dataclass(eq=False)
class CacheApi:
    """Handlers of the response cache."""

    fleet: Fleet

    @Operation(
        "DELETE",
        "/api/cache",
        "Remove answers from the response cache: all, or those that match every filter.",
        returns=documents.RemovedAnswers,
        parameters=(
            Parameter("route", "Name of the route."),
            Parameter("model", "Model that callers asked for."),
            Parameter("tenant", "Tenant of the callers."),
        ),
        errors={400: "A filter is not known.", 503: "A worker or the store does not answer."},
    )
    async def _purge(self, request: web.Request) -> web.Response:
        if not set(request.query) <= set(PURGE_FILTERS):
            return answer({"error": f"the filters are {', '.join(PURGE_FILTERS)}"}, 400)
        query = urlencode(dict(request.query))
        replies = await self.fleet.ask("DELETE", f"/cache?{query}", timeout_s=_PURGE_S)
        if not all(one.ok or one.absent for one in replies):
            return answer({"error": "a worker or the store does not answer; try again"}, 503)
        # With a shared store, each worker counts the answers that it has removed itself.
        removed = sum(one.document["removed"] for one in replies if one.ok)
        note(request, "cache_purged", removed=removed, filters=dict(request.query))
        return answer({"removed": removed})
