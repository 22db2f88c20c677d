"""`gateway keys`: create, list, rotate and revoke API keys, in a file or in the store."""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from gateway.auth import api_key
from gateway.auth.api_key import ApiKey
from gateway.auth.key_record import to_record
from gateway.auth.key_register import FileRegister, KeyRegister, StoreRegister, rotated
from gateway.cli.config_file import Commands, add_config_option
from gateway.cli.failures import CannotDo, WrongUsage
from gateway.cli.table import print_table
from gateway.config import Config, load
from gateway.config import models as config_models
from gateway.config.units import parse_duration
from gateway.store.location import Location
from gateway.store.records import Records, StoreUnavailable
from gateway.stores.makers import UNUSABLE, makers

_Result = TypeVar("_Result")


def add_command(commands: Commands) -> None:
    """Add `gateway keys` and its four commands."""
    parser = commands.add_parser("keys", help="create, list, rotate and revoke API keys")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    create = commands.add_parser(
        "create",
        help="create a key and print it; it is not shown again",
        description="Makes a key and prints it. Only a salted hash of it is kept.",
    )
    create.add_argument(
        "--owner", required=True, help="subject of callers with this key, in logs and limits"
    )
    create.add_argument("--tenant", help="tenant, for limits and budgets by tenant")
    create.add_argument("--tier", help="tier, for the `tiers` of limits")
    create.add_argument(
        "--models", help="models that the key may use, separated by commas; default: all"
    )
    create.add_argument("--limits", help="names of additional limits, separated by commas")
    create.add_argument("--scopes", help="scopes, separated by spaces")
    create.add_argument(
        "--expires", metavar="DURATION", help="lifetime, such as 90d; default: unlimited"
    )
    create.set_defaults(run=_create)

    listing = commands.add_parser("list", help="list the keys, without secrets")
    listing.add_argument("--json", action="store_true", help="print one JSON object per line")
    listing.set_defaults(run=_list)

    rotate = commands.add_parser(
        "rotate",
        help="replace a key by a new one with the same settings, and print it",
        description="Makes a key with the same settings, and prints it. The old key expires after "
        "the overlap.",
    )
    rotate.add_argument("id", help="id of the key, from `list`, or the whole key")
    rotate.add_argument(
        "--overlap",
        metavar="DURATION",
        default="1h",
        help="how long the old key stays usable; default: 1h, 0s ends it at once",
    )
    rotate.set_defaults(run=_rotate)

    revoke = commands.add_parser("revoke", help="revoke a key; it is refused within a second")
    revoke.add_argument("id", help="id of the key, from `list`, or the whole key")
    revoke.set_defaults(run=_revoke)

    for command in (create, listing, rotate, revoke):
        add_config_option(command)
        command.add_argument(
            "--provider", help="which provider of `auth`; default: the first of type api_key"
        )


def _create(arguments: argparse.Namespace) -> int:
    config = load(arguments.config)
    register = _key_register(config, arguments.provider)
    models, limits = _names(arguments.models), _names(arguments.limits) or ()
    for kind, names, known in (
        ("model", models or (), config.models),
        ("limit", limits, config.limits),
    ):
        for name in names:
            if name not in known:
                raise WrongUsage(f"there is no {kind} '{name}' in {arguments.config}")
    now = datetime.now(UTC)
    expires = None
    if arguments.expires is not None:
        try:
            expires = now + timedelta(seconds=parse_duration(arguments.expires))
        except (ValueError, OverflowError) as exc:
            raise WrongUsage(f"--expires: {exc}") from exc
    key, key_id, salt, digest = api_key.generate()
    made = ApiKey(
        key_id,
        salt,
        digest,
        arguments.owner,
        now,
        arguments.tenant,
        arguments.tier,
        models,
        limits,
        tuple((arguments.scopes or "").split()),
        expires,
    )
    _run(register.put(made))
    print(key)
    return 0


def _list(arguments: argparse.Namespace) -> int:
    now = datetime.now(UTC)
    register = _key_register(load(arguments.config), arguments.provider)
    keys = _run(register.all()).values()
    if arguments.json:
        for key in keys:
            print(json.dumps(_as_dict(key, now)))
        return 0
    rows = [("ID", "OWNER", "TENANT", "MODELS", "LIMITS", "CREATED", "EXPIRES", "STATE")]
    for key in keys:
        state = _state(key, now)
        models = "all" if key.models is None else ",".join(key.models)
        expires = "never" if key.expires is None else f"{key.expires:%Y-%m-%d}"
        rows.append(
            (
                *(key.id, key.owner, key.tenant or "-", models, ",".join(key.limits) or "-"),
                *(f"{key.created:%Y-%m-%d}", expires, state),
            )
        )
    print_table(rows)
    return 0


def _state(key: ApiKey, now: datetime) -> str:
    return "revoked" if key.revoked else "usable" if key.usable(now) else "expired"


def _as_dict(key: ApiKey, now: datetime) -> dict[str, object]:
    """Return a key in machine-readable form, without its hash."""
    record = to_record(key)
    del record["hash"]
    return {**record, "state": _state(key, now)}


def _rotate(arguments: argparse.Namespace) -> int:
    try:
        overlap = timedelta(seconds=parse_duration(arguments.overlap))
    except (ValueError, OverflowError) as exc:
        raise WrongUsage(f"--overlap: {exc}") from exc
    register, key = _found(arguments)
    now = datetime.now(UTC)
    if not key.usable(now):
        raise WrongUsage(f"key '{key.id}' is {_state(key, now)}: create another")
    secret, new, ending = rotated(key, now, overlap)
    _run(register.put(new, ending))
    print(secret)
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    register, key = _found(arguments)
    if key.revoked is None:
        _run(register.put(key.revoke(datetime.now(UTC))))
    print(f"{key.id}: revoked")
    return 0


def _found(arguments: argparse.Namespace) -> tuple[KeyRegister, ApiKey]:
    """Return the key that the command line names, and its register. Raise WrongUsage."""
    parts = api_key.split(arguments.id)
    key_id = parts[0] if parts else arguments.id
    register = _key_register(load(arguments.config), arguments.provider)
    key = _run(register.all()).get(key_id)
    if key is None:
        raise WrongUsage(f"there is no key with id '{key_id}'")
    return register, key


def _key_register(config: Config, name: str | None) -> KeyRegister:
    for known, provider in config.auth.items():
        if isinstance(provider, config_models.ApiKeyProviderSettings) and name in (None, known):
            if provider.file is not None:
                return FileRegister(Path(provider.file))
            return StoreRegister(functools.partial(_open_records, config.store.location), known)
    wanted = f"called '{name}'" if name else "in `auth`"
    raise WrongUsage(f"there is no provider of type api_key {wanted}")


def _open_records(location: Location) -> Records:
    try:
        return makers(location).open_records(location)
    except UNUSABLE as exc:
        raise CannotDo(f"the store cannot be used: {exc}") from exc


def _run(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Return the result of a coroutine of a register. Raise CannotDo, BadKeyFile, OSError."""
    try:
        return asyncio.run(work)
    except StoreUnavailable as exc:
        raise CannotDo(f"the store does not answer: {exc}") from exc


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(name for name in text.split(",") if name)
