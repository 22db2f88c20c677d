"""Model lists and single entries of each dialect, and Ollama's other model endpoints.

Values in, bytes out. Nothing here reveals the upstream behind a model name or its address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

_EPOCH = "1970-01-01T00:00:00Z"
"""Placeholder for the model's date, which is unknown. Anthropic and Ollama clients require one."""
_NEVER = "9999-12-31T23:59:59Z"
_OLLAMA_VERSION = "0.12.0"
"""Version of Ollama's API that the gateway reports. Clients refuse versions that are too old."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Response bodies for `/v1/models` and the paths below it."""

    list: Callable[[Iterable[str]], bytes]
    """Return the list for these model names."""
    entry: Callable[[str], bytes]
    """Return the entry of one model."""


def openai_list(names: Iterable[str]) -> bytes:
    """List models as OpenAI does: https://platform.openai.com/docs/api-reference/models/list"""
    return orjson.dumps({"object": "list", "data": [_openai(name) for name in names]})


def openai_entry(name: str) -> bytes:
    """Return the entry of one model."""
    return orjson.dumps(_openai(name))


def anthropic_list(names: Iterable[str]) -> bytes:
    """List models as Anthropic does, on one page: https://docs.anthropic.com/en/api/models-list"""
    data = [_anthropic(name) for name in names]
    return orjson.dumps(
        {
            "data": data,
            "has_more": False,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
        }
    )


def anthropic_entry(name: str) -> bytes:
    """Return the entry of one model."""
    return orjson.dumps(_anthropic(name))


def ollama_tags(names: Iterable[str]) -> bytes:
    """List the available models."""
    return orjson.dumps({"models": [_ollama(name) for name in names]})


def ollama_ps(names: Iterable[str]) -> bytes:
    """List the loaded models. All count as loaded: the gateway does not know a backend's memory."""
    loaded = {"expires_at": _NEVER, "size_vram": 0}
    return orjson.dumps({"models": [_ollama(name) | loaded for name in names]})


def ollama_version(names: Iterable[str]) -> bytes:
    """Return the version of Ollama's API. `names` is ignored."""
    return orjson.dumps({"version": _OLLAMA_VERSION})


def ollama_show() -> bytes:
    """Return placeholder details for a model whose backend does not speak Ollama's API."""
    return orjson.dumps(
        {
            "modelfile": "",
            "parameters": "",
            "template": "",
            "details": _OLLAMA_DETAILS,
            "model_info": {"general.architecture": "unknown"},
            "capabilities": ["completion", "tools"],
            "modified_at": _EPOCH,
        }
    )


def _openai(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "gateway"}


def _anthropic(name: str) -> dict[str, Any]:
    times = {"created_at": _EPOCH, "lifecycle": "active"}
    return {"type": "model", "id": name, "display_name": name} | times


_OLLAMA_DETAILS: Mapping[str, Any] = {
    "parent_model": "",
    "format": "",
    "family": "",
    "families": [],
    "parameter_size": "",
    "quantization_level": "",
}


def _ollama(name: str) -> dict[str, Any]:
    model = {"name": name, "model": name, "modified_at": _EPOCH, "size": 0, "digest": ""}
    return model | {"details": _OLLAMA_DETAILS}


OPENAI = ModelShape(openai_list, openai_entry)
ANTHROPIC = ModelShape(anthropic_list, anthropic_entry)
OLLAMA: Mapping[str, Callable[[Iterable[str]], bytes]] = {
    "tags": ollama_tags,
    "ps": ollama_ps,
    "version": ollama_version,
}
"""Ollama's GET endpoints, by the path below `/api/`."""
OLLAMA_SHOW = "show"
"""Path below `/api/` where clients POST the name of one model to see its details."""
