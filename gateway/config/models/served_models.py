"""Section `models`: the models that callers may ask for, and who serves them."""

from __future__ import annotations

from pydantic import Field

from gateway.config.models.section import Section
from gateway.config.models.upstreams import AdmissionSettings
from gateway.config.types import Currency, Name


class ModelPrice(Section):
    """Price of a model, for budgets in money, metrics and usage."""

    input: float = Field(ge=0, description="For a million tokens in.")
    output: float = Field(ge=0, description="For a million tokens out.")
    cache_read: float | None = Field(
        None,
        ge=0,
        description="For a million tokens in that come from the backend's cache; default: `input`.",
    )
    cache_write: float | None = Field(
        None,
        ge=0,
        description="For a million tokens in that go into the backend's cache; default: `input`.",
    )
    reasoning: float | None = Field(
        None, ge=0, description="For a million tokens of reasoning; default: `output`."
    )
    currency: Currency = Field("USD", description="Three letters, as in the budgets.")


class Model(Section):
    """Model name that callers use, and the upstream that serves it."""

    upstream: Name = Field(description="The upstream that serves it.")
    model: str | None = Field(
        None, min_length=1, description="The upstream's own name for it; default: the same name."
    )
    scopes: tuple[str, ...] = Field(
        (), description="Scopes or roles a caller needs for it; to others it does not exist."
    )
    admission: AdmissionSettings | None = Field(None, description="A queue for this model alone.")
    fallbacks: tuple[str, ...] = Field(
        (),
        description="Models asked instead, in this order, when it fails, is late, is out of "
        "capacity, or refuses the prompt as too long.",
    )
    max_output_tokens: int | None = Field(
        None,
        ge=1,
        le=100_000_000,
        description="The most tokens that one of its answers has: what limits reserve for a "
        "request that sets no maximum; default: 256.",
    )
    price: ModelPrice | None = Field(
        None, description="What it costs: for budgets in money, metrics and usage."
    )
