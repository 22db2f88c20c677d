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
        2.0, gt=0, le=60, description="Longest time for one verdict. Then it counts as failed."
    )
    on_error: Literal["closed", "open"] = Field(
        "closed",
        description="What a failure of the hook means. `closed`: the request is refused, or the "
        "answer ends, with the error `hook_unavailable`. `open`: what it should have judged passes "
        "unchanged.",
    )


class PluginHookSettings(_Guarded):
    """Hook of your own: a class with `on_request`, `on_answer`, `on_event` or `on_window`."""

    type: Literal["plugin"]
    use: DottedName = Field(description="Dotted name of the class, such as acme.hooks.Words.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="Passed to the class's own `Options` model."
    )


class WebhookSettings(_Guarded):
    """Guardrail service that is asked over HTTP. It is asked once, without retries."""

    type: Literal["webhook"]
    url: Url = Field(description="Address that verdicts are POSTed to.")
    format: Literal["generic", "openai"] = Field(
        "generic",
        description="`openai`: the shape of OpenAI's moderation API, and of services that imitate "
        "it. `generic`: the gateway's own, which can replace text.",
    )
    model: str | None = Field(
        None, min_length=1, description="With `format: openai`: the name of the moderation model."
    )
    token: Secret | None = Field(None, description="Sent as `Authorization: Bearer`.")
    secret: Secret | None = Field(
        None, description="Key of the signature in X-Gateway-Signature, by which it knows us."
    )
    ca: FileName | None = Field(
        None, description="PEM file of the authority to trust, not the system's."
    )
    proxy: ProxySettings | Literal["environment"] | None = Field(
        None,
        description="Proxy through which the service is reached. `environment`: what HTTPS_PROXY, "
        "ALL_PROXY and NO_PROXY say.",
    )
    request: Literal["last", "all", "none"] = Field(
        "last",
        description="Text of a request to judge: the `last` message of the user, `all` of the "
        "conversation, or `none`.",
    )
    answer: bool = Field(True, description="Judge answers, too.")
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
        64, ge=1, le=10_000, description="Calls at the same time, for each route in each worker."
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
        description="Kinds of data, by Presidio's names.",
    )
    replacement: str = Field(
        "<{entity}>",
        max_length=100,
        pattern=r'^[^"\\\x00-\x1f]*$',
        description="Text instead of the data; {entity} is its kind.",
    )
    where: tuple[Literal["request", "answer", "recorded"], ...] = Field(
        ("request", "answer"),
        min_length=1,
        description="What is redacted. `recorded`: the content of traces, if requests and answers "
        "themselves are not.",
    )
    score: float = Field(0.4, ge=0, le=1, description="Least certainty of a finding.")
    language: str = Field("en", min_length=2, max_length=8, description="Language of the texts.")
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
