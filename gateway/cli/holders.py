"""`gateway teams` and `gateway users`: limits and models above the API keys."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from gateway.admin.bad_input import BadInput
from gateway.admin.holder_orders import difference, document, find, ordered, page
from gateway.auth import holders
from gateway.auth.holders import Holder, HolderKind
from gateway.cli.allowances import add_allowance, allowance_of, option_of
from gateway.cli.audited import note
from gateway.cli.config_file import add_config_option
from gateway.cli.failures import WrongUsage
from gateway.cli.store import with_records
from gateway.cli.table import print_table
from gateway.config import Config, load_for_command

_PAGE = 1000


def add_team_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of `gateway teams`."""
    _add_arguments(parser, "team")


def add_user_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of `gateway users`."""
    _add_arguments(parser, "user")


def _add_arguments(parser: argparse.ArgumentParser, kind: HolderKind) -> None:
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    setting = commands.add_parser(
        "set",
        help=f"create a {kind}, or replace its settings; they take effect within a second",
        description=f"Creates a {kind}, or replaces all its settings by those that are given.",
    )
    setting.add_argument(
        "--models", help="models that its keys may use at most, separated by commas; default: all"
    )
    add_allowance(setting)
    if kind == "team":
        add_allowance(setting, "user-", ", of each user of the team")
        add_allowance(setting, "key-", ", of each key of the team")
        setting.add_argument(
            "--own-keys",
            type=int,
            default=0,
            help="keys that each user may make for itself",
        )
        setting.add_argument("--own-keys-expire", help="longest lifetime of these, such as 30d")
    setting.set_defaults(run=_set)
    listing = commands.add_parser("list", help=f"list the {kind}s")
    listing.add_argument("--json", action="store_true", help="print one JSON object per line")
    listing.set_defaults(run=_list)
    suspend = commands.add_parser("suspend", help=f"refuse the keys of a {kind}")
    suspend.set_defaults(run=_suspend)
    resume = commands.add_parser("resume", help="accept its keys again")
    resume.set_defaults(run=_resume)
    keys = "its keys are refused" if kind == "team" else "its keys stay usable"
    delete = commands.add_parser("delete", help=f"delete a {kind}; {keys}")
    delete.set_defaults(run=_delete)
    for command in (setting, listing, suspend, resume, delete):
        if command is not listing:
            command.add_argument("name", help=f"name of the {kind}")
        add_config_option(command)
        command.set_defaults(kind=kind)


def _set(arguments: argparse.Namespace) -> int:
    config = _loaded(arguments)
    fields: dict[str, Any] = {}
    if arguments.models is not None:
        fields["models"] = [name for name in arguments.models.split(",") if name] or None
    places = {"limits": "", "per_user": "user-", "per_key": "key-"}
    for place, prefix in places.items() if arguments.kind == "team" else (("limits", ""),):
        if (allowance := allowance_of(arguments, prefix)) is not None:
            fields[place] = allowance
    if arguments.kind == "team":
        fields["user_keys"] = arguments.own_keys
        fields["key_lifetime"] = arguments.own_keys_expire

    def settle(before: Holder | None) -> Holder:
        return ordered(config, arguments.kind, arguments.name, fields, before, _now())

    try:
        before, after = _edited(config, arguments, settle)
    except BadInput as exc:
        place, _, why = str(exc).partition(": ")
        raise WrongUsage(f"{place if place == 'name' else option_of(place)}: {why}") from exc
    what = "created" if before is None else "changed"
    _note(config, what, before, after)
    print(f"{arguments.name}: {what}")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    config = _loaded(arguments)
    rows: list[tuple[str, ...]] = [("NAME", "MODELS", "LIMITS", "CREATED", "STATE")]
    after: str | None = ""
    while after is not None:
        start = after
        found, after = with_records(
            config.store,
            lambda records, start=start: page(records, arguments.kind, start, _PAGE),  # type: ignore[misc]
        )
        for holder in found:
            if arguments.json:
                print(json.dumps(document(holder)))
            else:
                rows.append(_row(holder))
    if not arguments.json:
        print_table(rows)
    return 0


def _row(holder: Holder) -> tuple[str, ...]:
    models = "all" if holder.models is None else ",".join(holder.models)
    shown = holder.limits.record()
    shown.pop("budgets", None)
    limits = [f"{name}={value}" for name, value in shown.items()]
    told = ",".join((*limits, *holder.limits.budgets)) or "-"
    state = "usable" if holder.suspended is None else "suspended"
    return holder.name, models, told, f"{holder.created:%Y-%m-%d}", state


def _suspend(arguments: argparse.Namespace) -> int:
    return _set_suspended(arguments, _now())


def _resume(arguments: argparse.Namespace) -> int:
    return _set_suspended(arguments, None)


def _set_suspended(arguments: argparse.Namespace, since: datetime | None) -> int:
    config = _loaded(arguments)

    def suspend(before: Holder | None) -> Holder:
        if before is None and arguments.kind == "user" and since is not None:
            before = ordered(config, "user", arguments.name, {}, None, since)
        found = _existing(before, arguments)
        is_as_wanted = (found.suspended is None) is (since is None)
        return found if is_as_wanted else found.model_copy(update={"suspended": since})

    before, after = _edited(config, arguments, suspend)
    what = "resumed" if since is None else "suspended"
    if after != before:
        _note(config, what, before, after)
    print(f"{arguments.name}: {what}")
    return 0


def _delete(arguments: argparse.Namespace) -> int:
    config = _loaded(arguments)
    kind, name = arguments.kind, arguments.name
    found = with_records(config.store, lambda records: find(records, kind, name))
    holder = _existing(found, arguments)
    with_records(config.store, lambda records: holders.remove(records, holder))
    _note(config, "deleted", holder, None)
    print(f"{holder.name}: deleted")
    return 0


def _edited(
    config: Config, arguments: argparse.Namespace, change: Callable[[Holder | None], Holder]
) -> tuple[Holder | None, Holder]:
    """Change the team or user that the arguments name, and return it before and after."""
    kind, name = arguments.kind, arguments.name
    return with_records(config.store, lambda records: holders.edit(records, kind, name, change))


def _loaded(arguments: argparse.Namespace) -> Config:
    config = load_for_command(arguments.config)
    if not config.store.location.is_shared:
        hint = "set store.url to SQLite or a Redis"
        raise WrongUsage(f"teams and users are kept in the store: {hint}")
    return config


def _note(config: Config, what: str, before: Holder | None, after: Holder | None) -> None:
    """Write a change to the audit log."""
    known = before or after
    assert known is not None
    note(config, f"{known.kind}_{what}", *difference(before, after), name=known.name)


def _existing(holder: Holder | None, arguments: argparse.Namespace) -> Holder:
    """Return a team or user. Raise WrongUsage if there is none."""
    if holder is None:
        raise WrongUsage(f"there is no {arguments.kind} '{arguments.name}'")
    return holder


def _now() -> datetime:
    return datetime.now(UTC)
