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

    subject: str = Field("sub", min_length=1, description="Who it is.")
    tenant: str | None = Field(None, description="Whose budget and limits it shares.")
    tier: str | None = Field(None, description="Its class of service, such as gold.")
    groups: str | None = Field(None, description="The groups it is in; a list.")
    scopes: tuple[str, ...] = Field(
        ("scope", "scp", "roles"), description="What it may do: texts of words, or lists."
    )
    team: str | None = Field(
        None,
        min_length=1,
        description="The team that it belongs to: a name, or a list such as groups, of which the "
        "first that is a team counts. The limits, budgets and models of team and user hold.",
    )


class JwtProviderSettings(Section):
    """Bearer tokens (JWT) of one issuer, verified by the gateway."""

    type: Literal["jwt"]
    issuer: str = Field(min_length=1, description="The `iss` a token must carry.")
    audience: OneOrMore = Field(
        min_length=1, description="The `aud` a token must carry, or the ones of which it needs one."
    )
    algorithm: Algorithm | None = Field(
        None,
        description="With `secret` or `public_key`: the one algorithm accepted. What a token's "
        "header says is never trusted.",
    )
    secret: Secret | None = Field(
        None, description="HS256, HS384, HS512: the shared secret, as long as the hash or longer."
    )
    public_key: Secret | None = Field(None, description="The other algorithms: the key, in PEM.")
    jwks: Jwks | None = Field(
        None,
        description="Where the issuer's keys are, instead of a key here: `auto` finds them by "
        "OpenID Connect Discovery, or an https URL.",
    )
    algorithms: tuple[AsymmetricAlgorithm, ...] = Field(
        (),
        description="With `jwks`: those accepted; empty: all that are asymmetric. The first that "
        "fits is pinned to a key that names none.",
    )
    ca: FileName | None = Field(
        None, description="With `jwks`: PEM file of the authority to trust, not the system's."
    )
    proxy: ProxySettings | Literal["environment"] | None = Field(
        None,
        description="With `jwks`: the proxy through which the issuer is reached. `environment`: "
        "what HTTPS_PROXY, ALL_PROXY and NO_PROXY say.",
    )
    leeway: Duration = Field(60.0, description="Clock skew allowed on exp, nbf and iat.")
    claims: ClaimNames = Field(default_factory=ClaimNames, description="Which claims say what.")
    teams: dict[str, Name] = Field(
        default_factory=dict,
        description="With `claims.team`: the team for each value of the claim, such as "
        "`/eng/search: search`. Of several, the first here counts. Empty: the value is the name "
        "of the team.",
    )
    default_team: Name | None = Field(
        None,
        description="With `claims.team`: the team of tokens that name none. Without it, they are "
        "refused.",
    )
    require: dict[str, Required] = Field(
        default_factory=dict,
        description="Claims a token must have, with a value, or a list of which one has to be.",
    )
    headers: dict[HeaderName, str] = Field(
        default_factory=dict,
        description="Headers for the upstream, and the claims they are filled from. What clients "
        "send under these names is dropped.",
    )


class ApiKeyProviderSettings(Section):
    """API keys that `gateway keys create` makes."""

    type: Literal["api_key"]
    file: FileName | None = Field(
        None,
        description="YAML file with the keys' salted hashes; without one they are in the store, "
        "which replicas share. Changes take effect within a second.",
    )
    header: HeaderName | None = Field(
        None, description="Where the key may stand, beside Authorization, x-api-key and api-key."
    )


class TicketProviderSettings(Section):
    """Single-use tickets in the query, for WebSocket and EventSource, which cannot set headers. A
    route with `issues` hands them out.
    """

    type: Literal["ticket"]
    ttl: Duration = Field(30.0, gt=0, le=3600, description="How long a ticket may be used.")


class CertificateProviderSettings(Section):
    """Client certificates, verified by `server.tls.client_ca`. A request with a credential in a
    header, or with a ticket, is the caller's that the credential names.
    """

    type: Literal["client_certificate"]
    subject: Literal["uri", "dns", "email", "common_name"] = Field(
        "uri",
        description="The name in the certificate that is the subject: `uri` for a SPIFFE ID.",
    )
    allow: tuple[str, ...] = Field(
        (), description="Subjects that are accepted, such as spiffe://prod.internal/*; empty: all."
    )
    tenant: Literal["trust_domain", "organization", "organizational_unit", "dns"] | None = Field(
        None, description="What is the tenant: the SPIFFE trust domain, or another name."
    )
    tier: str | None = Field(None, description="Class of service of all of them, such as gold.")
    scopes: tuple[str, ...] = Field((), description="What all of them may do.")


Provider = Annotated[
    JwtProviderSettings
    | ApiKeyProviderSettings
    | TicketProviderSettings
    | CertificateProviderSettings,
    Field(discriminator="type"),
]
