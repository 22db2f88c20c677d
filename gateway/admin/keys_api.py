"""Admin API for API keys: who has which, what each was used for, and changes to them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError
from structlog.typing import FilteringBoundLogger

from gateway.admin import documents, key_documents
from gateway.admin.answer import answer
from gateway.admin.operation import Operation, Parameter, routes
from gateway.auth.api_key import ApiKey, generate
from gateway.auth.key_file import BadKeyFile
from gateway.auth.key_record import to_record
from gateway.auth.key_register import FileRegister, KeyRegister, StoreRegister, rotated
from gateway.config import Config, models
from gateway.config.units import parse_duration
from gateway.store.records import StoreUnavailable
from gateway.stores.makers import UNUSABLE, makers
from gateway.telemetry.traces.reader import TraceReader

_Order = TypeVar("_Order", bound=BaseModel)
_USED_DAYS = 30
_LONGEST_S = 36_525 * 86_400.0
_ID = Parameter("id", "Id of the key.")
_PROVIDER = Parameter("provider", "Name of the provider. Default: the first of type `api_key`.")
_REFUSALS = {
    400: "The body or a parameter is malformed; the error names the field.",
    404: "There is no such provider or key.",
    503: "The keys cannot be read or written.",
}


@dataclass(frozen=True, slots=True)
class KeysApi:
    """Handlers for API keys. Secrets are returned once, by the operation that makes them."""

    config: Callable[[], Config]
    """Returns the configuration that is served."""
    logger: FilteringBoundLogger
    reader: TraceReader | None = None
    """Reader of the local store, for usage; None if there is none."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    @property
    def routes(self) -> list[web.RouteDef]:
        """Routes to add to the application."""
        return routes(self)

    @Operation(
        "GET",
        "/api/keys",
        "API keys of all providers, without secrets, with their use in the last 30 days.",
        returns=key_documents.ApiKeys,
        errors={503: _REFUSALS[503]},
    )
    async def _list(self, _: web.Request) -> web.Response:
        providers = []
        with _storage():
            used = await self._used()
            for name, options in self._providers().items():
                keys = (await self._register(name).all()).values()
                kept_in = "store" if options.file is None else "file"
                rows = [self._document(key, used) for key in keys]
                providers.append({"name": name, "kept_in": kept_in, "keys": rows})
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
        order = await _order(request, key_documents.KeyOrder)
        self._check(order)
        now = self.now()
        expires = None if order.expires is None else now + _lifetime("expires", order.expires)
        secret, key_id, salt, digest = generate()
        key = ApiKey(
            key_id,
            salt,
            digest,
            order.owner,
            now,
            order.tenant,
            order.tier,
            None if order.models is None else tuple(order.models),
            tuple(order.limits),
            tuple(order.scopes),
            expires,
        )
        register = self._register(request.query.get("provider"))
        with _storage():
            await register.put(key)
        self.logger.warning("key_created", id=key_id, owner=key.owner, tenant=key.tenant)
        return answer({"secret": secret, "key": self._document(key, {})})

    @Operation(
        "POST",
        "/api/keys/{id}/rotate",
        "Replace a key by a new one with the same settings. The old one stays usable for a while.",
        returns=key_documents.NewKey,
        body=key_documents.KeyRotation,
        parameters=(_ID, _PROVIDER),
        errors={**_REFUSALS, 409: "The key is revoked or expired."},
    )
    async def _rotate(self, request: web.Request) -> web.Response:
        order = await _order(request, key_documents.KeyRotation)
        overlap = _lifetime("overlap", order.overlap)
        register = self._register(request.query.get("provider"))
        old, now = await self._found(register, request), self.now()
        if not old.usable(now):
            raise web.HTTPConflict(reason="the key is not usable any more: create another")
        secret, new, ending = rotated(old, now, overlap)
        with _storage():
            await register.put(new, ending)
        self.logger.warning("key_rotated", id=old.id, owner=old.owner, to=new.id)
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
        register = self._register(request.query.get("provider"))
        key = await self._found(register, request)
        if key.revoked is None:
            with _storage():
                await register.put(key.revoke(self.now()))
            self.logger.warning("key_revoked", id=key.id, owner=key.owner)
        return answer({})

    # -- what they share ---------------------------------------------------------------------

    def _providers(self) -> Mapping[str, models.ApiKeyProviderSettings]:
        return {
            name: options
            for name, options in self.config().auth.items()
            if isinstance(options, models.ApiKeyProviderSettings)
        }

    def _register(self, name: str | None) -> KeyRegister:
        found = self._providers()
        name = next(iter(found), None) if name is None else name
        if name is None or name not in found:
            raise web.HTTPNotFound(reason="there is no such provider of type api_key in `auth`")
        file, location = found[name].file, self.config().store.location
        if file is not None:
            return FileRegister(Path(file))
        if not location.is_shared:
            reason = f"auth.{name}: set `file`, or a store that all processes share"
            raise web.HTTPServiceUnavailable(reason=reason)
        return StoreRegister(lambda: makers(location).open_records(location), name)

    @staticmethod
    async def _found(register: KeyRegister, request: web.Request) -> ApiKey:
        with _storage():
            key = (await register.all()).get(request.match_info["id"])
        if key is None:
            raise web.HTTPNotFound(reason="there is no key with this id")
        return key

    def _check(self, order: key_documents.KeyOrder) -> None:
        config = self.config()
        for field, names, known in (
            ("models", order.models or (), config.models),
            ("limits", order.limits, config.limits),
        ):
            for name in names:
                if name not in known:
                    reason = f"{field}: the configuration does not name one of these"
                    raise web.HTTPBadRequest(reason=reason)

    async def _used(self) -> Mapping[str, Mapping[str, Any]]:
        """Return usage by the id of the key: the sum of all currencies' requests and tokens."""
        reader = self.reader
        if reader is None:
            return {}
        since = (self.now() - timedelta(days=_USED_DAYS - 1)).date().isoformat()
        recent, ever = await asyncio.gather(
            asyncio.to_thread(reader.usage, since=since, by=["key"]),
            asyncio.to_thread(reader.usage, by=["key"]),
        )
        used: dict[str, dict[str, Any]] = {}
        for row in ever:
            one = used.setdefault(row["key"], {"last_used": None, "requests": 0, "tokens": 0})
            one["last_used"] = max(one["last_used"] or 0.0, row["last"] or 0.0) or None
            one.setdefault("cost", {})
        for row in recent:
            one = used[row["key"]]
            one["requests"] += row["requests"]
            one["tokens"] += row["tokens_in"] + row["tokens_out"]
            if row["currency"]:
                one["cost"][row["currency"]] = row["cost"]
        return used

    def _document(self, key: ApiKey, used: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        record = to_record(key)
        del record["hash"]
        now = self.now()
        state = "revoked" if key.revoked else "usable" if key.usable(now) else "expired"
        unused: Mapping[str, Any] = {"last_used": None, "requests": 0, "tokens": 0, "cost": {}}
        return {
            **dict.fromkeys(("tenant", "tier", "models", "expires", "revoked")),
            "limits": [],
            "scopes": [],
            **record,
            "state": state,
            **used.get(key.id, unused),
        }


async def _order(request: web.Request, kind: type[_Order]) -> _Order:
    """Parse the body. Raise HTTPBadRequest."""
    try:
        return kind.model_validate_json(await request.read() or b"{}")
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        raise web.HTTPBadRequest(reason=f"{where}: {first['msg']}") from None


def _lifetime(name: str, text: str) -> timedelta:
    """Return a duration of at most a century. Raise HTTPBadRequest."""
    try:
        seconds = parse_duration(text)
    except ValueError as exc:
        raise web.HTTPBadRequest(reason=f"{name}: {exc}") from None
    if seconds > _LONGEST_S:
        raise web.HTTPBadRequest(reason=f"{name}: longer than a century; leave it out for no end")
    return timedelta(seconds=seconds)


@contextmanager
def _storage() -> Iterator[None]:
    """Turn failures of the file or the store into HTTPServiceUnavailable."""
    try:
        yield
    except (BadKeyFile, StoreUnavailable, sqlite3.Error, *UNUSABLE) as exc:
        why = " ".join(str(exc).split())
        reason = f"the keys cannot be read or written: {why}"
        raise web.HTTPServiceUnavailable(reason=reason) from exc
