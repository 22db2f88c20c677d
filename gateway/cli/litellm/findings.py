"""What a LiteLLM file contains, in the words of the gateway."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gateway.config.types import Dialect


@dataclass(frozen=True, slots=True)
class ConvertedUpstream:
    """Upstream, as far as two of them can be compared. `name` is given at the end."""

    provider: str
    dialect: Dialect
    endpoints: tuple[tuple[str, int, int], ...]
    """URL, weight and priority of each."""
    variable: str
    """Environment variable of its key; empty if it needs none."""
    header: str
    headers: tuple[tuple[str, str], ...]
    first_byte: str
    total: str
    attempts: int | None
    versioned: bool
    """False if its paths directly follow the URL, without /v1."""


@dataclass(slots=True)
class ConvertedDeployment:
    """One of several upstreams of a model."""

    upstream: ConvertedUpstream
    backend: str
    settings: dict[str, Any]
    """Weight, priority and amounts, by their keys."""


@dataclass(slots=True)
class ConvertedModel:
    upstream: ConvertedUpstream
    backend: str
    settings: dict[str, Any]
    rpm: int
    tpm: int
    is_listed: bool = True
    """False for the further backends of a model, which only its fallbacks name."""
    fallbacks: list[str] = field(default_factory=list)
    deployments: list[ConvertedDeployment] = field(default_factory=list)
    """Upstreams that share its requests, the first included; empty if there is one."""


@dataclass(slots=True)
class Findings:
    """Everything that becomes the text."""

    models: dict[str, ConvertedModel] = field(default_factory=dict)
    limits: dict[str, str] = field(default_factory=dict)
    """Limits of each model, by their keys; empty if there are none."""
    balance: str | None = None
    store: str | None = None
    """URL of the store; empty if a variable holds it."""
    asks_for_keys: bool = False
    """True if the proxy has a master key."""
    variables: list[str] = field(default_factory=list)
    """Assignments of the environment variables that the text reads, with how to set them."""
    notes: list[tuple[str, str]] = field(default_factory=list)
    """Path and reason of each setting without a counterpart."""

    def use(self, variable: str, how: str = "") -> None:
        """Record that the text reads a variable."""
        if variable and not any(one.startswith(f"{variable}=") for one in self.variables):
            self.variables.append(f"{variable}=... # {how}" if how else f"{variable}=...")

    def note(self, place: str, reason: str) -> None:
        """Record that a setting has no counterpart."""
        self.notes.append((place, reason))

    @property
    def listed(self) -> dict[str, ConvertedModel]:
        """Models that callers may name."""
        return {name: model for name, model in self.models.items() if model.is_listed}

    def upstream_names(self) -> dict[ConvertedUpstream, str]:
        """Return a name for each upstream."""
        names: dict[ConvertedUpstream, str] = {}
        taken: dict[str, int] = {}
        for model in self.models.values():
            for upstream in [model.upstream, *(one.upstream for one in model.deployments)]:
                if upstream not in names:
                    slug = upstream.provider.replace("_", "-")
                    taken[slug] = taken.get(slug, 0) + 1
                    names[upstream] = slug if taken[slug] == 1 else f"{slug}-{taken[slug]}"
        return names
