"""Model lists in OpenAI's dialect."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from gateway.dialects.listed_model import ListedModel, entries, is_name, size, with_parents
from gateway.dialects.model_entry import ModelEntry


def listing(models: Iterable[ModelEntry]) -> bytes:
    """List models: https://platform.openai.com/docs/api-reference/models/list"""
    return orjson.dumps({"object": "list", "data": [_entry(model) for model in models]})


def entry(model: ModelEntry) -> bytes:
    """Return the entry of one model."""
    return orjson.dumps(_entry(model))


def read(document: object) -> list[ListedModel]:
    """Read a backend's list. vLLM and SGLang tell the context window as `max_model_len`, and list
    LoRA adapters, which name their model as `parent`; OpenRouter tells `context_length`, and
    llama.cpp `meta`.
    """
    models = []
    for one in entries(document, "data"):
        if not is_name(name := one.get("id")):
            continue
        meta, provider = one.get("meta"), one.get("top_provider")
        window = size(one, "max_model_len", "context_length", "context_window")
        if window is None and isinstance(meta, dict):
            window = size(meta, "n_ctx", "n_ctx_train")
        output = size(one, "max_completion_tokens", "max_output_tokens")
        if output is None and isinstance(provider, dict):
            output = size(provider, "max_completion_tokens")
        parent = one.get("parent")
        models.append(
            ListedModel(name, window, output, parent if isinstance(parent, str) else None)
        )
    return with_parents(models)


def _entry(model: ModelEntry) -> dict[str, Any]:
    """Return the entry of a model. What OpenAI's has no field for is named as by OpenRouter, which
    clients know: https://openrouter.ai/docs/api-reference/list-available-models
    """
    made: dict[str, Any] = {
        **{"id": model.name, "object": "model", "created": 0, "owned_by": "gateway"}
    }
    if model.parent is not None:
        made["parent"] = model.parent
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
