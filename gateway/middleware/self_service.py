"""Self-service at `me` below the path of a route: a caller reads the rights and limits of its
credential, and makes keys within the limits of its team.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from aiohttp import web

from gateway.auth import stored_keys
from gateway.auth.api_key import ApiKey, generate
from gateway.auth.holders import KIND, Holder, key_of, parse
from gateway.auth.principal import Principal
from gateway.errors import (
    AuthUnavailable,
    Forbidden,
    InvalidField,
    MethodNotAllowed,
    NotFound,
    TooManyKeys,
)
from gateway.exchange import Exchange
from gateway.limiting.accounts import Accounts
from gateway.limiting.demand import Demand, Level
from gateway.limiting.guard import GuardedStore
from gateway.limiting.rules import Rule, Unit
from gateway.middleware.own_usage import OwnUsage
from gateway.request import Request
from gateway.request_body.reader import BodyReader
from gateway.routing.model_access import ServedModel
from gateway.store.records import Records, StoreUnavailable
from gateway.usage import Usage

_NOTHING = Usage(0, 0)
_MOST_MADE = 1000
_MONEY = 1e6
_LONGEST_DAYS = 36_525


@dataclass(frozen=True, slots=True)
class SelfServiceOptions:
    """Parts of a route that self-service uses."""

    path: str
    """Path of the self-service, without a slash at its end."""
    models: Sequence[ServedModel]
    accounts: Accounts
    """Limits of the route's callers."""
    store: GuardedStore
    records: Records
    keys_in_store: frozenset[str]
    """Providers whose keys are in the store, so that callers can make some."""
    reader: BodyReader
    usage: OwnUsage
    route: str
    """Name of the route."""
    new_keys: str | None
    """Provider of the keys that callers with tokens make; None: they make none."""


class SelfService:
    """Handler of `GET me`, `GET me/usage`, `GET me/keys`, `POST me/keys`, `DELETE me/keys/ID`."""

    def __init__(self, options: SelfServiceOptions) -> None:
        self._options = options

    async def __call__(self, request: Request) -> web.Response:
        """Answer a caller. Raise NotFound, MethodNotAllowed, Forbidden, InvalidField,
        TooManyKeys, or AuthUnavailable if the store does not answer.
        """
        exchange = request.exchange
        principal = exchange.principal
        assert principal is not None  # the configuration requires authentication on such a route
        place = exchange.path.removeprefix(self._options.path).strip("/")
        try:
            if not place:
                _only(exchange, "GET")
                return _answer(await self._account(exchange, principal))
            if place == "usage":
                _only(exchange, "GET")
                return _answer(await self._options.usage.of(principal, exchange.query))
            if place == "keys":
                _only(exchange, "GET", "POST")
                if exchange.method == "GET":
                    made = await self._made(principal)
                    return _answer({"keys": [_shown(key) for key in made]})
                return await self._make(request, principal)
            kind, _, key_id = place.partition("/")
            if kind == "keys" and "/" not in key_id:
                _only(exchange, "DELETE")
                return await self._revoke(principal, key_id)
        except StoreUnavailable as exc:
            raise AuthUnavailable(f"keys cannot be read or written: {exc}") from exc
        raise NotFound("There is nothing at this path. See `me`, `me/keys` and `me/usage`.")

    async def _account(self, exchange: Exchange, principal: Principal) -> Mapping[str, Any]:
        account = self._options.accounts.of(exchange)
        demands = [
            replace(demand, amount=0.0, holder="") for demand in account.demands(exchange, _NOTHING)
        ]
        levels = await self._options.store.look(demands) if demands else ()
        ends = principal.expires_at
        return {
            "subject": principal.subject,
            "tenant": principal.tenant,
            "team": principal.team,
            "tags": principal.tags,
            "scopes": sorted(principal.scopes),
            "key": principal.key_id,
            "expires": None if ends is None else datetime.fromtimestamp(ends, UTC).isoformat(),
            "models": [one.name for one in self._options.models if one.serves(principal)],
            "limits": [
                _limit(rule, demand, level)
                for rule, demand, level in zip(account.rules, demands, levels, strict=True)
            ],
        }

    async def _make(self, request: Request, principal: Principal) -> web.Response:
        """Make a key with at most the rights of the caller. It shares the limits of the caller's
        key, or those of the user and team of the caller's token.
        """
        options, now = self._options, datetime.now(UTC)
        team, own = await self._team(principal), await self._own(principal)
        if team is None or own is None or not team.user_keys:
            raise Forbidden("the team of the caller lets its users make no keys")
        options.reader.check(request)
        order = _order(await options.reader.whole(request))
        models = order.get("models")
        allowed = {one.name for one in options.models if one.serves(principal)}
        if models is not None and not (isinstance(models, list) and allowed.issuperset(models)):
            raise InvalidField("models", "has to be a list of models that you may use")
        secret, key_id, salt, digest = generate()
        key = replace(
            own,
            id=key_id,
            salt=salt,
            hash=digest,
            created=now,
            models=own.models if models is None else tuple(models),
            expires=_end(order.get("days"), team, own, now),
            line=own.line or own.id or None,
        )
        # The place is reserved before it is counted, so that no two requests take the last one.
        provider = self._provider(principal)
        kind = _made_kind(provider, principal)
        await options.records.put(kind, key_id, b"1")
        try:
            # A key that is being made has no record yet, and counts, too.
            ended = sum(not one.usable(now) for one in await self._made(principal))
            if len(await options.records.page(kind, "", _MOST_MADE)) - ended > team.user_keys:
                raise TooManyKeys
            await stored_keys.put(options.records, provider, key)
        except BaseException:
            await options.records.take(kind, key_id)
            raise
        return _answer({"secret": secret, "key": _shown(key)}, 201)

    async def _revoke(self, principal: Principal, key_id: str) -> web.Response:
        for key in await self._made(principal):
            if key.id == key_id:
                revoked = key.revoke(datetime.now(UTC)) if key.revoked is None else key
                provider = self._provider(principal)
                await stored_keys.put(self._options.records, provider, revoked)
                return _answer({})
        raise NotFound("You made no key with this id.")

    async def _made(self, principal: Principal) -> list[ApiKey]:
        """Return the keys that the caller's user made in this team."""
        records, found = self._options.records, []
        provider = self._provider(principal)
        for key_id in await records.page(_made_kind(provider, principal), "", _MOST_MADE):
            value = await records.get(stored_keys.kind_of(provider), key_id)
            key = None if value is None else stored_keys.parse(value)
            if key is not None:
                found.append(key)
        return sorted(found, key=lambda key: (key.created, key.id))

    def _provider(self, principal: Principal) -> str:
        """Return the provider of the keys that a caller makes: that of its own key, if it has
        one.
        """
        new = None if principal.key_id is not None else self._options.new_keys
        return new or principal.provider

    async def _own(self, principal: Principal) -> ApiKey | None:
        """Return the key whose rights a new key has: the caller's, or one with the rights of the
        caller's token on this route. Return None if the caller can make no keys.
        """
        options = self._options
        if principal.key_id is None:
            if options.new_keys is None:
                return None
            return ApiKey(
                "",
                b"",
                b"",
                principal.subject,
                datetime.now(UTC),
                principal.tenant,
                principal.tier,
                scopes=tuple(sorted(principal.scopes)),
                team=principal.team,
                routes=(options.route,),
            )
        if principal.provider not in options.keys_in_store:
            return None
        kind = stored_keys.kind_of(principal.provider)
        value = await options.records.get(kind, principal.key_id)
        return None if value is None else stored_keys.parse(value)

    async def _team(self, principal: Principal) -> Holder | None:
        if principal.team is None:
            return None
        value = await self._options.records.get(KIND, key_of("team", principal.team))
        return None if value is None else parse(value)


