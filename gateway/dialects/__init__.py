"""API dialects of callers and upstreams: one module for each, with one small interface."""

from __future__ import annotations

from gateway.dialects.anthropic.errors import Anthropic
from gateway.dialects.dialect import Dialect
from gateway.dialects.ollama.errors import Ollama
from gateway.dialects.openai.errors import OpenAI

DIALECTS: dict[str, Dialect] = {"openai": OpenAI(), "anthropic": Anthropic(), "ollama": Ollama()}
"""Dialects by the name that the YAML configuration uses."""

__all__ = ["DIALECTS", "Dialect"]
