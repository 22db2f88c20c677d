"""Settings of models that do not say where a model is served: prices, rules, fallbacks."""

from __future__ import annotations

from typing import Any, Literal, Self

import orjson
from pydantic import Field, model_validator

from gateway.config.models.cache import MirrorSettings
from gateway.config.models.section import Section
from gateway.config.types import Currency, ParameterName


class ModelPrice(Section):
    """Price of a model, for budgets in money, metrics and usage."""

    input: float = Field(ge=0, description="Price of a million input tokens.")
    output: float = Field(ge=0, description="Price of a million output tokens.")
    cache_read: float | None = Field(
        None,
        ge=0,
        description="Price of a million input tokens read from the backend's cache; default: "
        "`input`.",
    )
    cache_write: float | None = Field(
        None,
        ge=0,
        description="Price of a million input tokens written to the backend's cache; default: "
        "`input`.",
    )
    reasoning: float | None = Field(
        None, ge=0, description="Price of a million reasoning tokens; default: `output`."
    )
    currency: Currency = Field("USD", description="Currency, in three letters, as in the budgets.")


class ParameterSettings(Section):
    """Rules for parameters of requests, by the names of OpenAI's chat endpoint. `max_tokens` stands
    for its names in all APIs; parameters in Ollama's `options` are found, too.
    """

    drop: tuple[ParameterName, ...] = Field((), description="Parameters to remove.")
    set: dict[ParameterName, Any] = Field(
        default_factory=dict, description="Values that replace those of requests, or are added."
    )
    default: dict[ParameterName, Any] = Field(
        default_factory=dict, description="Values for requests without them."
    )
    cap: dict[ParameterName, float] = Field(
        default_factory=dict,
        description="Largest values: `{max_tokens: 4096, temperature: 1}`. A request without the "
        "parameter is left as it is.",
    )
    refuse: tuple[ParameterName, ...] = Field(
        (), description="Parameters that are refused with 400 `unsupported_parameter`."
    )

    @model_validator(mode="after")
    def _one_rule_each(self) -> Self:
        only = [*self.drop, *self.set, *self.refuse]
        both = {name for name in only if only.count(name) > 1}
        both |= frozenset(only) & (frozenset(self.default) | frozenset(self.cap))
        if both:
            raise ValueError(f"{min(both)} has two rules that contradict each other")
        try:
            orjson.dumps([self.set, self.default])
        except TypeError as exc:
            raise ValueError("a value cannot be written as JSON") from exc
        return self


class ModelSettings(Section):
    """Settings of a model, wherever it is served."""

    scopes: tuple[str, ...] = Field(
        (), description="Scopes or roles that a caller needs for it. Other callers get 404."
    )
    fallbacks: tuple[str, ...] = Field(
        (),
        description="Models to ask instead, in this order, when it fails, is late, is out of "
        "capacity, or refuses the prompt as too long.",
    )
    mirror: MirrorSettings | None = Field(
        None, description="Copy a share of its requests to another model, to compare both."
    )
    max_output_tokens: int | None = Field(
        None,
        ge=1,
        le=100_000_000,
        description="Longest answer in tokens: reserved by limits for a request that sets no "
        "maximum; default: 256.",
    )
    context_window: int | None = Field(
        None,
        ge=1,
        le=1_000_000_000,
        description="Context window in tokens, prompt and answer together. A request that needs "
        "more goes to the first of `fallbacks` that it fits into; without one, it gets 400 "
        "`context_length_exceeded`.",
    )
    input_modalities: tuple[Literal["text", "image", "audio", "video", "file"], ...] | None = Field(
        None,
        min_length=1,
        description="Kinds of content that it accepts. A request with others goes to the first "
        "of `fallbacks` that accepts them; without one, it gets 400. Default: unknown, and not "
        "checked.",
    )
    output_modalities: tuple[Literal["text", "image", "audio", "video"], ...] | None = Field(
        None, min_length=1, description="Kinds of content in its answers, for lists of models."
    )
    parameters: ParameterSettings | None = Field(
        None, description="Rules for the parameters of its requests."
    )
    price: ModelPrice | None = Field(
        None, description="Price of its tokens: for budgets in money, metrics and usage."
    )
