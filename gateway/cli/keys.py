"""`gateway keys`: create, list, change, rotate, suspend and revoke API keys."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from gateway.admin.bad_input import BadInput
from gateway.admin.holder_orders import find
from gateway.admin.key_documents import KeyChange, KeyOrder
from gateway.admin.key_orders import (
    changed,
    check_key,
    difference,
    document,
    lifetime,
    made,
    parsed,
)
from gateway.auth import api_key
from gateway.auth.api_key import ApiKey
from gateway.auth.key_register import (
    Edit,
    FileRegister,
    Filter,
    KeyRegister,
    StoreRegister,
    listed,
    rotated,
)
from gateway.cli.allowances import add_allowance, allowance_of, option_of
from gateway.cli.audited import note
from gateway.cli.config_file import add_config_option
from gateway.cli.failures import CannotDo, WrongUsage
from gateway.cli.store import with_records
from gateway.cli.table import print_table
from gateway.config import Config, load_for_command
from gateway.config import models as config_models
from gateway.config.served_names import is_known
from gateway.store.records import Records, StoreUnavailable
from gateway.stores.makers import UNUSABLE, makers

Result = TypeVar("Result")
_STATES = ("usable", "suspended", "expired", "revoked")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of `gateway keys`."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    create = commands.add_parser(
        "create",
        help="create a key and print it; it is not shown again",
        description="Makes a key and prints it. Only a salted hash of it is kept.",
    )
    _add_settings(create, is_new=True)
    create.set_defaults(run=_create)

    listing = commands.add_parser("list", help="list the keys, without secrets")
    listing.add_argument("--json", action="store_true", help="print one JSON object per line")
    for name in ("owner", "team", "tag"):
        listing.add_argument(f"--{name}", help=f"only the keys of this {name}")
    listing.add_argument("--state", choices=_STATES, help="only the keys in this state")
    listing.set_defaults(run=_list)

    change = commands.add_parser(
        "change",
        help="change settings of a key; they take effect within a second",
        description="Changes the settings that are given. '' removes one. The options for limits "
        "replace all the key's own limits.",
    )
    _add_settings(change, is_new=False)
    change.set_defaults(run=_change)

    rotate = commands.add_parser("rotate", help="replace a key, and print the new one")
    rotate.add_argument(
        "--overlap", default="1h", help="time for which the old key stays usable (%(default)s)"
    )
    rotate.set_defaults(run=_rotate)
    suspend = commands.add_parser("suspend", help="suspend a key until it is resumed")
    suspend.set_defaults(run=_suspend)
    resume = commands.add_parser("resume", help="accept a suspended key again")
    resume.set_defaults(run=_resume)
    revoke = commands.add_parser("revoke", help="revoke a key; it is refused within a second")
    revoke.set_defaults(run=_revoke)

    for command in (change, rotate, suspend, resume, revoke):
        command.add_argument("id", help="id of the key, from `list`, or the whole key")
    for command in (create, listing, change, rotate, suspend, resume, revoke):
        add_config_option(command)
        command.add_argument(
            "--provider", help="which provider of `auth`; default: the first of type api_key"
        )


def _add_settings(parser: argparse.ArgumentParser, *, is_new: bool) -> None:
    parser.add_argument(
        "--owner", required=is_new, help="subject of callers with this key, in logs and limits"
    )
    parser.add_argument("--team", help="team whose limits and models bound the key")
    parser.add_argument("--tags", help="tags that usage is summed by, separated by commas")
    parser.add_argument("--tenant", help="tenant, for limits and budgets by tenant")
    parser.add_argument("--tier", help="tier, for the `tiers` of limits")
    parser.add_argument(
        "--models", help="models that the key may use, separated by commas; default: all"
    )
    parser.add_argument(
        "--routes", help="routes that the key may use, separated by commas; default: all"
    )
    parser.add_argument("--limits", help="names of additional limits, separated by commas")
    parser.add_argument("--scopes", help="scopes, separated by spaces")
    parser.add_argument(
        "--expires", metavar="DURATION", help="lifetime, such as 90d; default: unlimited"
    )
    add_allowance(parser)


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that are given, as the admin API takes them."""
    fields: dict[str, Any] = {}
    for name in ("owner", "team", "tenant", "tier", "expires"):
        if (value := getattr(arguments, name)) is not None:
            fields[name] = value or None
    for name in ("models", "routes"):
        if (value := getattr(arguments, name)) is not None:
            fields[name] = _names(value) or None
    for name in ("tags", "limits"):
        if (value := getattr(arguments, name)) is not None:
            fields[name] = _names(value)
    if arguments.scopes is not None:
        fields["scopes"] = arguments.scopes.split()
    if (allowance := allowance_of(arguments)) is not None:
        fields["allowance"] = allowance
    return fields


