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

    upstream: Name = Field(description="Upstream of the deployment.")
    model: str | None = Field(
        None, min_length=1, description="Model name at the upstream; default: the same name."
    )
    weight: int = Field(
        1, ge=1, le=1000, description="Share of requests relative to the other deployments."
    )
    priority: int = Field(
        0,
        ge=0,
        le=9,
        description="Priority: used when deployments of lower numbers refuse, fail or are full.",
    )
    price: ModelPrice | None = Field(
        None, description="Price of its tokens, instead of the model's `price`."
    )
    cost: float | None = Field(
        None,
        ge=0,
        description="Relative cost, for `balance: cheapest`. Default: the input and output of its "
        "`price`, or 1 without one.",
    )
    concurrency: int | None = Field(
        None, ge=1, description="Largest number of simultaneous requests from each worker."
    )
    requests: Rate | None = Field(
        None,
        description="Provider's limit on requests, such as 500/minute. Shared by the workers of "
        "this gateway; approximate.",
    )
    tokens: Rate | None = Field(
        None,
        description="Provider's limit on LLM tokens, input and output, such as 30000/minute. "
        "Shared by the workers of this gateway; approximate.",
    )


class Model(ModelSettings):
    """Model name that callers use, and the upstream or the deployments that serve it."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["upstream"]}, {"required": ["deployments"]}]}
    )

    upstream: Name | None = Field(None, description="Upstream that serves it; or `deployments`.")
    model: str | None = Field(
        None, min_length=1, description="Model name at the upstream; default: the same name."
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
        description="Choice among deployments of the same priority: see "
        "`upstreams.NAME.balance`. `random`: an exact share by weight, for a canary; with `hash` "
        "a caller keeps its deployment. `cheapest`: the least `cost`.",
    )
    admission: AdmissionSettings | None = Field(None, description="Queue for this model alone.")

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
