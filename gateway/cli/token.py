"""`gateway token`: sign a development JWT."""

from __future__ import annotations

import argparse
import secrets
import time

import jwt

from gateway.cli.config_file import add_config_file, config_file
from gateway.cli.failures import EXIT_OK, WrongUsage
from gateway.config import Config, load_for_command
from gateway.config import models as config_models
from gateway.config.units import parse_duration


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of `gateway token`."""
    parser.description = "Signs with the secret of a JWT provider."
    add_config_file(parser)
    parser.add_argument(
        "--provider", help="which provider of `auth`; default: the first with a secret"
    )
    parser.add_argument("--subject", default="developer", help="subject claim (%(default)s)")
    parser.add_argument("--tenant", help="tenant claim, if the provider maps one")
    parser.add_argument("--scopes", help="scopes, separated by spaces")
    parser.add_argument("--ttl", default="1h", help="lifetime (%(default)s)")
    parser.set_defaults(run=_token)


def _token(arguments: argparse.Namespace) -> int:
    config = load_for_command(config_file(arguments))
    try:
        ttl_s = parse_duration(arguments.ttl)
    except ValueError as exc:
        raise WrongUsage(f"--ttl: {exc}") from exc
    if arguments.provider and arguments.provider not in config.auth:
        known = ", ".join(config.auth) or "none"
        raise WrongUsage(f"--provider: there is no {arguments.provider!r} in `auth`: {known}")
    name = arguments.provider or signing_provider(config)
    provider = config.auth.get(name or "")
    if not isinstance(provider, config_models.JwtProviderSettings) or provider.secret is None:
        raise WrongUsage(
            f"{f'{name!r} has no' if name else 'no provider in `auth` has a'} `secret` to sign a "
            "token with: --provider names another; API keys come from `gateway keys create`"
        )
    if not arguments.subject:
        raise WrongUsage("--subject must not be empty")
    said = {"subject": arguments.subject, "tenant": arguments.tenant, "scopes": arguments.scopes}
    print(mint(provider, ttl_s, **{key: value for key, value in said.items() if value}))
    return EXIT_OK


def mint(
    provider: config_models.JwtProviderSettings,
    ttl_s: float,
    *,
    subject: str,
    tenant: str | None = None,
    scopes: str | None = None,
) -> str:
    """Return a token valid for `ttl_s` seconds. `scopes` are words, separated by spaces."""
    assert provider.secret is not None
    now = int(time.time())
    claims: dict[str, object] = {
        "iss": provider.issuer,
        "aud": provider.audience[0],
        "iat": now,
        "exp": now + int(ttl_s),
        "jti": secrets.token_hex(16),
        provider.claims.subject: subject,
    }
    if tenant is not None:
        claims[provider.claims.tenant or "tenant"] = tenant
    if scopes is not None:
        claims[provider.claims.scopes[0] if provider.claims.scopes else "scope"] = scopes
    return jwt.encode(claims, provider.secret.reveal(), algorithm=provider.algorithm)


def signing_provider(config: Config) -> str | None:
    """Return the first provider with a shared secret, whose tokens can be signed here, or None."""
    for name, provider in config.auth.items():
        if isinstance(provider, config_models.JwtProviderSettings) and provider.secret is not None:
            return name
    return None
