"""Access to the admin listener as the configuration describes it: tokens, the issuer, and roles."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from gateway.admin.roles import OperatorRole, role_named, role_of
from gateway.admin.sessions import OperatorSession
from gateway.config import Config, models
from gateway.config.check_operators import MAIN

_TOKEN_SESSION_S = 12 * 3600.0
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class AccessToken:
    """Token of a program, with its role."""

    name: str
    role: OperatorRole
    source: str
    """Name under which sessions record that they began with this token."""


@dataclass(frozen=True, slots=True)
class Access:
    """Tokens and issuer that open the admin listener, with their roles."""

    tokens: Mapping[bytes, AccessToken] = field(default_factory=dict)
    """Tokens by their SHA-256 digest."""
    sign_in: models.SignInSettings | None = None
    public_urls: tuple[str, ...] = ()

    @property
    def is_restricted(self) -> bool:
        """False if the listener requires no credential: every client is an operator."""
        return bool(self.tokens) or self.sign_in is not None

    def token(self, shown: bytes) -> AccessToken | None:
        """Return the token with this text, or None. The look-up is by digest, so that its duration
        reveals nothing about a token.
        """
        return self.tokens.get(hashlib.sha256(shown).digest())

    def role(self, session: OperatorSession) -> OperatorRole | None:
        """Return the role of a session now; None if its token or issuer is no longer configured."""
        for token in self.tokens.values():
            if token.source == session.source:
                return token.role
        options = self.sign_in
        if options is None or session.source != source_of(options):
            return None
        return role_of(session.groups, roles_of(options))

    @property
    def idle_s(self) -> float:
        """Time after which a session that is not used ends."""
        return _TOKEN_SESSION_S if self.sign_in is None else self.sign_in.idle

    def session_s(self, *, is_token: bool) -> float:
        """Time after which a session ends."""
        if self.sign_in is None or is_token:
            return _TOKEN_SESSION_S
        return self.sign_in.session

    def base(self, host: str) -> str | None:
        """Return the public URL whose host and port a Host header names, without a slash at its
        end. None if there is none.
        """
        for url in self.public_urls:
            parts = urlsplit(url)
            port = _DEFAULT_PORTS[parts.scheme]
            authorities = {parts.netloc.lower()}
            if parts.port in (None, port):
                name = parts.netloc.lower().removesuffix(f":{port}")
                authorities |= {name, f"{name}:{port}"}
            if host.lower() in authorities:
                return url.rstrip("/")
        return None


def access_of(config: Config) -> Access:
    """Return the access of a configuration."""
    options = config.admin
    if options is None:
        return Access()
    tokens = {}
    if options.token is not None:
        digest = hashlib.sha256(options.token.reveal()).digest()
        tokens[digest] = _token(MAIN, OperatorRole.ADMIN, digest)
    for name, one in options.tokens.items():
        for text in one.sha256:
            digest = bytes.fromhex(text)
            tokens[digest] = _token(name, role_named(one.role), digest)
    return Access(tokens, options.sign_in, options.public_url)


def _token(name: str, role: OperatorRole, digest: bytes) -> AccessToken:
    source = hashlib.sha256(b"session of " + digest).hexdigest()[:32]
    return AccessToken(name, role, f"token {name} {source}")


def source_of(options: models.SignInSettings) -> str:
    """Return the source of sessions of people who signed in at the issuer."""
    issuer = f"{options.issuer}\0{options.client_id}"
    return f"issuer {hashlib.sha256(issuer.encode()).hexdigest()[:32]}"


def roles_of(options: models.SignInSettings) -> Mapping[str, tuple[str, ...]]:
    """Return the groups of each role."""
    roles = options.roles
    return {"viewer": roles.viewer, "operator": roles.operator, "admin": roles.admin}
