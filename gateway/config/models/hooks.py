"""Section `hooks`: what reads, changes and refuses requests and answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.config.models.egress import ProxySettings
from gateway.config.models.section import Section
from gateway.config.secrets import Secret
from gateway.config.types import DottedName, FileName, Url
from gateway.config.units import Duration, Size


class _Guarded(Section):
    timeout: Duration = Field(
        2.0, gt=0, le=60, description="Longest time for one verdict; then the hook has failed."
    )
    on_error: Literal["closed", "open"] = Field(
        "closed",
        description="Effect of a failed hook. `closed`: the request is refused, or the answer "
        "ends, with the error `hook_unavailable`. `open`: the content passes unchanged.",
    )


class PluginHookSettings(_Guarded):
    """Hook of your own: a class with `on_request`, `on_answer`, `on_event` or `on_window`."""

    type: Literal["plugin"]
    use: DottedName = Field(description="Dotted name of the class, such as acme.hooks.Words.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="Options for the class's own `Options` model."
    )


class WebhookSettings(_Guarded):
    """Guardrail service that is asked over HTTP. It is asked once, without retries."""

    type: Literal["webhook"]
    url: Url = Field(description="Address of the service, which gets the content by POST.")
    format: Literal["generic", "openai"] = Field(
        "generic",
        description="`openai`: the shape of OpenAI's moderation API, and of services that imitate "
        "it. `generic`: the gateway's own, which can replace text.",
    )
    model: str | None = Field(
        None, min_length=1, description="Name of the moderation model, with `format: openai`."
    )
    token: Secret | None = Field(None, description="Sent as `Authorization: Bearer`.")
    secret: Secret | None = Field(
        None,
        description="Key of the signature in X-Gateway-Signature, by which the service "
        "recognises the gateway.",
    )
    ca: FileName | None = Field(
        None, description="PEM file of the authority to trust, instead of the system's."
    )
    proxy: ProxySettings | Literal["environment"] | None = Field(
        None,
        description="Proxy to the service. `environment`: the proxy in HTTPS_PROXY, ALL_PROXY "
        "and NO_PROXY.",
    )
    request: Literal["last", "all", "none"] = Field(
        "last",
        description="Text of a request to judge: the `last` message of the user, `all` of the "
        "conversation, or `none`.",
    )
    answer: bool = Field(True, description="Also judge answers.")
    window: int = Field(
        400,
        ge=0,
        le=100_000,
        description="Characters of a streamed answer in one call; 0: the whole answer in one.",
    )
    hold: bool = Field(
        True,
        description="Hold text back until it is judged. false: send it at once; a refusal ends the "
        "stream afterwards.",
    )
    concurrency: int = Field(
        64,
        ge=1,
        le=10_000,
        description="Largest number of simultaneous calls, for each route in each worker.",
    )
    max_bytes: Size = Field(
        1024**2, ge=1024, description="Largest body sent to it; more counts as a failure."
    )


class RedactSettings(_Guarded):
    """Redaction of personal data by Presidio. Needs the extra `pii`."""

    type: Literal["redact"]
    entities: tuple[str, ...] = Field(
        (
            *("EMAIL_ADDRESS", "CREDIT_CARD", "IBAN_CODE", "PHONE_NUMBER", "IP_ADDRESS"),
            *("US_SSN", "CRYPTO"),
        ),
        min_length=1,
        description="Kinds of personal data, by Presidio's names.",
    )
    replacement: str = Field(
        "<{entity}>",
        max_length=100,
        pattern=r'^[^"\\\x00-\x1f]*$',
        description="Replacement for the data; {entity} is its kind.",
    )
    where: tuple[Literal["request", "answer", "recorded"], ...] = Field(
        ("request", "answer"),
        min_length=1,
        description="Content that is redacted. `recorded`: the content of traces, where "
        "requests and answers pass unchanged.",
    )
    score: float = Field(0.4, ge=0, le=1, description="Lowest confidence of a finding.")
    language: str = Field("en", min_length=2, max_length=8, description="Language of the content.")
    model: str | None = Field(
        None,
        min_length=1,
        description="Name or folder of an installed spaCy model, for names of people and places. "
        "Without one only patterns are recognized.",
    )
    window: int = Field(
        80,
        ge=0,
        le=100_000,
        description="Characters of a streamed answer that are searched together; 0: the whole "
        "answer.",
    )


HookSettings = Annotated[
    PluginHookSettings | WebhookSettings | RedactSettings, Field(discriminator="type")
]
