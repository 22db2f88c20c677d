"""Model lists in Ollama's dialect, and its other model endpoints.

Values in, bytes out. Nothing here reveals the upstream behind a model name or its address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from gateway.dialects.listed_model import ListedModel, entries, is_name, with_parents
from gateway.dialects.model_entry import ModelEntry

_EPOCH = "1970-01-01T00:00:00Z"
"""Placeholder for the model's date, which is unknown. Clients require one."""
_NEVER = "9999-12-31T23:59:59Z"
_ARCHITECTURE = "unknown"
_VERSION = "0.12.0"
"""Version of Ollama's API that the gateway reports. Clients refuse versions that are too old."""
_DETAILS: Mapping[str, Any] = {
    "parent_model": "",
    "format": "",
    "family": "",
    "families": [],
    "parameter_size": "",
    "quantization_level": "",
}
_MANAGING = re.compile(r"/api/(?:show|pull|push|delete|create|copy)$")
_NAMING = ("name", "from", "source", "destination")
"""Fields that name a model in the bodies of these paths, besides `model`."""


def tags(models: Iterable[ModelEntry]) -> bytes:
    """List the available models."""
    return orjson.dumps({"models": [_entry(model) for model in models]})


def ps(models: Iterable[ModelEntry]) -> bytes:
    """List the loaded models. All count as loaded: the gateway does not know a backend's memory."""
    loaded = {"expires_at": _NEVER, "size_vram": 0}
    return orjson.dumps({"models": [_entry(model) | loaded for model in models]})


def version(models: Iterable[ModelEntry]) -> bytes:
    """Return the version of Ollama's API. `models` is ignored."""
    return orjson.dumps({"version": _VERSION})


def read(document: object) -> list[ListedModel]:
    """Read a backend's list. The tag `latest` is left out: Ollama adds it to a name without one."""
    return with_parents(
        ListedModel(name.removesuffix(":latest"))
        for one in entries(document, "models")
        if is_name(name := one.get("model") or one.get("name"))
    )


def show(model: ModelEntry) -> bytes:
    """Return details of a model whose backend does not speak Ollama's API. What clients require and
    the gateway does not know has placeholders.
    """
    info: dict[str, Any] = {"general.architecture": _ARCHITECTURE}
    if model.context_window is not None:
        info[f"{_ARCHITECTURE}.context_length"] = model.context_window
    capabilities = ["completion", "tools"]
    if "image" in model.input_modalities:
        capabilities.append("vision")
    return orjson.dumps(
        {
            "modelfile": "",
            "parameters": "",
            "template": "",
            "details": _DETAILS,
            "model_info": info,
            "capabilities": capabilities,
            "modified_at": _EPOCH,
        }
    )


def _entry(model: ModelEntry) -> dict[str, Any]:
    made = {**{"name": model.name, "model": model.name}, "modified_at": _EPOCH}
    return made | {"size": 0, "digest": "", "details": _DETAILS}


def named_models(path: str, document: Mapping[str, Any]) -> list[str]:
    """Return the models named in a request that shows, pulls, pushes, deletes, creates or copies
    one.
    """
    if _MANAGING.search(path) is None:
        return []
    values = [document.get(key) for key in _NAMING]
    return [value for value in values if isinstance(value, str)]
