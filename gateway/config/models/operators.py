"""Sections below `admin`: how operators sign in, tokens of programs, and the audit log."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.config.models.egress import ProxySettings
from gateway.config.models.section import Section
from gateway.config.secrets import Secret
from gateway.config.types import AsymmetricAlgorithm, Digests, FileName, Url
from gateway.config.units import Duration

RoleName = Literal["viewer", "operator", "admin"]
_WORD = r"[\x21\x23-\x5b\x5d-\x7e]+"


class RoleGroups(Section):
    """Groups of the issuer that have each role. A person has the highest role of all groups."""

    viewer: tuple[str, ...] = Field(
        (), description="Groups that may read, except recorded content."
    )
    operator: tuple[str, ...] = Field(
        (), description="Groups that may also act: drain, reload, cancel, suspend keys."
    )
    admin: tuple[str, ...] = Field(
        (), description="Groups that may also make keys and teams, and read recorded content."
    )


class SignInSettings(Section):
    """Sign-in of operators by OpenID Connect: authorization code with PKCE, sessions by cookie."""

    issuer: Url = Field(
        description="OpenID Connect issuer: its https URL, exactly as the issuer writes it."
    )
    client_id: str = Field(min_length=1, description="Client id of the gateway at the issuer.")
    client_secret: Secret | None = Field(
        None,
        description="Client secret of the gateway at the issuer. Without it, PKCE alone "
        "protects the sign-in.",
    )
    scopes: tuple[Annotated[str, Field(pattern=f"^{_WORD}$")], ...] = Field(
        ("openid", "profile", "email"),
        description="Requested scopes; some issuers need `groups` for groups.",
    )
    groups: str = Field(
        "groups",
        min_length=1,
        description="Claim with a person's groups, a list or one text. A dotted name reads a "
        "nested value: `realm_access.roles`. If the ID token lacks it, it is read from the "
        "userinfo endpoint.",
    )
    name: str = Field(
        "email",
        min_length=1,
        description="Claim with the name that the audit log shows; without it: "
        "`preferred_username`, then `sub`.",
    )
    roles: RoleGroups = Field(description="Groups by role.")
    session: Duration = Field(
        8 * 3600.0,
        ge=60,
        le=7 * 86400,
        description="Longest session. Changed groups take effect at the next sign-in.",
    )
    idle: Duration = Field(
        3600.0, ge=60, le=7 * 86400, description="Idle time that ends a session."
    )
    leeway: Duration = Field(60.0, le=600, description="Clock skew allowed on exp, nbf and iat.")
    algorithms: tuple[AsymmetricAlgorithm, ...] = Field(
        (), description="Accepted signature algorithms of ID tokens; empty: all asymmetric ones."
    )
    ca: FileName | None = Field(
        None,
        description="PEM file of the authority to trust for the issuer, instead of the system's.",
    )
    proxy: ProxySettings | Literal["environment"] | None = Field(
        None,
        description="Proxy to the issuer. `environment`: the proxy in HTTPS_PROXY, ALL_PROXY "
        "and NO_PROXY.",
    )


class MachineToken(Section):
    """Token of a program. The configuration holds its digest only."""

    sha256: Digests = Field(
        min_length=1,
        description="SHA-256 of the token in hexadecimal, as `gateway operators token` prints "
        "it; several during a rotation.",
    )
    role: RoleName = Field(description="Role of the program.")


class OperatorAuditSettings(Section):
    """Audit log of what operators do. It is in the store; each entry is a log line, too."""

    retention: Duration = Field(
        90 * 86400.0, ge=3600, description="Longest time that entries are kept in the store."
    )
    most: int = Field(
        100_000,
        ge=100,
        le=1_000_000,
        description="Largest number of entries in the store; beyond it, the oldest are dropped.",
    )
