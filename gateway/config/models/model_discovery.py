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
        description="Asked with GET; below the endpoint's base. Default: the list of the dialect, "
        "/v1/models (Ollama: /api/tags).",
    )
    every: Duration = Field(
        60.0, ge=1, le=86400, description="Time between two lists of an endpoint, more or less."
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
        description="Put in front of each name, such as vllm/; it is not sent to the backend.",
    )
    only: tuple[_Pattern, ...] = Field(
        (),
        description="Names or patterns such as llama-*, as the backend has them: no others are "
        "served. Empty: all.",
    )
    hide: tuple[_Pattern, ...] = Field(
        (), description="Names or patterns, as the backend has them, that are not served."
    )
    most: int = Field(
        1000, ge=1, le=10_000, description="Models at most; of a longer list the first are served."
    )
    weight: int = Field(
        1, ge=1, le=1000, description="Share of requests, where other upstreams list a model, too."
    )
    priority: int = Field(
        0, ge=0, le=9, description="Where others list a model, too: asked once lower numbers fail."
    )
    settings: dict[_Pattern, ModelSettings] = Field(
        default_factory=dict,
        description="Settings of the models by name or pattern, as the backend has them. The most "
        "specific one applies.",
    )
