"""Model lists in Anthropic's dialect, and the clients that expect them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from multidict import istr

from gateway.dialects.listed_model import ListedModel, entries, is_name, size, with_parents
from gateway.dialects.model_entry import ModelEntry

_EPOCH = "1970-01-01T00:00:00Z"
"""Placeholder for the model's date, which is unknown. Clients require one."""
_VERSION = istr("anthropic-version")
_KEY = istr("x-api-key")
_AUTHORIZATION = istr("Authorization")


def listing(models: Iterable[ModelEntry]) -> bytes:
    """List models on one page: https://docs.anthropic.com/en/api/models-list"""
    data = [_entry(model) for model in models]
    return orjson.dumps(
        {
            "data": data,
            "has_more": False,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
        }
    )


def entry(model: ModelEntry) -> bytes:
    """Return the entry of one model."""
    return orjson.dumps(_entry(model))


def expects(headers: Mapping[str, str]) -> bool:
    """True if a client with these request headers expects Anthropic's format.

    Anthropic's SDK and Claude Code use the same path as OpenAI's clients, `/v1/models`.
    """
    return _VERSION in headers or (_KEY in headers and _AUTHORIZATION not in headers)


def read(document: object) -> list[ListedModel]:
    """Read the first page of a backend's list: https://docs.anthropic.com/en/api/models-list"""
    return with_parents(
        ListedModel(name, size(one, "max_input_tokens"), size(one, "max_tokens"))
        for one in entries(document, "data")
        if is_name(name := one.get("id"))
    )


def _entry(model: ModelEntry) -> dict[str, Any]:
    made: dict[str, Any] = {
        **{"type": "model", "id": model.name, "display_name": model.name},
        **{"created_at": _EPOCH, "lifecycle": "active"},
    }
    if model.context_window is not None:
        made["max_input_tokens"] = model.context_window
    if model.max_output_tokens is not None:
        made["max_tokens"] = model.max_output_tokens
    if model.health is not None:
        made["health"] = model.health
    return made
