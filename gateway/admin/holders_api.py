"""Admin API for teams and users: limits and models above the API keys."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from aiohttp import web

from gateway.admin import documents, holder_documents
from gateway.admin.answer import answer
from gateway.admin.audit import note
from gateway.admin.budgets import budgets_of
from gateway.admin.holder_orders import difference, document, find, ordered, page
from gateway.admin.operation import Operation, Parameter
from gateway.admin.record_requests import (
    CHANGED,
    LIMIT,
    VERSION,
    RecordHandlers,
    check_version,
    limit_of,
    opened_records,
    storage,
)
from gateway.auth import holders
from gateway.auth.holders import Holder, HolderKind
from gateway.auth.key_register import opened
from gateway.auth.membership import team_grant, user_grant
from gateway.store.records import Records

_PAGES = (
    LIMIT,
    Parameter("after", "Value of `next` from the previous page."),
    Parameter("name", "Only the one of this name."),
    Parameter("text", "Only those with this text in their names, in any case."),
)
_TEAM = Parameter("name", "Name of the team.")
_USER = Parameter("name", "Owner of keys, by whom they are counted.")
_REFUSALS = {
    400: "The body or a parameter is malformed; the error names the field.",
    503: "The store cannot be read or written, or is the memory of one process.",
}
_CONFLICT = {**_REFUSALS, 409: CHANGED}
_UNKNOWN = {**_REFUSALS, 404: "There is no such record."}


class HoldersApi(RecordHandlers):
    """Handlers for teams and users."""

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
        parameters=(_TEAM, VERSION),
        errors=_CONFLICT,
    )
    async def _set_team(self, request: web.Request) -> web.Response:
        return await self._set(request, "team")

    @Operation(
        "POST",
        "/api/teams/{name}/suspend",
        "Refuse the keys and tokens of a team until it is resumed.",
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
        parameters=(_USER, VERSION),
        errors=_CONFLICT,
    )
    async def _set_user(self, request: web.Request) -> web.Response:
        return await self._set(request, "user")

    @Operation(
        "POST",
        "/api/users/{name}/suspend",
        "Refuse the keys and tokens of a user until it is resumed. It needs no record before.",
        returns=holder_documents.UserState,
        parameters=(_USER,),
        errors=_REFUSALS,
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
        limit, query = limit_of(request), request.query
        with storage():
            async with opened(self._records) as records:
                if "name" in query:
                    only = await find(records, kind, query["name"])
                    found, more = [] if only is None else [only], None
                else:
                    after, text = query.get("after", ""), query.get("text", "")
                    found, more = await page(records, kind, after, limit, text)
            grant = team_grant if kind == "team" else user_grant
            budgets = await budgets_of(self.config(), [grant(one) for one in found])
        rows = [
            {**document(one), "budgets": budgets and budgets[place]}
            for place, one in enumerate(found)
        ]
        return answer({f"{kind}s": rows, "next": more})

    async def _set(self, request: web.Request, kind: HolderKind) -> web.Response:
        data, name = await request.read(), request.match_info["name"]

        def settle(before: Holder | None) -> Holder:
            check_version(request, None if before is None else before.dump())
            return ordered(self.config(), kind, name, data, before, self.now())

        before, after = await self._edit(kind, name, settle)
        self._note(request, "created" if before is None else "changed", before, after)
        return answer(document(after))

    async def _set_suspended(
        self, request: web.Request, kind: HolderKind, since: datetime | None
    ) -> web.Response:
        name = request.match_info["name"]

        def suspend(before: Holder | None) -> Holder:
            if before is None and kind == "user" and since is not None:
                before = ordered(self.config(), kind, name, {}, None, since)
            found = _existing(before, kind)
            is_as_wanted = (found.suspended is None) is (since is None)
            return found if is_as_wanted else found.model_copy(update={"suspended": since})

        before, after = await self._edit(kind, name, suspend)
        if after != before:
            self._note(request, "resumed" if since is None else "suspended", before, after)
        return answer(document(after))

    async def _edit(
        self, kind: HolderKind, name: str, change: Callable[[Holder | None], Holder]
    ) -> tuple[Holder | None, Holder]:
        """Change a team or user, and return it before and after."""
        with storage():
            async with opened(self._records) as records:
                return await holders.edit(records, kind, name, change)

    async def _delete(self, request: web.Request, kind: HolderKind) -> web.Response:
        with storage():
            async with opened(self._records) as records:
                before = _existing(await find(records, kind, request.match_info["name"]), kind)
                await holders.remove(records, before)
        self._note(request, "deleted", before, None)
        return answer({})

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
        note(request, f"{known.kind}_{what}", *changed, name=known.name)


def _existing(holder: Holder | None, kind: HolderKind) -> Holder:
    """Return a team or user. Raise HTTPNotFound if there is none."""
    if holder is None:
        raise web.HTTPNotFound(reason=f"there is no such {kind}")
    return holder
