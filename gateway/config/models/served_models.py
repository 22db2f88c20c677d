"""Section `models`: names that callers use, and the upstreams that serve them."""

from __future__ import annotations

from typing import Any, Literal, Self

import orjson
from pydantic import ConfigDict, Field, model_validator

from gateway.config.models.cache import MirrorSettings
from gateway.config.models.section import Section
from gateway.config.models.upstreams import AdmissionSettings, HashKey
from gateway.config.types import Currency, Name, ParameterName, Rate


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


class ParameterSettings(Section):
    """Rules for parameters of requests, by the names of OpenAI's chat endpoint. `max_tokens` stands
    for its names in all APIs; parameters in Ollama's `options` are found, too.
    """

    drop: tuple[ParameterName, ...] = Field((), description="Taken out of requests.")
    set: dict[ParameterName, Any] = Field(
        default_factory=dict, description="Values that replace those of requests, or are added."
    )
    default: dict[ParameterName, Any] = Field(
        default_factory=dict, description="Values for requests that have none."
    )
    cap: dict[ParameterName, float] = Field(
        default_factory=dict,
        description="Largest values: `{max_tokens: 4096, temperature: 1}`. A request without the "
        "parameter is left as it is.",
    )
    refuse: tuple[ParameterName, ...] = Field(
        (), description="Requests that use one are 400 `unsupported_parameter`."
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


class DeploymentSettings(Section):
    """A model at one upstream, one of several that serve it."""

    upstream: Name = Field(description="The upstream that serves it.")
    model: str | None = Field(
        None, min_length=1, description="The upstream's own name for it; default: the same name."
    )
    weight: int = Field(1, ge=1, le=1000, description="Share of requests relative to the others.")
    priority: int = Field(
        0, ge=0, le=9, description="Asked once those of lower numbers refuse, fail or are full."
    )
    cost: float = Field(1.0, ge=0, description="Relative cost, for `balance: cheapest`.")
    concurrency: int | None = Field(
        None, ge=1, description="Requests at once that it is sent by each worker."
    )
    requests: Rate | None = Field(
        None,
        description="Requests that its provider grants, such as 500/minute. Shared by the workers "
        "of this gateway; approximate.",
    )
    tokens: Rate | None = Field(
        None,
        description="LLM tokens, in and out, that its provider grants, such as 30000/minute. "
        "Shared by the workers of this gateway; approximate.",
    )


class Model(Section):
    """Model name that callers use, and the upstream or the deployments that serve it."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["upstream"]}, {"required": ["deployments"]}]}
    )

    upstream: Name | None = Field(
        None, description="The upstream that serves it; this, or `deployments`."
    )
    model: str | None = Field(
        None, min_length=1, description="The upstream's own name for it; default: the same name."
    )
    deployments: tuple[DeploymentSettings, ...] = Field(
        (),
        min_length=1,
        description="Several upstreams that serve it. They share its requests; if one refuses or "
        "fails, the next is asked.",
    )
    balance: (
        Literal["least_requests", "round_robin", "random", "prefix", "ttft", "tpot", "cheapest"]
        | HashKey
    ) = Field(
        "least_requests",
        description="Which deployment is next, of those with the same priority: see "
        "`upstreams.NAME.balance`. `random`: an exact share by weight, for a canary; with `hash` a "
        "caller keeps its deployment. `cheapest`: the least `cost`.",
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
    mirror: MirrorSettings | None = Field(
        None, description="Copy a share of its requests to another model, to compare both."
    )
    max_output_tokens: int | None = Field(
        None,
        ge=1,
        le=100_000_000,
        description="The most tokens that one of its answers has: what limits reserve for a "
        "request that sets no maximum; default: 256.",
    )
    context_window: int | None = Field(
        None,
        ge=1,
        le=1_000_000_000,
        description="Tokens of prompt and answer together. A request that needs more goes to the "
        "first of `fallbacks` that it fits into; without one it is 400 `context_length_exceeded`.",
    )
    input_modalities: tuple[Literal["text", "image", "audio", "video", "file"], ...] | None = Field(
        None,
        min_length=1,
        description="Kinds of content that it takes. A request with others goes to the first of "
        "`fallbacks` that takes them; without one it is 400. Default: not known, and not checked.",
    )
    output_modalities: tuple[Literal["text", "image", "audio", "video"], ...] | None = Field(
        None, min_length=1, description="Kinds of content in its answers, for lists of models."
    )
    parameters: ParameterSettings | None = Field(
        None, description="Rules for the parameters of its requests."
    )
    price: ModelPrice | None = Field(
        None, description="What it costs: for budgets in money, metrics and usage."
    )

    @property
    def served_by(self) -> tuple[DeploymentSettings, ...]:
        """Deployments of the model; one, if it has an `upstream`."""
        if self.upstream is None:
            return self.deployments
        return (DeploymentSettings(upstream=self.upstream, model=self.model),)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.upstream is None) == (not self.deployments):
            raise ValueError("give either `upstream` or `deployments`")
        if self.upstream is None and self.model is not None:
            raise ValueError("with `deployments`, each of them has a `model` of its own")
        if self.upstream is not None and "balance" in self.model_fields_set:
            raise ValueError("`balance` is for a model with `deployments`")
        return self
