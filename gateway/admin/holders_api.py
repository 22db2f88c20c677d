"""Admin API for teams and users: limits and models above the API keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from gateway.admin import documents, holder_documents
from gateway.admin.answer import answer
from gateway.admin.audit import Audit
from gateway.admin.holder_orders import difference, document, find, ordered, page
from gateway.admin.keys_api import opened_records, orders, storage
from gateway.admin.operation import Operation, Parameter, routes
from gateway.auth import holders
from gateway.auth.holders import Holder, HolderKind
from gateway.auth.key_register import opened
from gateway.config import Config
from gateway.store.records import Records

_PAGE = 1000
_PAGES = (
    Parameter("limit", "Most entries; default: 1000.", {"type": "integer"}),
    Parameter("after", "Value of `next` from the previous page."),
)
_TEAM = Parameter("name", "Name of the team.")
_USER = Parameter("name", "Owner of keys, by whom they are counted.")
_REFUSALS = {
    400: "The body or a parameter is malformed; the error names the field.",
    503: "The store cannot be read or written, or is the memory of one process.",
}
_UNKNOWN = {**_REFUSALS, 404: "There is no such record."}


@dataclass(frozen=True, slots=True)
class HoldersApi:
    """Handlers for teams and users."""

    config: Callable[[], Config]
    """Returns the configuration that is served."""
    logger: FilteringBoundLogger
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    @property
    def routes(self) -> list[web.RouteDef]:
        """Routes to add to the application."""
        return routes(self)

    @Operation(
        "GET",
        "/api/teams",
        "Teams.",
        returns=holder_documents.Teams,
        parameters=_PAGES,
        errors=_REFUSALS,
    )
    async def _teams(self, request: web.Request) -> web.Response:
        return await self._list(request, "team")

    @Operation(
        "PUT",
        "/api/teams/{name}",
        "Create a team, or replace its settings. They take effect within a second.",
        returns=holder_documents.TeamState,
        body=holder_documents.TeamSettings,
        parameters=(_TEAM,),
        errors=_REFUSALS,
    )
    async def _set_team(self, request: web.Request) -> web.Response:
        return await self._set(request, "team")

    @Operation(
        "POST",
        "/api/teams/{name}/suspend",
        "Refuse the keys of a team until it is resumed.",
        returns=holder_documents.TeamState,
        parameters=(_TEAM,),
        errors=_UNKNOWN,
    )
    async def _suspend_team(self, request: web.Request) -> web.Response:
        return await self._set_suspended(request, "team", self.now())

    @Operation(
        "POST",
        "/api/teams/{name}/resume",
        "Accept the keys of a suspended team again.",
        returns=holder_documents.TeamState,
        parameters=(_TEAM,),
        errors=_UNKNOWN,
    )
    async def _resume_team(self, request: web.Request) -> web.Response:
        return await self._set_suspended(request, "team", None)

    @Operation(
        "DELETE",
        "/api/teams/{name}",
        "Delete a team. Its keys are refused within a second.",
        returns=documents.Empty,
        parameters=(_TEAM,),
        errors=_UNKNOWN,
    )
    async def _delete_team(self, request: web.Request) -> web.Response:
        return await self._delete(request, "team")

    @Operation(
        "GET",
        "/api/users",
        "Users that have a record. Owners of keys need none.",
        returns=holder_documents.Users,
        parameters=_PAGES,
        errors=_REFUSALS,
    )
    async def _users(self, request: web.Request) -> web.Response:
        return await self._list(request, "user")

    @Operation(
        "PUT",
        "/api/users/{name}",
        "Create the record of a user, or replace its settings.",
        returns=holder_documents.UserState,
        body=holder_documents.UserSettings,
        parameters=(_USER,),
        errors=_REFUSALS,
    )
    async def _set_user(self, request: web.Request) -> web.Response:
        return await self._set(request, "user")

    @Operation(
        "POST",
        "/api/users/{name}/suspend",
        "Refuse the keys of a user until it is resumed.",
        returns=holder_documents.UserState,
        parameters=(_USER,),
        errors=_UNKNOWN,
    )
    async def _suspend_user(self, request: web.Request) -> web.Response:
        return await self._set_suspended(request, "user", self.now())

    @Operation(
        "POST",
        "/api/users/{name}/resume",
        "Accept the keys of a suspended user again.",
        returns=holder_documents.UserState,
        parameters=(_USER,),
        errors=_UNKNOWN,
    )
    async def _resume_user(self, request: web.Request) -> web.Response:
        return await self._set_suspended(request, "user", None)

    @Operation(
        "DELETE",
        "/api/users/{name}",
        "Delete the record of a user. Its keys stay usable, without the record's limits.",
        returns=documents.Empty,
        parameters=(_USER,),
        errors=_UNKNOWN,
    )
    async def _delete_user(self, request: web.Request) -> web.Response:
        return await self._delete(request, "user")

    # -- what they share ---------------------------------------------------------------------

    async def _list(self, request: web.Request, kind: HolderKind) -> web.Response:
        limit = request.query.get("limit", str(_PAGE))
        if not limit.isdecimal() or not 0 < int(limit) <= _PAGE:
            raise web.HTTPBadRequest(reason=f"limit: send a number from 1 to {_PAGE}")
        with storage():
            async with opened(self._records) as records:
                after = request.query.get("after", "")
                found, more = await page(records, kind, after, int(limit))
        return answer({f"{kind}s": [document(one) for one in found], "next": more})

    async def _set(self, request: web.Request, kind: HolderKind) -> web.Response:
        data, name = await request.read(), request.match_info["name"]
        with storage():
            async with opened(self._records) as records:
                before = await find(records, kind, name)
                with orders():
                    after = ordered(self.config(), kind, name, data, before, self.now())
                await holders.put(records, after)
        self._note(request, "created" if before is None else "changed", before, after)
        return answer(document(after))

    async def _set_suspended(
        self, request: web.Request, kind: HolderKind, since: datetime | None
    ) -> web.Response:
        with storage():
            async with opened(self._records) as records:
                before = await self._found(records, kind, request)
                if (before.suspended is None) is (since is None):
                    return answer(document(before))
                after = before.model_copy(update={"suspended": since})
                await holders.put(records, after)
        self._note(request, "resumed" if since is None else "suspended", before, after)
        return answer(document(after))

    async def _delete(self, request: web.Request, kind: HolderKind) -> web.Response:
        with storage():
            async with opened(self._records) as records:
                before = await self._found(records, kind, request)
                await holders.remove(records, before)
        self._note(request, "deleted", before, None)
        return answer({})

    @staticmethod
    async def _found(records: Records, kind: HolderKind, request: web.Request) -> Holder:
        found = await find(records, kind, request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound(reason=f"there is no such {kind}")
        return found

    def _records(self) -> Records:
        config = self.config()
        if not config.store.location.is_shared:
            reason = "teams and users are kept in the store: set store.url to SQLite or a Redis"
            raise web.HTTPServiceUnavailable(reason=reason)
        return opened_records(config)

    def _note(
        self, request: web.Request, what: str, before: Holder | None, after: Holder | None
    ) -> None:
        known = before or after
        assert known is not None
        changed = difference(before, after)
        Audit(self.logger).note(request, f"{known.kind}_{what}", *changed, name=known.name)