def _create(arguments: argparse.Namespace) -> int:
    config = load_for_command(arguments.config)
    register = _register(config, arguments.provider)
    with _usage(arguments):
        secret, key = made(parsed(KeyOrder, _settings(arguments)), _now())
        _check_names(config, key, arguments)
    if key.team is not None:
        _check_team(config, key.team)
    _run(register.add(key))
    after = {name: value for name, value in document(key, _now()).items() if value}
    note(config, "key_created", None, after, id=key.id, owner=key.owner, tenant=key.tenant)
    print(secret)
    return 0


def _list(arguments: argparse.Namespace) -> int:
    now = _now()
    register = _register(load_for_command(arguments.config), arguments.provider)
    wanted = Filter(arguments.owner, arguments.team, arguments.tag, arguments.state)
    rows: list[tuple[str, ...]] = [
        ("ID", "OWNER", "TEAM", "TENANT", "MODELS", "LIMITS", "CREATED", "EXPIRES", "STATE")
    ]
    after: str | None = ""
    while after is not None:
        keys, after = _run(listed(register, wanted, now, after=after))
        for key in keys:
            if arguments.json:
                shown = document(key, now)
                print(json.dumps({name: one for name, one in shown.items() if one is not None}))
            else:
                rows.append(_row(key, now))
    if not arguments.json:
        print_table(rows)
    return 0


def _row(key: ApiKey, now: datetime) -> tuple[str, ...]:
    models = "all" if key.models is None else ",".join(key.models)
    own = [f"{name}={value}" for name, value in key.allowance.record().items() if name != "budgets"]
    limits = ",".join((*key.limits, *own, *key.allowance.budgets)) or "-"
    expires = "never" if key.expires is None else f"{key.expires:%Y-%m-%d}"
    created = f"{key.created:%Y-%m-%d}"
    whose = (key.id, key.owner, key.team or "-", key.tenant or "-")
    return (*whose, models, limits, created, expires, key.state(now))


def _change(arguments: argparse.Namespace) -> int:
    config = load_for_command(arguments.config)
    with _usage(arguments):
        order = parsed(KeyChange, _settings(arguments))
    if order.team is not None:
        _check_team(config, order.team)

    def change(key: ApiKey) -> ApiKey:
        _must_stand(key)
        with _usage(arguments):
            new = changed(key, order, _now())
            _check_names(config, new, arguments)
        return new

    new = _edited(config, arguments, "key_changed", lambda key: [change(key)])
    print(f"{new.id}: changed")
    return 0


def _rotate(arguments: argparse.Namespace) -> int:
    now, made_keys = _now(), list[tuple[str, ApiKey]]()
    with _usage(arguments):
        overlap = lifetime("overlap", arguments.overlap)

    def rotate(key: ApiKey) -> tuple[ApiKey, ApiKey]:
        if not key.usable(now):
            raise WrongUsage(f"key '{key.id}' is {key.state(now)}: create another")
        secret, new, ending = rotated(key, now, overlap)
        made_keys.append((secret, new))
        return ending, new

    config = load_for_command(arguments.config)
    _edited(config, arguments, "key_rotated", rotate, lambda: made_keys[-1][1].id)
    print(made_keys[-1][0])
    return 0


def _suspend(arguments: argparse.Namespace) -> int:
    def suspend(key: ApiKey) -> list[ApiKey]:
        return [_suspended(key, _now())]

    key = _edited(load_for_command(arguments.config), arguments, "key_suspended", suspend)
    print(f"{key.id}: suspended")
    return 0