def _made_kind(provider: str, principal: Principal) -> str:
    """Return the kind of the records that name the keys which a user made in a team."""
    owner = principal.subject.encode("utf-8", "surrogatepass").hex()
    return f"made:{provider}:{principal.team}:{owner}"


def _only(exchange: Exchange, *methods: str) -> None:
    if exchange.method not in methods:
        raise MethodNotAllowed(", ".join(methods))


def _order(data: bytes) -> Mapping[str, Any]:
    try:
        order = orjson.loads(data or b"{}")
    except orjson.JSONDecodeError:
        order = None
    if not isinstance(order, dict) or not {"models", "days"}.issuperset(order):
        raise InvalidField("", "has to be a JSON object with `models` and `days`, or one of them")
    return order


def _end(days: Any, team: Holder, own: ApiKey, now: datetime) -> datetime | None:
    """Return the expiry of a new key: after so many days, but not later than team and own key
    allow.
    """
    ends = [] if own.expires is None else [own.expires]
    if team.key_lifetime_s is not None:
        ends.append(now + timedelta(seconds=team.key_lifetime_s))
    if days is not None:
        if type(days) is not int or not 0 < days <= _LONGEST_DAYS:
            raise InvalidField("days", f"has to be a number from 1 to {_LONGEST_DAYS}")
        ends.append(now + timedelta(days=days))
    return min(ends, default=None)


def _limit(rule: Rule, demand: Demand, level: Level) -> Mapping[str, Any]:
    """Return a limit with its remaining amount. A budget has the end of its period, too."""
    scale = 1 / _MONEY if rule.unit is Unit.BUDGET_MONEY else 1.0
    period = rule.amount.period
    ends = datetime.now(UTC) + timedelta(seconds=demand.ttl_s)
    return {
        "limit": rule.name,
        "what": rule.told,
        "unit": rule.unit.value,
        "size": demand.size * scale,
        "remaining": max(0.0, level.remaining * scale),
        "used": (demand.size - level.remaining) * scale,
        "period": period or None,
        "resets": ends.isoformat(timespec="seconds") if period else None,
        "full_in_s": round(level.wait_s, 3),
    }


def _shown(key: ApiKey) -> Mapping[str, Any]:
    return {
        "id": key.id,
        "created": key.created.isoformat(timespec="seconds"),
        "expires": None if key.expires is None else key.expires.isoformat(timespec="seconds"),
        "models": key.models,
        "state": key.state(datetime.now(UTC)),
    }


def _answer(document: Mapping[str, Any], status: int = 200) -> web.Response:
    return web.Response(
        status=status,
        body=orjson.dumps(document),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
