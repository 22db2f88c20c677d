"""Model as lists of models describe it, whatever their dialect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """Model as callers may know it. It says nothing about upstreams."""

    name: str
    context_window: int | None = None
    """Tokens of prompt and answer together, if known."""
    max_output_tokens: int | None = None
    """Maximum tokens of one answer, if known."""
    input_modalities: tuple[str, ...] = ()
    """Kinds of content that it takes; empty if not known."""
    output_modalities: tuple[str, ...] = ()
    """Kinds of content in its answers; empty if not known."""
    pricing: Mapping[str, str] = field(default_factory=dict)
    """Prices for one token, and their currency; empty if not known or not told."""
    health: str | None = None
    """State of its backends, if asked for: `up`, `degraded` or `down`."""
    parent: str | None = None
    """Name of the model that it is an adapter (LoRA) of, if that is served, too."""
