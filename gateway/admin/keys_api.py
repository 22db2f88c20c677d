"""Admin API for API keys: who has which, what each was used for, and changes to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web

from gateway.admin import documents, key_documents
from gateway.admin.answer import answer
from gateway.admin.audit import note
from gateway.admin.bad_input import BadInput
from gateway.admin.budgets import budgets_of
from gateway.admin.key_orders import (
    changed,
    check_key,
    difference,
    document,
    lifetime,
    made,
    parsed,
)
from gateway.admin.key_registers import providers_of, register_of
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
from gateway.admin.usage_sums import USED_DAYS, add_usage, no_usage
from gateway.auth import holders, stored_keys
from gateway.auth.api_key import ApiKey
from gateway.auth.key_register import Filter, KeyRegister, listed, opened, rotated
from gateway.auth.membership import own_grant
from gateway.config import Config

_ID = Parameter("id", "Id of the key.")
_PROVIDER = Parameter("provider", "Name of the provider. Default: the first of type `api_key`.")
_FILTERS = (
    Parameter("provider", "Only the keys of this provider."),
    Parameter("owner", "Only the keys of this owner."),
    Parameter("team", "Only the keys of this team."),
    Parameter("tag", "Only the keys with this tag."),
    Parameter(
        "state",
        "Only the keys in this state.",
        {"type": "string", "enum": ["usable", "suspended", "expired", "revoked"]},
    ),
    Parameter("text", "Only the keys with this text in id, owner, tenant, team or a tag."),
    LIMIT,
    Parameter("after", "Value of `next` from the previous page, with `provider`."),
)
_REFUSALS = {
    400: "The body or a parameter is malformed; the error names the field.",
    404: "There is no such provider or key.",
    503: "The keys cannot be read or written.",
}


class KeysApi(RecordHandlers):
    """Handlers for API keys. Secrets are returned once, by the operation that makes them."""

    @Operation(
        "GET",
        "/api/keys",
        "API keys of all providers, without secrets, with their use in the last 30 days.",
        returns=key_documents.ApiKeys,
        parameters=_FILTERS,
        errors=_REFUSALS,
    )
    async def _list(self, request: web.Request) -> web.Response:
        query = request.query
        names = ("owner", "team", "tag", "state", "text")
        wanted = Filter(**{name: query[name] for name in names if query.get(name)})
        limit = limit_of(request)
        only = query.get("provider")
        if only is not None:
            self._register(request)
        config, providers, now = self.config(), [], self.now()
        with storage():
            for name, options in providers_of(config).items():
                if only not in (None, name):
                    continue
                keys, more = await listed(
                    register_of(config, name),
                    wanted,
                    now,
                    after=query.get("after", "") if only else "",
                    limit=limit,
                )
                used = await self._used([key.id for key in keys])
                grants = [own_grant(key.line or key.id, key.allowance) for key in keys]
                budgets = await budgets_of(config, grants)
                rows = [
                    {**self._document(key, used), "budgets": budgets and budgets[place]}
                    for place, key in enumerate(keys)
                ]
                kept_in = "store" if options.file is None else "file"
                providers.append({"name": name, "kept_in": kept_in, "keys": rows, "next": more})
        return answer({"providers": providers, "usage_known": self.reader is not None})

    @Operation(
        "POST",
        "/api/keys",
        "Create a key. The response is the only one that has its secret.",
        returns=key_documents.NewKey,
        body=key_documents.KeyOrder,
        parameters=(_PROVIDER,),
        errors=_REFUSALS,
    )
    async def _create(self, request: web.Request) -> web.Response:
        order = parsed(key_documents.KeyOrder, await request.read())
        secret, key = made(order, self.now())
        register = self._register(request)
        check_key(self.config(), key)
        await self._check_team(key.team)
        with storage():
            await register.add(key)
        after = {name: value for name, value in document(key, self.now()).items() if value}
        note(request, "key_created", None, after, id=key.id, owner=key.owner, tenant=key.tenant)
        return answer({"secret": secret, "key": self._document(key, {})})

    @Operation(
        "PATCH",
        "/api/keys/{id}",
        "Change the settings of a key. They take effect within a second.",
        returns=key_documents.ChangedKey,
        body=key_documents.KeyChange,
        parameters=(_ID, _PROVIDER, VERSION),
        errors={**_REFUSALS, 409: f"The key is revoked. {CHANGED}"},
    )
    async def _change(self, request: web.Request) -> web.Response:
        order = parsed(key_documents.KeyChange, await request.read())
        await self._check_team(order.team)

        def change(old: ApiKey) -> ApiKey:
            check_version(request, stored_keys.dump(old))
            _must_stand(old)
            new = changed(old, order, self.now())
            check_key(self.config(), new)
            return new

        return await self._edit(request, change, "key_changed")

    @Operation(
        "POST",
        "/api/keys/{id}/suspend",
        "Suspend a key: it is refused, within a second, until it is resumed.",
        returns=key_documents.ChangedKey,
        parameters=(_ID, _PROVIDER),
        errors={**_REFUSALS, 409: "The key is revoked."},
    )
    async def _suspend(self, request: web.Request) -> web.Response:
        return await self._set_suspended(request, self.now(), "key_suspended")

    @Operation(
        "POST",
        "/api/keys/{id}/resume",
        "Accept a suspended key again.",
        returns=key_documents.ChangedKey,
        parameters=(_ID, _PROVIDER),
        errors={**_REFUSALS, 409: "The key is revoked."},
    )
    async def _resume(self, request: web.Request) -> web.Response:
        return await self._set_suspended(request, None, "key_resumed")

    @Operation(
        "POST",
        "/api/keys/{id}/rotate",
        "Replace a key by a new one with the same settings. The old one stays usable for a while.",
        returns=key_documents.NewKey,
        body=key_documents.KeyRotation,
        parameters=(_ID, _PROVIDER),
        errors={**_REFUSALS, 409: "The key is revoked, suspended or expired."},
    )
    async def _rotate(self, request: web.Request) -> web.Response:
        order = parsed(key_documents.KeyRotation, await request.read())
        overlap = lifetime("overlap", order.overlap)
        register, now = self._register(request), self.now()
        made: list[tuple[str, ApiKey]] = []

        def rotate(old: ApiKey) -> tuple[ApiKey, ApiKey]:
            if not old.usable(now):
                raise web.HTTPConflict(reason=f"the key is {old.state(now)}: create another")
            secret, new, ending = rotated(old, now, overlap)
            made.append((secret, new))
            return ending, new

        with storage():
            found = await register.edit(request.match_info["id"], rotate)
        old, ending = _existing(found)
        secret, new = made[-1]
        before, after = difference(old, ending)
        note(request, "key_rotated", before, after, id=old.id, owner=old.owner, to=new.id)
        return answer({"secret": secret, "key": self._document(new, {})})

    @Operation(
        "DELETE",
        "/api/keys/{id}",
        "Revoke a key. It is refused within a second.",
        returns=documents.Empty,
        parameters=(_ID, _PROVIDER),
        errors={404: _REFUSALS[404], 503: _REFUSALS[503]},
    )
    async def _revoke(self, request: web.Request) -> web.Response:
        def revoke(key: ApiKey) -> ApiKey:
            return key if key.revoked is not None else key.revoke(self.now())

        await self._edit(request, revoke, "key_revoked")
        return answer({})

    # -- what they share ---------------------------------------------------------------------

    def _register(self, request: web.Request) -> KeyRegister:
        return register_of(self.config(), request.query.get("provider"))

    async def _check_team(self, name: str | None) -> None:
        """Check that there is a team, if one is named. Raise BadInput."""
        if name is None or not self.config().store.location.is_shared:
            return
        if not await has_team(self.config(), name):
            raise BadInput("team: there is no such team")

    async def _set_suspended(
        self, request: web.Request, since: datetime | None, event: str
    ) -> web.Response:
        def suspend(key: ApiKey) -> ApiKey:
            _must_stand(key)
            is_as_wanted = (key.suspended is None) is (since is None)
            return key if is_as_wanted else replace(key, suspended=since)

        return await self._edit(request, suspend, event)

    async def _edit(
        self, request: web.Request, change: Callable[[ApiKey], ApiKey], event: str
    ) -> web.Response:
        """Change a key, and write the audit line if it is not as it was."""
        register = self._register(request)
        with storage():
            found = await register.edit(request.match_info["id"], lambda key: [change(key)])
        old, new = _existing(found)
        if new != old:
            before, after = difference(old, new)
            note(request, event, before, after, id=new.id, owner=new.owner)
        return answer({"key": self._document(new, {})})

    async def _used(self, keys: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        """Return the usage of keys by their ids: the sum of all currencies' requests and tokens."""
        reader = self.reader
        if reader is None or not keys:
            return {}
        since = (self.now() - timedelta(days=USED_DAYS - 1)).date().isoformat()
        recent, ever = await asyncio.gather(
            asyncio.to_thread(reader.usage, since=since, by=["key"], keys=keys),
            asyncio.to_thread(reader.usage, by=["key"], keys=keys),
        )
        used: dict[str, dict[str, Any]] = {}
        for row in ever:
            one = used.setdefault(row["key"], {"last_used": None, **no_usage()})
            one["last_used"] = max(one["last_used"] or 0.0, row["last"] or 0.0) or None
        for row in recent:
            add_usage(used[row["key"]], row)
        return used

    def _document(self, key: ApiKey, used: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        unused: Mapping[str, Any] = {"last_used": None, **no_usage()}
        return {**document(key, self.now()), **used.get(key.id, unused)}


async def has_team(config: Config, name: str) -> bool:
    """Tell whether there is a team. Raise HTTPServiceUnavailable."""
    with storage():
        async with opened(lambda: opened_records(config)) as records:
            value = await records.get(holders.KIND, holders.key_of("team", name))
    return value is not None and holders.parse(value) is not None


def _existing(found: tuple[ApiKey, ApiKey] | None) -> tuple[ApiKey, ApiKey]:
    """Return a key before and after a change. Raise HTTPNotFound."""
    if found is None:
        raise web.HTTPNotFound(reason="there is no key with this id")
    return found


def _must_stand(key: ApiKey) -> None:
    """Raise HTTPConflict if a key is revoked."""
    if key.revoked is not None:
        raise web.HTTPConflict(reason="the key is revoked: create another")
