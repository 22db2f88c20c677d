"""Section `upstreams.NAME.discover_models`: the models that a backend lists."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from gateway.config.models.model_settings import ModelSettings
from gateway.config.models.section import Section
from gateway.config.units import Duration

_Pattern = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class ModelDiscovery(Section):
    """Models that the upstream's endpoints list, served as if they were configured. `true` uses all
    the defaults. A route serves those that its `models` match. While an endpoint does not answer,
    its last list stays in use.
    """

    path: str | None = Field(
        None,
        pattern=r"^/[!-~]*$",
        description="Path of the list, below the endpoint's base. Default: that of the dialect, "
        "/v1/models (Ollama: /api/tags).",
    )
    every: Duration = Field(
        60.0, ge=1, le=86400, description="Time between two lists of an endpoint, with some jitter."
    )
    timeout: Duration = Field(
        5.0,
        gt=0,
        le=20,
        description="Longest wait for a list. A worker that starts, and a reload, wait for the "
        "first one.",
    )
    prefix: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._:/@-]{0,64}$",
        description="Prefix of each model name, such as vllm/; it is not sent to the backend.",
    )
    only: tuple[_Pattern, ...] = Field(
        (),
        description="Names or patterns of the models to serve, such as llama-*, as the backend "
        "names them. Empty: all.",
    )
    hide: tuple[_Pattern, ...] = Field(
        (), description="Names or patterns of models not to serve, as the backend names them."
    )
    most: int = Field(
        1000,
        ge=1,
        le=10_000,
        description="Largest number of models; the rest of a longer list is left out.",
    )
    weight: int = Field(
        1, ge=1, le=1000, description="Share of requests for models that other upstreams list, too."
    )
    priority: int = Field(
        0,
        ge=0,
        le=9,
        description="Priority for models that other upstreams list, too: used when lower "
        "numbers fail.",
    )
    settings: dict[_Pattern, ModelSettings] = Field(
        default_factory=dict,
        description="Settings of the models by name or pattern, as the backend names them. The "
        "most specific one applies.",
    )
