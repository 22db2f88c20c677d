"""`gateway operators token`: make a token for a program that uses the admin API."""

from __future__ import annotations

import argparse
import hashlib
import re
import secrets
from typing import get_args

from gateway.cli.failures import EXIT_OK, WrongUsage
from gateway.config.models.operators import RoleName

PREFIX = "gw-op-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SECRET_BYTES = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of `gateway operators token`."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    parser = commands.add_parser(
        "token",
        help="make a token for a program that uses the admin API",
        description="Prints the token, which is not shown again, and the lines for the "
        "configuration, which has its digest only.",
    )
    parser.add_argument("name", help="name of the program, for the audit log")
    parser.add_argument(
        "--role", choices=get_args(RoleName), default="viewer", help="its role (%(default)s)"
    )
    parser.set_defaults(run=_make)


def _make(arguments: argparse.Namespace) -> int:
    if not _NAME.fullmatch(arguments.name):
        raise WrongUsage("name: use letters, digits, dots, hyphens and underscores, 64 at most")
    token = PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    digest = hashlib.sha256(token.encode()).hexdigest()
    print(token)
    print()
    print("# in the configuration:")
    print("admin:")
    print("  tokens:")
    print(f"    {arguments.name}: {{sha256: {digest}, role: {arguments.role}}}")
    return EXIT_OK
