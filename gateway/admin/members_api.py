"""Admin API for the members of a team: the users with keys or usage there."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any

from aiohttp import web

from gateway.admin import holder_documents
from gateway.admin.answer import answer
from gateway.admin.budgets import budgets_of
from gateway.admin.holder_orders import find
from gateway.admin.key_registers import providers_of, register_of
from gateway.admin.operation import Operation, Parameter
from gateway.admin.record_requests import RecordHandlers, opened_records, storage
from gateway.admin.usage_sums import USED_DAYS, add_usage, no_usage
from gateway.auth.holders import Holder
from gateway.auth.key_register import Filter, listed, opened
from gateway.auth.membership import member_grant
from gateway.config import Config

_MOST = 200
_MOST_KEYS = 1000


class MembersApi(RecordHandlers):
    """Handler for the members of a team."""

    @Operation(
        "GET",
        "/api/teams/{name}/members",
        "Users of a team: owners of its keys, and callers with its usage in the last 30 days.",
        returns=holder_documents.TeamMembers,
        parameters=(Parameter("name", "Name of the team."),),
        errors={
            404: "There is no such team.",
            503: "The store cannot be read, or is the memory of one process.",
        },
    )
    async def _members(self, request: web.Request) -> web.Response:
        config, name = self.config(), request.match_info["name"]
        with storage():
            team = None
            if config.store.location.is_shared:
                async with opened(lambda: opened_records(config)) as records:
                    team = await find(records, "team", name)
            if team is None:
                raise web.HTTPNotFound(reason="there is no such team")
            members, more = await self._with_keys(config, name)
            await self._add_usage(members, name)
            names = sorted(members)[:_MOST]
            users = await self._users(config, names)
            budgets = await budgets_of(config, [member_grant(team, one) for one in names])
        rows = [
            {
                "name": one,
                **members[one],
                "suspended": None if user is None else _text(user.suspended),
                "budgets": budgets and budgets[place],
            }
            for place, (one, user) in enumerate(zip(names, users, strict=True))
        ]
        return answer(
            {
                "members": rows,
                "more": more or len(members) > len(names),
                "usage_known": self.reader is not None,
            }
        )

    async def _with_keys(self, config: Config, team: str) -> tuple[dict[str, dict[str, Any]], bool]:
        """Return the owners of usable keys of a team, and whether there are more."""
        members: dict[str, dict[str, Any]] = {}
        has_more = False
        wanted = Filter(team=team, state="usable")
        for provider in providers_of(config):
            register = register_of(config, provider)
            keys, more = await listed(register, wanted, self.now(), limit=_MOST_KEYS)
            has_more = has_more or more is not None
            for key in keys:
                member = members.setdefault(key.owner, {"keys": 0, **no_usage()})
                member["keys"] += 1
        return members, has_more

    async def _add_usage(self, members: dict[str, dict[str, Any]], team: str) -> None:
        reader = self.reader
        if reader is None:
            return
        since = (self.now() - timedelta(days=USED_DAYS - 1)).date().isoformat()
        rows = await asyncio.to_thread(reader.usage, since=since, by=["subject"], of={"team": team})
        for row in filter(itemgetter("subject"), rows):
            member = members.setdefault(row["subject"], {"keys": 0, **no_usage()})
            add_usage(member, row)

    @staticmethod
    async def _users(config: Config, names: list[str]) -> list[Holder | None]:
        async with opened(lambda: opened_records(config)) as records:
            return [await find(records, "user", name) for name in names]


def _text(moment: datetime | None) -> str | None:
    """Return a time in ISO 8601."""
    return None if moment is None else moment.isoformat()
