"""Construction of identity providers from the `auth` section."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

import jwt

from gateway.auth.api_keys import ApiKeyProvider, KeyStore
from gateway.auth.certificate import CertificateProvider
from gateway.auth.claims import ClaimMap
from gateway.auth.holders import Holders
from gateway.auth.jwk import ASYMMETRIC, VerificationKey
from gateway.auth.jwt import JwtProvider
from gateway.auth.key_file import BadKeyFile, KeyFile
from gateway.auth.key_sets import KeySet, RemoteKeySet, StaticKey, http_fetch
from gateway.auth.membership import TeamClaim, TokenTeams
from gateway.auth.provider import Provider
from gateway.auth.stored_keys import StoredKeys
from gateway.auth.tickets import TicketProvider
from gateway.config import Config, models
from gateway.config.problems import Fault
from gateway.store.record_watcher import RecordWatcher
from gateway.store.records import Records
from gateway.wiring.egress import proxy_of

Report = Callable[[str, str], None]
"""Function that takes a provider's name and what went wrong with it."""


def providers(
    config: Config,
    records: Records,
    revoked: RecordWatcher,
    holders: Holders,
    report: Report,
    faults: list[Fault],
    kept: Mapping[str, Provider],
) -> Mapping[str, Provider]:
    """Return the providers by name. Providers in `kept` are used again, except those that issue
    tickets. A provider that cannot be built is added to `faults`.
    """
    built: dict[str, Provider] = {}
    for name, options in config.auth.items():
        tell = _told(report, name)
        if name in kept and not isinstance(options, models.TicketProviderSettings):
            built[name] = kept[name]
        elif isinstance(options, models.JwtProviderSettings):
            built[name] = _jwt(name, options, revoked, holders, tell)
        elif isinstance(options, models.TicketProviderSettings):
            built[name] = TicketProvider(name, records, built, ttl_s=options.ttl)
        elif isinstance(options, models.CertificateProviderSettings):
            built[name] = CertificateProvider(
                name,
                subject=options.subject,
                allow=options.allow,
                tenant=options.tenant,
                tier=options.tier,
                scopes=options.scopes,
            )
        else:
            try:
                keys = _key_store(name, options, records, tell)
            except BadKeyFile as exc:
                faults.append((("auth", name, "file"), str(exc)))
            else:
                built[name] = ApiKeyProvider(name, keys, holders, header=options.header)
    return built


def _key_store(
    name: str, options: models.ApiKeyProviderSettings, records: Records, tell: Callable[[str], None]
) -> KeyStore:
    if options.file is None:
        return StoredKeys(records, name, report=tell)
    return KeyFile(Path(options.file), report=tell)


def _told(report: Report, name: str) -> Callable[[str], None]:
    return lambda text: report(name, text)


def _jwt(
    name: str,
    options: models.JwtProviderSettings,
    revoked: RecordWatcher,
    holders: Holders,
    report: Callable[[str], None],
) -> JwtProvider:
    names = options.claims
    teams = None
    if names.team is not None:
        teams = TokenTeams(holders, TeamClaim(names.team, options.teams, options.default_team))
    return JwtProvider(
        name,
        keys=_keys(options, report),
        issuer=options.issuer,
        audience=options.audience,
        leeway_s=options.leeway,
        claims=ClaimMap(
            names.subject,
            names.tenant,
            names.tier,
            names.groups,
            names.scopes,
            required={
                claim: value if isinstance(value, tuple) else (value,)
                for claim, value in options.require.items()
            },
            headers=options.headers,
        ),
        revoked=revoked,
        teams=teams,
    )


def _keys(options: models.JwtProviderSettings, report: Callable[[str], None]) -> KeySet:
    if options.jwks is not None:
        context = ssl.create_default_context(cafile=options.ca) if options.ca else None
        return RemoteKeySet(
            issuer=options.issuer,
            url=None if options.jwks == "auto" else options.jwks,
            fetch=http_fetch(context, proxy_of(options.proxy, "https")),
            algorithms=options.algorithms or ASYMMETRIC,
            report=report,
        )
    given = options.secret or options.public_key
    assert given is not None  # ensured by check.py
    assert options.algorithm is not None
    # A placeholder is no key. It belongs to a command that only looks at what is built.
    algorithm = jwt.get_algorithm_by_name(options.algorithm)
    prepared = None if given.is_placeholder else algorithm.prepare_key(given.reveal())
    return StaticKey(VerificationKey(None, options.algorithm, prepared))