def _resume(arguments: argparse.Namespace) -> int:
    def resume(key: ApiKey) -> list[ApiKey]:
        return [_suspended(key, None)]

    key = _edited(load_for_command(arguments.config), arguments, "key_resumed", resume)
    print(f"{key.id}: {key.state(_now())}")
    return 0


def _suspended(key: ApiKey, since: datetime | None) -> ApiKey:
    """Return a key that is suspended since a time; None: resumed. Raise WrongUsage if revoked."""
    _must_stand(key)
    return key if (key.suspended is None) is (since is None) else replace(key, suspended=since)


def _revoke(arguments: argparse.Namespace) -> int:
    def revoke(key: ApiKey) -> list[ApiKey]:
        return [key if key.revoked is not None else key.revoke(_now())]

    key = _edited(load_for_command(arguments.config), arguments, "key_revoked", revoke)
    print(f"{key.id}: revoked")
    return 0


def _edited(
    config: Config,
    arguments: argparse.Namespace,
    event: str,
    edit: Edit,
    to: Callable[[], str | None] = lambda: None,
) -> ApiKey:
    """Change the key that the arguments name, and return it. `event` is its name in the audit log,
    and `to` returns the id of the key that replaces it. Raise WrongUsage.
    """
    parts = api_key.split(arguments.id)
    key_id = parts[0] if parts else arguments.id
    found = _run(_register(config, arguments.provider).edit(key_id, edit))
    if found is None:
        raise WrongUsage(f"there is no key with id '{key_id}'")
    old, new = found
    if new != old:
        before, after = difference(old, new)
        note(config, event, before, after, id=new.id, owner=new.owner, to=to())
    return new


def _must_stand(key: ApiKey) -> None:
    if key.revoked is not None:
        raise WrongUsage("the key is revoked: create another")


def _check_names(config: Config, key: ApiKey, arguments: argparse.Namespace) -> None:
    """Check that the configuration has what a key names. Raise WrongUsage or BadInput."""
    for name in key.models or ():
        if not is_known(config, name):
            raise WrongUsage(f"there is no model '{name}' in {arguments.config}")
    for kind, names, known in (
        ("limit", key.limits, config.limits),
        ("route", key.routes or (), {route.name for route in config.routes}),
    ):
        for name in names:
            if name not in known:
                raise WrongUsage(f"there is no {kind} '{name}' in {arguments.config}")
    check_key(config, key)


def _check_team(config: Config, name: str) -> None:
    """Check that there is a team, if the store has teams. Raise WrongUsage."""
    if config.store.location.is_shared:
        team = with_records(config.store, lambda records: find(records, "team", name))
        if team is None:
            raise WrongUsage(f"there is no team '{name}'; see `gateway teams set`")


def _register(config: Config, name: str | None) -> KeyRegister:
    for known, provider in config.auth.items():
        if isinstance(provider, config_models.ApiKeyProviderSettings) and name in (None, known):
            if provider.file is not None:
                return FileRegister(Path(provider.file))
            return StoreRegister(lambda: opened_records(config), known)
    wanted = f"called '{name}'" if name else "in `auth`"
    hint = f"add {name or 'keys'}: {{type: api_key, file: keys.yaml}} to `auth`"
    raise WrongUsage(f"there is no provider of type api_key {wanted}; {hint}")


def opened_records(config: Config) -> Records:
    """Open the records of the configuration's store. Raise CannotDo."""
    try:
        return makers(config.store.location).open_records(config.store.location)
    except UNUSABLE as exc:
        raise CannotDo(f"the store cannot be used: {exc}") from exc


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a call of a register. Raise CannotDo, BadKeyFile or, for a key file, OSError."""
    try:
        return asyncio.run(work)
    except StoreUnavailable as exc:
        raise CannotDo(f"the store does not answer: {exc}") from exc


@contextlib.contextmanager
def _usage(arguments: argparse.Namespace) -> Iterator[None]:
    """Turn BadInput into WrongUsage, with the name of the option."""
    try:
        yield
    except BadInput as exc:
        place, _, why = str(exc).partition(": ")
        raise WrongUsage(f"{option_of(place)}: {why}") from exc


def _now() -> datetime:
    return datetime.now(UTC)


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]
