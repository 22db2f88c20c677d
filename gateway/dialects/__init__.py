"""API dialects of callers and upstreams: one package for each, behind the interface `Dialect`."""

from __future__ import annotations

from gateway.dialects.anthropic.dialect import ANTHROPIC
from gateway.dialects.dialect import Dialect
from gateway.dialects.ollama.dialect import OLLAMA
from gateway.dialects.openai.dialect import OPENAI

DIALECTS: dict[str, Dialect] = {one.name: one for one in (OPENAI, ANTHROPIC, OLLAMA)}
"""Dialects by the name that the YAML configuration uses."""

__all__ = ["DIALECTS", "Dialect"]
