"""What each dialect tells about models: lists, single entries, and Ollama's other questions.

Values in, bytes out. Nothing of it is an upstream's: neither what stands behind a name nor where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

_EPOCH = "1970-01-01T00:00:00Z"
"""Both Anthropic's and Ollama's clients need a time, and it is not known."""
_NEVER = "9999-12-31T23:59:59Z"
_OLLAMA_VERSION = "0.12.0"
"""What the gateway speaks of Ollama's API. Clients refuse versions that are too old."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """How `/v1/models` and what is below it are answered."""

    list: Callable[[Iterable[str]], bytes]
    """From the names of all models."""
    entry: Callable[[str], bytes]
    """From the name of one."""


def openai_list(names: Iterable[str]) -> bytes:
    """https://platform.openai.com/docs/api-reference/models/list"""
    return orjson.dumps({"object": "list", "data": [_openai(name) for name in names]})


def openai_entry(name: str) -> bytes:
    """One of them."""
    return orjson.dumps(_openai(name))


def anthropic_list(names: Iterable[str]) -> bytes:
    """https://docs.anthropic.com/en/api/models-list: all on one page."""
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
    """One of them."""
    return orjson.dumps(_anthropic(name))


def ollama_tags(names: Iterable[str]) -> bytes:
    """The models that are there."""
    return orjson.dumps({"models": [_ollama(name) for name in names]})


def ollama_ps(names: Iterable[str]) -> bytes:
    """The models that are loaded: all, since a backend's memory is its own business."""
    loaded = {"expires_at": _NEVER, "size_vram": 0}
    return orjson.dumps({"models": [_ollama(name) | loaded for name in names]})


def ollama_version(names: Iterable[str]) -> bytes:
    """The version of the API."""
    return orjson.dumps({"version": _OLLAMA_VERSION})


def ollama_show() -> bytes:
    """What is told of a model whose backend is no Ollama."""
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
"""What Ollama's clients ask with a GET, by the path below `/api/`."""
OLLAMA_SHOW = "show"
"""Where they POST the name of one model."""
