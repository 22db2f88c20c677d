"""Options of commands for the limits of a key, a user or a team."""

from __future__ import annotations

import argparse
from typing import Any

_OPTIONS: tuple[tuple[str, type, str], ...] = (
    ("requests", str, "rate of requests, such as 60/minute"),
    ("burst", int, "requests at once; default: the number of the rate"),
    ("tokens", str, "rate of tokens, such as 100000/minute"),
    ("token-burst", int, "tokens at once; default: the number of the rate"),
    ("concurrency", int, "requests in progress at once"),
    ("warn-at", float, "share of a budget from which on callers are warned, such as 0.8"),
)

_PREFIXES = {"allowance": "", "limits": "", "per_user": "user-", "per_key": "key-"}
"""Prefix of the options by the field of an order that holds the allowance."""
_OPTION_NAMES = {"budgets": "budget", "key_lifetime": "own-keys-expire", "user_keys": "own-keys"}
"""Options whose name differs from that of their field."""


def add_allowance(parser: argparse.ArgumentParser, prefix: str = "", of: str = "") -> None:
    """Add the options. `prefix` precedes each name; `of` says whose limits they are."""
    for name, kind, text in _OPTIONS:
        parser.add_argument(f"--{prefix}{name}", type=kind, help=f"{text}{of}")
    budgets = f"--{prefix}budget"
    text = f"budget, such as '500 USD/month'; may be given several times{of}"
    parser.add_argument(budgets, action="append", help=text)


def option_of(place: str) -> str:
    """Return the option that sets a field of an order, such as `allowance.budgets.0`."""
    first, *rest = place.split(".")
    prefix, name = (_PREFIXES[first], rest[0]) if rest and first in _PREFIXES else ("", first)
    return f"--{prefix}{_OPTION_NAMES.get(name, name.replace('_', '-'))}"


def allowance_of(arguments: argparse.Namespace, prefix: str = "") -> dict[str, Any] | None:
    """Return the fields of an allowance that the options set, or None if they set nothing."""
    given = vars(arguments)
    place = prefix.replace("-", "_")
    names = [name.replace("-", "_") for name, _, _ in _OPTIONS]
    fields = {name: given[place + name] for name in names if given[place + name] is not None}
    if given[f"{place}budget"] is not None:
        fields["budgets"] = given[f"{place}budget"]
    return fields or None
