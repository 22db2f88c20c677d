"""Section `auth`: identity providers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.config.models.egress import ProxySettings
from gateway.config.models.section import Section
from gateway.config.secrets import Secret
from gateway.config.types import (
    Algorithm,
    AsymmetricAlgorithm,
    FileName,
    HeaderName,
    Jwks,
    Name,
    OneOrMore,
    Required,
)
from gateway.config.units import Duration


class ClaimNames(Section):
    """Claims of a token to use. A dotted name reads a nested value: `realm_access.roles`."""

    subject: str = Field("sub", min_length=1, description="Claim with the caller's identity.")
    tenant: str | None = Field(
        None, description="Claim with the caller's tenant, which shares limits and budgets."
    )
    tier: str | None = Field(None, description="Claim with the class of service, such as gold.")
    groups: str | None = Field(None, description="Claim with the caller's groups; a list.")
    scopes: tuple[str, ...] = Field(
        ("scope", "scp", "roles"),
        description="Claims with the caller's scopes: texts of words, or lists.",
    )
    team: str | None = Field(
        None,
        min_length=1,
        description="Claim with the caller's team: a name, or a list such as groups, of which "
        "the first that is a team counts. The limits, budgets and models of team and user apply.",
    )


class JwtProviderSettings(Section):
    """Bearer tokens (JWT) of one issuer, verified by the gateway."""

    type: Literal["jwt"]
    issuer: str = Field(min_length=1, description="Required `iss` of a token.")
    audience: OneOrMore = Field(
        min_length=1, description="Required `aud` of a token; of a list, one is enough."
    )
    algorithm: Algorithm | None = Field(
        None,
        description="Only accepted algorithm, with `secret` or `public_key`. The token's own "
        "`alg` is never trusted.",
    )
    secret: Secret | None = Field(
        None, description="Shared secret for HS256, HS384 or HS512, at least as long as the hash."
    )
    public_key: Secret | None = Field(
        None, description="Public key in PEM, for the other algorithms."
    )
    jwks: Jwks | None = Field(
        None,
        description="Source of the issuer's keys, instead of a key here: `auto` for OpenID "
        "Connect Discovery, or an https URL.",
    )
    algorithms: tuple[AsymmetricAlgorithm, ...] = Field(
        (),
        description="Accepted algorithms, with `jwks`; empty: all asymmetric ones. A key "
        "without an algorithm is pinned to the first that fits.",
    )
    ca: FileName | None = Field(
        None, description="PEM file of the authority to trust for `jwks`, instead of the system's."
    )
    proxy: ProxySettings | Literal["environment"] | None = Field(
        None,
        description="Proxy to the issuer, with `jwks`. `environment`: the proxy in HTTPS_PROXY, "
        "ALL_PROXY and NO_PROXY.",
    )
    leeway: Duration = Field(60.0, description="Clock skew allowed on exp, nbf and iat.")
    claims: ClaimNames = Field(
        default_factory=ClaimNames, description="Names of the claims that the gateway reads."
    )
    teams: dict[str, Name] = Field(
        default_factory=dict,
        description="Team for each value of `claims.team`, such as `/eng/search: search`. If "
        "several values match, the first listed here counts. Empty: the value is the name of the "
        "team.",
    )
    default_team: Name | None = Field(
        None,
        description="Team of tokens without a team, with `claims.team`. null: they are refused.",
    )
    require: dict[str, Required] = Field(
        default_factory=dict,
        description="Required claims, each with its value, or with a list of which one must match.",
    )
    headers: dict[HeaderName, str] = Field(
        default_factory=dict,
        description="Headers for the upstream, each with the claim that fills it. Headers of "
        "these names from clients are dropped.",
    )


class ApiKeyProviderSettings(Section):
    """API keys that `gateway keys create` makes."""

    type: Literal["api_key"]
    file: FileName | None = Field(
        None,
        description="YAML file with the keys' salted hashes. null: keys are in the store, which "
        "replicas share. Changes take effect within a second.",
    )
    header: HeaderName | None = Field(
        None,
        description="Another header that may carry the key, besides Authorization, x-api-key "
        "and api-key.",
    )


class TicketProviderSettings(Section):
    """Single-use tickets in the query, for WebSocket and EventSource, which cannot set headers. A
    route with `issues` hands them out.
    """

    type: Literal["ticket"]
    ttl: Duration = Field(30.0, gt=0, le=3600, description="Lifetime of a ticket.")


class CertificateProviderSettings(Section):
    """Client certificates, verified by `server.tls.client_ca`. A request with a credential in a
    header, or with a ticket, is the caller's that the credential names.
    """

    type: Literal["client_certificate"]
    subject: Literal["uri", "dns", "email", "common_name"] = Field(
        "uri",
        description="Name in the certificate that becomes the subject: `uri` for a SPIFFE ID.",
    )
    allow: tuple[str, ...] = Field(
        (), description="Accepted subjects, such as spiffe://prod.internal/*; empty: all."
    )
    tenant: Literal["trust_domain", "organization", "organizational_unit", "dns"] | None = Field(
        None, description="Name that becomes the tenant: the SPIFFE trust domain, or another name."
    )
    tier: str | None = Field(
        None, description="Class of service of all these callers, such as gold."
    )
    scopes: tuple[str, ...] = Field((), description="Scopes of all these callers.")


Provider = Annotated[
    JwtProviderSettings
    | ApiKeyProviderSettings
    | TicketProviderSettings
    | CertificateProviderSettings,
    Field(discriminator="type"),
]
