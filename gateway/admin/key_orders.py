"""Orders to make and change API keys, checked against the configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from gateway.admin.bad_input import BadInput
from gateway.admin.key_documents import KeyChange, KeyOrder
from gateway.admin.record_version import version_of
from gateway.auth import stored_keys
from gateway.auth.allowance import Allowance, parse_budget
from gateway.auth.api_key import ApiKey, generate
from gateway.auth.key_record import to_record
from gateway.config import Config
from gateway.config.served_names import currencies, is_known
from gateway.config.units import parse_duration

Order = TypeVar("Order", bound=BaseModel)

_LONGEST_S = 36_525 * 86_400.0


def parsed(kind: type[Order], data: bytes | Mapping[str, Any]) -> Order:
    """Parse an order. Raise BadInput."""
    try:
        if isinstance(data, bytes):
            return kind.model_validate_json(data or b"{}")
        return kind.model_validate(data)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        raise BadInput(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None


def made(order: KeyOrder, now: datetime) -> tuple[str, ApiKey]:
    """Return a new key and its record. Raise BadInput."""
    secret, key_id, salt, digest = generate()
    key = ApiKey(
        key_id,
        salt,
        digest,
        order.owner,
        now,
        order.tenant,
        order.tier,
        _tuple(order.models),
        tuple(order.limits),
        tuple(order.scopes),
        _end(order.expires, now),
        team=order.team,
        tags=_unique(order.tags),
        routes=_tuple(order.routes),
        allowance=order.allowance,
    )
    return secret, key


def changed(key: ApiKey, change: KeyChange, now: datetime) -> ApiKey:
    """Return a key with the fields that a change sets. Raise BadInput."""
    fields: dict[str, Any] = {name: getattr(change, name) for name in change.model_fields_set}
    for name in ("models", "routes"):
        if name in fields:
            fields[name] = _tuple(fields[name])
    for name in ("limits", "scopes", "tags"):
        if name in fields:
            fields[name] = _unique(fields[name])
    if "expires" in fields:
        fields["expires"] = _end(fields["expires"], now)
    return replace(key, **fields)


def check_key(config: Config, key: ApiKey) -> None:
    """Check that the configuration has what a key names. Raise BadInput."""
    check_names(config, models=key.models, limits=key.limits, routes=key.routes)
    check_allowance(config, "allowance", key.allowance)
    if key.team is not None and not config.store.location.is_shared:
        raise BadInput("team: teams are kept in the store: set store.url to SQLite or a Redis")


def check_names(
    config: Config,
    *,
    models: Iterable[str] | None = None,
    limits: Iterable[str] | None = None,
    routes: Iterable[str] | None = None,
) -> None:
    """Check that the configuration has these names. Raise BadInput."""
    if not all(is_known(config, name) for name in models or ()):
        raise BadInput("models: the configuration does not name one of these")
    for field, names, known in (
        ("limits", limits, config.limits),
        ("routes", routes, {route.name: route for route in config.routes}),
    ):
        if any(name not in known for name in names or ()):
            raise BadInput(f"{field}: the configuration does not name one of these")


def check_allowance(config: Config, field: str, allowance: Allowance) -> None:
    """Check that budgets can be kept, and that some model has their currency. Raise BadInput."""
    if allowance.budgets and not config.store.location.is_shared:
        reason = "would be forgotten at every restart: set store.url to SQLite or a Redis"
        raise BadInput(f"{field}.budgets: {reason}")
    priced = currencies(config)
    for budget in allowance.budgets:
        unit = parse_budget(budget)[1]
        if unit != "tokens" and unit not in priced:
            raise BadInput(f"{field}.budgets: no model has a price in this currency")


def lifetime(field: str, text: str) -> timedelta:
    """Return a duration of at most a century. Raise BadInput."""
    try:
        seconds = parse_duration(text)
    except ValueError as exc:
        raise BadInput(f"{field}: {exc}") from None
    if seconds > _LONGEST_S:
        raise BadInput(f"{field}: longer than a century; leave it out for no end")
    return timedelta(seconds=seconds)


def document(key: ApiKey, now: datetime) -> dict[str, Any]:
    """Return a key without its hash, with every field."""
    record = to_record(key)
    del record["hash"]
    record.pop("line", None)
    return {
        **dict.fromkeys(("tenant", "tier", "team", "models", "routes")),
        **dict.fromkeys(("expires", "revoked", "suspended")),
        "limits": [],
        "scopes": [],
        "tags": [],
        **record,
        "allowance": key.allowance.model_dump(mode="json"),
        "state": key.state(now),
        "version": version_of(stored_keys.dump(key)),
    }


def difference(before: ApiKey, after: ApiKey) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields that differ, before and after a change, without the hash."""
    old, new = to_record(before), to_record(after)
    names = [name for name in {**old, **new} if name != "hash" and old.get(name) != new.get(name)]
    return {name: old.get(name) for name in names}, {name: new.get(name) for name in names}


def _end(text: str | None, now: datetime) -> datetime | None:
    return None if text is None else now + lifetime("expires", text)


def _tuple(names: list[str] | None) -> tuple[str, ...] | None:
    return None if names is None else _unique(names)


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
