"""What callers and upstreams speak: one module per dialect, one small interface."""

from __future__ import annotations

from gateway.dialects.anthropic import Anthropic
from gateway.dialects.dialect import Dialect
from gateway.dialects.ollama import Ollama
from gateway.dialects.openai import OpenAI

DIALECTS: dict[str, Dialect] = {"openai": OpenAI(), "anthropic": Anthropic(), "ollama": Ollama()}
"""The YAML word to the dialect."""

__all__ = ["DIALECTS", "Dialect"]
