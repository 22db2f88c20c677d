"""Sections `upstreams` and `models`: backends, and what stands on them."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from gateway.config.models.section import Section
from gateway.config.secrets import Secret
from gateway.config.types import Currency, Dialect, FileName, HeaderName, HeaderValue, Name, Url
from gateway.config.units import Duration


class Endpoint(Section):
    """One address of an upstream."""

    url: Url = Field(
        description="http(s)://host[:port][/base]; the base path is put before the request's path.",
    )
    weight: int = Field(1, ge=1, le=1000, description="Share of requests relative to its siblings.")


class Timeouts(Section):
    """How long each phase of an upstream exchange may take."""

    connect: Duration = Field(5.0, gt=0, description="TCP and TLS; 504 upstream_connect_timeout.")
    first_byte: Duration = Field(
        60.0, gt=0, description="Request sent to response head; 504 upstream_first_byte_timeout."
    )
    idle: Duration = Field(300.0, gt=0, description="Longest silence inside a response body.")


class Tls(Section):
    """TLS towards an upstream; the certificate is always verified unless `verify` says no."""

    ca: FileName | None = Field(
        None, description="PEM file of the authority to trust instead of the system's."
    )
    server_name: str | None = Field(
        None, description="Name for SNI and verification, if not the URL's host."
    )
    verify: bool = Field(True, description="False accepts any certificate: for tests only.")


class Credentials(Section):
    """What the gateway shows the upstream: a bearer token, or a secret in a header of its own."""

    bearer: Secret | None = Field(None, description="Sent as `Authorization: Bearer …`.")
    header: HeaderName | None = Field(
        None, description="A header instead, such as x-api-key (Anthropic) or api-key (Azure)."
    )
    value: Secret | None = Field(None, description="What stands in `header`.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.bearer is None) == (self.header is None) or (
            (self.header is None) != (self.value is None)
        ):
            raise ValueError("give either `bearer`, or `header` and `value`")
        return self


class Admission(Section):
    """How many requests pass at once, and how the others wait: in fair order by tenant."""

    concurrency: int = Field(ge=1, description="Requests under way at once.")
    queue: int = Field(100, ge=0, description="Requests that may wait; one more is 503 queue_full.")
    max_wait: Duration = Field(30.0, gt=0, description="Longest wait; then 503 queue_timeout.")


class Upstream(Section):
    """A model backend: one or more equal endpoints."""

    dialect: Dialect = Field("openai", description="What the upstream speaks.")
    endpoints: tuple[Endpoint, ...] = Field(min_length=1, description="Where it is.")
    timeouts: Timeouts = Field(default_factory=Timeouts, description="Phase timeouts.")
    credentials: Credentials | None = Field(
        None, description="Put in place of the caller's credential."
    )
    headers: dict[HeaderName, HeaderValue] = Field(
        default_factory=dict, description="Set on every request to the upstream."
    )
    tls: Tls = Field(default_factory=Tls, description="For https endpoints.")
    admission: Admission | None = Field(
        None, description="A queue in front of it, for all its models together."
    )
    max_connections: int = Field(
        1024, ge=1, description="Open connections to each endpoint; more is 503."
    )
    keepalive: Duration = Field(
        4.0,
        description="How long an idle connection is kept for reuse; below uvicorn's 5s, so that "
        "the upstream is not the one that closes first.",
    )


class Price(Section):
    """What a model costs, for budgets in money."""

    input: float = Field(ge=0, description="For a million tokens in.")
    output: float = Field(ge=0, description="For a million tokens out.")
    currency: Currency = Field("USD", description="Three letters, as in the budgets.")


class Model(Section):
    """A model name callers use, and what stands behind it."""

    upstream: Name = Field(description="The upstream that serves it.")
    model: str | None = Field(
        None, min_length=1, description="The upstream's own name for it; default: the same name."
    )
    scopes: tuple[str, ...] = Field(
        (), description="Scopes or roles a caller needs for it; to others it does not exist."
    )
    admission: Admission | None = Field(None, description="A queue for this model alone.")
    price: Price | None = Field(None, description="What it costs, for budgets in money.")
