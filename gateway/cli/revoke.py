"""`gateway revoke`: revoke a token before it expires."""

from __future__ import annotations

import argparse
import time

import jwt

from gateway.auth.jwt import REVOKED
from gateway.cli.audited import note
from gateway.cli.config_file import add_config_option
from gateway.cli.failures import WrongUsage
from gateway.cli.store import with_records
from gateway.config import load_for_command
from gateway.config.units import parse_duration


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of `gateway revoke`."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("token", nargs="?", help="the token; it is refused until it expires")
    what.add_argument("--id", help="its `jti`, if the token is not at hand")
    parser.add_argument(
        "--for", dest="span", default="1d", help="with --id: how long (%(default)s)"
    )
    add_config_option(parser)
    parser.set_defaults(run=_revoke)


def _revoke(arguments: argparse.Namespace) -> int:
    config = load_for_command(arguments.config)
    if not config.store.location.is_shared:
        raise WrongUsage(
            "revoking needs a store that is shared: set store.url to SQLite or a Redis"
        )
    token_id, left_s = _token(arguments)
    with_records(config.store, lambda records: records.put(REVOKED, token_id, b"", left_s))
    note(config, "token_revoked", id=token_id, for_s=round(left_s))
    print(f"{token_id}: revoked")
    return 0


def _token(arguments: argparse.Namespace) -> tuple[str, float]:
    """Return the id of a token, and the seconds for which its revocation must be stored."""
    if arguments.id is not None:
        try:
            return arguments.id, parse_duration(arguments.span)
        except ValueError as exc:
            raise WrongUsage(f"--for: {exc}") from exc
    try:
        # The signature need not be checked: revoking a forged token does no harm.
        claims = jwt.decode(arguments.token, options={"verify_signature": False})
    except jwt.PyJWTError as exc:
        raise WrongUsage("that is not a JWT") from exc
    token_id, expires = claims.get("jti"), claims.get("exp")
    if not isinstance(token_id, str) or not isinstance(expires, int | float):
        raise WrongUsage("the token has no `jti` and `exp`, so it cannot be told from others")
    # Keep the revocation one day longer than the token, since a provider may allow a leeway.
    return token_id, max(0.0, expires - time.time()) + 86400.0
