"""Model lists in OpenAI's dialect."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from gateway.dialects.model_entry import ModelEntry


def listing(models: Iterable[ModelEntry]) -> bytes:
    """List models: https://platform.openai.com/docs/api-reference/models/list"""
    return orjson.dumps({"object": "list", "data": [_entry(model) for model in models]})


def entry(model: ModelEntry) -> bytes:
    """Return the entry of one model."""
    return orjson.dumps(_entry(model))


def _entry(model: ModelEntry) -> dict[str, Any]:
    """Return the entry of a model. What OpenAI's has no field for is named as by OpenRouter, which
    clients know: https://openrouter.ai/docs/api-reference/list-available-models
    """
    made: dict[str, Any] = {
        **{"id": model.name, "object": "model", "created": 0, "owned_by": "gateway"}
    }
    if model.context_window is not None:
        made["context_length"] = model.context_window
    if model.max_output_tokens is not None:
        made["max_completion_tokens"] = model.max_output_tokens
    modalities = {
        "input_modalities": model.input_modalities,
        "output_modalities": model.output_modalities,
    }
    known = {name: kinds for name, kinds in modalities.items() if kinds}
    if known:
        made["architecture"] = known
    if model.pricing:
        made["pricing"] = model.pricing
    if model.health is not None:
        made["health"] = model.health
    return made
