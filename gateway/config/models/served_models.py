"""Section `models`: names that callers use, and the upstreams that serve them."""

from __future__ import annotations

from functools import cached_property
from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from gateway.config.models.model_settings import ModelPrice, ModelSettings
from gateway.config.models.section import Section
from gateway.config.models.upstreams import AdmissionSettings, HashKey
from gateway.config.types import Name, Rate


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
    price: ModelPrice | None = Field(
        None, description="What it costs here, instead of the model's `price`."
    )
    cost: float | None = Field(
        None,
        ge=0,
        description="Relative cost, for `balance: cheapest`. Default: the input and output of its "
        "`price`, or 1 without one.",
    )
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


class Model(ModelSettings):
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
    admission: AdmissionSettings | None = Field(None, description="A queue for this model alone.")

    @cached_property  # a backend may list thousands of models
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
