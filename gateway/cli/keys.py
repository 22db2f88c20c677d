"""`gateway keys create | list | revoke`: API keys, in a provider's file or in the store."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from gateway.auth import api_key, stored_keys
from gateway.auth.api_key import ApiKey
from gateway.auth.key_file import editing, read
from gateway.auth.key_record import to_record
from gateway.cli.config_file import Commands, add_config_option
from gateway.cli.failures import WrongUsage
from gateway.cli.store import with_records
from gateway.cli.table import print_table
from gateway.config import Config, load
from gateway.config import models as config_models
from gateway.config.units import parse_duration


def add_command(commands: Commands) -> None:
    """Add `gateway keys` and its three commands."""
    parser = commands.add_parser("keys", help="create, list and revoke API keys")
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

    revoke = commands.add_parser("revoke", help="revoke a key; it is refused within a second")
    revoke.add_argument("id", help="id of the key, from `list`, or the whole key")
    revoke.set_defaults(run=_revoke)

    for command in (create, listing, revoke):
        add_config_option(command)
        command.add_argument(
            "--provider", help="which provider of `auth`; default: the first of type api_key"
        )


def _create(arguments: argparse.Namespace) -> int:
    config = load(arguments.config)
    storage = _key_storage(config, arguments.provider)
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
    storage.put(
        ApiKey(
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
    )
    print(key)
    return 0


def _list(arguments: argparse.Namespace) -> int:
    now = datetime.now(UTC)
    keys = _key_storage(load(arguments.config), arguments.provider).all().values()
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


def _revoke(arguments: argparse.Namespace) -> int:
    parts = api_key.split(arguments.id)
    key_id = parts[0] if parts else arguments.id
    storage = _key_storage(load(arguments.config), arguments.provider)
    key = storage.all().get(key_id)
    if key is None:
        raise WrongUsage(f"there is no key with id '{key_id}'")
    if key.revoked is None:
        storage.put(key.revoke(datetime.now(UTC)))
    print(f"{key_id}: revoked")
    return 0


class _KeyStorage(Protocol):
    """Storage of a provider's keys."""

    def all(self) -> Mapping[str, ApiKey]:
        """Return the keys by id, oldest first."""

    def put(self, key: ApiKey) -> None:
        """Store a new or changed key."""


class _FileKeys:
    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self) -> Mapping[str, ApiKey]:
        return read(self._path)

    def put(self, key: ApiKey) -> None:
        with editing(self._path) as keys:
            keys[key.id] = key


class _StoredKeys:
    def __init__(self, options: config_models.StoreSettings, provider: str) -> None:
        self._options = options
        self._provider = provider

    def all(self) -> Mapping[str, ApiKey]:
        found = with_records(
            self._options, lambda records: records.all(stored_keys.kind_of(self._provider))
        )
        keys, _ = stored_keys.parse(found)
        return dict(sorted(keys.items(), key=lambda item: item[1].created))

    def put(self, key: ApiKey) -> None:
        with_records(self._options, lambda records: stored_keys.put(records, self._provider, key))


def _key_storage(config: Config, name: str | None) -> _KeyStorage:
    for known, provider in config.auth.items():
        if isinstance(provider, config_models.ApiKeyProviderSettings) and name in (None, known):
            if provider.file is not None:
                return _FileKeys(Path(provider.file))
            return _StoredKeys(config.store, known)
    wanted = f"called '{name}'" if name else "in `auth`"
    raise WrongUsage(f"there is no provider of type api_key {wanted}")


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(name for name in text.split(",") if name)
