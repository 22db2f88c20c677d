"""Model lists in Ollama's dialect, and its other model endpoints.

Values in, bytes out. Nothing here reveals the upstream behind a model name or its address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

_EPOCH = "1970-01-01T00:00:00Z"
"""Placeholder for the model's date, which is unknown. Clients require one."""
_NEVER = "9999-12-31T23:59:59Z"
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


def tags(names: Iterable[str]) -> bytes:
    """List the available models."""
    return orjson.dumps({"models": [_entry(name) for name in names]})


def ps(names: Iterable[str]) -> bytes:
    """List the loaded models. All count as loaded: the gateway does not know a backend's memory."""
    loaded = {"expires_at": _NEVER, "size_vram": 0}
    return orjson.dumps({"models": [_entry(name) | loaded for name in names]})


def version(names: Iterable[str]) -> bytes:
    """Return the version of Ollama's API. `names` is ignored."""
    return orjson.dumps({"version": _VERSION})


def show() -> bytes:
    """Return placeholder details for a model whose backend does not speak Ollama's API."""
    return orjson.dumps(
        {
            "modelfile": "",
            "parameters": "",
            "template": "",
            "details": _DETAILS,
            "model_info": {"general.architecture": "unknown"},
            "capabilities": ["completion", "tools"],
            "modified_at": _EPOCH,
        }
    )


def _entry(name: str) -> dict[str, Any]:
    model = {"name": name, "model": name, "modified_at": _EPOCH, "size": 0, "digest": ""}
    return model | {"details": _DETAILS}


def named_models(path: str, document: Mapping[str, Any]) -> list[str]:
    """Return the models named in a request that shows, pulls, pushes, deletes, creates or copies
    one.
    """
    if _MANAGING.search(path) is None:
        return []
    values = [document.get(key) for key in _NAMING]
    return [value for value in values if isinstance(value, str)]
